"""The dilation layer: three taps in time, t-d, t and t+d, whose spacing d is drawn, fixed or averaged over a set.

With the taps W-, W0, W+ the layer is y(t) = W- x(t-d) + W0 x(t) + W+ x(t+d), and its mean over a set of dilations with
weights a is

    y(t) = W- [sum_d a_d x(t-d)] + W0 x(t) + W+ [sum_d a_d x(t+d)]

so averaging costs the multiplications of a single dilation, and one dilation is the mean with a single weight of 1.

Frames are convolved in 2D, all taps in one product. Where the layer does not narrow, the shifted inputs are stacked
along the channels ([past, present, future] → C_out); where it narrows, the outputs of the three taps are computed side
by side (C_in → [past, present, future]) and shifted afterwards. The shifts thus always touch the thinner side.
Source: E. Golge, "Random Dilation Networks for Action Recognition in Videos", 2017.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TemporalPadding = Literal["zeros", "replicate"]
Mixture = Literal["uniform", "learned", "channels"]
Terms = Sequence[tuple[int, float | Tensor]]  # (d, a_d): dilations in frames and their weights


class DilationConv(nn.Module):
    """A 3 x k x k convolution without bias, stride 1 in time, that keeps the number of frames for every dilation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        dilations: the set D of temporal dilations, in frames of the clip, at least one.
        kernel_size: k, the spatial size of the kernel; the spatial padding is k // 2.
        stride: the spatial stride.
        temporal_padding: what lies before the first and after the last frame: "zeros" or that frame ("replicate").
        mixture: the weights a of the average over D: all equal ("uniform"), a softmax of a parameter ("learned"), or
            for each channel a single dilation, the first one for the first share of the channels and so on
            ("channels"): of the input's channels, or of the output's where the layer narrows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilations: Sequence[int],
        kernel_size: int = 1,
        stride: int = 1,
        temporal_padding: TemporalPadding = "zeros",
        mixture: Mixture = "uniform",
    ) -> None:
        super().__init__()
        assert dilations, "a layer without temporal taps is a SpatialConv"
        self.in_channels, self.out_channels = in_channels, out_channels
        self.dilations = tuple(dilations)
        self.stride, self.padding = stride, kernel_size // 2
        self.temporal_padding = temporal_padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.of_channels = mixture == "channels"
        self.mixture_logits = nn.Parameter(torch.zeros(len(self.dilations))) if mixture == "learned" else None

    def extra_repr(self) -> str:
        kernel = tuple(self.weight.shape[2:])
        return (
            f"{self.in_channels}, {self.out_channels}, kernel={kernel}, stride={self.stride}, "
            f"dilations={self.dilations}, temporal_padding={self.temporal_padding}"
        )

    @property
    def narrows(self) -> bool:
        return self.in_channels > self.out_channels

    def forward(self, x: Tensor, dilation: int | Tensor | None = None) -> Tensor:
        """Convolve (B, C_in, T, H, W) → (B, C_out, T, h, w) with one dilation or, for None, the mean over the set.

        dilation: a number of frames. As a Python integer only that shift is made (under torch.compile every value is
        then a graph of its own). As an integer tensor on the device of x, 0-d or for each clip its own (B,), of values
        of the set, it is a weight of 1 among weights of 0: the same graph for all values, and the host never waits for
        the device.
        """
        terms = self.terms(dilation)
        if self.narrows:
            taps = convolve_frames(x, outputs_side_by_side(self.weight), None, self.stride, self.padding)
            return sum_of_shifts(taps, terms, self.temporal_padding)
        stack = stack_of_shifts(x, terms, self.temporal_padding)
        return convolve_frames(stack, inputs_side_by_side(self.weight), None, self.stride, self.padding)

    def terms(self, dilation: int | Tensor | None = None) -> Terms:
        """The dilations that take part and their weights a."""
        if isinstance(dilation, int):
            return [(dilation, 1.0)]
        if dilation is not None:
            chosen = dilation.view(-1, 1, 1, 1, 1) if dilation.ndim else dilation
            return [(d, chosen == d) for d in self.dilations]
        if self.of_channels:
            channels = min(self.in_channels, self.out_channels)
            place = torch.arange(channels, device=self.weight.device) * len(self.dilations) // channels
            return [(d, (place == i).to(self.weight.dtype).view(1, -1, 1, 1, 1)) for i, d in enumerate(self.dilations)]
        if self.mixture_logits is not None:
            return list(zip(self.dilations, self.mixture_logits.softmax(0), strict=True))
        return [(d, 1 / len(self.dilations)) for d in self.dilations]


def inputs_side_by_side(weight: Tensor) -> Tensor:
    """(C_out, C_in, 3, k, k) → (C_out, 3 C_in, k, k), for inputs stacked as [past, present, future]."""
    return weight.transpose(1, 2).flatten(1, 2)


def outputs_side_by_side(weight: Tensor) -> Tensor:
    """(C_out, C_in, 3, k, k) → (3 C_out, C_in, k, k), for outputs stacked as [past, present, future]."""
    return weight.permute(2, 0, 1, 3, 4).flatten(0, 1)


def convolve_frames(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """A 2D convolution of every frame of (B, C, T, H, W). In channels-last memory the reshaping costs nothing."""
    if weight.shape[-1] == 1 and -(-x.shape[3] // stride) * -(-x.shape[4] // stride) < SMALL_FRAME:
        # Filters of one pixel do not see where a frame ends: a clip is one tall image.
        batch, channels, frames, height, width = (x := x[..., ::stride, ::stride]).shape
        image = x.permute(0, 2, 3, 4, 1).reshape(batch, frames * height, width, channels).permute(0, 3, 1, 2)
        return F.conv2d(image, weight, bias).permute(0, 2, 3, 1).unflatten(1, (frames, height)).permute(0, 4, 1, 2, 3)
    convolved = F.conv2d(x.transpose(1, 2).flatten(0, 1), weight, bias, stride, padding)
    return convolved.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


# Pixels of the output. Smaller ones leave the CPU's matrix kernels half empty: 4 x 4 takes a fifth longer than in one
# piece, and with stride 2 twice as long backwards.
SMALL_FRAME = 32


def stack_of_shifts(x: Tensor, terms: Terms, padding: TemporalPadding) -> Tensor:
    """(B, C, T, H, W) → (B, 3 C, T, H, W): [sum_d a_d x(t-d), x(t), sum_d a_d x(t+d)]."""
    if must_be_traced(terms):
        return torch.cat([mixed(x, terms, -1, padding), x, mixed(x, terms, 1, padding)], 1)
    batch, channels, frames, height, width = x.shape
    stack = x.new_empty(batch, frames, height, width, 3 * channels).permute(0, 4, 1, 2, 3)
    past, present, future = stack.split(channels, 1)
    present.copy_(x)
    for i, (d, a) in enumerate(terms):
        add_shifted(past, x, -d, float(a), padding, fresh=i == 0)
        add_shifted(future, x, d, float(a), padding, fresh=i == 0)
    return stack


def sum_of_shifts(taps: Tensor, terms: Terms, padding: TemporalPadding) -> Tensor:
    """(B, 3 C, T, H, W) → (B, C, T, H, W): sum_d a_d past(t-d) + present(t) + sum_d a_d future(t+d)."""
    past, present, future = taps.chunk(3, 1)
    if must_be_traced(terms):
        return mixed(past, terms, -1, padding) + present + mixed(future, terms, 1, padding)
    total = present.clone()
    for d, a in terms:
        add_shifted(total, past, -d, float(a), padding)
        add_shifted(total, future, d, float(a), padding)
    return total


def must_be_traced(terms: Terms) -> bool:
    """Whether the shifts have to be pure functions, for autograd or a compiler; else they are made in place, which for
    the average over four dilations takes half the memory traffic."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling() or any(isinstance(a, Tensor) for _, a in terms)


def mixed(x: Tensor, terms: Terms, direction: int, padding: TemporalPadding) -> Tensor:
    """sum_d a_d x(t + direction * d), as a pure function."""
    total: Tensor | None = None
    for d, a in terms:
        shifted = shift(x, direction * d, padding)
        if total is None:
            total = shifted if isinstance(a, float) and a == 1 else shifted * a
        elif isinstance(a, float):
            total = torch.add(total, shifted, alpha=a)
        else:
            total = total + shifted * a
    assert total is not None
    return total


def shift(x: Tensor, offset: int, padding: TemporalPadding) -> Tensor:
    """x(t + offset) at every t of (B, C, T, H, W)."""
    frames = x.shape[2]
    beyond = min(abs(offset), frames)
    if padding == "zeros":
        sides = (-beyond, beyond) if offset > 0 else (beyond, -beyond)
        return F.pad(x, (0, 0, 0, 0, *sides))
    edge = x.narrow(2, frames - 1 if offset > 0 else 0, 1).expand(-1, -1, beyond, -1, -1)
    # A concatenation keeps the memory format that all its parts have.
    edge = edge.contiguous(memory_format=torch.channels_last_3d)
    if beyond == frames:
        return edge
    if offset > 0:
        return torch.cat([x.narrow(2, beyond, frames - beyond), edge], 2)
    return torch.cat([edge, x.narrow(2, 0, frames - beyond)], 2)


def add_shifted(out: Tensor, x: Tensor, offset: int, a: float, padding: TemporalPadding, fresh: bool = False) -> None:
    """out(t) += a x(t + offset) in place; `fresh` overwrites what was in `out`."""
    frames = x.shape[2]
    beyond = min(abs(offset), frames)
    inside = frames - beyond
    here, there = (0, beyond) if offset > 0 else (beyond, 0)
    pairs = [(out.narrow(2, here, inside), x.narrow(2, there, inside))]
    edge = out.narrow(2, inside if offset > 0 else 0, beyond)
    if padding == "replicate":
        pairs.append((edge, x.narrow(2, frames - 1 if offset > 0 else 0, 1).expand_as(edge)))
    elif fresh:
        edge.zero_()
    for target, source in pairs:
        if fresh:
            torch.mul(source, a, out=target)
        else:
            target.add_(source, alpha=a)
