"""What of a network is frozen, and how fast its other parts learn: by their depth, see besnet.models.depth."""

import textwrap
from collections.abc import Iterable
from typing import Any, Literal

from torch import nn

from besnet.models.depth import Depth, depths

Freeze = Literal["backbone"] | int | None


def frozen_depths(network: nn.Module, freeze: Freeze) -> list[Depth]:
    """The depths that do not learn: none, all but the last layer ("backbone"), or the stem and so many blocks.

    ValueError where the network has fewer blocks.
    """
    body = depths(network)[:-1]
    if freeze is None:
        return []
    if freeze != "backbone" and freeze >= len(body):
        raise ValueError(
            f"recipe.freeze {freeze}: the network has {len(body) - 1} blocks after its stem ({body[0].name} to "
            f"{body[-1].name}): at most {len(body) - 1} is expected, or backbone"
        )
    return body if freeze == "backbone" else body[: freeze + 1]


def freeze_depths(network: nn.Module, freeze: Freeze) -> tuple[str, ...]:
    """Take the gradients from what is frozen, so that its forward pass keeps no graph. Returns the names of its
    modules, which stay in evaluation mode."""
    chosen = frozen_depths(network, freeze)
    weights = dict(network.named_parameters())
    for depth in chosen:
        for name in depth.parameters:
            weights[name].requires_grad_(False)
    return tuple(name for depth in chosen for name in depth.modules)


def groups(
    network: nn.Module, lr: float, weight_decay: float, layer_decay: float | None, head_lr: float | None
) -> list[dict[str, Any]]:
    """The optimiser's groups: parameters that decay (matrices, filters) and those that do not; and, where the learning
    rate goes by depth, two such groups for each depth, the last layer's first.

    The learning rate of depth d of D is lr * layer_decay ** (D - d), and the last layer's is lr * head_lr.
    """
    if layer_decay is None and head_lr is None:
        return by_decay(network.parameters(), lr, weight_decay)
    weights = dict(network.named_parameters())
    found = []
    for steps, depth in enumerate(reversed(depths(network))):
        rate = lr * (head_lr or 1.0) if steps == 0 else lr * (layer_decay or 1.0) ** steps
        found += by_decay((weights[name] for name in depth.parameters), rate, weight_decay)
    return [group for group in found if group["params"]]


def by_decay(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the parameters that learn: those with weight decay, and biases and norms without."""
    learning = [weight for weight in parameters if weight.requires_grad]
    decaying, others = [w for w in learning if w.ndim > 1], [w for w in learning if w.ndim <= 1]
    return [
        {"params": decaying, "lr": lr, "weight_decay": weight_decay},
        {"params": others, "lr": lr, "weight_decay": 0.0},
    ]


def described(network: nn.Module, freeze: Freeze, optimizer_groups: list[dict[str, Any]] | None) -> list[str]:
    """What is frozen and, where they go by depth, the learning rates: a few lines; none where nothing is to say."""
    lines, weights = [], dict(network.named_parameters())
    frozen = frozen_depths(network, freeze)
    if frozen:
        total = sum(weight.numel() for weight in weights.values())
        still = sum(weights[name].numel() for depth in frozen for name in depth.parameters)
        names = frozen[0].name if len(frozen) == 1 else f"{frozen[0].name} to {frozen[-1].name}"
        lines.append(f"frozen: {names}, {still / 1e6:.2f} of {total / 1e6:.2f} M parameters")
    if optimizer_groups is not None:
        rates = {id(weight): group["lr"] for group in optimizer_groups for weight in group["params"]}
        parts = []
        for depth in reversed(depths(network)):
            known = [rates[id(weights[name])] for name in depth.parameters if id(weights[name]) in rates]
            parts += [f"{depth.name} {known[0]:.3g}"] if known else []
        lines += textwrap.wrap(f"learning rates: {', '.join(parts)}", 118, subsequent_indent="  ")
    return lines
