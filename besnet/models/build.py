"""The `model` section of a config → a network. The only place that knows which kinds of networks there are."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, cast

import torch

from besnet.models.besnet import BesNet
from besnet.models.dilation import Mixture, TemporalPadding
from besnet.models.inflation import Inflation
from besnet.models.network import IMAGENET, Network
from besnet.models.resnet import Block
from besnet.models.video_networks import video_network
from besnet.ranges import check_section


@dataclass(frozen=True)
class ModelArguments:
    """What a network is built from. Arguments that do not apply to a network must stay at their defaults.

    Args:
        num_classes: number of classes.
        network: besnet, a video network by name (r3d_18, mc3_18, r2plus1d_18, s3d, mvit_v1_b, mvit_v2_s, swin3d_t,
            swin3d_s, swin3d_b, i3d_r50, i3d_r50_32x2, slow_r50), or module:Class of your own, which is called with
            num_classes. All other arguments but frozen_bn, mean and std are besnet's.
        backbone: a 2D network by the name that timm or torchvision gives it (tf_efficientnet_lite0, convnext_tiny, ...)
            that besnet is made from; null for a ResNet as block, blocks and width say, by default ResNet-50.
        inflation: how 2D weights fill the three taps of a layer: copied and divided by 3 (average), or as the middle
            tap alone (centre), so that the network starts as the 2D one on every frame.
        dilations: the set of temporal dilations, in frames of the clip. A set of one is a fixed dilation; the empty set
            means no temporal taps at all: a 2D network (C2D).
        temporal_padding: what the taps see beyond the ends of the clip, "zeros" or the end frame ("replicate").
        block: of the ResNet: "bottleneck" (3x1x1, 1x3x3, 3x1x1; ResNet-50) or "basic" (3x3x3, 1x3x3; ResNet-18 and 34).
        blocks: of the ResNet: number of blocks in each stage.
        width: of the ResNet: channels of the stem; doubled at every stage.
        dropout: probability of dropping a pooled feature before the last layer.
        mixture: how averaging weighs the dilations: all alike ("uniform"), by a softmax over the set in each layer
            ("learned"), or one dilation for each channel, in equal shares ("channels"). With the last two nothing is
            drawn.
        erase_relu: of the ResNet: leave out the ReLU after the residual sum, all but the last (EraseReLU).
        activation_checkpointing: recompute activations in the backward pass instead of keeping them: True for all
            stages, or the stages (1, 2, ...) that do.
        frozen_bn: keep BatchNorm's statistics and parameters as loaded (for small batches on pretrained weights).
        zero_init_residual: of the ResNet: start every block as the identity; a pretrained start overwrites it.
        frame_features: a control: the 2D network (dilations []) looks at single frames and stays as loaded; its
            features are averaged over time, and only an MLP on them learns.
        taps_after: so many blocks after the stem (counted as recipe.freeze does) have no taps in time and see single
            frames; 0: taps wherever they can be.
        mean: of red, green and blue, 0..1, which is subtracted from the pixels; null for that of the weights that the
            network starts from, or else ImageNet's.
        std: which the pixels are then divided by; null as for mean.
    """

    num_classes: int
    network: str = "besnet"
    backbone: str | None = None
    inflation: Inflation = "average"
    dilations: Sequence[int] = (1, 2)
    temporal_padding: TemporalPadding = "zeros"
    block: Block = "bottleneck"
    blocks: Sequence[int] = (3, 4, 6, 3)
    width: int = 64
    dropout: float = 0.0
    mixture: Mixture = "uniform"
    erase_relu: bool = False
    activation_checkpointing: bool | Sequence[int] = False
    frozen_bn: bool = False
    zero_init_residual: bool = False
    frame_features: bool = False
    taps_after: int = 0
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_section("model", vars(self))
        for name in sorted(vars(self).keys() - self.applicable):
            if plain(getattr(self, name)) != DEFAULTS[name]:
                raise ValueError(f"model.{name} does not apply to {self.title}: leave it out")

    @property
    def title(self) -> str:
        """What the network is called."""
        if self.network != "besnet":
            return self.network
        return "BesNet" if self.backbone is None else f"BesNet from {self.backbone}"

    @property
    def applicable(self) -> set[str]:
        """The arguments that mean something for this network."""
        if self.network != "besnet":
            return set(OF_ALL)
        return vars(self).keys() - (set() if self.backbone is None else set(OF_RESNET))


OF_ALL = ("num_classes", "network", "frozen_bn", "mean", "std")
OF_RESNET = ("block", "blocks", "width", "erase_relu", "zero_init_residual")


def plain(value: Any) -> Any:
    """A value as a config has it, where lists and tuples are the same."""
    return tuple(value) if isinstance(value, list) else value


DEFAULTS = {field.name: field.default for field in fields(ModelArguments) if field.default is not MISSING}


def kind(model: Mapping[str, Any]) -> ModelArguments:
    """The network that a `model` section is about, whatever else it says of it."""
    network = model.get("network", DEFAULTS["network"])
    backbone = model.get("backbone") if network == DEFAULTS["network"] else None
    return ModelArguments(1, network=network, backbone=backbone)


def applicable(model: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a network's arguments that mean something for it. ValueError if others are set."""
    names = ModelArguments(**model).applicable
    return {name: value for name, value in model.items() if name in names}


def build(model: Mapping[str, Any]) -> Network:
    """The network of a `model` section and num_classes, without weights.

    ValueError, in one line, for arguments that do not fit each other, and names that do not exist. A class named as
    module:Class is imported.
    """
    arguments = ModelArguments(**model)
    mean, std = arguments.mean or IMAGENET.mean, arguments.std or IMAGENET.std
    network: Network
    if arguments.network == "besnet":
        others = vars(arguments).keys() - {"network", "mean", "std"}
        network = BesNet(**{name: getattr(arguments, name) for name in others})
    else:
        network = video_network(arguments.network, arguments.num_classes, arguments.frozen_bn)
    network.mean, network.std = cast(Triple, tuple(mean)), cast(Triple, tuple(std))
    return network


def build_shapes(model: Mapping[str, Any]) -> Network:
    """The same network on the device `meta`, where tensors have shapes and take no memory."""
    try:
        with torch.device("meta"):
            return build(model)
    except NotImplementedError:  # its constructor needs values
        return build(model).to("meta")


Triple = tuple[float, float, float]
