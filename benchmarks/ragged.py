"""Ways to turn a ragged batch of uint8 boxes into one float batch: time against the shipped way, and exactness.

    python benchmarks/ragged.py

Boxes as `jitter` draws them from videos of 256 x 340 (160 to 224 pixels square), 16 frames, 8 clips, to 224 pixels.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from besnet.data.clips import ClipBatch
from besnet.data.transforms import normalise, training_batch
from besnet.models.network import IMAGENET

SIZE = 224


def boxes(device: torch.device) -> ClipBatch:
    """Eight clips of one drawn batch."""
    generator = torch.Generator().manual_seed(0)
    sides = torch.randint(160, 225, (8,), generator=generator).tolist()
    coarse = [torch.randint(256, (16, 3, 24, 24), generator=generator).float() for _ in sides]
    frames = [
        interpolate(picture, (side, side), mode="bicubic").clamp(0, 255).round().byte().permute(0, 2, 3, 1).contiguous()
        for picture, side in zip(coarse, sides, strict=True)
    ]
    return ClipBatch(list(range(8)), torch.zeros(8), frames, [False, True] * 4, 0, [], [()] * 8).to(device)


def shipped(batch: ClipBatch) -> Tensor:
    """One antialiased uint8 resize a clip, then one stack."""
    return training_batch(batch, SIZE, IMAGENET)


def resized_as_float(batch: ClipBatch) -> Tensor:
    """One antialiased float resize a clip, then one stack."""
    clips = []
    for frames, flip in zip(batch.frames, batch.flips, strict=True):
        pictures = frames.permute(0, 3, 1, 2).float()
        clip = interpolate(pictures, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        clips.append(clip.flip(-1) if flip else clip)
    return normalise(torch.stack(clips), IMAGENET)


def padded(batch: ClipBatch) -> Tensor:
    """All boxes padded to the largest, one grid sample for all (no antialiasing)."""
    most = max(frames.shape[1] for frames in batch.frames)
    whole = torch.zeros(8, 16 * 3, most, most, device=batch.labels.device)
    scales = torch.zeros(8, 2, 3, device=batch.labels.device)
    for number, (frames, flip) in enumerate(zip(batch.frames, batch.flips, strict=True)):
        side = frames.shape[1]
        whole[number, :, :side, :side] = frames.permute(0, 3, 1, 2).reshape(48, side, side)
        share = side / most
        scales[number, 0, 0], scales[number, 1, 1] = (-share if flip else share), share
        scales[number, :, 2] = share - 1
    grid = affine_grid(scales, [8, 48, SIZE, SIZE], align_corners=False)
    out = grid_sample(whole, grid, padding_mode="border", align_corners=False)
    return normalise(out.unflatten(1, (16, 3)), IMAGENET)


def time_of(way: Callable[[ClipBatch], Tensor], batch: ClipBatch) -> float:
    """Milliseconds of one batch."""
    if batch.labels.is_cuda:
        torch.cuda.synchronize()
    began_sec = time.perf_counter()
    way(batch)
    if batch.labels.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - began_sec)


def main() -> None:
    """Print the median ratio of nine alternating pairs for each way."""
    batch = boxes(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    reference = resized_as_float(batch)
    for name, way in {"A/A": shipped, "float": resized_as_float, "padded grid sample": padded}.items():
        way(batch)
        pairs = [(time_of(way, batch), time_of(shipped, batch)) for _ in range(9)]
        ratio = statistics.median(other / ours for other, ours in pairs)
        error = float((way(batch) - reference).abs().mean() * 255 * 0.225)
        ours = statistics.median(ours for _, ours in pairs)
        print(f"{name:20} {ratio:5.2f} x the shipped way ({ours:.1f} ms a batch), mean error {error:.2f} grey levels")


if __name__ == "__main__":
    main()
