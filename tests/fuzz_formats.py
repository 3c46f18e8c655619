"""Generators of spoilt files: any format of besnet's with values that nobody would write, and any command line."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import strategies as some

from tests.fuzz_worker import Case

DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]
TEXTS = [
    "",
    " ",
    "x" * 5000,
    "../../x",
    "/",
    "\x1b[2J",
    "=1+1",
    "$\\frac$",
    "\ud800",
    "nan",
    "-1",
    "1e999",
    "é\u202e",
    "\0",
]
NUMBERS: list[Any] = [0, -1, 1, 2, 7, 2**31, 2**63, 10**30, -(10**30), 0.0, -0.5, 0.5, 1e-300, 1e308, float("nan"),
                      float("inf"), True, False]  # fmt: skip
OTHERS: list[Any] = [None, [], {}, [[]], [None], {"": {}}, DEEP, [1] * 3000, ["a", "a"], {"a": float("nan")}]
values = (
    some.sampled_from([*TEXTS, *NUMBERS, *OTHERS]).map(copy.deepcopy)
    | some.integers()
    | some.floats()
    | some.text(max_size=30)
)


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a nested document, but not every entry of a long list."""
    found = [at] if at else []
    entries = document.items() if isinstance(document, dict) else []
    if isinstance(document, list):
        entries = list(enumerate(document))[:3]
    for key, entry in entries:
        found += places(entry, (*at, key))
    return found


@some.composite
def spoilt(draw: Any, document: Any) -> Any:
    """The document with one to three entries replaced, removed, added or repeated."""
    made = copy.deepcopy(document)
    for _ in range(draw(some.integers(1, 3))):
        at = draw(some.sampled_from(places(made) or [()]))
        if not at:
            return draw(values)
        owner = made
        for key in at[:-1]:
            owner = owner[key]
        what = draw(some.sampled_from(["replace", "replace", "replace", "remove", "add", "repeat"]))
        if what == "remove":
            del owner[at[-1]]
        elif what == "add" and isinstance(owner, dict):
            owner[draw(some.text(max_size=9))] = draw(values)
        elif what == "repeat" and isinstance(owner, list):
            owner += owner[:1] * draw(some.integers(1, 5))
        else:
            owner[at[-1]] = draw(values)
    return made


@some.composite
def damaged(draw: Any, data: bytes) -> bytes:
    """Bytes that a disk, a copy or a person has changed."""
    at = draw(some.integers(0, len(data)))
    kind = draw(some.sampled_from(["cut", "flip", "insert", "brackets", "repeat"]))
    if kind == "cut":
        return data[:at]
    if kind == "flip":
        return data[:at] + bytes([draw(some.integers(0, 255))]) + data[at + 1 :]
    if kind == "insert":
        return data[:at] + draw(some.binary(max_size=30)) + data[at:]
    if kind == "brackets":
        return data[:at] + draw(some.sampled_from([b"[", b'{"a":', b"- "])) * 50_000 + data[at:]
    return data[:at] + data[at // 2 : at] * 3 + data[at:]


def json_bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


def of_json(path: Path) -> some.SearchStrategy[bytes]:
    """A JSON file, spoilt in its values or in its bytes."""
    whole = path.read_bytes()
    return spoilt(json.loads(whole)).map(json_bytes) | damaged(whole)


def checkpoint_bytes(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@some.composite
def checkpoints(draw: Any, path: Path) -> bytes:
    """A checkpoint whose header, weights or bytes are spoilt."""
    kind = draw(some.sampled_from(["header", "header", "weights", "bytes"]))
    if kind == "bytes":
        return bytes(draw(damaged(path.read_bytes())))
    content = torch.load(path, weights_only=True)
    if kind == "header":
        content["besnet"] = draw(spoilt(content["besnet"]))
        return checkpoint_bytes(content)
    weights = content["state_dict"]
    name = draw(some.sampled_from(sorted(weights)))
    weight = weights[name]
    weights[name] = draw(some.sampled_from([
        torch.full_like(weight, torch.nan) if weight.is_floating_point() else weight + 1, weight[None], weight.bool(),
        weight.double(), weight.to(torch.complex64), torch.zeros([]).expand(10**6, 10**6), torch.zeros(0), 3, None,
        torch.zeros(3).to_sparse(), torch.empty(3, device="meta"),
    ]))  # fmt: skip
    if draw(some.booleans()):
        del weights[draw(some.sampled_from(sorted(weights)))]
    return checkpoint_bytes(content)


@some.composite
def predictions(draw: Any, folder: Path) -> bytes:
    """predictions.npz with other arrays, or damaged."""
    path = folder / "predictions.npz"
    if draw(some.booleans()):
        return bytes(draw(damaged(path.read_bytes())))
    with np.load(path) as file:
        arrays = dict(file)
    name = draw(some.sampled_from(sorted(arrays)))
    arrays[name] = draw(some.sampled_from([
        arrays[name][:1], arrays[name][..., None], arrays[name].astype("U9"), np.zeros(0), np.array(1.0),
        np.full(arrays[name].shape, np.nan), np.array([b"x"]), np.zeros((2, 2), dtype=[("a", "i4")]),
    ]))  # fmt: skip
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@some.composite
def manifests(draw: Any, folder: Path) -> tuple[tuple[str, bytes], ...]:
    """manifest.jsonl with a spoilt row, and the dataset.json that has its size."""
    lines = (folder / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    number = draw(some.integers(0, len(lines) - 1))
    lines[number] = draw(spoilt(json.loads(lines[number])).map(json_bytes) | damaged(lines[number])) + b"\n"
    about = json.loads((folder / "dataset.json").read_bytes())
    about["size"] = sum(map(len, lines))
    return (("manifest.jsonl", b"".join(lines)), ("dataset.json", json_bytes(about)))


def yaml_bytes(document: Any) -> bytes:
    return yaml.safe_dump(document, allow_unicode=True).encode(errors="surrogatepass")


def configs(path: Path, data: Path) -> some.SearchStrategy[bytes]:
    """A config of `besnet train` on this data, spoilt in its values or in its letters."""
    settings = yaml.safe_load(path.read_bytes())
    settings["data"]["folder"] = str(data)
    settings["evaluation"]["pairs"] = [["up", "down"]]
    return spoilt(settings).map(yaml_bytes) | damaged(yaml_bytes(settings))


TABLES = [b"label,path,split\nup,a.mp4,train\ndown,b.mp4,test\n", b"a.mp4 0\nb.mp4 1\n", b"path,label\na.mp4,up\n",
          b"label,youtube_id,time_start,time_end,split\nx,abcdefghijk,0,10,train\n",
          b'{"abcdefghijk": {"annotations": {"label": "x", "segment": [0, 10]}, "subset": "train"}}']  # fmt: skip
tables = some.sampled_from(TABLES).flatmap(damaged) | some.text(max_size=200).map(lambda text: text.encode())


@some.composite
def command_lines(draw: Any, verbs: dict[str, list[str]]) -> Case:
    """Words for a verb: its own arguments and others with any values."""
    verb = draw(some.sampled_from(sorted(verbs)))
    words: list[str] = []
    for _ in range(draw(some.integers(0, 4))):
        name = draw(some.sampled_from(verbs[verb]) | some.text(max_size=9))
        value = draw(values)
        text = value if isinstance(value, str) else json.dumps(value)
        words += draw(some.sampled_from([[f"--{name}={text}"], [f"--{name}", text], [text], [f"--{name}"]]))
    clean = [word.replace("\0", "").encode(errors="replace").decode() for word in words]
    return Case((*verb.split(), *clean), parse_only=True)
