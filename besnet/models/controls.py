"""Networks for comparison that differ from BesNet by more than its arguments.

(No dilation, a fixed dilation, random or averaged and C2D are arguments of BesNet.)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from besnet.models.besnet import Bottleneck, SpatialConv, max_pool
from besnet.models.dilation import convolve_frames, shift

# In which blocks of each stage the first convolution convolves along time.
I3D_BLOCKS = ((0, 1, 2), (0, 2), (0, 2, 4), (1,))
SLOW_BLOCKS = ((), (), (0, 1, 2, 3, 4, 5), (0, 1, 2))


class PublishedResNet50(nn.Module):
    """A ResNet-50 with few temporal taps and average pooling over space and time, built from BesNet's parts."""

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
                dilations = (1,) if j in temporal_blocks[i] else ()
                stride = 2 if i > 0 and j == 0 else 1
                block = Bottleneck(in_channels, 64 * 2**i, stride, dilations, "zeros", "uniform")
                block.conv3 = SpatialConv(64 * 2**i, block.out_channels, 1)
                in_channels = block.out_channels
                stage.append(block)
            stages.append(stage)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W), T >= 2 → logits (B, num_classes)."""
        x = x.contiguous(memory_format=torch.channels_last_3d)
        x = self.between(self.layer1(max_pool(F.relu_(self.bn1(self.conv1(x))))))
        x = self.layer4(self.layer3(self.layer2(x)))
        return self.fc(self.dropout(x.mean((2, 3, 4))))

    def between(self, x: Tensor) -> Tensor:
        """What happens to the frames between the first stage and the second."""
        return x


class I3DResNet50(PublishedResNet50):
    """The inflated ResNet-50 that video libraries publish as I3D-R50.

    Temporal taps only in the first convolution of every second block, 5 frames in the stem, half the frames after the
    first stage. Source: X. Wang et al., "Non-local Neural Networks", 2018.
    """

    def __init__(self, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__(num_classes, dropout, StemConv(3, 64), I3D_BLOCKS)

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
    """5 x 7 x 7 with spatial stride 2: five neighbouring frames stacked along the channels, convolved in 2D."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 5, 7, 7))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        neighbours = torch.cat([shift(x, offset, "zeros") for offset in range(-2, 3)], 1)
        return convolve_frames(neighbours, self.weight.transpose(1, 2).flatten(1, 2), None, stride=2, padding=3)
