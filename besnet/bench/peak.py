"""The peak of the MFU: the highest rate of multiplications and additions of a device in one run.

A single matrix product on a busy machine shows no peak: products and convolutions of several sizes are timed beside
the cases, and the fastest round of each counts. So no case can exceed the peak.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from besnet.bench.timing import Timings


@dataclass(frozen=True)
class Peak:
    """flop_per_sec, and the case that reached it."""

    flop_per_sec: float
    what: str

    def __str__(self) -> str:
        return f"peak: {self.flop_per_sec / 1e12:.3g} TFLOP/s, the fastest of all that ran here ({self.what})"


Probe = tuple[float, Callable[[], object]]  # FLOP, and what makes them


def probes(device: torch.device, dtype: torch.dtype, small: bool = False) -> dict[str, Probe]:
    """Matrix products of several sizes and a network's two kinds of convolutions, by name."""
    cpu = device.type == "cpu"
    sides = (256, 512) if small else (1024, 2048) if cpu else (4096, 8192, 16384)
    found: dict[str, Probe] = {}
    for side in sides:
        matrix = torch.randn(side, side, device=device, dtype=dtype)
        found[f"matrix product of {side}"] = (2.0 * side**3, partial(torch.mm, matrix, matrix))
    images, channels, size = (2, 32, 8) if small else (16, 256, 14) if cpu else (256, 256, 28)
    x = torch.randn(images, channels, size, size, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    for kernel in (1, 3):
        weight = torch.randn(channels, channels, kernel, kernel, device=device, dtype=dtype)
        weight = weight.to(memory_format=torch.channels_last)
        flop = 2.0 * images * channels**2 * kernel**2 * size**2
        found[f"convolution of {kernel}x{kernel}"] = (flop, partial(F.conv2d, x, weight, padding=kernel // 2))
    return found


def measured(flops: Mapping[str, float], timings: Timings) -> Peak:
    """The peak from the fastest round of everything that was timed. flops: by the names in `timings`."""
    rates = {name: flop / min(timings.seconds[name]) for name, flop in flops.items()}
    best = max(rates, key=lambda name: rates[name])
    return Peak(rates[best], best)
