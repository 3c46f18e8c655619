"""The dilation layer as one Triton kernel: a matrix product whose left rows are gathered from three moments in time."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from besnet.models.dilation import TemporalPadding, Terms

ROWS, OUTPUTS, INPUTS = 64, 64, 32  # of a block


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]  # triton reads the arguments
    x, weight, y, dilations, shares, rows, frames, pixels, outputs,
    inputs: tl.constexpr, count: tl.constexpr, replicate: tl.constexpr,
    block_rows: tl.constexpr, block_outputs: tl.constexpr, block_inputs: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    output = tl.program_id(1) * block_outputs + tl.arange(0, block_outputs)
    moment = (row // pixels) % frames
    total = tl.zeros((block_rows, block_outputs), dtype=tl.float32)
    for first in range(0, inputs, block_inputs):
        channel = first + tl.arange(0, block_inputs)
        for tap in tl.static_range(3):
            if tap == 1:
                inside = (row < rows)[:, None] & (channel < inputs)[None, :]
                mixed = tl.load(x + row[:, None] * inputs + channel[None, :], mask=inside, other=0.0).to(tl.float32)
            else:
                mixed = tl.zeros((block_rows, block_inputs), dtype=tl.float32)
                for term in range(count):
                    other = moment + tl.load(dilations + term) * (tap - 1)
                    if replicate:
                        other = tl.minimum(tl.maximum(other, 0), frames - 1)
                    there = (other >= 0) & (other < frames) & (row < rows)
                    at = row + (other - moment) * pixels
                    inside = there[:, None] & (channel < inputs)[None, :]
                    values = tl.load(x + at[:, None] * inputs + channel[None, :], mask=inside, other=0.0)
                    mixed += tl.load(shares + term) * values.to(tl.float32)
            known = (channel < inputs)[:, None] & (output < outputs)[None, :]
            taps = tl.load(
                weight + (tap * inputs + channel[:, None]) * outputs + output[None, :], mask=known, other=0.0
            )
            total = tl.dot(mixed.to(taps.dtype), taps, total, input_precision="ieee")
    wanted = (row < rows)[:, None] & (output < outputs)[None, :]
    tl.store(y + row[:, None] * outputs + output[None, :], total.to(y.dtype.element_ty), mask=wanted)


def gathered_product(x: Tensor, weight: Tensor, terms: Terms, padding: TemporalPadding) -> Tensor:
    """(B, C_in, T, H, W), (C_out, C_in, 3, 1, 1) → (B, C_out, T, H, W), forward only."""
    batch, inputs, frames, height, width = x.shape
    outputs = weight.shape[0]
    flat = x.permute(0, 2, 3, 4, 1).reshape(-1, inputs).contiguous()
    taps = weight[..., 0, 0].permute(2, 1, 0).contiguous()
    y = x.new_empty(len(flat), outputs)
    dilations = torch.tensor([d for d, _ in terms], dtype=torch.int32, device=x.device)
    shares = torch.tensor([float(a) for _, a in terms], dtype=torch.float32, device=x.device)
    grid = (triton.cdiv(len(flat), ROWS), triton.cdiv(outputs, OUTPUTS))
    _kernel[grid](
        flat, taps, y, dilations, shares, len(flat), frames, height * width, outputs,
        inputs=inputs, count=len(terms), replicate=padding == "replicate",
        block_rows=ROWS, block_outputs=OUTPUTS, block_inputs=INPUTS,
    )  # fmt: skip
    return y.view(batch, frames, height, width, outputs).permute(0, 4, 1, 2, 3)
