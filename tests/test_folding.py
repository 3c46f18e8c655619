"""The inference form, and what is exported from it, against the network it came from."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import header, rebuild
from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.manifest import Manifest
from besnet.data.transforms import evaluation_views, normalise
from besnet.models.besnet import BesNet
from besnet.models.folding import fold
from besnet.models.network import IMAGENET
from besnet.video.opening import open_video
from besnet.video.sampling import ClipShape, uniform_clips
from tests import command


def trained(**arguments: object) -> BesNet:
    """A small network whose BatchNorm statistics and parameters all differ from where they start."""
    torch.manual_seed(0)
    arguments = {"blocks": (2, 1), "width": 8} | arguments
    model = BesNet(5, **arguments)  # type: ignore[arg-type]
    for parameter in model.parameters():
        if parameter.ndim < 4:
            nn.init.uniform_(parameter, 0.2, 1.5)
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(4, 3, 6, 32, 32) + 0.3)
    return model.eval()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"temporal_padding": "replicate", "dilations": (1, 2, 4, 9)},
        {"block": "basic"},
        {"dilations": ()},
        {"dilations": (3,)},
        {"mixture": "learned"},
        {"erase_relu": True, "frozen_bn": True, "dropout": 0.5},
    ],
)
@torch.no_grad()
def test_folded_answers_as_the_network_does(arguments: dict[str, object]) -> None:
    model = trained(**arguments)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learning = [p.requires_grad for p in model.parameters()]
    folded = fold(model)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in folded.modules())
    for frames, size in ((1, 32), (6, 45)):
        x = torch.randn(2, 3, frames, size, size)
        expected = model(x)
        assert expected.std() > 1e-2
        torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(folded.train()(x), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert [p.requires_grad for p in model.parameters()] == learning


@torch.no_grad()
def test_folding_settles_on_given_dilations_and_takes_no_others() -> None:
    model = trained()
    draws = torch.arange(model.num_temporal_layers) % 2
    x = torch.randn(1, 3, 7, 32, 32)
    folded = fold(model, draws)
    torch.testing.assert_close(folded(x), model(x, draws), rtol=1e-4, atol=1e-4)
    assert (model(x, draws) - model(x)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="0 indices are expected"):
        folded(x, draws)


@torch.no_grad()
def test_folded_checkpoint_answers_alike_on_videos(squares: Path, tmp_path: Path) -> None:
    """A trained checkpoint's logits, to 1e-4, on the videos it was not trained on."""
    assert command.train(squares, tmp_path, "--trainer.max_epochs=2") == 0
    network = rebuild(store.load(tmp_path)).network
    manifest = Manifest.load(squares)
    videos = EvaluationClips(manifest, manifest.select("test"), ClipShape(4, 2), num_clips=1)
    for position in range(len(videos)):
        frames = videos[position].frames
        assert frames is not None
        clips = evaluation_views(frames, 32, 1, IMAGENET)
        torch.testing.assert_close(fold(network)(clips), network(clips), rtol=0, atol=1e-4)


def real_clips(shared_data: Path) -> Tensor:
    """Twenty real videos as (20, 3, 8, 64, 64), normalised as in training."""
    files = sorted(f for f in (shared_data / "weizmann" / "videos").rglob("*") if f.is_file())
    clips = []
    for file in files[:: len(files) // 20][:20]:
        with open_video(file) as reader:
            frames = uniform_clips(reader.times_sec, ClipShape(8, 2), 1)[0]
            clips.append(torch.from_numpy(reader.read(frames, (20, 40, 64, 64))))
    assert len(clips) == 20
    return normalise(torch.stack(clips).permute(0, 1, 4, 2, 3), IMAGENET).contiguous()


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch.export.load's own
@pytest.mark.parametrize("to", ["torch-export", "onnx"])
def test_exported_files_agree_on_real_videos(shared_data: Path, tmp_path: Path, to: str) -> None:
    """To 1e-4 with the network of the checkpoint, in the runtime that the file is for; also for a batch of one."""
    model = trained(blocks=(1, 1))
    arguments = {"num_classes": 5, "blocks": [1, 1], "width": 8}
    clip = {"num_frames": 8, "frame_interval": 2, "target_fps": 30}
    config = {"data": {"folder": "x", "clip": clip, "crop_size": 64}, "evaluation": {"crop_size": None}}
    entry = header(arguments, list("abcde"), {"source": "", "encode": ""}, config)
    weights = {f"network.{name}": value for name, value in model.state_dict().items()}
    checkpoint = store.save({"besnet": entry, "state_dict": weights}, tmp_path / "checkpoints", 1)
    cli.run("export", [str(tmp_path), f"--to={to}"])
    (file,) = (f for f in (tmp_path / "exports").iterdir() if f.suffix != ".json")
    assert file.stem == f"model-{store.file_hash(checkpoint)}"
    told = json.loads(file.with_suffix(".json").read_text())
    assert told["output"]["classes"] == list("abcde")
    clips = real_clips(shared_data)
    expected = model(clips)
    assert expected.std() > 1e-2
    for some in (clips, clips[:1]):
        if to == "onnx":
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            logits = torch.from_numpy(session.run(["logits"], {"clips": some.numpy()})[0])
        else:
            logits = torch.export.load(file).module()(some)
        torch.testing.assert_close(logits, expected[: len(some)], rtol=1e-4, atol=1e-4)
