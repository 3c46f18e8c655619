"""The I3D-R50 control against the same network written with 3D convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from besnet.models.controls import Bottleneck, I3DResNet50


def reference(model: I3DResNet50, x: Tensor) -> Tensor:
    """The published network, operation by operation, with the model's weights."""

    def conv(x: Tensor, module: torch.nn.Module, stride: int = 1) -> Tensor:
        weight = module.weight
        assert isinstance(weight, Tensor)
        return F.conv3d(x, weight, stride=(1, stride, stride), padding=[size // 2 for size in weight.shape[2:]])

    def block(x: Tensor, part: Bottleneck, stride: int) -> Tensor:
        y = F.relu(part.bn1(conv(x, part.conv1)))
        y = F.relu(part.bn2(conv(y, part.conv2, stride)))
        y = part.bn3(conv(y, part.conv3))
        return F.relu(y + (x if part.downsample is None else part.downsample[1](conv(x, part.downsample[0], stride))))

    x = F.max_pool3d(F.relu(model.bn1(conv(x, model.conv1, 2))), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for i, stage in enumerate((model.layer1, model.layer2, model.layer3, model.layer4)):
        for j, part in enumerate(stage):
            assert isinstance(part, Bottleneck)
            x = block(x, part, 2 if i > 0 and j == 0 else 1)
        if i == 0:
            x = F.max_pool3d(x, (2, 1, 1))
    return model.fc(x.mean((2, 3, 4)))


def test_i3d_is_the_published_network() -> None:
    torch.manual_seed(0)
    model = I3DResNet50(400).double().eval()
    assert sum(p.numel() for p in model.parameters()) == 28_043_472
    for frames in (4, 5):
        x = torch.randn(2, 3, frames, 32, 32, dtype=torch.float64)
        expected = reference(model, x)
        assert expected.std() > 1e-2
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-9)
