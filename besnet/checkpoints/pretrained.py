"""Where a network's weights come from before its first step: ImageNet, or another run of besnet."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.checkpoints.imagenet import inflate_into, load_imagenet
from besnet.models.network import Network, Normalisation


@dataclass(frozen=True)
class Start:
    """What a network starts from.

    said: one sentence on what was loaded and what was not. normalisation: of the pixels that the weights were trained
    on; None where they do not say. trained_on: fingerprints of the videos that they were trained on; None if unknown.
    """

    said: str
    normalisation: Normalisation | None = None
    trained_on: Tensor | None = None


def load_pretrained(network: Network, source: str, classes: list[str], named: str | None = None) -> Start:
    """Fill the network from `source`.

    source: 2D weights as `load_imagenet` takes them, or a checkpoint or run folder of besnet. Of the latter the moving
    average is taken where there is one, and the last layer only if it knows the same classes in the same order.
    classes: those that the network will be trained on. named: the class of a network of the user's own (see
    besnet.checkpoints.weights.fill). ValueError for weights that do not fit.
    """
    path = Path(source)
    if not path.is_dir() and path.suffix != ".ckpt":
        load_imagenet(network, source)
        return Start(f"starting from {source}, inflated")
    stored = store.read(path)
    file, trained = stored.path, rebuild(stored.content, where=str(stored.path), named=named)
    head = f"{network.head}."
    own_head = {name: value.clone() for name, value in network.state_dict().items() if name.startswith(head)}
    same_classes = trained.classes == classes
    flat = trained.network.flat_weights()
    if flat is not None:
        inflate_into(network, flat, str(file))
        theirs = network.state_dict()
    else:
        theirs = trained.network.state_dict()
    if not same_classes:
        theirs = theirs | own_head
    try:
        network.load_state_dict(theirs)
    except RuntimeError as error:
        raise ValueError(
            f"{file}: weights of another network than the config's model ({str(error).splitlines()[1].strip()})"
        ) from None
    said = f"starting from {file}, all of its weights"
    if not same_classes:
        said = (
            f"starting from {file}, all but its last layer: it knows {len(trained.classes)} other classes, and the "
            f"{len(classes)} of this data get a new one"
        )
    return Start(said, trained.network.normalisation, trained.trained_on)
