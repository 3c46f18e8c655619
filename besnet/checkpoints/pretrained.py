"""Where a network's weights come from before its first step: ImageNet, or another run of besnet."""

from pathlib import Path

from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.checkpoints.imagenet import load_imagenet
from besnet.models.besnet import BesNet


def load_pretrained(network: BesNet, source: str, classes: list[str]) -> str:
    """Fill the network from `source`; returns one sentence that says what was loaded and what was not.

    source: 2D weights as `load_imagenet` takes them, or a checkpoint or run folder of besnet. Of the latter the moving
    average is taken where there is one, and the last layer only if it knows the same classes in the same order.
    classes: those that the network will be trained on. ValueError for weights that do not fit.
    """
    path = Path(source)
    if not path.is_dir() and path.suffix != ".ckpt":
        load_imagenet(network, source)
        return f"starting from {source}, inflated"
    file = store.resolve(path)
    trained = rebuild(store.load(file))
    own_head = {name: value.clone() for name, value in network.state_dict().items() if name.startswith("fc.")}
    same_classes = trained.classes == classes
    if path.is_dir() and not trained.network.dilations and trained.network.hidden is None:
        load_imagenet(network, path)
    else:
        theirs = trained.network.state_dict()
        if not same_classes:
            theirs |= own_head
        try:
            network.load_state_dict(theirs)
        except RuntimeError as error:
            raise ValueError(
                f"{file}: weights of another network than the config's model ({str(error).splitlines()[1].strip()})"
            ) from None
    if same_classes:
        return f"starting from {file}, all of its weights"
    network.load_state_dict(own_head, strict=False)
    return (
        f"starting from {file}, all but its last layer: it knows {len(trained.classes)} other classes, and the "
        f"{len(classes)} of this data get a new one"
    )
