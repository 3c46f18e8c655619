"""What the rest of besnet knows of a network, whichever it is."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Normalisation(NamedTuple):
    """What a network expects of pixels in 0..1: minus mean, over std, for red, green and blue."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Network(nn.Module):
    """Classifies clips: (B, 3, T, H, W), normalised → logits (B, num_classes).

    Attributes:
        num_classes: number of classes.
        dilations: the set that averaging averages over, in frames; empty for a network without dilations.
        temporal_layers: the names of the layers for which a dilation is drawn, in its 2D network.
        num_temporal_layers: how many these are.
        draws: whether training draws dilations: not where the average has weights of its own, learned or by channel.
        head: the name of the last layer; empty where it is not known.
        mean, std: of pixels in 0..1, which clips are normalised with.
        frozen_bn: BatchNorm's statistics and parameters stay as loaded.
        for_inference: a folded copy, which never trains.
        passed: the modules that kept maps pass by; empty where the network takes clips alone.
    """

    num_classes: int
    dilations: tuple[int, ...] = ()
    temporal_layers: tuple[str, ...] = ()
    num_temporal_layers: int = 0
    draws: bool = False
    head: str = ""
    mean: tuple[float, float, float] = IMAGENET.mean
    std: tuple[float, float, float] = IMAGENET.std
    frozen_bn: bool = False
    for_inference: bool = False
    passed: tuple[str, ...] = ()

    @property
    def normalisation(self) -> Normalisation:
        """mean and std together."""
        return Normalisation(self.mean, self.std)

    def forward(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """Logits (B, num_classes) of clips (B, 3, T, H, W).

        dilations: int64 (num_temporal_layers,), for each temporal layer an index into the set, or (num_temporal_layers,
        B) for each clip its own; None averages over the set in every layer.
        """
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """(B, C): what the last layer is given. ValueError where the last layer is not known."""
        raise NotImplementedError

    def class_activation(self, x: Tensor, number: int) -> Tensor | None:
        """(B, T, h, w): what the last feature maps add to a class's logit at each place (Zhou et al., 2016).

        None for a network whose logits are not linear in them.
        """
        return None

    def flat_weights(self) -> dict[str, Tensor] | None:
        """The weights with the names of its 2D network, where it is no more than that; else None."""
        return None

    def compile_blocks(self) -> None:
        """Compile every residual block by itself: equal blocks share one compiled form. ValueError if none is known."""
        raise ValueError("compile blocks: this network has no residual blocks that besnet knows: use compile true")

    def take_maps(self, blocks: int) -> None:
        """Take kept maps (B, C, T, h, w), which the stem and so many blocks put out, as well as clips: see
        besnet.models.kept_maps. ValueError where the network cannot go on from them."""
        raise ValueError("the network takes no kept maps: only 2D networks that besnet inflates do")

    def check_clip(self, num_frames: int, crop_size: int) -> None:
        """ValueError where clips of this shape do not go into the network. Nothing is computed but shapes."""
        weights = {
            name: torch.empty_like(value, device="meta")
            for name, value in [*self.named_parameters(), *self.named_buffers()]
        }
        clip = torch.empty(1, 3, num_frames, crop_size, crop_size, device="meta")
        training = self.training
        try:
            with torch.no_grad():
                torch.func.functional_call(self.eval(), weights, (clip,))
        except (RuntimeError, AssertionError, ValueError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"data.clip.num_frames {num_frames} and data.crop_size {crop_size}: the network takes no such clips: "
                f"{why}"
            ) from error
        finally:
            self.train(training)

    def freeze_norms(self) -> None:
        """Keep BatchNorm's statistics and parameters as they are, through every `train()`."""
        self.frozen_bn = True
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for BatchNorms that are frozen."""
        super().train(mode and not self.for_inference)
        if self.frozen_bn:
            for module in self.modules():
                if isinstance(module, _BatchNorm):  # also one that is synchronised between ranks
                    module.eval()
        return self


def lay_channels_last(network: nn.Module) -> None:
    """Lay the filters in memory as frames lie there: the channels of a pixel side by side."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in network.parameters():
        if weight.ndim in layouts:
            weight.data = weight.data.contiguous(memory_format=layouts[weight.ndim])
