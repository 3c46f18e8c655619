"""BesNet: a 2D ResNet whose filters look at three moments in time, spaced by a random dilation.

Source: E. Golge, "Random Dilation Networks for Action Recognition in Videos", 2017, on the ResNet of He et al., 2015.
The layers carry the names of torchvision's ResNet (conv1, bn1, layer1.0.conv1, ..., fc), so that an ImageNet checkpoint
inflates name by name.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from besnet.models.dilation import DilationConv, Mixture, TemporalPadding, convolve_frames
from besnet.models.recomputation import statistics_kept
from besnet.ranges import check_section

Dilation = int | Tensor | None


class BesNet(nn.Module):
    """Classifies clips: (B, 3, T, H, W), normalised, any T >= 1 → logits (B, num_classes).

    Args:
        num_classes: number of classes.
        dilations: the set of temporal dilations, in frames of the clip. A set of one is a fixed dilation; the empty set
            means no temporal taps at all: a 2D network (C2D).
        temporal_padding: what the taps see beyond the ends of the clip, "zeros" or the end frame ("replicate").
        block: "bottleneck" (3x1x1, 1x3x3, 3x1x1; ResNet-50) or "basic" (3x3x3, 1x3x3; ResNet-18 and 34).
        blocks: number of blocks in each stage.
        width: channels of the stem; doubled at every stage.
        dropout: probability of dropping a pooled feature before the last layer.
        mixture: how averaging weighs the dilations, "uniform" or "learned" (a softmax over the set in each layer).
        erase_relu: leave out the ReLU after the residual sum, all but the last (EraseReLU).
        activation_checkpointing: recompute activations in the backward pass instead of keeping them: True for all
            stages, or the stages (1, 2, ...) that do.
        frozen_bn: keep BatchNorm's statistics and parameters as loaded (for small batches on pretrained weights).
        zero_init_residual: start every block as the identity; a pretrained start overwrites it.
        frame_features: a control: the 2D network (dilations []) looks at single frames and stays as loaded; its
            features are averaged over time, and only an MLP on them learns.
    """

    dilation_table: Tensor

    def __init__(
        self,
        num_classes: int,
        dilations: Sequence[int] = (1, 2),
        temporal_padding: TemporalPadding = "zeros",
        block: Literal["bottleneck", "basic"] = "bottleneck",
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        dropout: float = 0.0,
        mixture: Mixture = "uniform",
        erase_relu: bool = False,
        activation_checkpointing: bool | Sequence[int] = False,
        frozen_bn: bool = False,
        zero_init_residual: bool = False,
        frame_features: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "width": width, "dropout": dropout, "dilations": list(dilations)}
        check_section("model", sizes | {"blocks": blocks, "activation_checkpointing": activation_checkpointing})
        if len(set(dilations)) != len(dilations):
            raise ValueError(f"dilations: distinct whole numbers are expected, not {list(dilations)}")
        if temporal_padding not in ("zeros", "replicate"):
            raise ValueError(f"temporal_padding: 'zeros' or 'replicate' are expected, not {temporal_padding!r}")
        if block not in ("bottleneck", "basic"):
            raise ValueError(f"block: 'bottleneck' or 'basic' are expected, not {block!r}")
        if frame_features and dilations:
            raise ValueError(f"frame_features: single frames have no dilations: [] is expected, not {list(dilations)}")
        self.num_classes = num_classes
        self.dilations = tuple(dilations)
        self.frozen_bn = frozen_bn or frame_features
        stages = range(1, len(blocks) + 1)
        self.recomputed = tuple(stages if activation_checkpointing is True else activation_checkpointing or ())
        if set(self.recomputed) - set(stages):
            raise ValueError(f"activation_checkpointing: stages 1 to {len(blocks)} exist, not {list(self.recomputed)}")

        self.conv1 = SpatialConv(3, width, kernel_size=7, stride=2)
        self.bn1 = nn.BatchNorm3d(width)
        make = Bottleneck if block == "bottleneck" else BasicBlock
        in_channels = width
        self.stages: list[str] = []
        for i, depth in enumerate(blocks):
            stage = nn.ModuleList()
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                layer = make(in_channels, width * 2**i, stride, self.dilations, temporal_padding, mixture)
                layer.erase_relu = erase_relu and not (i == len(blocks) - 1 and j == depth - 1)
                in_channels = layer.out_channels
                stage.append(layer)
            name = f"layer{i + 1}"
            self.add_module(name, stage)
            self.stages.append(name)
        self.num_features = in_channels
        self.dropout = nn.Dropout(dropout)
        self.hidden: nn.Linear | None = None
        if frame_features:
            self.requires_grad_(False)
            self.hidden = nn.Linear(in_channels, in_channels)
        self.fc = nn.Linear(in_channels, num_classes)

        self.learns_mixture = mixture == "learned" and bool(dilations)
        self.num_temporal_layers = sum(isinstance(m, DilationConv) for m in self.modules())
        # Not saved: it follows from the constructor's arguments.
        self.register_buffer("dilation_table", torch.tensor(self.dilations, dtype=torch.int64), persistent=False)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Bottleneck | BasicBlock):
                    nn.init.zeros_(module.last_bn.weight)
        if frozen_bn:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.requires_grad_(False)
        self.train()  # because Lightning trains modules in the mode it finds them in

    def forward(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """Logits (B, num_classes) of clips (B, 3, T, H, W).

        dilations: int64 (num_temporal_layers,), for each temporal layer an index into the set; None averages over the
        set in every layer.
        """
        return self.fc(self.dropout(self.features(x, dilations)))

    def features(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """(B, num_features): the mean over space of the last feature maps, then their maximum over time; or, of single
        frames, their mean and the hidden layer of the MLP."""
        if self.hidden is not None:
            with torch.no_grad():
                frozen = self.feature_maps(x).mean((2, 3, 4))
            return F.relu(self.hidden(frozen))
        return self.feature_maps(x, dilations).mean((3, 4)).amax(2)

    def feature_maps(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """(B, num_features, T, h, w): the output of the last stage; a thirty-second of the input's height and width."""
        # Channels-last throughout: a clip is then its frames one after the other, and 2D convolutions take it as it is.
        x = x.contiguous(memory_format=torch.channels_last_3d)
        x = max_pool(F.relu_(self.bn1(self.conv1(x))))
        spacing = iter(self.in_frames(dilations))
        for i, name in enumerate(self.stages, start=1):
            for block in getattr(self, name):
                here = [next(spacing) for _ in range(block.num_temporal_layers)]
                if i in self.recomputed and self.training and torch.is_grad_enabled():
                    x = recomputed(block, x, *here)
                else:
                    x = block(x, *here)
        return x

    def in_frames(self, draws: Tensor | None) -> Sequence[Dilation]:
        """Each temporal layer's dilation in frames: Python integers where the draws are at hand on the host (each layer
        then makes one shift), else tensors, which neither stall a GPU nor recompile a graph."""
        if draws is None:
            return [None] * self.num_temporal_layers
        if draws.shape != (self.num_temporal_layers,):
            raise ValueError(f"dilations: {self.num_temporal_layers} indices are expected, not {tuple(draws.shape)}")
        if not draws.numel():
            return []
        if draws.device.type == "cpu" and not torch.compiler.is_compiling():
            return [self.dilations[i] for i in draws.tolist()]
        return self.dilation_table[draws.to(self.dilation_table.device, non_blocking=True)].unbind()

    def train(self, mode: bool = True) -> "BesNet":
        super().train(mode)
        if self.frozen_bn:
            for module in self.modules():
                if isinstance(module, _BatchNorm):  # also one that is synchronised between ranks
                    module.eval()
        return self


def recomputed(block: nn.Module, x: Tensor, *dilations: Dilation) -> Tensor:
    """A block whose activations are computed again in the backward pass instead of being kept."""
    if torch.compiler.is_compiling():  # a compiler repeats no side effects
        return checkpoint(block, x, *dilations, use_reentrant=False)
    return checkpoint(
        block, x, *dilations, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_kept(block))
    )


class SpatialConv(nn.Module):
    """A 1 x k x k convolution of (B, C, T, H, W) without bias, padded to keep the size at stride 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel_size // 2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 1, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def extra_repr(self) -> str:
        out_channels, in_channels, *kernel = self.weight.shape
        return f"{in_channels}, {out_channels}, kernel={tuple(kernel)}, stride={self.stride}"

    def forward(self, x: Tensor) -> Tensor:
        return convolve_frames(x, self.weight.squeeze(2), None, self.stride, self.padding)


class Bottleneck(nn.Module):
    """Narrow in time (3x1x1), filter in space (1x3x3, which strides), widen in time (3x1x1)."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        dilations: Sequence[int],
        temporal_padding: TemporalPadding,
        mixture: Mixture,
    ) -> None:
        super().__init__()
        self.out_channels = channels * self.expansion
        self.conv1 = temporal(in_channels, channels, 1, 1, dilations, temporal_padding, mixture)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = SpatialConv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = temporal(channels, self.out_channels, 1, 1, dilations, temporal_padding, mixture)
        self.bn3 = nn.BatchNorm3d(self.out_channels)
        self.downsample = shortcut(in_channels, self.out_channels, stride)
        self.erase_relu = False
        self.num_temporal_layers = 2 if dilations else 0

    @property
    def last_bn(self) -> nn.BatchNorm3d:
        return self.bn3

    def forward(self, x: Tensor, first: Dilation = None, last: Dilation = None) -> Tensor:
        y = F.relu_(self.bn1(convolve(self.conv1, x, first)))
        y = F.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(convolve(self.conv3, y, last))
        y += x if self.downsample is None else self.downsample(x)
        return y if self.erase_relu else F.relu_(y)


class BasicBlock(nn.Module):
    """Two 3x3 filters in space; the first, which strides, has the three taps in time as well."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        dilations: Sequence[int],
        temporal_padding: TemporalPadding,
        mixture: Mixture,
    ) -> None:
        super().__init__()
        self.out_channels = channels
        self.conv1 = temporal(in_channels, channels, 3, stride, dilations, temporal_padding, mixture)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = SpatialConv(channels, channels, 3)
        self.bn2 = nn.BatchNorm3d(channels)
        self.downsample = shortcut(in_channels, channels, stride)
        self.erase_relu = False
        self.num_temporal_layers = 1 if dilations else 0

    @property
    def last_bn(self) -> nn.BatchNorm3d:
        return self.bn2

    def forward(self, x: Tensor, first: Dilation = None) -> Tensor:
        y = F.relu_(self.bn1(convolve(self.conv1, x, first)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return y if self.erase_relu else F.relu_(y)


def temporal(
    in_channels: int,
    channels: int,
    kernel_size: int,
    stride: int,
    dilations: Sequence[int],
    temporal_padding: TemporalPadding,
    mixture: Mixture,
) -> nn.Module:
    """The convolution that looks along time or, with an empty set of dilations, the 2D network's own."""
    if not dilations:
        return SpatialConv(in_channels, channels, kernel_size, stride)
    return DilationConv(in_channels, channels, dilations, kernel_size, stride, temporal_padding, mixture)


def convolve(conv: nn.Module, x: Tensor, dilation: Dilation) -> Tensor:
    return conv(x, dilation) if isinstance(conv, DilationConv) else conv(x)


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A 1x1x1 projection where the shape changes, else None: the identity."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(SpatialConv(in_channels, out_channels, 1, stride), nn.BatchNorm3d(out_channels))


def max_pool(x: Tensor) -> Tensor:
    """3x3 in space with stride 2. In 2D over the frames, because on CUDA 3D pooling has no deterministic backward."""
    frames = F.max_pool2d(x.transpose(1, 2).flatten(0, 1), kernel_size=3, stride=2, padding=1)
    return frames.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
