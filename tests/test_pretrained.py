"""A training starts from published weights: what is loaded, said, and taken over into the network."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from besnet import cli
from besnet.checkpoints import store, weights_source
from besnet.checkpoints.lite import MEAN, STD
from besnet.checkpoints.pretrained import load_pretrained
from besnet.checkpoints.published_weights import published
from besnet.data.labels import classes_named
from besnet.models.build import build
from besnet.models.loading import load_library_weights
from besnet.models.network import Network
from besnet.models.video_networks import KINDS
from besnet.video.sampling import ClipShape
from tests import command, untrained

MODEL = {"network": "mc3_18"}
KINETICS = classes_named("kinetics400")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return torchvision.models.get_model("mc3_18", weights=None, num_classes=400).state_dict()


@pytest.fixture
def announced(state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of these weights, whose hash is in the table."""
    file = tmp_path / "weights.pth"
    torch.save(state, file)
    about = replace(published("mc3_18", "DEFAULT"), digest=hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(weights_source, "of_network", lambda network: [about])
    return file


def network(count: int) -> Network:
    torch.manual_seed(1)
    return build(MODEL | {"num_classes": count})


@pytest.mark.parametrize(
    ("classes", "keeps"),
    [
        (KINETICS, True),
        ([name.upper().replace(" ", "_").replace("'", "") for name in KINETICS], True),
        (KINETICS[1:] + KINETICS[:1], False),
        (["a", "b", "c"], False),
    ],
)
def test_the_last_layer_is_taken_only_for_the_same_classes_in_the_same_order(
    announced: Path, state: dict[str, Tensor], classes: list[str], keeps: bool
) -> None:
    model = network(len(classes))
    fresh = model.get_submodule("network.fc").weight.clone()  # type: ignore[operator]
    start = load_pretrained(model, str(announced), MODEL, classes)
    found = model.state_dict()
    assert all(torch.equal(found[f"network.{name}"], value) for name, value in state.items() if name[:3] != "fc.")
    assert torch.equal(found["network.fc.weight"], state["fc.weight"] if keeps else fresh)
    new = f"all but its last layer: it knows 400 other classes, and the {len(classes)} of this data get a new one"
    assert start.said.endswith("all of its weights" if keeps else new)
    assert start.normalisation == published("mc3_18", "DEFAULT").normalisation


def test_clips_that_differ_from_those_of_the_weights_are_said_in_one_line(announced: Path) -> None:
    start = load_pretrained(network(3), str(announced), MODEL, ["a", "b", "c"])
    assert len(start.lines(ClipShape(16, 2, 30.0), 112)) == 1
    (_, line) = start.lines(ClipShape(8, 4, 30.0), 128)
    assert "112 pixels, not 128" in line
    assert "16 frames, not 8" in line
    assert "frames at 15 fps, not 7.5 fps" in line


def test_a_file_without_a_last_layer_and_one_of_nobody_s(state: dict[str, Tensor], tmp_path: Path) -> None:
    halves = {name: value.half() for name, value in state.items() if not name.startswith("fc.")}
    torch.save({"state_dict": {f"module.{name}": value for name, value in halves.items()}}, tmp_path / "body.pth")
    start = load_pretrained(network(3), str(tmp_path / "body.pth"), MODEL, ["a", "b", "c"])
    assert "all but its last layer: it has none of this size" in start.said
    assert "normalised as KINETICS400_V1 (torchvision), because the file does not say" in start.said


def test_a_model_folder_and_a_checkpoint_of_any_name_are_besnet_s_own(tmp_path: Path) -> None:
    run = untrained.checkpoint(tmp_path / "run", ["a", "b", "c"])
    assert cli.run("export", [str(run), f"--out={tmp_path / 'model'}"]) == 0
    (tmp_path / "renamed.pth").write_bytes(run.read_bytes())
    trained = store.load(tmp_path / "run")["state_dict"]
    for source in ("model", "renamed.pth", "run"):
        model = build(untrained.SMALL | {"num_classes": 3})
        start = load_pretrained(model, str(tmp_path / source), untrained.SMALL, ["a", "b", "c"])
        assert "all of its weights" in start.said
        assert all(torch.equal(trained[f"network.{name}"], value) for name, value in model.state_dict().items())


def test_a_training_from_the_lite_package_takes_its_normalisation_into_the_network(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [word for word in command.TINY if not word.startswith("--model")]
    words = [f"--data.folder={squares}", f"--out={tmp_path / 'run'}", *small, "--model.backbone=tf_efficientnet_lite0",
             "--model.inflation=centre", "--pretrained=lite", "--trainer.limit_train_batches=1",
             "--data.val_videos=0"]  # fmt: skip
    assert cli.run("train", [*words, "--trainer.max_epochs=1"]) == 0
    out = capsys.readouterr().out
    assert "starting from tf_efficientnet_lite0 lite (579344248a93e230), all but its last layer" in out
    assert "was trained with 224 pixels, not 32" in out
    model = store.load(tmp_path / "run")["besnet"]["model"]
    assert (model["mean"], model["std"]) == (list(MEAN), list(STD))


LARGE = {"mvit_v1_b", "swin3d_s", "swin3d_b", "s3d"}  # like others of the table, and slow


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in KINDS]
)
@torch.no_grad()
def test_each_video_network_answers_as_outside_of_besnet(name: str) -> None:
    """Its library's own network with the same weights: the same logits, bit for bit."""
    kind = KINDS[name]
    torch.manual_seed(0)
    theirs = kind.make(5).eval()
    ours = build({"network": name, "num_classes": 5})
    load_library_weights(ours, theirs.state_dict(), name, new_head=False)
    side = max(kind.size[0], 32)
    clips = torch.randn(1, 3, max(kind.frames[0], 2), side, side)
    assert torch.equal(ours.eval()(clips), theirs(clips))
