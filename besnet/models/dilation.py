"""The dilation layer: three taps in time, t-d, t and t+d, whose spacing d is drawn, fixed or averaged over a set.

With the taps W-, W0, W+ the layer is y(t) = W- x(t-d) + W0 x(t) + W+ x(t+d), and its mean over a set of dilations with
weights a is

    y(t) = W- [sum_d a_d x(t-d)] + W0 x(t) + W+ [sum_d a_d x(t+d)]

so one pair of shifts is enough, and averaging costs the multiplications of a single dilation.
Source: E. Golge, "Random Dilation Networks for Action Recognition in Videos", 2017.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TemporalPadding = Literal["zeros", "replicate"]
Mixture = Literal["uniform", "learned"]


class DilationConv(nn.Module):
    """A 3 x k x k convolution without bias, stride 1 in time, that keeps the number of frames for every dilation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        dilations: the set D of temporal dilations, in frames of the clip, at least one.
        kernel_size: k, the spatial size of the kernel; the spatial padding is k // 2.
        stride: the spatial stride.
        temporal_padding: what lies before the first and after the last frame: "zeros" or that frame ("replicate").
        mixture: the weights a of the average over D: all equal ("uniform"), or a softmax of a parameter ("learned").
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
        assert dilations, "a layer without temporal taps is a plain Conv3d"
        self.in_channels, self.out_channels = in_channels, out_channels
        self.dilations = tuple(dilations)
        self.stride, self.padding = stride, kernel_size // 2
        self.temporal_padding = temporal_padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.mixture_logits = nn.Parameter(torch.zeros(len(self.dilations))) if mixture == "learned" else None

    def extra_repr(self) -> str:
        kernel = tuple(self.weight.shape[2:])
        return (
            f"{self.in_channels}, {self.out_channels}, kernel={kernel}, stride={self.stride}, "
            f"dilations={self.dilations}, temporal_padding={self.temporal_padding}"
        )

    def forward(self, x: Tensor, dilation: int | Tensor | None = None) -> Tensor:
        """Convolve (B, C_in, T, H, W) → (B, C_out, T, h, w) with one dilation or, for None, the mean over the set.

        A dilation is a number of frames. As an integer it runs as a plain dilated convolution (under torch.compile
        every value is then a graph of its own); as a 0-d integer tensor on the device of x the graph is the same for
        all values and the host never waits for the device.
        """
        if dilation is None and self.mixture_logits is None and len(self.dilations) == 1:
            dilation = self.dilations[0]
        if isinstance(dilation, int):
            return self._plain(x, dilation)
        # The shifts act on whichever side of the product has fewer channels.
        if self.in_channels <= self.out_channels:
            past, future = self._shifts(x, x, dilation)
            return self._convolve(
                torch.cat([past, x, future], 1), self.weight.transpose(1, 2).flatten(1, 2).unsqueeze(2)
            )
        taps = self._convolve(x, self.weight.permute(2, 0, 1, 3, 4).flatten(0, 1).unsqueeze(2))
        before, present, after = taps.chunk(3, 1)
        past, future = self._shifts(before, after, dilation)
        return past + present + future

    def _plain(self, x: Tensor, dilation: int) -> Tensor:
        pad = dilation
        if self.temporal_padding == "replicate":
            x, pad = pad_time(x, dilation, "replicate"), 0
        return F.conv3d(
            x,
            self.weight,
            stride=(1, self.stride, self.stride),
            padding=(pad, self.padding, self.padding),
            dilation=(dilation, 1, 1),
        )

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv3d(x, weight, stride=(1, self.stride, self.stride), padding=(0, self.padding, self.padding))

    def _shifts(self, before: Tensor, after: Tensor, dilation: Tensor | None) -> tuple[Tensor, Tensor]:
        """`before` seen from d frames later and `after` from d frames earlier, for one d or averaged over the set."""
        padding = self.temporal_padding
        if dilation is not None:
            return shift_time(before, -dilation, padding), shift_time(after, dilation, padding)
        frames, reach = before.shape[2], max(self.dilations)
        before, after = pad_time(before, reach, padding), pad_time(after, reach, padding)
        past, future = [], []
        for i, d in enumerate(self.dilations):
            a = 1 / len(self.dilations) if self.mixture_logits is None else self.mixture_logits.softmax(0)[i]
            past.append(a * before.narrow(2, reach - d, frames))
            future.append(a * after.narrow(2, reach + d, frames))
        return torch.stack(past).sum(0), torch.stack(future).sum(0)


def pad_time(x: Tensor, frames: int, padding: TemporalPadding) -> Tensor:
    """(B, C, T, H, W) → (B, C, frames + T + frames, H, W)."""
    if padding == "zeros":
        return F.pad(x, (0, 0, 0, 0, frames, frames))
    first, last = x[:, :, :1], x[:, :, -1:]
    return torch.cat([first.expand(-1, -1, frames, -1, -1), x, last.expand(-1, -1, frames, -1, -1)], 2)


def shift_time(x: Tensor, offset: Tensor, padding: TemporalPadding) -> Tensor:
    """x(t + offset) at every t, for (B, C, T, H, W) and a 0-d integer tensor: one static graph whatever the offset."""
    frames = x.shape[2]
    time = torch.arange(frames, device=x.device) + offset
    inside = time.clamp(0, frames - 1)
    shifted = x.index_select(2, inside)
    if padding == "zeros":
        shifted = shifted * (time == inside).to(x.dtype).view(-1, 1, 1)
    return shifted
