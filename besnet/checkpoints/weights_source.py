"""What a user names as weights → tensors under the names of the network's library, and what is known of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_weight

from besnet.checkpoints import lite
from besnet.checkpoints.download import cached_file, fetched
from besnet.checkpoints.model_folder import folder_of
from besnet.checkpoints.published_weights import (
    DEFAULT,
    HUB_FILE,
    Published,
    from_torchvision,
    of_network,
    published,
)
from besnet.checkpoints.weights_file import check_hash, first_bytes, load_torch, read_weights, sha256
from besnet.models.backbones import backbone_named
from besnet.models.published import library_of, with_our_names
from besnet.text import short

# torchvision's names of what block and blocks say
RESNETS = {
    ("basic", (2, 2, 2, 2)): "resnet18", ("basic", (3, 4, 6, 3)): "resnet34", ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101", ("bottleneck", (3, 8, 36, 3)): "resnet152",
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """Tensors under the names of the network's library.

    where: the file or name that they are from, for messages. digest: the SHA-256 of their file. published: what its
    library says of them; None for a file that is in no table. like: for such a file, the published weights of the same
    network, and of the library whose names it has, that it may take videos as.
    """

    state: dict[str, Tensor]
    where: str
    digest: str
    published: Published | None
    like: Published | None = None


def library_network(model: Mapping[str, Any]) -> str:
    """The network of a `model` section as its library calls it; empty for a ResNet that no library has."""
    network: str = model.get("network", "besnet")
    if network != "besnet":
        return network
    if model.get("backbone"):
        return str(model["backbone"])
    if model.get("width", 64) != 64:
        return ""
    return RESNETS.get((model.get("block", "bottleneck"), tuple(model.get("blocks", (3, 4, 6, 3)))), "")


def resolve(source: str, network: str) -> Weights:
    """The weights that a user names, for a network by its library's name.

    source: a name of published weights (KINETICS400_V1, a1_in1k, lite, ResNet50_Weights.IMAGENET1K_V2; DEFAULT for the
    library's choice), or a file. ValueError, in one line, for what cannot be had, read, or is none of these.
    """
    if re.fullmatch(r"\w+_Weights\.\w+", source):
        return _of_published(from_torchvision(network, _entry(source)))
    if source == DEFAULT or any(source == one.name for one in of_network(network)):
        return _of_published(published(network, source))
    path = Path(source)
    if path.suffix or path.parent != Path() or path.exists():
        return _of_file(path, network)
    published(network, source)  # says which there are
    raise AssertionError


def is_of_besnet(path: Path) -> bool:
    """Whether a path is a model of besnet: a run or model folder, a file of the latter, or a checkpoint."""
    return path.is_dir() or folder_of(path) is not None or (path.is_file() and is_checkpoint(path))


def is_checkpoint(file: Path) -> bool:
    """Whether a file is a checkpoint of besnet, or called like one."""
    if file.suffix != ".ckpt" and first_bytes(file)[:2] != b"PK":
        return False
    try:
        content = load_torch(file)
    except (ValueError, RuntimeError, EOFError):
        return file.suffix == ".ckpt"  # reading it says what is wrong
    return isinstance(content, Mapping) and "besnet" in content


def _entry(name: str) -> Any:
    try:
        return get_weight(name)
    except (ValueError, AttributeError, KeyError):
        raise ValueError(f"{name}: torchvision has no such weights; see torchvision.models.list_models()") from None


def _of_file(file: Path, network: str) -> Weights:
    if file.is_dir():
        raise ValueError(
            f"{file}: a folder, not a file of weights: a run or model folder of besnet goes with --ckpt_path"
        )
    state = read_weights(file)
    if is_of_besnet(file):  # which knows its classes, and the videos that it was trained on
        raise ValueError(f"{file}: a model of besnet, not a file of weights: it goes with --ckpt_path")
    digest = sha256(file)
    renamed = _with_library_names(state, network, str(file))
    all_of_network = of_network(network)
    known = [one for one in all_of_network if one.digest and digest.startswith(one.digest)]
    library = library_of(state, network)
    # PyTorchVideo's were trained with PySlowFast
    near = [one for one in all_of_network if one.library == library.replace("PySlowFast", "PyTorchVideo")]
    like = next(iter(near or all_of_network), None)
    return Weights(renamed, str(file), digest, known[0] if known else None, None if known else like)


def _of_published(about: Published) -> Weights:
    where = f"{about.network} {about.name}"
    if about.library == "timm":
        file = _on_hub(about) or fetched(about.url, about.file_name, about.digest, where)
        return Weights(_through_timm(about, file), where, sha256(file), about)
    if about.name == "lite":
        file = lite.lite_file(about.network)
    else:
        file = fetched(about.url, about.file_name, about.digest, where)
    state = read_weights(file, about.digest)
    return Weights(_with_library_names(state, about.network, str(file)), where, sha256(file), about)


def _with_library_names(state: dict[str, Tensor], network: str, where: str) -> dict[str, Tensor]:
    if lite.is_lite(state):
        with torch.device("meta"):
            return lite.with_timms_names(state, backbone_named(network), where)
    try:
        return with_our_names(state, network)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _on_hub(about: Published) -> Path | None:
    """The file in the cache of the Hugging Face hub, where timm has put it before; its name there is its hash."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(_timm_name(about))
    found = try_to_load_from_cache(config.hf_hub_id, HUB_FILE) if config and config.hf_hub_id else None
    if not isinstance(found, str) or cached_file(about.file_name).exists():
        return None
    file = Path(found)
    if re.fullmatch(r"[0-9a-f]{64}", file.resolve().name):
        check_hash(file, file.resolve().name)
    return file


def _timm_name(about: Published) -> str:
    return f"{about.network.rpartition('/')[2]}.{about.name}"


def _through_timm(about: Published, file: Path) -> dict[str, Tensor]:
    """The state dict as timm renames and checks it."""
    import timm

    read_weights(file)  # refused before timm sees it: what is no file of weights, or not finite
    overlay = {"file": str(file), "custom_load": False}
    try:
        network = timm.create_model(_timm_name(about), pretrained=True, pretrained_cfg_overlay=overlay)
    except RuntimeError as error:
        why = short(" ".join(str(error).split()), 200)
        raise ValueError(f"{file}: not the weights that timm calls {_timm_name(about)}: {why}") from None
    return dict(network.state_dict())
