"""What a 2D network is made of, seen by following a picture through it: no family has to be known by name.

The network runs once on PyTorch's meta device, which computes shapes and no values. Its autograd graph says how its
layers are connected: where two ways from the picture are added, the longer one is a residual branch, and a shorter one
with a layer of its own is a projection.
"""

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.batchnorm import _BatchNorm

SIZE = 224  # pixels of the picture; shapes cost nothing
PICTURE = 1 << 10_000  # the bit of the picture itself, beyond those of all layers


@dataclass(frozen=True)
class Anatomy:
    """Names of modules.

    temporal: layers that can have taps in time, in the order in which they run. head: the classifier. maps: what puts
    out the last feature maps. norms: (convolution, BatchNorm that takes its output and nothing else does). blocks: the
    smallest modules that hold a whole residual branch, by stage.
    """

    temporal: tuple[str, ...]
    head: str
    maps: str
    norms: tuple[tuple[str, str], ...]
    blocks: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer as the picture met it: bit is its place in the order, area the pixels it saw."""

    name: str
    module: nn.Conv2d | nn.Linear
    bit: int
    area: int

    @property
    def pointwise(self) -> bool:
        """Whether it mixes the channels of single pixels."""
        if isinstance(self.module, nn.Linear):
            return True
        return self.module.kernel_size == (1, 1) and self.module.groups == 1 and self.module.padding in (0, (0, 0))

    @property
    def square(self) -> bool:
        """Whether it is an ungrouped k x k filter that keeps the size at stride 1."""
        conv = self.module
        if isinstance(conv, nn.Linear) or conv.groups > 1 or conv.dilation != (1, 1):
            return False
        size = conv.kernel_size[0]
        return size > 1 and conv.kernel_size == (size, size) and conv.padding == (size // 2, size // 2)

    @property
    def plain(self) -> bool:
        """Whether it is a layer like any other, and not one that does something to its filter first."""
        return type(self.module).forward in (nn.Conv2d.forward, nn.Linear.forward)


def anatomy(network: nn.Module) -> Anatomy:
    """Look at a classifier of (B, 3, H, W). ValueError if it takes no pictures or does not end with a linear layer."""
    picture = Picture(network)
    branches, projections = picture.residual_branches()
    inside = 0
    for branch in branches:
        inside |= branch
    seen = [layer for layer in picture.layers if layer.area > 1]  # squeeze-excite sees one pixel
    chosen = 0
    for layer in seen:
        residual = bool(inside >> layer.bit & 1)
        # a last 1x1 convolution outside of every residual branch belongs to the head
        on_the_way = residual or (isinstance(layer.module, nn.Conv2d) and layer is not seen[-1])
        if layer.pointwise and layer.plain and on_the_way and not projections >> layer.bit & 1:
            chosen |= 1 << layer.bit
    for branch in branches:
        own = [layer for layer in seen if branch >> layer.bit & 1]
        if not branch & chosen and len(own) == 2 and all(layer.square and layer.plain for layer in own):
            chosen |= 1 << own[0].bit  # a basic block
    return Anatomy(
        temporal=tuple(layer.name for layer in seen if chosen >> layer.bit & 1),
        head=picture.head,
        maps=picture.maps,
        norms=picture.norms(),
        blocks=stages(network, [[layer.name for layer in seen if branch >> layer.bit & 1] for branch in branches]),
    )


class Picture:
    """One picture's way through a network: the layers it met, and the graph that it left."""

    def __init__(self, network: nn.Module) -> None:
        self.names = {id(module): name for name, module in network.named_modules()}
        self.layers: list[Layer] = []
        self.maps = ""
        self._outputs: dict[int, str] = {}  # of layers, by identity
        self._normalised: list[tuple[str, str, Node]] = []
        self._alive: list[Any] = []  # identities are told apart while these live
        self.input = torch.empty(
            2, 3, SIZE, SIZE, dtype=next((weight.dtype for weight in network.parameters()), None), device="meta",
            requires_grad=True,
        )  # fmt: skip
        self._weights = {
            name: torch.empty_like(value, device="meta").requires_grad_(isinstance(value, nn.Parameter))
            for name, value in [*network.named_parameters(), *network.named_buffers()]
        }
        hooks = [module.register_forward_hook(self._note) for module in network.modules()]
        training = [(module, module.training) for module in network.modules()]
        try:
            with torch.enable_grad():
                self.output: Tensor = torch.func.functional_call(network.eval(), self._weights, (self.input,))
        except (RuntimeError, NotImplementedError, AssertionError, TypeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{type(network).__name__} takes no pictures of {SIZE} pixels: {why}") from error
        finally:
            for hook in hooks:
                hook.remove()
            for module, mode in training:
                module.training = mode
        self.head = self._outputs.get(id(self.output), "")
        if not self.head or not isinstance(network.get_submodule(self.head), nn.Linear):
            raise ValueError(
                f"{type(network).__name__} does not end with a linear layer, whose place the classifier takes"
            )
        self._order, self._reach, self._uses = self._follow()

    def _note(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        name = self.names[id(module)]
        x = inputs[0] if inputs else None
        if not isinstance(x, Tensor) or not isinstance(output, Tensor):
            return
        self._alive += [x, output]
        if isinstance(module, nn.Conv2d | nn.Linear):
            sides = x.shape[1:3] if isinstance(module, nn.Linear) else x.shape[2:4]
            area = sides.numel() if x.ndim == 4 else 1
            self.layers.append(Layer(name, module, len(self.layers), area))
            self._outputs[id(output)] = name
        elif isinstance(module, _BatchNorm) and id(x) in self._outputs and x.grad_fn is not None:
            self._normalised.append((self._outputs[id(x)], name, x.grad_fn))
        if output.ndim == 4 and output.shape[-1] > 1 and output.shape[-2] > 1 and output.shape[1] > 1:
            self.maps = name

    def _follow(self) -> tuple[list[Node], dict[Node, int], dict[Node, int]]:
        """The graph's nodes, those nearer to the picture first; the layers each depends on; how often each is used."""
        bits = {id(self._weights[f"{layer.name}.weight"]): 1 << layer.bit for layer in self.layers}
        bits[id(self.input)] = PICTURE
        order: list[Node] = []
        reach: dict[Node, int] = {}
        uses: dict[Node, int] = {}
        assert self.output.grad_fn is not None
        stack = [(self.output.grad_fn, False)]
        while stack:
            node, complete = stack.pop()
            below = [following for following, _ in node.next_functions if following is not None]
            if complete:
                found = bits.get(id(getattr(node, "variable", None)), 0)
                for following in below:
                    found |= reach[following]
                reach[node] = found
                order.append(node)
            elif node not in reach:
                reach[node] = 0
                stack += [(node, True), *((following, False) for following in below)]
                for following in below:
                    uses[following] = uses.get(following, 0) + 1
        return order, reach, uses

    def residual_branches(self) -> tuple[list[int], int]:
        """Every residual branch as a set of layers (bits), and the set of all projections beside them."""
        branches, projections = [], 0
        for node in self._order:
            sides = [self._reach[following] for following, _ in node.next_functions if following is not None]
            if type(node).__name__ != "AddBackward0" or len(sides) != 2 or not sides[0] & sides[1] & PICTURE:
                continue
            shorter, longer = sorted((sides[0] & ~sides[1], sides[1] & ~sides[0]), key=int.bit_count)
            if longer:
                branches.append(longer)
            if shorter.bit_count() == 1 < longer.bit_count():
                projections |= shorter
        return branches, projections

    def norms(self) -> tuple[tuple[str, str], ...]:
        """Convolutions with the BatchNorm that alone takes their output."""
        return tuple((conv, norm) for conv, norm, node in self._normalised if self._uses.get(node) == 1)


def stages(network: nn.Module, branches: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    """The smallest module that holds each branch, in groups of one parent; modules that hold others are left out."""
    found: dict[str, None] = {}
    for names in branches:
        levels = zip(*(name.split(".")[:-1] for name in names), strict=False)
        parts = [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]
        while parts and type(network.get_submodule(".".join(parts))) in (nn.Sequential, nn.ModuleList):
            parts = parts[:-1]  # a block's own list of layers
        if parts:
            found[".".join(parts)] = None
    inner = [name for name in found if not any(other.startswith(f"{name}.") for other in found)]
    by_parent: dict[str, list[str]] = {}
    for name in inner:
        by_parent.setdefault(name.rpartition(".")[0], []).append(name)
    return tuple(tuple(names) for names in by_parent.values())
