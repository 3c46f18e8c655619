"""Blocks whose activations are computed again in the backward pass instead of being kept: memory for time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Prepare = Callable[[nn.Module, Callable[..., Tensor]], Callable[..., Tensor]]


def recompute_blocks(blocks: list[nn.Module], prepare: Prepare) -> None:
    """Let each block recompute itself. prepare: gives what to run again from (block, its forward pass)."""
    for block in blocks:
        kind: Any = type(block)
        # a class of the same name: parameters, buffers and their names stay where they are
        block.__class__ = type(kind.__name__, (Recomputed, kind), {"prepare": staticmethod(prepare)})


class Recomputed(nn.Module):
    """What a block becomes; `prepare` belongs to the class that is made for it."""

    prepare: Prepare

    def forward(self, *inputs: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*inputs)
        if torch.compiler.is_compiling():  # a compiler repeats no side effects, and sees what the block sees now
            return checkpoint(super().forward, *inputs, use_reentrant=False)
        once = self.prepare(self, super().forward)
        return checkpoint(once, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_kept(self)))


@contextmanager
def statistics_kept(block: nn.Module) -> Iterator[None]:
    """BatchNorms look at a batch again without counting it a second time in their statistics."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1
