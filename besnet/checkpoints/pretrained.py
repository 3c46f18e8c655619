"""Where a network's weights come from before its first step: ImageNet, or another run of besnet."""

from pathlib import Path

from torch import Tensor

from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.checkpoints.imagenet import flattened, inflate_into, load_imagenet
from besnet.models.besnet import BesNet


def load_pretrained(network: BesNet, source: str, classes: list[str]) -> tuple[str, Tensor | None]:
    """Fill the network from `source`; returns one sentence that says what was loaded and what was not, and what tells
    the videos that those weights were trained on from others, where that is known.

    source: 2D weights as `load_imagenet` takes them, or a checkpoint or run folder of besnet. Of the latter the moving
    average is taken where there is one, and the last layer only if it knows the same classes in the same order.
    classes: those that the network will be trained on. ValueError for weights that do not fit.
    """
    path = Path(source)
    if not path.is_dir() and path.suffix != ".ckpt":
        load_imagenet(network, source)
        return f"starting from {source}, inflated", None
    stored = store.read(path)
    file, trained = stored.path, rebuild(stored.content, where=str(stored.path))
    own_head = {name: value.clone() for name, value in network.state_dict().items() if name.startswith("fc.")}
    same_classes = trained.classes == classes
    theirs = trained.network.state_dict()
    if path.is_dir() and not trained.network.dilations and trained.network.hidden is None:
        inflate_into(network, flattened(theirs), str(file))
    else:
        if not same_classes:
            theirs |= own_head
        try:
            network.load_state_dict(theirs)
        except RuntimeError as error:
            raise ValueError(
                f"{file}: weights of another network than the config's model ({str(error).splitlines()[1].strip()})"
            ) from None
    if same_classes:
        return f"starting from {file}, all of its weights", trained.trained_on
    network.load_state_dict(own_head, strict=False)
    return (
        f"starting from {file}, all but its last layer: it knows {len(trained.classes)} other classes, and the "
        f"{len(classes)} of this data get a new one"
    ), trained.trained_on
