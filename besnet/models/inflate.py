"""Any 2D network → a network of clips: its own layers on every frame, and three taps in time where it mixes channels.

The 2D network runs on the frames of a clip as it is. Each ungrouped 1x1 convolution that mixes channels gets three taps
in time, whose dilation is drawn, fixed or averaged (besnet.models.dilation); in a residual branch of two square filters
(ResNet's basic block) the first gets them. Projection shortcuts, squeeze-excite and heads get none: see
besnet.models.anatomy. Each frame's features, as the network pools them, are maximised over time and classified.
Source: E. Golge, "Random Dilation Networks for Action Recognition in Videos", 2017, which does this to ResNet-50.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from besnet.models.anatomy import Anatomy, anatomy
from besnet.models.depth import depths
from besnet.models.dilation import DilationConv, Mixture, TemporalPadding
from besnet.models.kept_maps import check_passing, first_modules, passed_by
from besnet.models.network import Network
from besnet.models.recomputation import recompute_blocks

Dilation = int | Tensor | None


class InflatedConv(DilationConv):
    """A DilationConv in the place of a 2D layer: it takes frames, and is told their number and its dilation before.

    Args:
        layer: the 2D convolution, or a Linear over the channels of (frames, H, W, C); its bias is taken along.
        dilations, temporal_padding, mixture: as of DilationConv.
    """

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        dilations: Sequence[int],
        temporal_padding: TemporalPadding,
        mixture: Mixture,
    ) -> None:
        if isinstance(layer, nn.Linear):
            sizes = layer.in_features, layer.out_features, 1, 1
        else:
            sizes = layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]
        channels_in, channels_out, kernel_size, stride = sizes
        super().__init__(channels_in, channels_out, dilations, kernel_size, stride, temporal_padding, mixture)
        self.channels_innermost = isinstance(layer, nn.Linear)
        self.bias = layer.bias
        self.num_frames = 1
        self.dilation: Dilation = None

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the 2D network hands on frames alone
        """(B * T, C_in, H, W) → (B * T, C_out, h, w), or both with the channels innermost."""
        if self.channels_innermost:
            x = x.permute(0, 3, 1, 2)
        y = super().forward(x.unflatten(0, (-1, self.num_frames)).transpose(1, 2), self.dilation)
        y = y.transpose(1, 2).flatten(0, 1)
        if self.bias is not None:
            y = y + self.bias.view(-1, 1, 1)
        return y.permute(0, 2, 3, 1) if self.channels_innermost else y


class InflatedNetwork(Network):
    """Classifies clips: (B, 3, T, H, W), normalised, any T >= 1 → logits (B, num_classes).

    Args:
        backbone: a 2D classifier of (B, 3, H, W) whose last layer is linear; its layers are used and changed.
        num_classes: number of classes.
        dilations: the set of temporal dilations, in frames of the clip. A set of one is a fixed dilation; the empty set
            means no temporal taps at all: a 2D network (C2D).
        temporal_padding: what the taps see beyond the ends of the clip, "zeros" or the end frame ("replicate").
        mixture: how averaging weighs the dilations: see DilationConv.
        dropout: probability of dropping a pooled feature before the last layer; the backbone's own is switched off.
        activation_checkpointing: recompute activations in the backward pass instead of keeping them: True for all
            stages, or the stages (1, 2, ...) that do.
        frozen_bn: keep BatchNorm's statistics and parameters as loaded (for small batches on pretrained weights).
        taps_after: so many blocks after the stem have no taps and see single frames, counted as besnet.models.depth
            does; 0: taps wherever they can be.
    ValueError if no layer can have taps, or if the backbone does not end with a linear layer.
    """

    dilation_table: Tensor
    head = "fc"

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        dilations: Sequence[int] = (1, 2),
        temporal_padding: TemporalPadding = "zeros",
        mixture: Mixture = "uniform",
        dropout: float = 0.0,
        activation_checkpointing: bool | Sequence[int] = False,
        frozen_bn: bool = False,
        taps_after: int = 0,
    ) -> None:
        super().__init__()
        if any(d < 1 for d in dilations) or len(set(dilations)) != len(dilations):
            raise ValueError(f"dilations: distinct whole numbers of at least 1 are expected, not {list(dilations)}")
        if temporal_padding not in ("zeros", "replicate"):
            raise ValueError(f"temporal_padding: 'zeros' or 'replicate' are expected, not {temporal_padding!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout in 0..1 is expected, not {dropout}")
        self.anatomy: Anatomy = anatomy(backbone)
        if dilations and not self.anatomy.temporal:
            raise ValueError(f"{type(backbone).__name__} has no layer that can have taps in time: use dilations []")
        if dilations and taps_after:
            self.anatomy = replace(self.anatomy, temporal=layers_after(backbone, self.anatomy.temporal, taps_after))
        self.num_classes = num_classes
        self.dilations = tuple(dilations)
        self.draws = mixture == "uniform" and bool(dilations)
        self.temporal_layers = self.anatomy.temporal if dilations else ()
        self.num_temporal_layers = len(self.temporal_layers)
        for name in self.temporal_layers:
            layer = backbone.get_submodule(name)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            backbone.set_submodule(name, InflatedConv(layer, dilations, temporal_padding, mixture))
        head = backbone.get_submodule(self.anatomy.head)
        assert isinstance(head, nn.Linear)
        self.num_features = head.in_features
        backbone.set_submodule(self.anatomy.head, nn.Identity())
        for module in backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.backbone = backbone
        self.blocks_are_compiled = False
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.num_features, num_classes)
        # Not saved: it follows from the constructor's arguments.
        self.register_buffer("dilation_table", torch.tensor(self.dilations, dtype=torch.int64), persistent=False)
        there = range(1, len(self.anatomy.blocks) + 1)
        chosen = list(there) if activation_checkpointing is True else list(activation_checkpointing or ())
        if set(chosen) - set(there):
            raise ValueError(f"activation_checkpointing: stages 1 to {len(there)} exist, not {chosen}")
        for number in chosen:
            names = self.anatomy.blocks[number - 1]
            recompute_blocks([backbone.get_submodule(name) for name in names], settled_as_now)
        if frozen_bn:
            self.freeze_norms()
        self.train()  # because Lightning trains modules in the mode it finds them in

    def forward(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """Logits (B, num_classes) of clips (B, 3, T, H, W). See Network."""
        return self.fc(self.dropout(self.features(x, dilations)))

    def features(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """(B, num_features): the largest over time of the features of the frames."""
        return self.frame_features(x, dilations).amax(1)

    def frame_features(self, x: Tensor, dilations: Tensor | None = None) -> Tensor:
        """(B, T, num_features): what the backbone pools of every frame."""
        num_frames = x.shape[2]
        passed = self.passed if x.shape[1] != 3 else ()
        # Channels-last throughout: then a clip is its frames one after the other, and no layer has to copy it. Kept
        # maps are copied: a layer may work in place.
        lay = Tensor.clone if passed else Tensor.contiguous
        frames = lay(x.transpose(1, 2).flatten(0, 1), memory_format=torch.channels_last)
        spacing = self.in_frames(dilations)
        layers = [self.backbone.get_submodule(name) for name in self.anatomy.temporal] if self.dilations else []
        with settled(layers, num_frames, spacing or [None] * len(layers)), passed_by(self, passed):
            return self.backbone(frames).unflatten(0, (-1, num_frames))

    def take_maps(self, blocks: int) -> None:
        """Take kept maps as well as clips. See Network."""
        self.passed = first_modules(self, blocks)
        check_passing(self)

    def compile_blocks(self) -> None:
        """Compile every residual block by itself. See Network."""
        blocks = [name for stage in self.anatomy.blocks for name in stage]
        if not blocks:
            super().compile_blocks()
        # each kind of block has a form for training and one for evaluation
        torch.compiler.config.recompile_limit = max(torch.compiler.config.recompile_limit, 2 * len(blocks))
        for name in blocks:
            self.backbone.get_submodule(name).compile()
        self.blocks_are_compiled = True

    def class_activation(self, x: Tensor, number: int) -> Tensor | None:
        """(B, T, h, w); None where the backbone does more with its last maps than to average them over space."""
        maps, features = self._maps_and_features(x, None)
        pooled = maps.mean((3, 4)).transpose(1, 2)
        if pooled.shape != features.shape or not torch.allclose(pooled, features, rtol=1e-3, atol=1e-4):
            return None
        return torch.einsum("c,bcthw->bthw", self.fc.weight[number], maps)

    def _maps_and_features(self, x: Tensor, dilations: Tensor | None) -> tuple[Tensor, Tensor]:
        kept: list[Tensor] = []
        module = self.backbone.get_submodule(self.anatomy.maps)
        hook = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        try:
            features = self.frame_features(x, dilations)
        finally:
            hook.remove()
        return kept[-1].unflatten(0, (-1, x.shape[2])).transpose(1, 2), features

    def in_frames(self, draws: Tensor | None) -> Sequence[Dilation]:
        """Each temporal layer's dilation in frames: Python integers where the draws are at hand on the host (each layer
        then makes one shift), else tensors, which neither stall a GPU nor recompile a graph."""
        if draws is None:
            return [None] * self.num_temporal_layers
        if draws.ndim not in (1, 2) or len(draws) != self.num_temporal_layers:
            raise ValueError(f"dilations: {self.num_temporal_layers} indices are expected, not {tuple(draws.shape)}")
        if not draws.numel():
            return []
        compiled = self.blocks_are_compiled or torch.compiler.is_compiling()
        if draws.ndim == 1 and draws.device.type == "cpu" and not compiled:
            return [self.dilations[i] for i in draws.tolist()]
        return self.dilation_table[draws.to(self.dilation_table.device, non_blocking=True)].unbind()


def layers_after(backbone: nn.Module, layers: Sequence[str], blocks: int) -> tuple[str, ...]:
    """Those of the named layers that come after so many blocks. ValueError if there are none."""
    early = [f"{name}." for depth in depths(backbone)[: blocks + 1] for name in depth.modules]
    found = tuple(name for name in layers if not f"{name}.".startswith(tuple(early)))
    if not found:
        raise ValueError(f"taps_after {blocks}: no layer after so many blocks can have taps in time: use a smaller one")
    return found


@contextmanager
def settled(layers: Sequence[Any], num_frames: int, dilations: Sequence[Dilation]) -> Iterator[None]:
    """Let temporal layers know the clip's length and their dilations meanwhile; nothing of it stays."""
    before = [(layer.num_frames, layer.dilation) for layer in layers]
    for layer, dilation in zip(layers, dilations, strict=True):
        layer.num_frames, layer.dilation = num_frames, dilation
    try:
        yield
    finally:
        for layer, (frames, dilation) in zip(layers, before, strict=True):
            layer.num_frames, layer.dilation = frames, dilation


def settled_as_now(block: nn.Module, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A block's forward pass with the dilations that its layers have now, whenever it is run."""
    layers = [module for module in block.modules() if isinstance(module, InflatedConv)]
    num_frames = layers[0].num_frames if layers else 1
    dilations = [layer.dilation for layer in layers]

    def run(*inputs: Tensor) -> Tensor:
        with settled(layers, num_frames, dilations):
            return forward(*inputs)

    return run
