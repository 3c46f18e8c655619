"""A file of weights, whoever wrote it → names and tensors. What is no such file is recognised by its first bytes."""

import hashlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# where training programs keep the weights among other things
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "weights", "params")
PREFIXES = ("module.", "model.", "backbone.", "network.", "net.", "encoder.", "_orig_mod.")
NOT_WEIGHTS = [
    (rb"version https://git-lfs", "a Git-LFS pointer and not the file itself: run `git lfs pull`, or download it"),
    (rb"\s*<(!doctype|html|\?xml)", "a web page and not the file itself: download it again"),
    (rb"\x89HDF\r\n", "an HDF5 file (Keras): convert it to PyTorch's or safetensors first"),
    (rb"\x1f\x8b", "compressed with gzip: unpack it first"),
    (rb"\{", "a JSON file"),
    (rb"%PDF", "a PDF"),
]
TAR_MAGIC = slice(257, 262)


def read_weights(file: Path, digest: str | None = None) -> dict[str, Tensor]:
    """The state dict in a file: .pth, .pt, .bin, .ckpt (PyTorch) or .safetensors; float32 where it holds halves.

    Weights inside of a training program's checkpoint are found, and a prefix that all names share is taken off.
    digest: the SHA-256 that the file must have, or its beginning; a name such as resnet50-0676ba61.pth carries its own.
    ValueError in one line for what is not there, damaged, not weights, or not finite.
    """
    head = first_bytes(file)
    named = re.search(r"-([0-9a-f]{8,})\.\w+$", file.name)
    expected = digest or (named[1] if named else None)
    if expected:
        check_hash(file, expected)
    safetensors = file.suffix == ".safetensors" or head[8:10] == b'{"'
    for pattern, what in NOT_WEIGHTS:
        if not safetensors and re.match(pattern, head, re.IGNORECASE):
            raise ValueError(f"{file}: {what}")
    if head[TAR_MAGIC] == b"ustar":
        raise ValueError(f"{file}: a tar archive: unpack it and name the file of weights in it")
    try:
        if safetensors:
            content: Any = load_file(file)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pickles that are then refused
                content = torch.load(file, "cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"{file}: refused: no file of weights, or one that holds more than tensors and plain values "
            f"({str(error).splitlines()[0][:120]})"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{file}: damaged, or not a file of weights ({str(error).splitlines()[0][:120]})") from None
    return cleaned(file, content)


def first_bytes(file: Path) -> bytes:
    """The beginning of a file. ValueError where there is none."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file of weights")
    with open(file, "rb") as stream:
        head = stream.read(512)
    if not head:
        raise ValueError(f"{file}: an empty file")
    return head


def check_hash(file: Path, expected: str) -> None:
    """ValueError where a file's SHA-256 does not begin with what is expected."""
    with open(file, "rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if not actual.startswith(expected):
        raise ValueError(
            f"{file}: damaged, its hash begins with {actual[:8]} and not {expected[:8]}; download it again"
        )


def cleaned(file: Path, content: Any) -> dict[str, Tensor]:
    """Names and tensors from what a file holds."""
    state = content
    for _ in range(3):
        inner = [name for name in WRAPPERS if isinstance(state, Mapping) and isinstance(state.get(name), Mapping)]
        if not inner:
            break
        state = state[inner[0]]
    if not isinstance(state, Mapping):
        raise ValueError(f"{file}: holds no state dict, names with tensors; save it with torch.save(m.state_dict(), …)")
    found = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not found:
        raise ValueError(f"{file}: holds no state dict, names with tensors; save it with torch.save(m.state_dict(), …)")
    for prefix in PREFIXES * 2:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    for name, value in found.items():
        if value.is_floating_point():
            if not value.isfinite().all():
                raise ValueError(f"{file}: {name} holds values that are not finite: these weights cannot be used")
            found[name] = value.float()
    return found
