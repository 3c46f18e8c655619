"""Networks of other libraries, for comparisons in benchmarks only."""

import sys

import torch
from torch import Tensor, nn

from besnet.models.controls import I3DResNet50
from besnet.models.published import from_pytorchvideo


def torchvision_peers(num_classes: int) -> dict[str, nn.Module]:
    from torchvision.models.video import r2plus1d_18, r3d_18

    return {
        "torchvision r3d_18": r3d_18(num_classes=num_classes),
        "torchvision r2plus1d_18": r2plus1d_18(num_classes=num_classes),
    }


def pytorchvideo_peers(num_classes: int, num_frames: int, crop_size: int) -> dict[str, nn.Module]:
    """PyTorchVideo's Slow-R50 and I3D-R50, as published but for the pooling window, which is set to the clip's size.

    Raises ImportError where pytorchvideo is not installed.
    """
    # The newest release, 0.1.5, imports this module by a name that torchvision has changed since.
    import torchvision.transforms._functional_tensor as renamed

    sys.modules.setdefault("torchvision.transforms.functional_tensor", renamed)
    from pytorchvideo.models.hub import i3d_r50
    from pytorchvideo.models.resnet import create_resnet

    size = -(-crop_size // 32)
    return {
        # What slow_r50 builds; itself it takes clips of 8 x 224 x 224 only.
        "PyTorchVideo Slow-R50": create_resnet(
            stem_conv_kernel_size=(1, 7, 7), model_num_class=num_classes, head_pool_kernel_size=(num_frames, size, size)
        ),
        "PyTorchVideo I3D-R50": i3d_r50(
            pretrained=False, model_num_class=num_classes, head_pool_kernel_size=(num_frames // 2, size, size)
        ),
    }


def our_i3d(peer: nn.Module, num_classes: int) -> I3DResNet50:
    """Our I3D-R50 with the weights of PyTorchVideo's: the same function, so that speeds can be compared."""
    ours = I3DResNet50(num_classes)
    ours.load_state_dict(from_pytorchvideo(peer.state_dict()))
    return ours


def difference(one: nn.Module, other: nn.Module, clips: Tensor) -> float:
    """The largest difference between the logits of two networks in evaluation mode."""
    with torch.no_grad():
        return float((one.eval()(clips) - other.eval()(clips)).abs().max())
