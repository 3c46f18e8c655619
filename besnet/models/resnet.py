"""A 2D ResNet of any width, depth and number of stages, with the names of torchvision's.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2015; without the ReLU after the sum: X. Dong et
al., "EraseReLU", 2017.
"""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Block = Literal["bottleneck", "basic"]


class ResNet(nn.Module):
    """Classifies pictures: (B, 3, H, W) → logits (B, num_classes).

    Args:
        num_classes: number of classes.
        block: "bottleneck" (1x1, 3x3, 1x1; ResNet-50) or "basic" (3x3, 3x3; ResNet-18 and 34).
        blocks: number of blocks in each stage.
        width: channels of the stem; doubled at every stage.
        erase_relu: leave out the ReLU after the residual sum, all but the last.
    """

    def __init__(
        self,
        num_classes: int,
        block: Block = "bottleneck",
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        erase_relu: bool = False,
    ) -> None:
        super().__init__()
        if block not in ("bottleneck", "basic"):
            raise ValueError(f"block: 'bottleneck' or 'basic' are expected, not {block!r}")
        if not blocks or any(n < 1 for n in blocks):
            raise ValueError(f"blocks: at least one block in each stage is expected, not {list(blocks)}")
        if width < 1:
            raise ValueError(f"width of at least 1 is expected, not {width}")
        self.conv1 = convolution(3, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        make = Bottleneck if block == "bottleneck" else BasicBlock
        channels = width
        self.stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        for i, (name, depth) in enumerate(zip(self.stages, blocks, strict=True)):
            stage = nn.Sequential()
            for j in range(depth):
                stage.append(make(channels, width * 2**i, stride=2 if i > 0 and j == 0 else 1))
                channels = width * 2**i * make.expansion
            self.add_module(name, stage)
        self.fc = nn.Linear(channels, num_classes)
        if erase_relu:
            every = [module for module in self.modules() if isinstance(module, Bottleneck | BasicBlock)]
            for module in every[:-1]:
                module.erase_relu = True

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))


class Bottleneck(nn.Module):
    """Narrow (1x1), filter in space (3x3, which strides), widen (1x1)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = convolution(channels, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = shortcut(in_channels, channels * self.expansion, stride)
        self.erase_relu = False

    @property
    def last_bn(self) -> nn.Module:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = F.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return y if self.erase_relu else F.relu_(y)


class BasicBlock(nn.Module):
    """Two 3x3 filters, the first of which strides."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(in_channels, channels, stride)
        self.erase_relu = False

    @property
    def last_bn(self) -> nn.Module:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return y if self.erase_relu else F.relu_(y)


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1, with He's start."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A 1x1 projection where the shape changes, else None: the identity."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
