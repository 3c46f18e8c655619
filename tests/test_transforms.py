"""From ragged uint8 clips to the network's input."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from besnet.data.clips import Clip, collate
from besnet.data.crop import RandomCrop
from besnet.data.transforms import evaluation_views, normalise, training_batch
from besnet.models.network import IMAGENET


def clip(frames: torch.Tensor, flip: bool = False) -> Clip:
    return Clip(0, 0, frames, flip, False)


def pixels(batch: torch.Tensor) -> torch.Tensor:
    """Back to 0..255."""
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in IMAGENET)
    return (batch * std + mean) * 255


def test_a_box_of_the_right_size_passes_unchanged() -> None:
    frames = torch.randint(256, (5, 16, 16, 3), dtype=torch.uint8)
    batch = training_batch(collate([clip(frames), clip(frames, flip=True)]), crop_size=16, normalisation=IMAGENET)
    assert batch.shape == (2, 3, 5, 16, 16)
    torch.testing.assert_close(pixels(batch[0]), frames.permute(3, 0, 1, 2).float(), atol=1e-3, rtol=0)
    torch.testing.assert_close(batch[1], batch[0].flip(-1))


def test_ragged_boxes_become_one_batch_that_keeps_what_is_where() -> None:
    frames = []
    for height, width in ((20, 20), (33, 21), (8, 12)):
        ramp = torch.linspace(0, 255, width).round().to(torch.uint8)
        frames.append(ramp.view(1, 1, width, 1).expand(4, height, width, 3).contiguous())
    batch = training_batch(collate([clip(f) for f in frames]), crop_size=16, normalisation=IMAGENET)
    assert batch.shape == (3, 3, 4, 16, 16)
    wanted = torch.linspace(0, 255, 16)
    for one in pixels(batch):
        assert (one - wanted).abs().max() < 14, "the ramp runs from left to right in every clip"


def test_crops_lie_evenly_along_the_longer_side() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).view(1, 1, 1, 64, 1).expand(2, 3, 16, 64, 3)
    views = evaluation_views(ramp, crop_size=16, num_crops=3, normalisation=IMAGENET)
    assert views.shape == (6, 3, 3, 16, 16)
    lefts = pixels(views[0])[0, 0, 0, 0], pixels(views[1])[0, 0, 0, 0], pixels(views[2])[0, 0, 0, 0]
    assert [round(float(left)) for left in lefts] == [0, 24, 48]
    centre = evaluation_views(ramp, crop_size=16, num_crops=1, normalisation=IMAGENET)
    torch.testing.assert_close(centre[1], views[4])
    tall = evaluation_views(ramp.transpose(2, 3), crop_size=16, num_crops=3, normalisation=IMAGENET)
    torch.testing.assert_close(tall, views.transpose(-1, -2))


def test_squares_may_be_cut_from_larger_frames() -> None:
    """As libraries test their weights: the short side 128, squares of 112 in the middle of it."""
    frames = torch.randint(256, (2, 3, 60, 90, 3), dtype=torch.uint8)
    found = evaluation_views(frames, 28, 1, IMAGENET, short_side=32)
    larger = functional.resize(frames.permute(0, 1, 4, 2, 3), [32], antialias=True)
    expected = functional.center_crop(larger, [28])
    torch.testing.assert_close(found, normalise(expected, IMAGENET))
    left, middle, right = evaluation_views(frames[:1], 28, 3, IMAGENET, short_side=32)
    assert torch.equal(middle, found[0])
    assert torch.equal(left, normalise(larger[0, :, :, 2:30, :28], IMAGENET))
    assert torch.equal(right, normalise(larger[0, :, :, 2:30, -28:], IMAGENET))


def test_normalise_moves_time_behind_channels() -> None:
    clips = torch.randint(256, (2, 5, 3, 4, 6), dtype=torch.uint8)
    out = normalise(clips, IMAGENET)
    assert out.shape == (2, 3, 5, 4, 6)
    for channel in range(3):
        wanted = (clips[:, :, channel].float() / 255 - IMAGENET.mean[channel]) / IMAGENET.std[channel]
        torch.testing.assert_close(out[:, channel], wanted)


@pytest.mark.parametrize("crop", [RandomCrop(), RandomCrop("resized", area=(0.08, 1)), RandomCrop(short_side=(1, 1))])
def test_drawn_boxes_lie_inside_the_frame(crop: RandomCrop) -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        height, width = (int(side) for side in rng.integers(1, 400, size=2))
        (top, left, box_height, box_width), flip = crop.draw(height, width, rng)
        assert box_height >= 1
        assert box_width >= 1
        assert 0 <= top <= top + box_height <= height
        assert 0 <= left <= left + box_width <= width
        assert isinstance(flip, bool)
        if crop.kind == "jitter":
            side = min(height, width)
            assert side / crop.short_side[1] - 1 <= box_height <= side / crop.short_side[0] + 1


@pytest.mark.parametrize("bad", [{"short_side": (0.5, 1)}, {"area": (0.5, 0.1)}, {"area": (0, 1)}, {"aspect": (2, 1)}])
def test_impossible_crops_are_refused(bad: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        RandomCrop(**bad)  # type: ignore[arg-type]
