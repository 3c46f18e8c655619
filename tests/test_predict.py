"""Predictions: the same as the evaluation's, from any readable video, and one line for the others."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import besnet
from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.data.evaluation_clips import read_clips
from besnet.data.manifest import Manifest
from besnet.evaluation.tempering import tempered
from besnet.lab import inference_worker
from besnet.lab.evaluating import view_plan
from besnet.lab.gathering import read_chunk
from besnet.lab.plan import chunk_file
from besnet.lab.runs import checkpoint_of
from besnet.lab.setup import Setup
from besnet.video.reader import Reader
from besnet.watchdog import watched
from tests import command, moving_squares


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network, trained a little and evaluated on its test split."""
    run = tmp_path_factory.mktemp("runs") / "run"
    assert command.train(squares, run) == 0
    cli.run("evaluate", [f"--ckpt_path={run}", "--workers=0", f"--out={run / 'evaluations' / 'test'}"])
    return run


def test_an_answer_is_that_of_the_evaluation(run: Path, squares: Path) -> None:
    manifest = Manifest.load(squares)
    with np.load(run / "evaluations" / "test" / "predictions.npz") as stored:
        ids, probabilities = stored["ids"].tolist(), stored["probabilities"]
    model = besnet.load(run)
    for row in map(int, manifest.select("test")):
        video = squares.parent / manifest[row].path
        expected = probabilities[ids.index(manifest[row].id)].mean(axis=0)
        np.testing.assert_allclose(model.predict(video).probabilities, expected, atol=1e-6)
        # one crop a clip: the clips' probabilities are the views'
        np.testing.assert_array_equal(model.predict(video).clips, probabilities[ids.index(manifest[row].id)])
        np.testing.assert_allclose(model.predict(video.read_bytes()).probabilities, expected, atol=1e-6)


def test_a_lab_predicts_as_the_evaluation_does(run: Path, squares: Path, tmp_path: Path) -> None:
    """Bit for bit, and with the same network used in several ways beside it."""
    manifest = Manifest.load(squares)
    asked = Setup(run / "config.yaml", tmp_path, ["none"], 1, "test", None, [1.0, 2.0], 4, ["dilations"], None, [])
    checkpoint = checkpoint_of(run, None)
    plan = replace(view_plan({run.name: store.read(run).content["besnet"]}, asked), checkpoints=[checkpoint])
    plan.write(tmp_path / "plan.json")
    with watched(30.0) as pulse:
        inference_worker.recalibrate(plan, tmp_path, 0, 1, pulse)
        inference_worker.predict(plan, tmp_path, 0, 1, pulse)
    found = read_chunk(chunk_file(plan.place(tmp_path, plan.checkpoints[0]), 0))
    with np.load(run / "evaluations" / "test" / "predictions.npz") as stored:
        ids, probabilities = stored["ids"].tolist(), stored["probabilities"]
    assert [manifest[int(row)].id for row in found["read"]] == ids
    np.testing.assert_array_equal(found["averaged"], probabilities.mean(axis=1))


def test_thirty_views_come_from_one_read(run: Path, squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a read decodes each frame once, see test_reader.py."""
    reads = []

    def counted(reader: Reader, numbers: np.ndarray) -> torch.Tensor:
        reads.append(numbers.shape)
        return read_clips(reader, numbers)

    monkeypatch.setattr("besnet.predict.model.read_clips", counted)
    manifest = Manifest.load(squares)
    video = squares.parent / manifest[int(manifest.select("test")[0])].path
    answer = besnet.load(run, num_clips=10, num_crops=3).predict(video)
    assert reads == [(10, 4)]
    assert len(answer.clips) == 10


def test_a_temperature_that_was_fitted_is_applied(run: Path, squares: Path) -> None:
    model = besnet.load(run)
    assert not model.calibrated
    video = next((squares.parent / "test").iterdir())
    plain = model.predict(video).probabilities
    stored = run / "calibration.json"
    stored.write_text(json.dumps({"temperature": 2.5, "checkpoint": store.file_hash(store.resolve(run))}))
    try:
        calibrated = besnet.load(run)
        assert calibrated.calibrated
        np.testing.assert_allclose(calibrated.predict(video).probabilities, tempered(plain[None], 2.5)[0], atol=1e-9)
    finally:
        stored.unlink()


def test_a_folder_with_a_broken_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "some videos"
    moving_squares.draw(folder / "good.mp4", (0, 1), seed=1)
    moving_squares.draw(folder / "deeper" / "good too.mp4", (1, 0), seed=2, frames=50)
    (folder / "broken.mp4").write_text("<html>this video is not available</html>")
    answers, sheet = tmp_path / "answers.json", tmp_path / "sheet.png"
    words = [str(folder), str(tmp_path / "missing.mp4"), f"--ckpt_path={run}", f"--json={answers}", f"--sheet={sheet}"]
    assert cli.run("predict", [*words, f"--timeline={tmp_path / 'timelines'}"]) == 1
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if "no prediction" in line]) == 2
    found = {Path(entry["video"]).name: entry for entry in json.loads(answers.read_text())["videos"]}
    assert set(found) == {"good.mp4", "good too.mp4", "broken.mp4", "missing.mp4"}
    shares = [entry["probability"] for entry in found["good.mp4"]["predictions"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert "predictions" not in found["broken.mp4"]
    assert "html" in found["broken.mp4"]["why"].lower() or "video" in found["broken.mp4"]["why"].lower()
    with Image.open(sheet) as picture:
        assert picture.width > 100
    with open(tmp_path / "timelines" / "good too.csv") as file:
        lines = list(csv.DictReader(file))
    starts = [float(line["start_sec"]) for line in lines]
    assert starts == sorted(starts)
    assert float(lines[-1]["end_sec"]) > 1.5, "the timeline reaches the end of the video"
    assert (tmp_path / "timelines" / "good too.png").exists()


def test_timelines_of_files_of_one_name_lie_side_by_side(run: Path, tmp_path: Path) -> None:
    for name in ("walk/a.mp4", "clap/a.mp4", "clap/a.mkv"):
        moving_squares.draw(tmp_path / "videos" / name, (0, 1), seed=1)
    words = [str(tmp_path / "videos"), f"--ckpt_path={run}", f"--timeline={tmp_path / 'lines'}"]
    assert cli.run("predict", words) == 0
    for extension in ("csv", "png", "spans.csv", "spans.json"):
        assert {path.name for path in (tmp_path / "lines").glob(f"*_a.{extension}")} == {
            f"{n}_a.{extension}" for n in "123"
        }


def test_a_name_that_is_not_utf8_stops_nobody(run: Path, tmp_path: Path) -> None:
    moving_squares.draw(tmp_path / "b.mp4", (0, 1), seed=1)
    os.rename(tmp_path / "b.mp4", os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    (tmp_path / "d.mp4").write_text("no video")
    words = [sys.executable, "-m", "besnet", "predict", str(tmp_path), f"--ckpt_path={run}", "--json", "answers.json"]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "caf" in done.stdout
    assert len(json.loads((tmp_path / "answers.json").read_text())["videos"]) == 2


def test_the_evidence_for_an_answer_adds_up_to_its_logit(run: Path) -> None:
    """A network without time (one frame): the activation map is, in the mean, the logit without its bias."""
    network = rebuild(store.load(run)).network
    clip = torch.randn(1, 3, 1, 32, 32)
    with torch.no_grad():
        maps = network._maps_and_features(clip, None)[0][0]
        heat = torch.einsum("c,cthw->thw", network.fc.weight[2], maps)
        assert heat.mean() + network.fc.bias[2] == pytest.approx(float(network(clip)[0, 2]), abs=1e-5)


def test_features_are_what_the_last_layer_takes(run: Path, squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    assert cli.run("features", [str(squares.parent / "test"), f"--ckpt_path={run}", f"--out={out}"]) == 0
    with np.load(out) as stored:
        found, videos = stored["features"], stored["videos"].tolist()
    assert found.shape == (9, rebuild(store.load(run)).network.num_features)
    model = besnet.load(run, num_clips=1)
    fc = model.network.fc
    single = torch.from_numpy(model.features(videos[0]))
    shares = fc(single).softmax(0).numpy()
    np.testing.assert_allclose(shares, model.predict(videos[0]).probabilities, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["nothing_here.mp4"], "ckpt_path"),
        (["x.mp4", "--ckpt_path=no_such_run"], "no such checkpoint"),
        (["x.mp4", "--ckpt_path=RUN", "--sheet=picture.jpg"], ".png"),
        (["EMPTY", "--ckpt_path=RUN"], "no video"),
        (["x.mp4", "--ckpt_path=RUN", "--every_sec=1"], "--timeline"),
        (["x.mp4", "--ckpt_path=RUN", "--device=foo"], "cuda:N are expected"),
        (["x.mp4", "--ckpt_path=RUN", "--device=gpu"], "no CUDA device"),
        (["x.mp4", "--ckpt_path=RUN", "--num_clips=0"], "at least 1"),
        (["x.mp4", "--ckpt_path=EMPTY/nothing.ckpt"], "nothing.ckpt: not a readable checkpoint"),
        (["x.mp4", "--ckpt_path=EMPTY/text.ckpt"], "text.ckpt: "),
    ],
)
def test_wrong_use_is_one_line(
    run: Path, tmp_path: Path, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nothing.ckpt").touch()
    (tmp_path / "text.ckpt").write_text("seed: 0\nmodel: {width: 4}\n")
    words = [word.replace("RUN", str(run)).replace("EMPTY", str(tmp_path)) for word in words]
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", *words])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert what in err
    assert len(err.strip().splitlines()) == 1
