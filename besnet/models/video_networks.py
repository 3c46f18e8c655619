"""Video networks of others by name, each as the rest of besnet expects a network: torchvision's, I3D-R50 and Slow-R50.

Any (B, 3, T, H, W) → logits will do. A network without dilations has no temporal layers to draw for.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from besnet.models.controls import I3DResNet50, SlowResNet50


@dataclass(frozen=True)
class Kind:
    """A network that is known by name.

    make: builds it for a number of classes, without weights. head: the name of its last layer. frames: how many it
    takes, from and to (None: no limit). size: the least height and width, and whether no other will do.
    """

    make: Callable[[int], nn.Module]
    head: str
    frames: tuple[int, int | None] = (1, None)
    size: tuple[int, bool] = (1, False)


def from_torchvision(name: str) -> Callable[[int], nn.Module]:
    """A torchvision network's constructor by the number of classes."""
    return lambda num_classes: torchvision.models.get_model(name, weights=None, num_classes=num_classes)


KINDS = {
    "r3d_18": Kind(from_torchvision("r3d_18"), "fc"),
    "mc3_18": Kind(from_torchvision("mc3_18"), "fc"),
    "r2plus1d_18": Kind(from_torchvision("r2plus1d_18"), "fc"),
    "s3d": Kind(from_torchvision("s3d"), "classifier.1", (14, None), (224, False)),
    "mvit_v1_b": Kind(from_torchvision("mvit_v1_b"), "head.1", (16, 16), (224, True)),
    "mvit_v2_s": Kind(from_torchvision("mvit_v2_s"), "head.1", (16, 16), (224, True)),
    "swin3d_t": Kind(from_torchvision("swin3d_t"), "head"),
    "swin3d_s": Kind(from_torchvision("swin3d_s"), "head"),
    "swin3d_b": Kind(from_torchvision("swin3d_b"), "head"),
    "i3d_r50": Kind(I3DResNet50, "fc", (2, None)),
    "slow_r50": Kind(SlowResNet50, "fc"),
}


class VideoNetwork(nn.Module):
    """A network without dilations: clips (B, 3, T, H, W), normalised → logits (B, num_classes).

    Args:
        network: takes clips, gives logits.
        num_classes: number of classes.
        head: the name of its last layer, whose input are the features; empty where it is not known.
        frozen_bn: keep BatchNorm's statistics and parameters as loaded.
    """

    def __init__(self, network: nn.Module, num_classes: int, head: str = "", frozen_bn: bool = False) -> None:
        super().__init__()
        self.network, self.num_classes, self.head, self.frozen_bn = network, num_classes, head, frozen_bn
        self.dilations: tuple[int, ...] = ()
        self.num_temporal_layers = 0
        self.learns_mixture = False
        if frozen_bn:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.requires_grad_(False)
        self.train()

    def forward(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """Logits (B, num_classes); there are no dilations to draw: None, or an empty tensor."""
        if dilations is not None and dilations.numel():
            raise ValueError(f"dilations: 0 indices are expected, not {tuple(dilations.shape)}")
        logits: Tensor = self.network(x)
        return logits

    def features(self, x: Tensor) -> Tensor:
        """(B, C): what the last layer is given, averaged over places where it sees several. ValueError without one."""
        if not self.head:
            raise ValueError(f"{type(self.network).__name__}: its last layer is not known, so neither are its features")
        kept: list[Tensor] = []
        hook = self.network.get_submodule(self.head).register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            self.network(x)
        finally:
            hook.remove()
        return kept[-1].flatten(2).mean(2) if kept[-1].ndim > 2 else kept[-1]

    def train(self, mode: bool = True) -> "VideoNetwork":
        super().train(mode)
        if self.frozen_bn:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def video_network(name: str, num_classes: int, frozen_bn: bool = False) -> VideoNetwork:
    """A network of the table, without weights. ValueError for a name that is not in it."""
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=1)
        hint = f": did you mean {near[0]!r}?" if near else f": besnet, {', '.join(KINDS)}, or module:Class"
        raise ValueError(f"model.network: there is no {name!r}{hint}")
    return VideoNetwork(KINDS[name].make(num_classes), num_classes, KINDS[name].head, frozen_bn)


def check_clip(name: str, num_frames: int, crop_size: int) -> None:
    """ValueError where clips of this shape do not go into the network of this name."""
    if name not in KINDS:
        return
    fewest, most = KINDS[name].frames
    if num_frames < fewest or (most is not None and num_frames > most):
        wanted = f"{fewest}" if fewest == most else f"at least {fewest}"
        raise ValueError(f"data.clip.num_frames {num_frames}: {name} takes {wanted} frames")
    size, only = KINDS[name].size
    if crop_size < size or (only and crop_size != size):
        raise ValueError(f"data.crop_size {crop_size}: {name} takes {'' if only else 'at least '}{size} pixels")
