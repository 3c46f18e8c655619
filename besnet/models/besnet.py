"""BesNet: a 2D network whose layers look at three moments in time, spaced by a random dilation.

Source: E. Golge, "Random Dilation Networks for Action Recognition in Videos", 2017, on the ResNet of He et al., 2015.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from besnet.models.backbones import backbone_named
from besnet.models.dilation import Mixture, TemporalPadding
from besnet.models.inflate import InflatedNetwork
from besnet.models.inflation import Inflation, own_name
from besnet.models.resnet import BasicBlock, Block, Bottleneck, ResNet
from besnet.ranges import check_section


class BesNet(InflatedNetwork):
    """Classifies clips: (B, 3, T, H, W), normalised, any T >= 1 → logits (B, num_classes).

    The arguments are those of besnet.models.build.ModelArguments. The 2D network is a ResNet (block, blocks, width,
    erase_relu, zero_init_residual) unless `backbone` names another one.
    """

    def __init__(
        self,
        num_classes: int,
        dilations: Sequence[int] = (1, 2),
        temporal_padding: TemporalPadding = "zeros",
        backbone: str | None = None,
        inflation: Inflation = "average",
        block: Block = "bottleneck",
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        dropout: float = 0.0,
        mixture: Mixture = "uniform",
        erase_relu: bool = False,
        activation_checkpointing: bool | Sequence[int] = False,
        frozen_bn: bool = False,
        zero_init_residual: bool = False,
        frame_features: bool = False,
        taps_after: int = 0,
    ) -> None:
        sizes = {"num_classes": num_classes, "width": width, "dropout": dropout, "dilations": list(dilations)}
        sizes["taps_after"] = taps_after
        check_section("model", sizes | {"blocks": blocks, "activation_checkpointing": activation_checkpointing})
        if frame_features and dilations:
            raise ValueError(f"frame_features: single frames have no dilations: [] is expected, not {list(dilations)}")
        flat = ResNet(1, block, blocks, width, erase_relu) if backbone is None else backbone_named(backbone)
        try:
            super().__init__(
                flat, num_classes, dilations, temporal_padding, mixture, dropout, activation_checkpointing,
                frozen_bn or frame_features, taps_after,
            )  # fmt: skip
        except ValueError as error:
            if backbone is None:
                raise
            raise ValueError(f"model.backbone {backbone}: {error}") from None
        self.inflation: Inflation = inflation
        self.hidden: nn.Linear | None = None
        if frame_features:
            self.requires_grad_(False)
            last = self.fc.requires_grad_(True)
            del self.fc
            self.hidden = nn.Linear(self.num_features, self.num_features)
            self.fc = last  # behind it: optimisers number the parameters in this order
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Bottleneck | BasicBlock):
                    assert isinstance(module.last_bn.weight, Tensor)
                    nn.init.zeros_(module.last_bn.weight)

    def features(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """(B, num_features): the largest over time of the features of the frames; or, of single frames, their mean and
        the hidden layer of the MLP."""
        if self.hidden is None:
            return super().features(x, dilations)
        with torch.no_grad():
            frozen = self.frame_features(x).mean(1)
        return F.relu(self.hidden(frozen))

    def flat_weights(self) -> dict[str, Tensor] | None:
        """Its weights with the names of its 2D network, if it has no taps in time and no MLP."""
        if self.dilations or self.hidden is not None:
            return None
        return {own_name(name, self.anatomy.head): value for name, value in self.state_dict().items()}

    def class_activation(self, x: Tensor, number: int) -> Tensor | None:
        """(B, T, h, w); None for the MLP, which is not linear."""
        return super().class_activation(x, number) if self.hidden is None else None
