"""The drawn changes of training clips, made on their device: all clips of a batch that change alike in one call.

All frames of a clip change alike; what depends on the picture (contrast, equalisation) uses all of them at once. Pixels
are those of torchvision's functions, which take one clip at a time and make a GPU wait for numbers from the host.
Sources: E. Cubuk et al., "RandAugment", 2020; Z. Zhong et al., "Random Erasing Data Augmentation", 2020.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest
from math import cos, radians, sin, tan

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional

from besnet.data.augment import Change

GREY = (124, 116, 104)  # ImageNet's mean: zero once it is normalised
NOTHING: Change = ("nothing", (0.0,))
GEOMETRY = ("shear_x", "shear_y", "shift_x", "shift_y", "rotate")


def changed(clips: Sequence[Tensor], changes: Sequence[tuple[Change, ...]]) -> list[Tensor]:
    """Clips, uint8 (T, 3, H, W) each, after each of their changes."""
    clips = list(clips)
    for turn in zip_longest(*changes, fillvalue=NOTHING):
        alike = defaultdict(list)
        for place, (name, _) in enumerate(turn):
            alike["geometry" if name in GEOMETRY else name, clips[place].shape].append(place)
        for (kind, _), places in alike.items():
            together = torch.stack([clips[place] for place in places])
            for place, clip in zip(places, change(together, kind, [turn[place] for place in places]), strict=True):
                clips[place] = clip
    return clips


def change(clips: Tensor, kind: str, changes: list[Change]) -> Tensor:
    """uint8 (B, T, 3, H, W) after a change of one kind each."""
    amounts = [amounts[0] for _, amounts in changes]
    match kind:
        case "nothing":
            return clips
        case "geometry":
            return moved(clips, changes)
        case "erase":
            return erased(clips, [box for _, box in changes])
        case "brightness":
            return clips.float().mul_(each([1 + a for a in amounts], clips)).clamp_(0, 255).to(torch.uint8)
        case "contrast":
            return blended(clips, grey_of(clips).mean((1, 2, 3, 4), keepdim=True), amounts)
        case "saturation":
            return blended(clips, grey_of(clips), amounts)
        case "hue":
            shifted = [functional.adjust_hue(clip, amount) for clip, amount in zip(clips, amounts, strict=True)]
            return torch.stack(shifted)
        case "sharpness":
            return sharpened(clips, amounts)
        case "posterize":
            return clips & each([256 - (1 << round(a)) for a in amounts], clips).to(torch.uint8)
        case "solarize":
            return torch.where(clips >= each([255 - a for a in amounts], clips), 255 - clips, clips)
        case "autocontrast":
            return as_pictures(stretched, clips)
        case "equalize":
            return as_pictures(functional.equalize, clips)
        case _:
            raise AssertionError(kind)


def each(values: list[float], clips: Tensor) -> Tensor:
    """A number for each clip: float32 (B, 1, 1, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1, 1).to(clips.device, non_blocking=True)


def as_pictures(function: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """A function of pictures on clips, of which each is one tall picture meanwhile."""
    tall = function(clips.transpose(1, 2).flatten(2, 3))
    return tall.unflatten(2, (clips.shape[1], clips.shape[3])).transpose(1, 2)


def grey_of(clips: Tensor) -> Tensor:
    """float32 (B, T, 1, H, W), whole numbers."""
    return functional.rgb_to_grayscale(clips).float()


def blended(clips: Tensor, others: Tensor, amounts: list[float]) -> Tensor:
    """Clips drawn away from others (amounts above 0), or towards them (amounts below)."""
    kept = [1 + amount for amount in amounts]
    mixed = clips.float().mul_(each(kept, clips)).addcmul_(others, each([1 - share for share in kept], clips))
    return mixed.clamp_(0, 255).to(torch.uint8)


def sharpened(clips: Tensor, amounts: list[float]) -> Tensor:
    """Clips drawn away from what is blurred over 3 x 3 pixels, the middle one five times; edges stay as they are."""
    if min(clips.shape[-2:]) < 3:
        return clips
    frames = clips.flatten(0, 1).float()
    inner = frames[..., 1:-1, 1:-1]
    blurred = F.avg_pool2d(frames, 3, 1).mul_(9 / 13).add_(inner, alpha=4 / 13).round_()
    apart = F.pad(blurred.sub_(inner), (1, 1, 1, 1)).view(clips.shape)
    away = each([1 - (1 + amount) for amount in amounts], clips)
    return clips.float().addcmul_(apart, away).clamp_(0, 255).to(torch.uint8)


def stretched(pictures: Tensor) -> Tensor:
    """Each channel of uint8 (B, 3, H, W) from 0 to 255, where it has more than one value."""
    values = pictures.float()
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    flat = low == high
    scale = ((high - low) * (1 / 255)).masked_fill_(flat, 1.0)
    return values.sub_(low.masked_fill(flat, 0.0)).div_(scale).clamp_(0, 255).to(torch.uint8)


def moved(clips: Tensor, changes: list[Change]) -> Tensor:
    """Clips turned (degrees), sheared (degrees) or shifted (shares of the frame); grey comes in from outside."""
    count, frames, _, height, width = clips.shape
    ways = torch.tensor([way_back(name, amounts[0], height, width) for name, amounts in changes], dtype=torch.float32)
    ways = (ways.view(count, 2, 3) / torch.tensor([[0.5 * width], [0.5 * height]])).to(clips.device, non_blocking=True)
    x, y = (torch.linspace((1 - side) / 2, (side - 1) / 2, side, device=clips.device) for side in (width, height))
    places = torch.stack([x.expand(height, width), y[:, None].expand(height, width), x.new_ones(height, width)], -1)
    with torch.autocast(clips.device.type, enabled=False):  # places in bfloat16 would be off by parts of a pixel
        grid = places.view(1, -1, 3).expand(count, -1, -1).bmm(ways.transpose(1, 2)).view(count, 1, height, width, 2)
    pictures = F.pad(clips.flatten(0, 1).float(), (0, 0, 0, 0, 0, 1), value=1.0)  # a fourth channel: the share inside
    found = F.grid_sample(pictures, grid.expand(-1, frames, -1, -1, -1).flatten(0, 1), align_corners=False)
    outside = grey(clips.device)
    filled = found[:, :3].sub_(outside).mul_(found[:, 3:]).add_(outside)
    return filled.round_().to(torch.uint8).view(clips.shape)


def way_back(name: str, amount: float, height: int, width: int) -> tuple[float, ...]:
    """The six numbers that give the place in the old frame (pixels from the middle) for one in the new frame."""
    angle = radians(amount)
    match name:
        case "shear_x":
            return 1.0, tan(angle), 0.0, 0.0, 1.0, 0.0
        case "shear_y":
            return 1.0, 0.0, 0.0, tan(angle), 1.0, 0.0
        case "shift_x":
            return 1.0, 0.0, -amount * width, 0.0, 1.0, 0.0
        case "shift_y":
            return 1.0, 0.0, 0.0, 0.0, 1.0, -amount * height
        case "rotate":
            return cos(angle), sin(angle), 0.0, -sin(angle), cos(angle), 0.0
        case _:
            raise AssertionError(name)


def erased(clips: Tensor, boxes: list[tuple[float, ...]]) -> Tensor:
    """Clips with a grey rectangle: top, left, height and width as shares of the frame's."""
    height, width = clips.shape[-2:]
    edges = torch.tensor(
        [
            (round(top * height), round(left * width), round((top + high) * height), round((left + wide) * width))
            for top, left, high, wide in boxes
        ]
    ).to(clips.device, non_blocking=True)
    top, left, bottom, right = edges.t().reshape(4, -1, 1, 1, 1, 1)
    y, x = torch.arange(height, device=clips.device)[:, None], torch.arange(width, device=clips.device)
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return torch.where(inside, grey(clips.device).to(torch.uint8), clips)


@cache
def grey(device: torch.device) -> Tensor:
    """GREY, float32 (3, 1, 1). Made once: a copy to a GPU in every step would wait for all that it has to do."""
    with torch.inference_mode(False):
        return torch.tensor(GREY, dtype=torch.float32, device=device).view(3, 1, 1)
