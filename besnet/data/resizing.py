"""Resizing of uint8 pictures for evaluation: bilinear with antialiasing, and the same bytes on a CPU and on a GPU.

On a CPU with AVX2, torch resizes uint8 pictures along x, rounds, then along y, with weights of 16 bits. On a GPU it
computes in float32 and rounds once, so that some pixels are another level. It is slow where float64 is.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

LARGEST_BITS = 22  # of a weight's fraction
LARGEST_WEIGHT = 2**15


def resized(frames: Tensor, size: list[int]) -> Tensor:
    """uint8 (..., 3, H, W) → uint8 (..., 3, *size)."""
    if frames.is_cuda:
        return resized_in_whole_numbers(frames, size)
    return functional.resize(frames, size, antialias=True)


def resized_in_whole_numbers(frames: Tensor, size: list[int]) -> Tensor:
    """What torch's uint8 resizing on a CPU computes, on any device with float64, which holds all its sums exactly."""
    values = frames.double()
    if size[1] != frames.shape[-1]:
        weights, bits = weights_of(frames.shape[-1], size[1], frames.device)
        values = rounded(values @ weights.T, bits)
    if size[0] != frames.shape[-2]:
        weights, bits = weights_of(frames.shape[-2], size[0], frames.device)
        values = rounded(weights @ values, bits)
    return values.to(torch.uint8)


def rounded(sums: Tensor, bits: int) -> Tensor:
    """To whole levels, of sums with that many bits of fraction."""
    return sums.add_(2 ** (bits - 1)).mul_(2.0**-bits).floor_().clamp_(0, 255)


@lru_cache(maxsize=32)
def weights_of(length: int, new_length: int, device: torch.device) -> tuple[Tensor, int]:
    """Whole numbers as float64 (new_length, length), a row for each new pixel, and their bits of fraction.

    A row is a triangle around the new pixel's centre, as wide as two of the larger pixels.
    """
    scale = length / new_length
    reach = max(scale, 1.0)
    centres = scale * (torch.arange(new_length, dtype=torch.float64)[:, None] + 0.5)
    places = torch.arange(length, dtype=torch.float64)
    first, end = (centres - reach + 0.5).clamp_min(0).floor(), (centres + reach + 0.5).floor()
    triangles = (1 - ((places - centres + 0.5) / reach).abs()).clamp_min(0)
    triangles = triangles * ((places >= first) & (places < end))
    shares = triangles / triangles.sum(1, keepdim=True)
    largest = float(shares.max())
    bits = next(
        b for b in range(LARGEST_BITS + 1) if b == LARGEST_BITS or largest * 2 ** (b + 1) + 0.5 >= LARGEST_WEIGHT
    )
    return (shares * 2**bits + 0.5).floor().to(device), bits
