"""The other ways to use several dilations, which a lab compares with random ones, each against its definition."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from besnet.data.clips import ClipDraw, TrainingClips
from besnet.data.crop import RandomCrop
from besnet.data.manifest import Manifest
from besnet.lab.controls import CONTROLS
from besnet.lab.inference_variants import inference_variants
from besnet.models.build import build
from besnet.models.dilation import DilationConv
from besnet.models.folding import fold
from besnet.training.module import ActionModule
from besnet.training.recipe import Draw, Recipe
from besnet.video.sampling import ClipShape

SMALL = {"num_classes": 4, "block": "basic", "blocks": [1, 1], "width": 8, "dilations": [1, 2]}


def conv3d(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """One dilation with zeros at the ends."""
    return F.conv3d(x, weight, padding=(dilation, 0, 0), dilation=(dilation, 1, 1))


@pytest.mark.parametrize(("wide", "narrow"), [(6, 6), (4, 6), (6, 4)])
def test_channels_have_a_dilation_each(wide: int, narrow: int) -> None:
    torch.manual_seed(0)
    layer = DilationConv(wide, narrow, (1, 2), mixture="channels").double()
    x = torch.randn(2, wide, 7, 3, 3, dtype=torch.float64)
    side = 0 if wide > narrow else 1  # of the weight: the outputs where the layer narrows
    first = torch.arange(min(wide, narrow)) < min(wide, narrow) // 2
    shape = [-1 if place == side else 1 for place in range(5)]
    parts = [layer.weight * mask.double().view(shape) for mask in (first, ~first)]
    expected = conv3d(x, parts[0], 1) + conv3d(x, parts[1], 2)
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)


def test_a_network_of_channels_is_folded_with_the_same_answers() -> None:
    torch.manual_seed(0)
    network = build(SMALL | {"mixture": "channels"}).eval()
    clips = torch.randn(2, 3, 6, 32, 32)
    torch.testing.assert_close(fold(network)(clips), network(clips), rtol=1e-4, atol=1e-4)
    assert not network.draws
    # the same parameters as with random dilations
    assert network.state_dict().keys() == build(SMALL).state_dict().keys()


def test_each_clip_may_have_its_own_draw() -> None:
    torch.manual_seed(0)
    network = build(SMALL).eval()
    clips = torch.randn(3, 3, 6, 32, 32)
    draws = torch.tensor([[0, 1, 1], [1, 1, 0]])
    alone = torch.cat([network(clips[number : number + 1], draws[:, number]) for number in range(3)])
    torch.testing.assert_close(network(clips, draws), alone, rtol=1e-4, atol=1e-5)


def module(draw: Draw, **model: object) -> ActionModule:
    """A module with such draws, as the first of two ranks."""
    found = ActionModule(build(SMALL | model), Recipe(draw=draw), seed=3)
    found.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    return found


def drawn(of: ActionModule, number: int, clips: int = 5) -> Tensor | None:
    of.micro_batch = number
    return of.draw_dilations(clips)


def test_what_draws_is_what_the_recipe_says() -> None:
    layers, network, clips = ([drawn(module(draw), number) for number in range(40)] for draw in
                              ("layer", "network", "clip"))  # fmt: skip
    assert all(draw is not None and draw.shape == (2,) for draw in layers + network)
    assert any(draw[0] != draw[1] for draw in layers if draw is not None)
    assert all(draw[0] == draw[1] for draw in network if draw is not None)
    assert {int(draw[0]) for draw in network if draw is not None} == {0, 1}
    assert all(draw is not None and draw.shape == (2, 5) for draw in clips)
    assert any(len(set(draw[0].tolist())) == 2 for draw in clips if draw is not None)
    assert drawn(module("average"), 0) is None
    assert drawn(module("layer", mixture="channels"), 0) is None
    # without dilations there is nothing to average
    empty = drawn(module("average", dilations=[]), 0)
    assert empty is not None
    assert empty.shape == (0,)


def test_training_draws_one_of_the_frame_intervals_for_each_clip(squares: Path) -> None:
    manifest = Manifest.load(squares)
    rows = manifest.select("train")
    shape = ClipShape(num_frames=3, frame_interval=2, target_fps=None)

    def frames(intervals: tuple[float, ...], epoch: int) -> list[bytes]:
        clips = TrainingClips(manifest, rows, ClipDraw(shape, RandomCrop(flip=0.0), intervals=intervals), seed=1)
        return [clips[epoch, int(row), 0].frames.numpy().tobytes() for row in rows[:12]]

    never, always, drawn = frames((), 0), frames((2.0,), 0), frames((1.0, 2.0), 0)
    assert frames((1.0, 2.0), 0) == drawn
    came = [1 if some == one else 2 if some == two else 0 for some, one, two in zip(drawn, never, always, strict=True)]
    assert set(came) == {1, 2}
    # the place in time and the crop do not depend on what else is drawn
    assert frames((1.0,), 0) == never


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_every_control_is_a_training_that_exists(name: str) -> None:
    from besnet.cli.parsing import parse
    from besnet.cli.training import train_parser

    parse(train_parser("train"), ["--config=configs/stick_figures.yaml", *CONTROLS[name].words], "train")


def checkpoint(**model: object) -> dict[str, Any]:
    """What the lab knows of a network: what it was built from, and that it has BatchNorms."""
    usual = {"dilations": [1], "mixture": "uniform", "temporal_padding": "zeros"}
    return {"besnet": {"model": usual | model}, "state_dict": {"network.bn.running_var": torch.ones(1)}}


def test_variants_average_over_dilations_that_training_did_not_know() -> None:
    found = inference_variants(checkpoint(), [1, 2], [1.0], ["dilations", "recalibrated"])
    assert found["dilation_1"] == found["averaged"] == found["interval_1"]
    assert found["averaged_all"].dilations == (1, 2)
    assert found["averaged_all_recalibrated"].recalibrated
    assert "padding_zeros" not in found
    of_channels = inference_variants(checkpoint(dilations=[1, 2], mixture="channels"), [1, 2], [], ["dilations"])
    assert of_channels["averaged_all"] != of_channels["averaged"]
    assert list(inference_variants(checkpoint(), [1], [], [])) == ["averaged"]
