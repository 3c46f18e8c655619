"""Resizing in whole numbers, as on a GPU, gives the bytes of torch's resizing on a CPU."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from besnet.data.resizing import resized, resized_in_whole_numbers

sides = st.integers(4, 300)  # torch fails for frames of one by two pixels


@pytest.mark.skipif("AVX" not in torch.backends.cpu.get_cpu_capability(), reason="torch resizes uint8 in float32 here")
@given(height=sides, width=sides, rows=sides, columns=sides, seed=st.integers(0, 2**31), last=st.booleans())
def test_its_bytes_are_those_of_a_cpu(height: int, width: int, rows: int, columns: int, seed: int, last: bool) -> None:
    rng = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=rng)
    if last:
        frames = frames.contiguous(memory_format=torch.channels_last)
    wanted = functional.resize(frames, [rows, columns], antialias=True)
    assert torch.equal(resized_in_whole_numbers(frames, [rows, columns]), wanted)


def test_it_is_close_to_what_a_gpu_does_by_itself() -> None:
    """Where no CPU has whole numbers, too: float32 without rounding in between is at most one level away."""
    frames = torch.randint(0, 256, (2, 3, 97, 130), dtype=torch.uint8)
    wanted = functional.resize(frames.float(), [64, 90], antialias=True)
    assert (resized_in_whole_numbers(frames, [64, 90]) - wanted).abs().max() < 1.05
    assert (resized(frames, [64, 90]).float() - wanted).abs().max() < 1.05
