"""The depths of a network, from its stem to its last layer: what is frozen, or learns more slowly, goes by them.

Depth follows the order in which a network defines its layers, for 2D backbones and video networks alike. A depth is a
module with weights: an item of a list of modules (nn.Sequential, nn.ModuleList), or what a network holds beside its
lists; classes that a library made for a block or a stage are not taken apart.
"""

from dataclasses import dataclass

from torch import nn

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Depth:
    """The modules of one depth, and their parameters, by name. Norms belong to the layer that they follow, modules
    without any weights (a dropout) to the one that they precede."""

    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    name: str  # of its first layer


def depths(network: nn.Module) -> list[Depth]:
    """All depths: the stem, the blocks, the last layer. Every parameter is in exactly one of them.

    The last layer is the one that the network names in `head` (with the hidden layer of an MLP, where it has one), or
    the last that it defines.
    """
    modules = dict(network.named_modules())
    pieces = outermost(network)
    heads = heads_of(network) or [name for name in pieces if has_matrix(modules[name])][-1:]
    found: list[list[str]] = []
    waiting: list[str] = []
    last: list[str] = []
    for name in pieces:
        module = modules[name]
        if name in heads:
            last += [*waiting, name]
        elif has_matrix(module):
            found.append([*waiting, name])
        elif found and any(True for _ in [*module.parameters(), *module.buffers()]):
            found[-1] += [*waiting, name]
        else:
            waiting.append(name)
            continue
        waiting = []
    names = [*found, last]
    places = {parameter: number for number, some in enumerate(names) for parameter in parameters_of(network, some)}
    # what a network holds itself, such as the embedding of positions, comes before its blocks
    by_depth: list[list[str]] = [[] for _ in names]
    for parameter, _ in network.named_parameters():
        by_depth[places.get(parameter, 0)].append(parameter)
    return [
        Depth(tuple(some), tuple(parameters), next((name for name in some if has_matrix(modules[name])), ""))
        for some, parameters in zip(names, by_depth, strict=True)
    ]


def outermost(network: nn.Module) -> list[str]:
    """The names of the modules that make up a network, in the order of their definition."""
    modules, heads = dict(network.named_modules()), heads_of(network)

    def children(name: str) -> list[str]:
        return [f"{name}.{child}".lstrip(".") for child, _ in modules[name].named_children()]

    def taken_apart(names: list[str]) -> list[str]:
        found = []
        for name in names:
            opened = type(modules[name]) in LISTS or any(head.startswith(f"{name}.") for head in heads)
            found += taken_apart(children(name)) if opened and name not in heads else [name]
        return found

    pieces = taken_apart(children(""))
    while True:
        layers = [name for name in pieces if has_matrix(modules[name]) and name not in heads]
        body = layers if heads or len(layers) == 1 else layers[:-1]
        if len(body) != 1 or not children(body[0]):
            return pieces
        # everything is in one module: a backbone, or the network itself in its wrapper
        place = pieces.index(body[0])
        pieces[place : place + 1] = taken_apart(children(body[0]))


def heads_of(network: nn.Module) -> list[str]:
    """The names of the last layer and of the hidden layer before it, as far as the network has and names them."""
    named = [getattr(network, "head", ""), "hidden" if isinstance(getattr(network, "hidden", None), nn.Module) else ""]
    return [name for name in named if isinstance(name, str) and name]


def has_matrix(module: nn.Module) -> bool:
    """Whether a module has weights that are more than one number a channel."""
    return any(weight.ndim > 1 for weight in module.parameters())


def parameters_of(network: nn.Module, names: list[str]) -> list[str]:
    """The names of the parameters of some of its modules."""
    return [f"{name}.{own}" for name in names for own, _ in network.get_submodule(name).named_parameters()]
