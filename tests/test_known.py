"""Training videos are not evaluated on without a word, under whatever name they come."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from besnet import cli
from besnet.checkpoints import model_folder, store
from besnet.checkpoints.header import rebuild
from besnet.checkpoints.weights_source import resolve
from besnet.data.known import among, fingerprints
from besnet.data.manifest import Manifest, Row
from besnet.data.manifest_writing import write_manifest
from besnet.data.prepare import prepare
from besnet.evaluation.truth import training_videos
from besnet.lab.runs import checkpoint_of, videos_known
from besnet.learn.doubts import learned_by
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
    assert "WARNING: 24 videos of the split train are training videos" in capsys.readouterr().out


def test_copies_are_known_by_their_bytes(run: Path, copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--ckpt_path={run}", f"--data={copies}", "--workers=0"]
    assert "was trained on 2 of the videos of the split test" in said(capsys, "evaluate", *words)


def test_new_videos_are_not_taken_for_known_ones(run: Path, squares: Path) -> None:
    assert training_videos(rebuild(store.load(run)), Manifest.load(squares), "test") == 0


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    """The run's network as a model folder beside the run."""
    folder = run.parent / "model"
    assert cli.run("export", [str(run), f"--out={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other data, of 4 training videos, and one validation video that is a training video of the run."""
    folder = tmp_path_factory.mktemp("more")
    moving_squares.make(folder, train=5, test=4)
    lines = (folder / "index.csv").read_text().splitlines()
    lines[1] = lines[1].removesuffix(",train") + ",val"
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return prepare(folder / "index.csv", folder / "prepared", index_only=True, workers=1).folder


@pytest.mark.parametrize("start", ["run", "model", "model/model.safetensors"])
def test_the_weights_that_a_training_starts_from_have_seen_their_videos_too(
    start: str, run: Path, model: Path, copies: Path, squares: Path, more: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [f"--pretrained={run.parent / start}", "--trainer.max_epochs=1", "--data.val_videos=1"]
    assert command.train(more, tmp_path / "tuned", *words) == 0
    assert "WARNING: 1 of the 1 validation videos are training videos" in capsys.readouterr().out
    tuned = rebuild(store.load(tmp_path / "tuned"))
    assert training_videos(tuned, Manifest.load(squares), "train") == 24
    assert training_videos(tuned, Manifest.load(more), "train") == 4
    assert training_videos(tuned, Manifest.load(copies), "test") == 2
    assert training_videos(tuned, Manifest.load(squares), "test") == 0


def test_a_model_folder_knows_its_training_videos(
    run: Path, model: Path, copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--ckpt_path={model}", "--workers=0"]
    assert "--out is needed" in said(capsys, "evaluate", *words)
    words.append(f"--out={tmp_path / 'out'}")
    assert "was trained on 24 of the videos of the split train" in said(capsys, "evaluate", *words, "--split=train")
    assert "was trained on 2 of the videos of the split test" in said(capsys, "evaluate", *words, f"--data={copies}")
    assert cli.run("evaluate", words) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["trained_on"] == 0
    assert "WARNING" not in capsys.readouterr().out
    assert cli.run("evaluate", [*words, f"--data={copies}", ALLOW]) == 0
    assert "WARNING: The network was trained on 2 of these 3 videos" in capsys.readouterr().out
    known = str(tmp_path / "out")
    again = [f"--ckpt_path={run}", f"--data={copies}", "--workers=0", ALLOW, f"--out={tmp_path / 'two'}"]
    assert cli.run("evaluate", [*again, f"--baseline={known}"]) == 0
    assert "WARNING: The baseline's network was trained on 2 of its" in capsys.readouterr().out
    assert "network was trained on 2 of its evaluated videos" in (tmp_path / "two" / "report.html").read_text()
    assert cli.run("evaluate", ["--ensemble", known, str(tmp_path / "two"), f"--out={tmp_path / 'both'}"]) == 0
    assert "WARNING: The network was trained on 2 of these 3 videos" in capsys.readouterr().out


def test_a_model_folder_that_does_not_record_its_videos_is_not_said_to_know_none(
    model: Path, copies: Path, more: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As besnet wrote it in format 3; of data that is not here."""
    old = tmp_path / "old"
    shutil.copytree(model, old)
    (old / "trained_on.safetensors").unlink()
    about = json.loads((old / "model.json").read_text())
    del about["trained_on"]
    about |= {"format": 3, "passport": {"source": "0" * 32, "encode": "0" * 32}}
    (old / "model.json").write_text(json.dumps(about))
    assert training_videos(model_folder.read(old).trained, Manifest.load(copies), "test") is None
    words = [f"--pretrained={old}", "--trainer.max_epochs=1"]
    assert command.train(more, tmp_path / "tuned", *words) == 0
    assert "it does not record the videos that it was trained on" in capsys.readouterr().out
    tuned = rebuild(store.load(tmp_path / "tuned"))
    assert training_videos(tuned, Manifest.load(more), "train") == 4
    assert training_videos(tuned, Manifest.load(copies), "test") is None, "the weights before may have seen them"


def test_a_probe_of_a_network_that_has_seen_the_videos_is_refused(
    run: Path, squares: Path, more: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--ckpt_path={run}", f"--data={more}", f"--out={tmp_path}", "--workers=0", "--strengths=[1]"]
    assert "was trained on 1 of the videos of the split val" in said(capsys, "probe", *words, "--split=val")
    assert not (tmp_path / "features").exists()
    assert cli.run("probe", [*words, "--split=val", ALLOW]) == 0
    out = capsys.readouterr().out
    assert "was trained on 1 of the 1 videos that choose the strength" in out
    assert "WARNING: The network was trained on 1 of these 1 videos" in out
    probed = model_folder.read(tmp_path / "model")
    assert training_videos(probed.trained, Manifest.load(more), "train") == 4
    assert training_videos(probed.trained, Manifest.load(squares), "train") == 24
    assert training_videos(probed.trained, Manifest.load(squares), "test") == 0
    under = learned_by(probed)
    assert under is not None
    assert torch.equal(under, rebuild(store.load(run)).trained_on), "its features have not learned from `more`"


def test_predictions_and_features_of_training_videos_are_said_to_be_such(
    model: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [sorted((squares.parent / split).iterdir())[0] for split in ("train", "test")]
    for verb, extra in (("predict", []), ("features", [f"--out={tmp_path / 'f.npz'}"])):
        assert cli.run(verb, [*map(str, files), f"--ckpt_path={model}", *extra]) == 0
        assert (
            f"WARNING: the network was trained on 1 of these 2 videos, or on parts of them (the first: {files[0]})"
            in (capsys.readouterr().out)
        )
        assert cli.run(verb, [str(files[1]), f"--ckpt_path={model}", *extra]) == 0
        assert "WARNING" not in capsys.readouterr().out


def test_a_lab_counts_what_the_weights_before_its_trainings_have_seen(run: Path, copies: Path, squares: Path) -> None:
    finished = checkpoint_of(run, None)
    assert [videos_known(finished, Manifest.load(data), "test") for data in (copies, squares)] == [2, 0]


def test_a_model_of_besnet_is_no_file_of_weights_without_a_past(run: Path, model: Path) -> None:
    for file in (model / "model.safetensors", store.resolve(run)):
        with pytest.raises(ValueError, match="a model of besnet, not a file of weights: it goes with --ckpt_path"):
            resolve(str(file), "r3d_18")


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

    def known_in(name: str, *rows: Row) -> list[int]:
        other = write_manifest(tmp_path / name, "x", ["k"], ".", rows)
        return among(other, other.select("test"), known).tolist()

    again = known_in("again", row("a", "test", "h9", "h8"), row("z", "test", "h7", "h6"))
    assert again == [0], "by its id and class in data of the same name"
    taken_out = known_in("taken out", row("y", "test", "h10", "h1"), row("z", "test", "h4", "new"))
    assert taken_out == [0], "a prepared video, prepared again"
    whole, part = row("whole", "test", "film", "film"), row("part", "test", "h5", "film")
    assert known_in("whole", whole, row("e", "test", "h4", "new")) == [0], "the film, a part of which was trained on"
    assert known_in("parts", part, row("other", "test", "h6", "film")) == [0, 1], "other cuts of it"
    assert known_in("divided", part, row("other", "train", "h6", "film")) == [], "asked to be on both sides"


def test_the_temperature_stays_in_its_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that is never wrong on these videos: the likelihood grows without end as the temperature falls."""
    shares = np.tile([[[0.9, 0.1]]], (20, 1, 1))
    folder = evaluated.write(tmp_path / "val", shares, [0] * 20, ["a", "b"], split="val")
    assert cli.run("calibrate", [str(folder), f"--run_folder={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "temperature 0.200" in out
    assert "WARNING: 0.2 is a limit" in out
