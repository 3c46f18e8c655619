"""Ragged uint8 clips → one float batch, on their device."""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2 import functional

from besnet.data.changes import changed
from besnet.data.clips import ClipBatch
from besnet.data.crop import Whole
from besnet.data.resizing import resized
from besnet.models.network import Normalisation


def normalise(clips: Tensor, normalisation: Normalisation) -> Tensor:
    """uint8 0..255 (..., T, 3, H, W) → float32 (..., 3, T, H, W), as the network expects them."""
    mean, std = mean_and_std(normalisation, clips.device)
    return clips.float().sub_(mean.view(3, 1, 1)).div_(std.view(3, 1, 1)).transpose(-4, -3)


@cache
def mean_and_std(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of pixels 0..255, (3,) each. Made once: a copy to a GPU in every step would wait for all that it has to do."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, device=device).mul(255) for values in normalisation)
        return mean, std


def pixels(clips: Tensor, normalisation: Normalisation) -> Tensor:
    """The inverse of `normalise`, as pictures: (..., 3, T, H, W) → uint8 0..255 (..., T, H, W, 3)."""
    mean, std = mean_and_std(normalisation, clips.device)
    return clips.movedim(-4, -1).float().mul(std).add(mean).round().clamp(0, 255).to(torch.uint8)


def letterboxed(height: int, width: int, side: int) -> list[int]:
    """Height and width of a frame that keeps its shape, with a long side of `side`; at least one pixel each."""
    scale = side / max(height, width)
    return [max(1, round(height * scale)), max(1, round(width * scale))]


def bordered(clips: Tensor, side: int, whole: Whole) -> Tensor:
    """Normalised clips (..., H, W) in the middle of squares (..., side, side), unless they are to be borderless; the
    border is the mean, which is 0."""
    if whole == "borderless":
        return clips
    rows, columns = side - clips.shape[-2], side - clips.shape[-1]
    return pad(clips, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def training_batch(batch: ClipBatch, crop_size: int, normalisation: Normalisation, whole: Whole = False) -> Tensor:
    """Resize every clip's box to crop_size, mirror the drawn ones, make the drawn changes and normalise.

    whole: the box keeps its shape, and is put in the middle of the square or, borderless, left as it is.

    list of uint8 (T, h, w, 3) → float32 (B, 3, T, crop_size, crop_size); of kept maps, float32 (T, 2, h, w, C) → (B, C,
    T, h, w), those of the picture or of its mirror image.
    """
    if batch.frames[0].is_floating_point():
        sides = zip(batch.frames, batch.flips, strict=True)
        return torch.stack([maps[:, int(flip)] for maps, flip in sides]).movedim(-1, 1)
    clips = []
    for frames, flip in zip(batch.frames, batch.flips, strict=True):
        size = letterboxed(frames.shape[1], frames.shape[2], crop_size) if whole else [crop_size, crop_size]
        clip = functional.resize(frames.permute(0, 3, 1, 2), size, antialias=True)
        clips.append(clip.flip(-1) if flip else clip)
    if batch.labels.device.type == "cpu":  # one by one: a clip then stays in the processor's caches
        clips = [changed([clip], [own])[0] for clip, own in zip(clips, batch.changes, strict=True)]
    else:
        clips = changed(clips, batch.changes)
    if whole:
        return torch.stack([bordered(normalise(clip, normalisation), crop_size, whole) for clip in clips])
    return normalise(torch.stack(clips), normalisation)


def evaluation_views(
    frames: Tensor,
    crop_size: int,
    num_crops: int,
    normalisation: Normalisation,
    short_side: int | None = None,
    whole: Whole = False,
) -> Tensor:
    """Square crops of a video's clips: short side resized to short_side, or else to crop_size; crops evenly along the
    longer side, and in the middle of the shorter one.

    uint8 (num_clips, T, H, W, 3) → float32 (num_clips * num_crops, 3, T, crop_size, crop_size); clip-major.
    One crop is the centre; three are left, centre, right (or top, centre, bottom). whole: instead of crops the whole
    frames, see `bordered`. Of kept maps, which are of whole frames: float32 (num_clips, T, 2, h, w, C) → (num_clips, C,
    T, h, w).
    """
    if frames.is_floating_point():
        return frames[:, :, 0].movedim(-1, 1)
    height, width = frames.shape[2:4]
    if whole:
        size = letterboxed(height, width, crop_size)
        fitted = [resized(clip.permute(0, 3, 1, 2), size) for clip in frames]
        return bordered(normalise(torch.stack(fitted), normalisation), crop_size, whole)
    short = short_side or crop_size
    scale = short / min(height, width)
    size = [max(short, round(height * scale)), max(short, round(width * scale))]
    shares = [0.5] if num_crops == 1 else [crop / (num_crops - 1) for crop in range(num_crops)]
    shorter, *longer = round((short - crop_size) / 2), *(round((max(size) - crop_size) * share) for share in shares)
    crops = []
    # Clip by clip: on a GPU pixels are float64 on the way, of all clips at once eight times the memory of the frames.
    for clip in frames:
        pictures = resized(clip.permute(0, 3, 1, 2), size)
        for start in longer:
            top, left = (start, shorter) if size[0] > size[1] else (shorter, start)
            crops.append(pictures[..., top : top + crop_size, left : left + crop_size].clone())
    return normalise(torch.stack(crops), normalisation)
