"""What the description beside an exported file says is enough: by it alone others get besnet's probabilities."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

import besnet
from besnet import cli
from besnet.checkpoints import store
from besnet.data.manifest import Manifest
from besnet.evaluation.tempering import tempered
from tests import moving_squares, untrained

DENSE = {"num_frames": 4, "frame_interval": 2, "target_fps": 30.0, "sampling": "dense"}
UNIFORM = DENSE | {"sampling": "uniform"}


def calibrated(folder: Path, classes: list[str], temperature: float = 0.4, clip: dict[str, Any] = DENSE) -> Path:
    """A run of a network that is anything but undecided, with a temperature."""
    path = untrained.checkpoint(
        folder, classes, lambda made: made["state_dict"]["network.fc.weight"].mul_(30), clip=clip
    )
    facts = {"temperature": temperature, "checkpoint": store.file_hash(path)}
    (folder / "calibration.json").write_text(json.dumps(facts))
    return path


def by_description(about: dict[str, Any], run: Any, video: Path) -> np.ndarray:
    """The probabilities of a video as somebody finds them who has nothing but the description."""
    given, shown = about["input"], about["input"]["clip"]
    with av.open(str(video)) as container:
        pictures = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    times, frames = np.array([time for time, _ in pictures]), np.stack([picture for _, picture in pictures])
    period = times[1] - times[0]
    length, step = times[-1] + period, shown["frame_interval"] / shown["target_fps"]
    count, most = given["num_clips"], given["shape"][2]
    if shown["sampling"] == "uniform":
        wanted = (np.arange(most) + (np.arange(count)[:, None] + 0.5) / count) * length / most
    else:
        last = length - ((most - 1) * step + period)
        wanted = np.linspace(0, last, count)[:, None] + np.arange(most) * step
    numbers = np.searchsorted(times, wanted + 0.001, side="right") - 1
    side = given["shape"][-1]
    views = []
    for clip in numbers:
        pixels = torch.from_numpy(frames[clip]).permute(0, 3, 1, 2)
        height, width = pixels.shape[2:]
        size = [max(side, round(side * length / min(height, width))) for length in (height, width)]
        pixels = functional.resize(pixels, size, antialias=True)
        room = size[1] - side
        for crop in range(given["num_crops"]):
            left = round(room * crop / (given["num_crops"] - 1))
            square = pixels[..., left : left + side].float().numpy()
            mean, std = (np.array(given[name])[:, None, None] for name in ("mean", "std"))
            views.append(((square - mean) / std).transpose(1, 0, 2, 3).astype(np.float32))
    logits = run(np.stack(views))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    mean = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
    if about["temperature"] is None:
        return np.asarray(mean)
    powers = np.log(np.maximum(mean, 1e-12)) / about["temperature"]
    powers = np.exp(powers - powers.max())
    return np.asarray(powers / powers.sum())


def runner(file: Path) -> Any:
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda clips: session.run(None, {"clips": clips})[0]
    module = torch.export.load(file).module()
    return lambda clips: module(torch.from_numpy(clips)).detach().numpy()


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch.export.load's own
@pytest.mark.parametrize(("to", "extension", "clip"), [("onnx", ".onnx", DENSE), ("torch-export", ".pt2", UNIFORM)])
def test_the_description_is_enough(to: str, extension: str, clip: dict[str, Any], tmp_path: Path) -> None:
    run = calibrated(tmp_path, ["a", "b", "c"], clip=clip)
    file = tmp_path / f"out{extension}"
    assert cli.run("export", [str(run), f"--to={to}", f"--out={file}"]) == 0
    about = json.loads(file.with_suffix(".json").read_text())
    assert about["temperature"] == 0.4
    video = tmp_path / "video.mp4"
    moving_squares.draw(video, (0, 1), seed=1, frames=40)
    expected = besnet.load(run).predict(video).probabilities
    found = by_description(about, runner(file), video)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    about["temperature"] = None
    assert np.abs(by_description(about, runner(file), video) - expected).max() > 0.02, "it says nothing without it"


def test_a_timeline_is_calibrated_as_the_answer_is(tmp_path: Path) -> None:
    run = calibrated(tmp_path, ["a", "b", "c"])
    video = tmp_path / "video.mp4"
    moving_squares.draw(video, (0, 1), seed=1, frames=60)
    mended = besnet.load(run).timeline(video)
    (tmp_path / "calibration.json").unlink()
    plain = besnet.load(run).timeline(video)
    np.testing.assert_allclose(mended.clips, tempered(plain.clips, 0.4), atol=1e-9)
    assert np.abs(mended.clips - plain.clips).max() > 0.02


def config(clip: object = None, crop_size: object = 32, evaluation: object = None) -> dict[str, Any]:
    """A run's config with other values."""
    data = {"folder": "x", "clip": clip or {}, "crop_size": crop_size}
    return {"config": {"data": data, "evaluation": evaluation or {}}}


@pytest.mark.parametrize("change", [{"temperature": -1}, {"temperature": 0}, {"temperature": 1e9}, {"checkpoint": 7},
                                    {"temperature": None}, {"temperature": "1"}, {"temperature": np.nan}])  # fmt: skip
def test_a_calibration_that_cannot_be_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    run = calibrated(tmp_path, ["a", "b"])
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"calibration\.json"):
        besnet.load(run)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("temperature", {"temperature": -1}),
        ("temperature", {"temperature": float("nan")}),
        ("classes", {"classes": ["a", "a"]}),
        ("classes", {"classes": ["a", "x" * 5000]}),
        ("num_classes", {"model": {"num_classes": 2.0}}),
        (
            "num_frames",
            {"config": {"data": {"folder": "x", "clip": {"num_frames": 8.5}, "crop_size": 32}, "evaluation": {}}},
        ),
        (
            "crop_size",
            {"config": {"data": {"folder": "x", "clip": {"num_frames": 8}, "crop_size": -32}, "evaluation": {}}},
        ),
        ("pairs", {"config": {"data": {"folder": "x", "clip": {}, "crop_size": 32}, "evaluation": {"pairs": [["a"]]}}}),
    ],
)
def test_a_model_folder_that_cannot_be_is_refused_by_its_field(field: str, change: Any, tmp_path: Path) -> None:
    run = calibrated(tmp_path, ["a", "b"])
    assert cli.run("export", [str(run), f"--out={tmp_path / 'model'}"]) == 0
    path = tmp_path / "model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"model\.json: .*{field}|NaN is no number") as refused:
        besnet.load(tmp_path / "model")
    assert "\n" not in str(refused.value)


def test_an_export_says_how_the_network_was_evaluated(squares: Path, tmp_path: Path) -> None:
    run = calibrated(tmp_path, Manifest.load(squares).classes)
    assert cli.run("evaluate", [f"--ckpt_path={run}", f"--data={squares}", "--workers=0"]) == 0
    assert cli.run("export", [str(run), f"--out={tmp_path / 'model'}"]) == 0
    (metrics,) = json.loads((tmp_path / "model" / "model.json").read_text())["metrics"].values()
    assert metrics["coverage"]["evaluated"] == 9
    assert metrics["trained_on"] is None, "this checkpoint does not say what it was trained on"
