"""Video networks of others by name, each as the rest of besnet expects a network: torchvision's, I3D-R50 and Slow-R50.

Any (B, 3, T, H, W) → logits will do. A network without dilations has no temporal layers to draw for.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import torch
import torchvision
from torch import Tensor, nn

from besnet.models.controls import I3DResNet50, SlowResNet50
from besnet.models.network import Network


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

    def check_clip(self, num_frames: int, crop_size: int) -> None:
        """ValueError where clips of this shape do not go into the network."""
        fewest, most = self.frames
        if num_frames < fewest or (most is not None and num_frames > most):
            wanted = f"{fewest}" if fewest == most else f"at least {fewest}"
            raise ValueError(f"data.clip.num_frames {num_frames}: the network takes {wanted} frames")
        size, only = self.size
        if crop_size < size or (only and crop_size != size):
            raise ValueError(f"crop_size {crop_size}: the network takes {'' if only else 'at least '}{size} pixels")


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
    "i3d_r50_32x2": Kind(partial(I3DResNet50, stride=2), "fc", (5, None)),
    "slow_r50": Kind(SlowResNet50, "fc"),
}


class VideoNetwork(Network):
    """A network without dilations: clips (B, 3, T, H, W), normalised → logits (B, num_classes).

    Args:
        network: takes clips, gives logits.
        num_classes: number of classes.
        kind: what the table says of it, its last layer and the clips that it takes; None for a network of one's own.
        frozen_bn: keep BatchNorm's statistics and parameters as loaded.
    """

    def __init__(self, network: nn.Module, num_classes: int, kind: Kind | None = None, frozen_bn: bool = False) -> None:
        super().__init__()
        self.network, self.num_classes, self.kind = network, num_classes, kind
        last = kind.head if kind else only_linear(network, num_classes)
        self.head = f"network.{last}" if last else ""
        if frozen_bn:
            self.freeze_norms()
        self.train()  # because Lightning trains modules in the mode it finds them in

    @property
    def name(self) -> str:
        """Its class, for messages."""
        return type(self.network).__name__

    def forward(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """Logits (B, num_classes); there are no dilations to draw: None, or an empty tensor."""
        if dilations is not None and dilations.numel():
            raise ValueError(f"dilations: 0 indices are expected, not {tuple(dilations.shape)}")
        logits: Tensor = self.network(x)
        return logits

    def features(self, x: Tensor) -> Tensor:
        """(B, C): what the last layer is given, averaged over places where it sees several. ValueError without one."""
        if not self.head:
            raise ValueError(
                f"{self.name}: its last layer is not known, so neither are its features: exactly one Linear with an "
                "output for each class is expected"
            )
        kept: list[Tensor] = []
        hook = self.get_submodule(self.head).register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            self.network(x)
        finally:
            hook.remove()
        return kept[-1].flatten(2).mean(2) if kept[-1].ndim > 2 else kept[-1]

    def check_clip(self, num_frames: int, crop_size: int) -> None:
        """ValueError where clips of this shape do not go into the network. One of one's own is tried with a clip."""
        if self.kind is not None:
            self.kind.check_clip(num_frames, crop_size)
            return
        weight = next(self.parameters(), torch.empty(0))
        clip = torch.zeros(1, 3, num_frames, crop_size, crop_size, dtype=weight.dtype, device=weight.device)
        training = self.training
        try:
            with torch.no_grad():
                logits = self.eval()(clip)
        except Exception as error:  # of code that is not ours
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            shape = tuple(clip.shape)
            raise ValueError(f"{self.name} takes no clips of the shape {shape}: {why}") from error
        finally:
            self.train(training)
        if not isinstance(logits, Tensor) or logits.shape != (1, self.num_classes):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"{self.name}: logits (B, {self.num_classes}) are expected, and one clip gave {found}")


def only_linear(network: nn.Module, num_classes: int) -> str:
    """The name of the one linear layer with an output for each class; empty if there is none, or several."""
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == num_classes
    ]
    return names[0] if len(names) == 1 else ""


def video_network(name: str, num_classes: int, frozen_bn: bool = False) -> VideoNetwork:
    """A network of the table, or of a class named as module:Class, without weights. ValueError where there is none."""
    if ":" in name:
        return VideoNetwork(made(name, num_classes), num_classes, None, frozen_bn)
    if name not in KINDS:
        near = difflib.get_close_matches(name, ["besnet", *KINDS], n=1)
        hint = f": did you mean {near[0]!r}?" if near else f": besnet, {', '.join(KINDS)}, or module:Class"
        raise ValueError(f"model.network: there is no {name!r}{hint}")
    return VideoNetwork(KINDS[name].make(num_classes), num_classes, KINDS[name], frozen_bn)


def made(name: str, num_classes: int) -> nn.Module:
    """A network of a class of one's own, named as module:Class and called with num_classes."""
    module, _, kind = name.partition(":")
    try:
        found = getattr(import_module(module), kind)
    except (ImportError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"model.network {name}: {module} cannot be imported ({error}): name the folder that holds it in PYTHONPATH "
            "(the working folder is not searched), or install it as a package"
        ) from error
    except AttributeError as error:
        raise ValueError(f"model.network {name}: {error}") from error
    try:
        network = found(num_classes=num_classes)
    except TypeError as error:
        raise ValueError(f"model.network {name}: it must take num_classes, and nothing else: {error}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"model.network {name}: an nn.Module is expected, not {type(network).__name__}")
    return network
