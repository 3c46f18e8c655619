"""A file of weights, whoever wrote it → names and tensors. What is no such file is recognised by its first bytes."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from besnet.checkpoints.arrays import check_zip
from besnet.text import short

# where training programs keep the weights among other things
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "weights", "params")
PREFIXES = ("module.", "model.", "backbone.", "network.", "net.", "encoder.", "_orig_mod.")
NOT_WEIGHTS = [
    (rb"version https://git-lfs", "a Git-LFS pointer and not the file itself: run `git lfs pull`, or download it"),
    (rb"\s*<(!doctype|html|\?xml)", "a web page and not the file itself: download it again"),
    (rb"\x89HDF\r\n", "an HDF5 file (Keras): convert it to PyTorch's or safetensors first"),
    (rb"\x1f\x8b", "compressed with gzip: unpack it first"),
    (rb"\s*\{", "a JSON file: name the file of weights beside it"),
    (rb"%PDF", "a PDF"),
    (rb"\x93NUMPY", "a NumPy array: save a state dict with torch.save(model.state_dict(), …)"),
    (rb"\x08.\x12", "an ONNX file, which is for inference alone: give the PyTorch weights that it was made from"),
    (rb"....TFL3", "a TensorFlow Lite file: convert it to PyTorch's or safetensors first"),
    (rb"BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "a compressed archive: unpack it first"),
    (
        rb"\x80[\x02-\x05](?!\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.)",
        "a pickle that torch.save did not write (Caffe2's model zoo has such): it is not read, because a pickle can "
        "execute anything; convert it to PyTorch's or safetensors where you trust it",
    ),
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
    safetensors = file.suffix == ".safetensors" or head[8:10] == b'{"'
    for pattern, what in NOT_WEIGHTS:
        if not (safetensors and head[8:9] == b"{") and re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            raise ValueError(f"{file}: {what}")
    if head[TAR_MAGIC] == b"ustar":
        raise ValueError(f"{file}: a tar archive: unpack it and name the file of weights in it")
    if expected:
        check_hash(file, expected)
    try:
        content: Any = load_file(file) if safetensors else load_torch(file)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        if str(error).startswith(str(file)):
            raise
        why = short(" ".join(str(error).split()), 120)
        raise ValueError(f"{file}: damaged, or not a file of weights ({why})") from None
    return cleaned(file, content)


def load_torch(file: Path) -> Any:
    """What torch.save wrote; nothing in it is executed. ValueError for a zip of others, and for more than weights."""
    zipped = zipfile.is_zipfile(file)
    if zipped:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        if not any(name.endswith("data.pkl") for name in names):
            numpy = any(name.endswith(".npy") for name in names)
            raise ValueError(f"{file}: {'a NumPy archive (.npz)' if numpy else 'a zip'} and not what torch.save wrote")
        if any(name.endswith("constants.pkl") for name in names):
            raise ValueError(f"{file}: a TorchScript archive: save a state dict with torch.save(m.state_dict(), …)")
        with open(file, "rb") as stream:
            check_zip(file, stream, packed=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are then refused
            # mapped: torch's reader takes the size of a tensor from the pickle without comparing it with the bytes
            return torch.load(file, "cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        kind = re.search(r"GLOBAL (\S+)", str(error))
        if kind is None:
            raise ValueError(f"{file}: damaged, or not a file of weights") from None
        raise ValueError(
            f"{file}: refused: it holds more than tensors and plain values ({short(kind[1])}): save its state dict "
            "alone with torch.save, where you trust it"
        ) from None


def first_bytes(file: Path) -> bytes:
    """The beginning of a file. ValueError where there is none."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file of weights")
    with open(file, "rb") as stream:
        head = stream.read(512)
    if not head:
        raise ValueError(f"{file}: an empty file")
    return head


def sha256(file: Path) -> str:
    """A file's hash, 64 digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_hash(file: Path, expected: str) -> None:
    """ValueError where a file's SHA-256 does not begin with what is expected."""
    actual = sha256(file)
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
        raise ValueError(f"{file}: {NO_STATE_DICT}")
    found = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not found:
        raise ValueError(f"{file}: {NO_STATE_DICT}")
    for prefix in PREFIXES * 2:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    for name, value in found.items():
        if value.is_floating_point():
            if not value.isfinite().all():
                raise ValueError(f"{file}: {name} holds values that are not finite: these weights cannot be used")
            found[name] = value.float()
    return found


NO_STATE_DICT = "holds no state dict, names with tensors; save it with torch.save(m.state_dict(), …)"
