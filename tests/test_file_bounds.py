"""What a file claims is compared with a bound before anything is taken for it: refused at once, with little memory."""

import io
import json
import resource
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import besnet
from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.arrays import read_arrays
from besnet.checkpoints.header import rebuild
from besnet.evaluation import metrics
from besnet.report.evaluation_page import add_confusion
from besnet.report.page import Page
from besnet.settings import read_settings
from tests import untrained


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """No test here may take more than 1 GiB of address space beside what is taken already."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    "change",
    [{"width": 4000}, {"width": 10**9}, {"blocks": [10**6]}, {"blocks": [1] * 1000}, {"num_classes": 10**7},
     {"dilations": list(range(1, 100_000))}, {"dilations": [10**12]}, {"frame_features": True}],
)  # fmt: skip
def test_a_network_that_its_weights_are_not_of_is_not_built(change: dict[str, Any]) -> None:
    made = untrained.content(["a", "b"])
    made["besnet"]["model"] |= change
    began = time.process_time()
    with pytest.raises(ValueError, match=r"model|weights|class names"):
        rebuild(made)
    assert time.process_time() - began < 30


def test_a_weight_larger_than_its_bytes_is_refused() -> None:
    """A view of one number as any number of them: a few bytes in a file."""
    made = untrained.content(["a", "b"])
    made["besnet"]["model"] |= {"width": 512, "blocks": [1, 1]}
    with torch.device("meta"):
        shapes = besnet.models.besnet.BesNet(**made["besnet"]["model"]).state_dict()
    made["state_dict"] = {f"network.{name}": torch.zeros([]).expand(value.shape) for name, value in shapes.items()}
    with pytest.raises(ValueError, match=r"claim .* bytes, and .* are there"):
        rebuild(made)


def repacked(path: Path, method: int) -> Path:
    """The same zip with its entries compressed."""
    packed = path.with_name("packed.ckpt")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", method) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return packed


def test_a_packed_checkpoint_is_refused_unread(tmp_path: Path) -> None:
    made = untrained.content(["a", "b"]) | {"bomb": torch.zeros(2**26)}
    path = store.save(made, tmp_path, 1)
    packed = repacked(path, zipfile.ZIP_DEFLATED)
    path.unlink()
    assert packed.stat().st_size < 2**21
    with pytest.raises(ValueError, match="entries are compressed"):
        store.read(packed)


def array_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_arrays_that_claim_more_than_their_file_are_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, a=np.zeros(2**25))
    with pytest.raises(ValueError, match="that claim to hold"):
        read_arrays(tmp_path / "x.npz", packed.getvalue())
    claim = array_bytes(np.zeros(4)).replace(b"(4,)", b"(2305843009213693952,)").replace(b" " * 18 + b"\n", b"\n")
    large = io.BytesIO()
    with zipfile.ZipFile(large, "w") as archive:
        archive.writestr("a.npy", claim)
    with pytest.raises(ValueError, match=r"x\.npz"):
        read_arrays(tmp_path / "x.npz", large.getvalue())


def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    arrays = {
        "ids": np.array(["a", "bé"]), "empty": np.zeros((0, 3), np.float32), "one": np.array(3), "flags": np.eye(3) > 0,
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "none": np.array([], dtype=np.str_),
    }  # fmt: skip
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    found = read_arrays(tmp_path / "x.npz", file.getvalue())
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


LAUGHS = "a: &a [x, x]\n" + "".join(f"{chr(n)}: &{chr(n)} [*{chr(n - 1)}, *{chr(n - 1)}]\n" for n in range(98, 122))


@pytest.mark.parametrize(
    "text", [LAUGHS, "model: " + "[" * 100_000, "- " * 100_000, "a: " * 3 + "{" * 5000, "x" * 10**7]
)
def test_yaml_of_any_size_from_a_few_letters_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        read_settings(path)
    for verb in ("train", "lab"):
        with pytest.raises(SystemExit) as ended:
            cli.run(verb, [f"--config={path}", f"--out={tmp_path / 'out'}"])
        assert ended.value.code == 2
        assert "config.yaml" in capsys.readouterr().err


def test_an_argument_of_brackets_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run("train", [f"--out={tmp_path}", "--model.blocks=" + "[" * 50_000])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err) < 2500


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000, '{"temperature": 1e999}', "\xff\xfe"]
)
def test_json_of_any_kind_is_one_line(text: str, tmp_path: Path) -> None:
    path = untrained.checkpoint(tmp_path, ["a", "b"])
    (tmp_path / "calibration.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"calibration\.json") as refused:
        besnet.load(path)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("size", [701, 20_000])
def test_many_classes_make_a_page_of_bounded_size(size: int) -> None:
    """Every class is taken for the next one: the page shows those with the most mistakes."""
    labels = np.arange(size).repeat(2)
    guesses = labels + (np.arange(2 * size) % 2)
    guesses[guesses == size] = 0
    labels = np.append(labels, [5] * 40)
    pairs = metrics.confusion(np.append(guesses, [9] * 40), labels, size)
    table = metrics.per_class(pairs, [f"class {n}" for n in range(size)])
    assert (table[0]["top1"], table[0]["videos"], table[5]["videos"]) == (0.5, 2, 42)
    page = Page("x")
    add_confusion(page, pairs, [f"class {n} " + "long " * 50 for n in range(size)])
    text = page.html()
    assert len(text) < 4e6
    assert "<td>class 5 long" in text
    assert ">40<" in text


def test_a_bomb_of_shared_lists_is_no_header() -> None:
    made = untrained.content(["a", "b"])
    bomb: list[Any] = []
    for _ in range(18):
        bomb = [bomb] * 40
    made["besnet"]["config"]["x"] = bomb
    with pytest.raises(ValueError, match="too many values"):
        rebuild(made)
    made["besnet"]["config"] = json.loads("[" * 30 + "]" * 30)
    with pytest.raises(ValueError, match="config"):
        rebuild(made)
