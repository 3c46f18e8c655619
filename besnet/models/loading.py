"""Weights with the names of a network's library → the network, every one in its place.

Only three things need not match, each by a rule with a name: counters of batches (PyTorch's older files have none), a
second head that a library trains with and that besnet leaves out, and, where a training asks for it, the last layer.
"""

from collections.abc import Mapping

from torch import Tensor

from besnet.models.besnet import BesNet
from besnet.models.inflate import InflatedNetwork
from besnet.models.inflation import inflate_weights, own_name
from besnet.models.network import Network
from besnet.models.video_networks import VideoNetwork

# torchvision's GoogLeNet and Inception, timm's distilled networks
SECOND_HEADS = ("aux1.", "aux2.", "AuxLogits.", "aux_logits.", "head_dist.")


def library_head(network: Network) -> str:
    """The name of the last layer in the network's library. ValueError where it is not known."""
    if isinstance(network, InflatedNetwork):
        return network.anatomy.head
    if not network.head:
        raise ValueError("the network's last layer is not known: one Linear with an output for each class is expected")
    return library_name(network, network.head)


def library_name(network: Network, name: str) -> str:
    """The name that a weight or layer of a network has in its library."""
    if isinstance(network, InflatedNetwork):
        return own_name(name, network.anatomy.head)
    return name.removeprefix("network.")


def load_library_weights(network: Network, flat: Mapping[str, Tensor], where: str, new_head: bool) -> bool:
    """Fill a network with weights under its library's names; returns whether its last layer stays as it is.

    new_head: a training may leave out a last layer of other classes, or without one; else it is loaded, too. ValueError
    names `where` the weights are from and the first name that does not match.
    """
    target = {library_name(network, name): value for name, value in network.state_dict().items()}
    state = {name: value for name, value in flat.items() if name in target or not name.startswith(SECOND_HEADS)}
    kept = False
    if new_head:
        head = f"{library_head(network)}."
        own = {name: value for name, value in target.items() if name.startswith(head)}
        kept = any(name not in state or state[name].shape != value.shape for name, value in own.items())
        if kept:
            for name, value in own.items():
                if name in state and state[name].shape[1:] != value.shape[1:]:
                    raise ValueError(f"{where}: {mismatch(name, state[name], value)}")
            state |= own
    elif network.head:
        head = f"{library_head(network)}."
        if not any(name.startswith(head) for name in state):
            raise ValueError(
                f"{where}: it has no weights for the last layer ({head[:-1]}): a training can start from it, but it "
                "predicts nothing"
            )
    counters = {name: value for name, value in target.items() if name.endswith("num_batches_tracked")}
    state = counters | state
    if isinstance(network, BesNet):
        try:
            network.load_state_dict(inflate_weights(state, network, network.inflation))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return kept
    check_names(state, target, where)
    assert isinstance(network, VideoNetwork)
    network.load_state_dict({name: state[library_name(network, name)] for name in network.state_dict()})
    return kept


def check_names(state: Mapping[str, Tensor], target: Mapping[str, Tensor], where: str) -> None:
    """ValueError for the first name that is missing, too much, or of another shape."""
    lacking, besides = sorted(target.keys() - state.keys()), sorted(state.keys() - target.keys())
    if lacking:
        more = f" ({len(lacking)} such names)" if len(lacking) > 1 else ""
        raise ValueError(f"{where}: weights of another network: {lacking[0]!r} is missing{more}")
    if besides:
        more = f" ({len(besides)} such names)" if len(besides) > 1 else ""
        raise ValueError(f"{where}: weights of another network: {besides[0]!r} has no place in it{more}")
    for name, value in target.items():
        if state[name].shape != value.shape:
            raise ValueError(f"{where}: {mismatch(name, state[name], value)}")


def mismatch(name: str, found: Tensor, expected: Tensor) -> str:
    """The message for a weight of another shape."""
    shapes = f"{tuple(found.shape)}, and {tuple(expected.shape)} is expected"
    return f"weights of another network: {name!r} has the shape {shapes}"
