"""2D networks by name, without weights: timm's and torchvision's."""

import difflib

import torchvision
from torch import nn

# whose second head would come out beside the logits in training; torchvision's default for their start only warns
ONE_HEAD = {name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")}


def backbone_named(name: str) -> nn.Module:
    """A 2D classifier by the name that timm gives it, or torchvision for what timm has not. ValueError for neither.

    Names with a prefix say which library is meant: timm/resnet50, torchvision/resnet50.
    """
    import timm  # takes a second to import

    library, _, short = name.rpartition("/")
    if library not in ("", "timm", "torchvision"):
        raise ValueError(f"model.backbone {name!r}: timm/NAME, torchvision/NAME or NAME is expected")
    others = torchvision.models.list_models(torchvision.models)
    if library != "torchvision" and short in timm.list_models():
        return timm.create_model(short, pretrained=False)
    if library != "timm" and short in others:
        return torchvision.models.get_model(short, weights=None, **ONE_HEAD.get(short, {}))
    near = difflib.get_close_matches(short, [*timm.list_models(), *others], n=1)
    hint = f": did you mean {near[0]!r}?" if near else ": timm.list_models() says which there are"
    raise ValueError(f"model.backbone: there is no {name!r}{hint}")
