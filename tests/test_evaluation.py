"""Evaluation counts every video once, on any number of ranks, and says what it did not see."""

import json
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from besnet import cli
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.evaluation import inference
from tests import command, moving_squares, untrained


@pytest.fixture(scope="module")
def trained(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs: a network that knows something but not all."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    assert command.train(squares, run) == 0
    return run


def results(folder: Path) -> dict[str, Any]:
    """results.json without what belongs to time and host."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    del found["run"]
    return found


def test_results_are_the_same_at_one_two_and_three_ranks(trained: Path, tmp_path: Path) -> None:
    files = {}
    for ranks in (1, 2, 3):
        out = tmp_path / str(ranks)
        words = [f"--ckpt_path={trained}", f"--out={out}", "--workers=0", "--num_crops=3"]
        process = command.start("evaluate", *words, ranks=ranks)
        printed, err = process.communicate(timeout=command.LIMIT_SEC)
        assert process.returncode == 0, err
        assert printed.count("expected 9  evaluated 9  missing 0") == 1
        files[ranks] = out
        command_of_page = json.loads((out / "results.json").read_text())["run"]["command"]
        assert shlex.split(command_of_page) == ["besnet", "evaluate", *words], "the page's command runs as it stands"
    assert results(files[1]) == results(files[2]) == results(files[3])
    first, second, third = (np.load(files[ranks] / "predictions.npz") for ranks in (1, 2, 3))
    for name in ("ids", "labels", "probabilities", "confusion"):
        assert (first[name] == second[name]).all()
        assert (first[name] == third[name]).all()
    assert first["probabilities"].shape == (9, 6, 4)
    assert len(set(first["ids"].tolist())) == 9
    np.testing.assert_allclose(first["probabilities"].sum(axis=2), 1, atol=1e-5)


def test_a_killed_evaluation_goes_on_without_doing_a_video_twice(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"--ckpt_path={trained}", "--workers=0"]
    cli.run("evaluate", [*words, f"--out={tmp_path / 'whole'}"])
    monkeypatch.setattr(inference, "PART_SEC", 0.0)
    seen: list[int] = []
    stream = inference.predict_videos

    def cut(network: Any, manifest: Any, rows: np.ndarray, *rest: Any) -> Any:
        for answer in stream(network, manifest, rows, *rest):
            if len(seen) == 4:
                raise KeyboardInterrupt
            seen.append(answer.row)
            yield answer

    monkeypatch.setattr(inference, "predict_videos", cut)
    assert cli.run("evaluate", [*words, f"--out={tmp_path / 'cut'}"]) == 130
    again: list[int] = []

    def count(network: Any, manifest: Any, rows: np.ndarray, *rest: Any) -> Any:
        again.extend(rows.tolist())
        yield from stream(network, manifest, rows, *rest)

    monkeypatch.setattr(inference, "predict_videos", count)
    cli.run("evaluate", [*words, f"--out={tmp_path / 'cut'}"])
    assert not set(again) & set(seen)
    assert len(again) + len(seen) == 9
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_a_video_that_failed_before_the_kill_is_tried_again(tmp_path: Path) -> None:
    shares = np.full((2, 4), 0.25, dtype=np.float32)
    inference.write_part(
        tmp_path,
        0,
        [inference.RowPrediction(3, None, why="[Errno 5] Input/output error"), inference.RowPrediction(5, shares)],
    )
    (kept,) = inference.read_parts(tmp_path, np.arange(9), num_views=2)
    assert kept.row == 5
    assert kept.probabilities is not None
    assert (kept.probabilities == shares).all()


def test_a_split_of_which_nothing_is_readable_is_counted(tmp_path: Path, squares: Path) -> None:
    classes = Manifest.load(squares).classes
    table = tmp_path / "list.csv"
    rows = []
    for name in classes:
        moving_squares.draw(tmp_path / f"{name}.mp4", (0, 1), seed=1)
        rows += [f"{name},{name}.mp4,train", f"{name},gone_{name}.mp4,test"]
    table.write_text("\n".join(["label,path,split", *rows]) + "\n")
    prepare(table, tmp_path / "prepared", index_only=True, workers=1)
    words = [f"--ckpt_path={untrained.checkpoint(tmp_path, classes)}", f"--data={tmp_path / 'prepared'}", "--workers=0"]
    assert cli.run("evaluate", [*words, f"--out={tmp_path / 'out'}"]) == 0
    found = results(tmp_path / "out")
    counts = {"expected": len(classes), "evaluated": 0, "missing": len(classes), "undecodable": 0}
    assert {name: found["coverage"][name] for name in counts} == counts
    assert found["accuracy"]["missing_counted_wrong"]["top1"] == 0
    assert (tmp_path / "out" / "report.html").exists()


def test_no_clips_are_wrong_use_and_not_the_default(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--num_clips=0"], ["--num_crops=0"]):
        with pytest.raises(SystemExit):
            cli.run("evaluate", [f"--ckpt_path={trained}", *words])
        assert "must be at least 1" in capsys.readouterr().err


def test_missing_and_undecodable_videos_are_counted_never_replaced(tmp_path: Path, squares: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    source = Manifest.load(squares)
    rows = [source[int(row)] for row in source.select("test")]
    table = ["label,path,split"]
    for number, row in enumerate(rows):
        name = f"{number}.mp4"
        (folder / name).write_bytes((Path(source.root) / row.path).read_bytes())
        table.append(f"{source.classes[row.label]},{name},test")
    table.append("up,absent.mp4,test")
    (folder / "bad.mp4").write_text("<html>not found</html>")
    table.append("up,bad.mp4,test")
    (folder / "list.csv").write_text("\n".join(table) + "\n")
    prepare(folder / "list.csv", tmp_path / "prepared", index_only=True, workers=1)
    (folder / "0.mp4").write_bytes((folder / "0.mp4").read_bytes()[:400])  # goes bad after it was prepared
    checkpoint = untrained.checkpoint(tmp_path, source.classes)
    out = tmp_path / "out"
    cli.run("evaluate", [f"--ckpt_path={checkpoint}", f"--data={tmp_path / 'prepared'}", f"--out={out}", "--workers=0"])
    found = results(out)
    counts = {"expected": 11, "evaluated": 8, "missing": 1, "undecodable": 2}
    assert {name: found["coverage"][name] for name in counts} == counts
    assert {video["id"] for video in found["unread"]} == {"absent.mp4", "bad.mp4", "0.mp4"}
    over, strict = (found["accuracy"][key]["top1"] for key in ("over_evaluated", "missing_counted_wrong"))
    assert strict == pytest.approx(over * 8 / 11)


def test_real_kinetics_three_videos_of_19906(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_data / "kinetics"
    prepare(source / "kinetics400_val.csv", tmp_path / "k400", videos=source, index_only=True, workers=2)
    manifest = Manifest.load(tmp_path / "k400")
    assert len(manifest.select("val")) == 3
    assert len(manifest.select("val", state="missing")) == 19903
    checkpoint = untrained.checkpoint(tmp_path, manifest.classes)
    words = [f"--ckpt_path={checkpoint}", f"--data={tmp_path / 'k400'}", "--split=val", "--workers=0"]
    capsys.readouterr()
    cli.run("evaluate", [*words, f"--out={tmp_path / 'out'}"])
    printed = capsys.readouterr().out
    assert "expected 19906  evaluated 3  missing 19903  undecodable 0" in printed
    assert re.search(r"evaluated: +top-1 [\d.]+ %", printed)
    assert re.search(r"missing counted wrong: +top-1 [\d.]+ %", printed)


def test_one_dilation_and_averaging_differ_and_are_named(trained: Path, tmp_path: Path) -> None:
    for name, words in {"average": [], "two": ["--dilations=[2]"], "three": ["--dilations=[3]"]}.items():
        cli.run("evaluate", [f"--ckpt_path={trained}", f"--out={tmp_path / name}", "--workers=0", *words])
    arrays = {
        name: np.load(tmp_path / name / "predictions.npz")["probabilities"] for name in ("average", "two", "three")
    }
    assert not np.allclose(arrays["average"], arrays["two"])
    assert not np.allclose(arrays["two"], arrays["three"])
    assert results(tmp_path / "three")["dilations"] == [3]


def test_bf16_is_close_and_is_named(trained: Path, tmp_path: Path) -> None:
    for precision in ("32", "bf16"):
        words = [f"--ckpt_path={trained}", f"--out={tmp_path / precision}", "--workers=0", f"--precision={precision}"]
        assert cli.run("evaluate", words) == 0
        assert results(tmp_path / precision)["precision"] == precision
    full, half = (np.load(tmp_path / name / "predictions.npz")["probabilities"] for name in ("32", "bf16"))
    assert 0 < np.abs(full - half).max() < 0.02


def test_compiled_it_answers_the_same(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Mock(side_effect=partial(torch.compile, backend="aot_eager"))  # makes no kernels
    monkeypatch.setattr(torch, "compile", quick)
    for name, words in (("plain", []), ("compiled", ["--compile=true"])):
        assert cli.run("evaluate", [f"--ckpt_path={trained}", f"--out={tmp_path / name}", "--workers=0", *words]) == 0
    plain, compiled = (np.load(tmp_path / name / "predictions.npz")["probabilities"] for name in ("plain", "compiled"))
    np.testing.assert_allclose(compiled, plain, atol=1e-5)
    assert [results(tmp_path / name)["compile"] for name in ("plain", "compiled")] == [False, True]
    assert quick.call_count == 1


def test_recalibration_is_the_same_at_one_and_two_ranks_and_is_kept(trained: Path, tmp_path: Path) -> None:
    """The statistics lie beside the checkpoint, in a file of their own, whatever measured them; they change answers."""
    beside = trained / "checkpoints"
    words = [f"--ckpt_path={trained}", "--workers=0", "--recalibrate=20"]
    kept, answers = [], []
    for ranks in (1, 2):
        for old in beside.glob("*.norms"):
            old.unlink()
        process = command.start("evaluate", *words, f"--out={tmp_path / str(ranks)}", ranks=ranks)
        _, complaint = process.communicate()
        assert process.returncode == 0, complaint
        (path,) = beside.glob("*.norms")
        kept.append((path.name, path.read_bytes()))
        answers.append(np.load(tmp_path / str(ranks) / "predictions.npz")["probabilities"])
    assert kept[0] == kept[1]
    assert np.array_equal(answers[0], answers[1])
    path.touch()
    written = path.stat().st_mtime_ns
    cli.run("evaluate", [*words, f"--out={tmp_path / 'again'}"])
    assert path.stat().st_mtime_ns == written, "read, not measured again"
    cli.run("evaluate", [*words[:2], f"--out={tmp_path / 'without'}"])
    assert np.array_equal(np.load(tmp_path / "again" / "predictions.npz")["probabilities"], answers[0])
    assert not np.allclose(np.load(tmp_path / "without" / "predictions.npz")["probabilities"], answers[0])
    path.write_bytes(path.read_bytes()[:-1])  # damaged: measured again
    cli.run("evaluate", [*words, f"--out={tmp_path / 'mended'}"])
    assert path.read_bytes() == kept[0][1]


def test_a_split_without_labels_gives_a_submission(squares: Path, tmp_path: Path) -> None:
    source = Manifest.load(squares)
    paths = [source[int(row)].path for row in source.select("test")]
    (tmp_path / "videos").mkdir()
    table = ["youtube_id,time_start,time_end,split"]
    for number, path in enumerate(paths):
        (tmp_path / "videos" / f"video{number}_000000_000001.mp4").symlink_to(Path(source.root) / path)
        table.append(f"video{number},0,1,test")
    (tmp_path / "list.csv").write_text("\n".join(table) + "\n")
    names = tmp_path / "classes.txt"
    names.write_text("\n".join(source.classes) + "\n")
    videos = tmp_path / "videos"
    prepare(tmp_path / "list.csv", tmp_path / "prepared", videos=videos, classes=str(names), index_only=True, workers=1)
    checkpoint = untrained.checkpoint(tmp_path, source.classes)
    words = [f"--ckpt_path={checkpoint}", f"--data={tmp_path / 'prepared'}", "--workers=0"]
    cli.run("evaluate", [*words, f"--out={tmp_path / 'out'}"])
    lines = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert lines[0].startswith("id,class_1")
    assert len(lines) == 1 + len(paths)
    assert set(lines[1].split(",")[1:]) <= set(source.classes)
    assert results(tmp_path / "out")["accuracy"] is None


def test_the_page_stands_alone(trained: Path, tmp_path: Path) -> None:
    cli.run("evaluate", [f"--ckpt_path={trained}", f"--out={tmp_path}", "--workers=0"])
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert not re.search(r"(?:src|href)=\"(?!data:)", page), "nothing is fetched from anywhere"
    for words in ("Coverage", "Confusion", "top-1", "data passport"):
        assert words in page
    assert "data:image/png;base64," in page
