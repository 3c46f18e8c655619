"""The migrations of tensors: of a checkpoint's weights and moments, and of a model folder's weights."""

from typing import Any

HEADS = ("fc.", "hidden.")  # BesNet's own layers, beside those of its 2D network


def checkpoint_2(old: dict[str, Any]) -> dict[str, Any]:
    """Format 1 to 2 of a checkpoint: see weights_2; the moments of the optimisers follow, their order stays."""
    new = dict(old)
    if isinstance(weights := old.get("state_dict"), dict):
        found: dict[str, Any] = {}
        for name, value in weights.items():
            before, network, own = str(name).rpartition("network.")
            found |= {f"{before}{network}{new_name}": v for new_name, v in weights_2({own: value}).items()}
        new["state_dict"] = found
    if "optimizer_states" in old:
        new["optimizer_states"] = flat_filters(old["optimizer_states"])
    return new


def weights_2(old: dict[str, Any]) -> dict[str, Any]:
    """Format 1 to 2 of a BesNet's weights: it is made from a 2D network, `backbone`, whose filters are 2D."""
    return {name if name.startswith(HEADS) else f"backbone.{name}": flat_filters(value) for name, value in old.items()}


def flat_filters(value: Any) -> Any:
    """The same with filters of one frame, (C_out, C_in, 1, k, k), as those of pictures, (C_out, C_in, k, k)."""
    if isinstance(value, dict):
        return {name: flat_filters(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [flat_filters(inner) for inner in value]
    from torch import Tensor  # what has no tensors is read without torch, which takes 150 MB

    return value.squeeze(2) if isinstance(value, Tensor) and value.ndim == 5 and value.shape[2] == 1 else value
