"""Starts a network from torchvision's ImageNet weights, by name or from a local file."""

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load
from torch import Tensor
from torchvision.models import get_weight

from besnet.checkpoints import store
from besnet.checkpoints.arrays import check_zip
from besnet.checkpoints.header import rebuild
from besnet.checkpoints.weights import check_finite
from besnet.models.network import Network
from besnet.text import short


def load_imagenet(model: Network, weights: str | Path) -> None:
    """Fill the network with inflated 2D weights; its last layer stays as it is where the number of classes differs.

    weights: a name that torchvision knows ("ResNet50_Weights.IMAGENET1K_V2"), downloaded once and checked against its
    hash, a local file of the same state dict (.pth, .pt or .safetensors), or the run folder of a 2D network of besnet.
    Raises ValueError in one line, saying what to do, for an unknown name, a file that cannot be had or read, a wrong
    hash and the weights of another network.
    """
    named = re.fullmatch(r"\w+_Weights\.\w+", str(weights))
    inflate_into(model, fetch(str(weights)) if named else read(Path(weights)), str(weights))


def inflate_into(model: Network, flat: dict[str, Tensor], where: str) -> None:
    """Fill the network with these 2D weights. ValueError that names `where` they come from if they do not fit it."""
    check_finite(flat, where)
    try:
        model.load_flat(flat)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def fetch(name: str) -> dict[str, Tensor]:
    """The state dict that torchvision publishes under a name, from the download cache or the net."""
    try:
        entry = get_weight(name)
    except (ValueError, AttributeError, KeyError):
        raise ValueError(f"{name}: torchvision knows no such weights; try ResNet50_Weights.IMAGENET1K_V1") from None
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    if cached.exists():
        return read(cached)
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (URLError, OSError) as error:
        raise ValueError(
            f"{name}: cannot download {entry.url} ({error}); put that file at {cached}, or name a local copy instead"
        ) from None
    except RuntimeError as error:  # torchvision's answer to a wrong hash
        raise ValueError(f"{name}: the download of {entry.url} is damaged ({error}); try again") from None


def read(file: Path) -> dict[str, Tensor]:
    """The state dict in a file. A name such as resnet50-0676ba61.pth carries its hash, which is then checked."""
    if file.is_dir():
        return read_run(file)
    if not file.is_file():
        raise ValueError(
            f"{file}: no such file; give a local .pth or .safetensors, or a name such as ResNet50_Weights.DEFAULT"
        )
    named_hash = re.search(r"-([0-9a-f]{8,})\.\w+$", file.name)
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
        if named_hash and not actual.startswith(named_hash[1]):
            raise ValueError(
                f"{file}: damaged, its hash begins with {actual[:8]} and not {named_hash[1]}; download it again"
            )
        zipped = zipfile.is_zipfile(stream)
        if zipped:
            check_zip(file, stream, packed=False)
        try:
            if file.suffix == ".safetensors":
                stream.seek(0)
                content = load(stream.read())
            else:  # mapped: see besnet.checkpoints.store
                content = torch.load(f"/dev/fd/{stream.fileno()}", "cpu", weights_only=True, mmap=zipped)
        except Exception as error:  # what a damaged or foreign file makes torch raise is anything
            raise ValueError(f"{file}: not a file of weights ({short(' '.join(str(error).split()), 200)})") from None
    return state_dict_of(content, file)


def state_dict_of(content: Any, file: Path) -> dict[str, Tensor]:
    """What a file holds, if it is names with tensors."""
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(
            f"{file}: holds no state dict, names with tensors; save it with torch.save(model.state_dict(), ...)"
        )
    return content


def read_run(folder: Path) -> dict[str, Tensor]:
    """The state dict of the 2D network that a run trained, as its library would have it."""
    stored = store.read(folder)
    flat = rebuild(stored.content, where=str(stored.path)).network.flat_weights()
    if flat is None:
        raise ValueError(f"{folder}: not the run of a 2D network (model.dilations []), which alone can be inflated")
    return flat
