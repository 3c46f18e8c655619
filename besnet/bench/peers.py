"""Networks of other libraries, for comparison in the same harness. Benchmarks only."""

import sys

import torch
from torch import Tensor, nn

from besnet.models.controls import I3DResNet50


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
    ours.load_state_dict(translate(peer.state_dict()))
    return ours


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """PyTorchVideo's names → ours; the tensors are the same."""
    layers = {"1": "layer1", "3": "layer2", "4": "layer3", "5": "layer4"}
    parts = {"conv_a": "conv1", "norm_a": "bn1", "conv_b": "conv2", "norm_b": "bn2", "conv_c": "conv3", "norm_c": "bn3"}
    parts |= {"branch1_conv": "downsample.0", "branch1_norm": "downsample.1"}
    translated = {}
    for name, value in state.items():
        words = name.split(".")
        if words[1] == "0":
            name = f"{'conv1' if words[2] == 'conv' else 'bn1'}.{words[-1]}"
        elif words[1] == "6":
            name = f"fc.{words[-1]}"
        else:
            name = f"{layers[words[1]]}.{words[3]}.{parts[words[-2]]}.{words[-1]}"
        translated[name] = value
    return translated


def difference(one: nn.Module, other: nn.Module, clips: Tensor) -> float:
    """The largest difference between the logits of two networks in evaluation mode."""
    with torch.no_grad():
        return float((one.eval()(clips) - other.eval()(clips)).abs().max())
