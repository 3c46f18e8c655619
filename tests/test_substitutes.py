"""A video that `prepare` passed and that fails in training: another takes its place, on record, and a replay obeys."""

import json
from pathlib import Path

import pytest

from besnet.checkpoints import store
from besnet.data.clips import ClipDraw, TrainingClips
from besnet.data.crop import RandomCrop
from besnet.data.manifest import Manifest
from besnet.video.sampling import ClipShape
from tests import command, moving_squares

WORDS = ["--trainer.max_epochs=2", "--data.batch_size=16", "--saving.every_steps=2", "--saving.keep=9"]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 prepared training videos, one of which was cut short after it had been prepared."""
    prepared = moving_squares.make(tmp_path_factory.mktemp("damaged"), train=120, test=2)
    manifest = Manifest.load(prepared)
    row = int(manifest.select("train")[60])
    path = prepared.parent / "train" / Path(manifest[row].path).name
    whole = path.read_bytes()
    path.with_suffix(".rest").write_bytes(whole[len(whole) // 2 :])
    path.write_bytes(whole[: len(whole) // 2])
    return prepared


def test_a_failing_video_is_replaced_counted_and_replayed(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert command.train(damaged, run, *WORDS) == 0
    assert "2 clips failed to decode and were replaced" in capsys.readouterr().out
    first, second = [json.loads(line) for line in (run / "failures_0.jsonl").read_text().splitlines()]
    manifest = Manifest.load(damaged)
    assert first["video"] == second["video"] == manifest[first["row"]].id
    assert (first["epoch"], second["epoch"]) == (0, 1)
    assert first["substitute"] in manifest.select("train")
    whole = command.weights_hash(run)

    # The replay from the oldest checkpoint obeys the record, even now that the video can be read again.
    path = damaged.parent / "train" / Path(manifest[first["row"]].path).name
    half = path.read_bytes()
    path.write_bytes(half + path.with_suffix(".rest").read_bytes())
    for newer in store.by_age(run / "checkpoints")[:-1]:
        newer.unlink()
    assert command.train(damaged, run, *WORDS) == 0
    path.write_bytes(half)
    assert command.weights_hash(run) == whole
    assert len((run / "failures_0.jsonl").read_text().splitlines()) == 2


def test_a_record_is_obeyed_for_the_very_clip_that_failed(squares: Path) -> None:
    """Of a video's clips in an epoch, one may fail and another be readable: only the one that failed is replaced."""
    manifest = Manifest.load(squares)
    rows = manifest.select("train")
    asked, other = int(rows[0]), int(rows[1])
    shape, crop = ClipShape(num_frames=4), RandomCrop()
    clips = TrainingClips(manifest, rows, ClipDraw(shape, crop), seed=0, substitutes={(0, asked, 1): other})
    assert [clips[0, asked, repeat].row for repeat in (0, 1, 2)] == [asked, other, asked]
    assert clips[1, asked, 1].row == asked


def test_a_substitute_that_is_gone_is_replaced_on_record(damaged: Path, squares: Path) -> None:
    manifest = Manifest.load(damaged)
    rows = manifest.select("train")
    shape, crop = ClipShape(num_frames=4), RandomCrop()
    torn, fine = int(rows[60]), int(rows[3])
    clips = TrainingClips(
        manifest, rows, ClipDraw(shape, crop), seed=0, substitutes={(0, fine, 0): torn, (0, torn, 0): torn}
    )
    assert clips[0, torn, 0].row not in (torn, fine)
    (failure,) = clips[0, torn, 0].failures
    assert failure.substitute == clips[0, torn, 0].row
    assert clips[0, fine, 0].row == fine, "it can be read itself"


def test_another_run_makes_the_same_choice(damaged: Path, tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for run, workers in zip(runs, (0, 1), strict=True):
        assert command.train(damaged, run, *WORDS, f"--data.workers={workers}") == 0
    assert command.weights_hash(runs[0]) == command.weights_hash(runs[1])
    assert (runs[0] / "failures_0.jsonl").read_text() == (runs[1] / "failures_0.jsonl").read_text()
