"""Networks for comparison that differ from BesNet by more than its arguments.

(No dilation, a fixed dilation, random or averaged and C2D are arguments of BesNet.)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from besnet.models.dilation import DilationConv, convolve_frames, shift

# In which blocks of each stage the first convolution convolves along time.
I3D_BLOCKS = ((0, 1, 2), (0, 2), (0, 2, 4), (1,))
SLOW_BLOCKS = ((), (), (0, 1, 2, 3, 4, 5), (0, 1, 2))


class PublishedResNet50(nn.Module):
    """A ResNet-50 with few temporal taps and average pooling over space and time, of 2D convolutions of the frames."""

    def __init__(
        self, num_classes: int, dropout: float, stem: nn.Module, temporal_blocks: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        self.conv1 = stem
        self.bn1 = nn.BatchNorm3d(64)
        in_channels = 64
        stages = []
        for i, depth in enumerate((3, 4, 6, 3)):
            stage = nn.Sequential()
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                stage.append(Bottleneck(in_channels, 64 * 2**i, stride, in_time=j in temporal_blocks[i]))
                in_channels = 4 * 64 * 2**i
            stages.append(stage)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W), T >= 2 → logits (B, num_classes)."""
        x = x.contiguous(memory_format=torch.channels_last_3d)
        x = self.between(self.layer1(max_pool(self.kept(F.relu_(self.bn1(self.conv1(x)))))))
        x = self.layer4(self.layer3(self.layer2(x)))
        return self.fc(self.dropout(x.mean((2, 3, 4))))

    def kept(self, x: Tensor) -> Tensor:
        """The frames that the first pooling keeps."""
        return x

    def between(self, x: Tensor) -> Tensor:
        """What happens to the frames between the first stage and the second."""
        return x


class I3DResNet50(PublishedResNet50):
    """The inflated ResNet-50 that video libraries publish as I3D-R50.

    Temporal taps only in the first convolution of every second block, 5 frames in the stem, half the frames after the
    first stage. Source: X. Wang et al., "Non-local Neural Networks", 2018.

    stride: of the stem and of the first pooling in time. 1 for clips of 8 frames (PyTorchVideo, PySlowFast); 2 for
    clips of 32 (MMAction2): the same weights, and another network.
    """

    def __init__(self, num_classes: int, dropout: float = 0.5, stride: int = 1) -> None:
        super().__init__(num_classes, dropout, StemConv(3, 64, stride), I3D_BLOCKS)
        self.stride = stride

    def kept(self, x: Tensor) -> Tensor:
        """Every frame, or every second one."""
        return x[:, :, :: self.stride]

    def between(self, x: Tensor) -> Tensor:
        """The larger of every two frames."""
        # As 2D pooling of (T, H * W), whose backward pass writes each value once.
        return F.max_pool2d(x.flatten(3), (2, 1)).unflatten(3, x.shape[3:])


class SlowResNet50(PublishedResNet50):
    """The slow pathway of SlowFast by itself: temporal taps in the last two stages only, every frame kept.

    Source: C. Feichtenhofer et al., "SlowFast Networks for Video Recognition", 2019.
    """

    def __init__(self, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__(num_classes, dropout, SpatialConv(3, 64, kernel_size=7, stride=2), SLOW_BLOCKS)


class StemConv(nn.Module):
    """5 x 7 x 7 with spatial stride 2: five neighbouring frames stacked along the channels, convolved in 2D.

    stride: in time.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 5, 7, 7))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        neighbours = torch.cat([shift(x, offset, "zeros")[:, :, :: self.stride] for offset in range(-2, 3)], 1)
        return convolve_frames(neighbours, self.weight.transpose(1, 2).flatten(1, 2), None, stride=2, padding=3)


class Bottleneck(nn.Module):
    """1x1 or, in time, 3x1x1; then 1x3x3, which strides; then 1x1."""

    def __init__(self, in_channels: int, channels: int, stride: int, in_time: bool) -> None:
        super().__init__()
        self.conv1 = DilationConv(in_channels, channels, (1,)) if in_time else SpatialConv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = SpatialConv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = SpatialConv(channels, 4 * channels, 1)
        self.bn3 = nn.BatchNorm3d(4 * channels)
        self.downsample = shortcut(in_channels, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = F.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu_(y)


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


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A 1x1x1 projection where the shape changes, else None: the identity."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(SpatialConv(in_channels, out_channels, 1, stride), nn.BatchNorm3d(out_channels))


def max_pool(x: Tensor) -> Tensor:
    """3x3 in space with stride 2. In 2D over the frames, because on CUDA 3D pooling has no deterministic backward."""
    frames = F.max_pool2d(x.transpose(1, 2).flatten(0, 1), kernel_size=3, stride=2, padding=1)
    return frames.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
