"""Training videos are not evaluated on without a word, under whatever name they come."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.data.known import among, fingerprints
from besnet.data.manifest import Manifest, Row
from besnet.data.manifest_writing import write_manifest
from besnet.data.prepare import prepare
from besnet.evaluation.evaluate import training_videos
from tests import command, evaluated, moving_squares

ALLOW = "--allow_training_videos=true"


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    assert command.train(squares, run, "--trainer.max_epochs=1") == 0
    return run


@pytest.fixture(scope="module")
def copies(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training videos and one new one, under other names, in other splits and re-encoded."""
    folder = tmp_path_factory.mktemp("copies")
    sources = sorted((squares.parent / "train").iterdir())[:2]
    lines = ["label,path,split"]
    for number, source in enumerate(sources):
        shutil.copy(source, folder / f"other{number}.mp4")
        lines.append(f"{source.name.split('_')[0]},other{number}.mp4,test")
    moving_squares.draw(folder / "new.mp4", (0, 1), seed=77)
    lines.append("right,new.mp4,test")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("down\nleft\nright\nup\n")
    prepare(folder / "list.csv", folder / "prepared", classes=str(folder / "classes.txt"), workers=1, short_side=48)
    return folder / "prepared"


def said(capsys: pytest.CaptureFixture[str], verb: str, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.run(verb, list(words))
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_the_training_split_is_refused_and_allowed_only_loudly(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--ckpt_path={run}", "--workers=0", "--split=train", f"--out={tmp_path / 'out'}"]
    assert "was trained on 24 of the videos of the split train" in said(capsys, "evaluate", *words)
    assert not (tmp_path / "out").exists()
    assert cli.run("evaluate", [*words, ALLOW]) == 0
    assert "WARNING: The network was trained on 24 of these 24 videos" in capsys.readouterr().out
    assert "trained on 24 of these 24 videos" in (tmp_path / "out" / "report.html").read_text()
    assert "are training videos of the network" in said(
        capsys, "calibrate", str(tmp_path / "out"), f"--run_folder={tmp_path}"
    )
    assert cli.run("calibrate", [str(tmp_path / "out"), f"--run_folder={tmp_path}", ALLOW]) == 0
    assert "WARNING: 24 of these are training videos" in capsys.readouterr().out


def test_copies_are_known_by_their_bytes(run: Path, copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--ckpt_path={run}", f"--data={copies}", "--workers=0"]
    assert "was trained on 2 of the videos of the split test" in said(capsys, "evaluate", *words)


def test_new_videos_are_not_taken_for_known_ones(run: Path, squares: Path) -> None:
    assert training_videos(rebuild(store.load(run)), Manifest.load(squares), "test") == 0


def test_the_weights_that_a_training_starts_from_have_seen_their_videos_too(
    run: Path, copies: Path, squares: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    moving_squares.make(folder, train=4, test=4)
    words = [f"--pretrained={run}", "--trainer.max_epochs=1"]
    assert command.train(folder / "prepared", tmp_path / "tuned", *words) == 0
    tuned = rebuild(store.load(tmp_path / "tuned"))
    assert training_videos(tuned, Manifest.load(squares), "train") == 24
    assert training_videos(tuned, Manifest.load(folder / "prepared"), "train") == 4
    assert training_videos(tuned, Manifest.load(copies), "test") == 2


def test_parts_of_one_file_are_not_each_other(tmp_path: Path) -> None:
    """A long film of which one part is trained on and another is tested; and a video that is there twice."""

    def row(id: str, split: str, digest: str, source: str) -> Row:
        return Row(id, 0, split, "ready", path=id, frames=9, hash=digest, source_hash=source)

    rows = [
        row("a", "train", "h1", "film"), row("b", "test", "h2", "film"),
        row("c", "train", "h3", "same"), row("d", "test", "h3", "same"), row("e", "test", "h4", "new"),
    ]  # fmt: skip
    manifest = write_manifest(tmp_path, "x", ["k"], ".", rows)
    known = fingerprints(manifest, manifest.select("train"))
    assert among(manifest, manifest.select("test"), known).tolist() == [3]
    again = write_manifest(
        tmp_path / "again", "x", ["k"], ".", [row("a", "test", "h9", "h8"), row("z", "test", "h7", "h6")]
    )
    assert among(again, again.select("test"), known).tolist() == [0], "by its id and class in data of the same name"


def test_the_temperature_stays_in_its_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that is never wrong on these videos: the likelihood grows without end as the temperature falls."""
    shares = np.tile([[[0.9, 0.1]]], (20, 1, 1))
    folder = evaluated.write(tmp_path / "val", shares, [0] * 20, ["a", "b"], split="val")
    assert cli.run("calibrate", [str(folder), f"--run_folder={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "temperature 0.200" in out
    assert "WARNING: 0.2 is a limit" in out
