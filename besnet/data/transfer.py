"""Copies of a batch to its device: to a GPU on a stream of their own, while it still computes with the batch before.

The host puts work in the GPU's queue faster than it is done, so the copy of a batch begins during the step before it:
two batches are on the GPU meanwhile. Nothing is read ahead, and the order of the batches stays the loader's.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor


def to_device(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors on a device; those in page-locked memory go to a GPU while the host and the GPU do other things."""
    if device.type != "cuda":
        return [tensor.to(device) for tensor in tensors]
    computing, copying = torch.cuda.current_stream(device), copy_stream(device)
    with torch.cuda.stream(copying):
        there = [tensor.to(device, non_blocking=True) for tensor in tensors]
    computing.wait_stream(copying)
    for tensor in there:
        tensor.record_stream(computing)  # else their memory could be taken for a next copy too early
    return there


@cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of the copies to a GPU."""
    return torch.cuda.Stream(device)
