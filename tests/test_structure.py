"""The structure of the package: imports run downwards and in no circle, files and lists of parameters stay short."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "besnet"
# Lowest first: a room may import from itself and from rooms before it.
ROOMS = [
    "text", "environment", "version", "formats", "supervision", "files", "schema", "reading", "watchdog", "progress",
    "settings", "ranges", "models", "video", "stick_figures", "data", "checkpoints", "report", "evaluation", "predict",
    "training", "bench", "jobs", "lab", "learn", "demo", "cli", "__main__",
]  # fmt: skip
LIGHTNING = {"training", "cli"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    """The room a file belongs to: a folder below besnet, or the file itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [file for file in FILES if file != PACKAGE / "__init__.py"], ids=str)
def test_imports_run_downwards(path: Path) -> None:
    own = ROOMS.index(room(path))
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "besnet" and len(parts) > 1 and parts[1] in ROOMS:
            assert ROOMS.index(parts[1]) <= own, f"{room(path)} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_training_and_the_command_line_know_lightning(path: Path) -> None:
    if room(path) not in LIGHTNING:
        assert not any(name.split(".")[0] in ("pytorch_lightning", "lightning_fabric") for name in imported(path))


def test_models_know_tensors_only() -> None:
    forbidden = {"pathlib", "yaml", "json", "os", "pytorch_lightning"}
    for path in (PACKAGE / "models").glob("*.py"):
        assert not imported(path) & forbidden, f"{path} knows more than tensors"


def test_every_room_is_drawn() -> None:
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms <= set(ROOMS), f"rooms without a place: {rooms - set(ROOMS)}"


PRIVATE = re.compile(r"\b(trainer|engine|strategy|loop|fit_loop|epoch_loop)\._|fit_loop|num_training_batches|\"loops\"")


@pytest.mark.parametrize("path", sorted((PACKAGE / "training").glob("*.py")), ids=lambda path: path.stem)
def test_lightnings_private_names_stay_behind_one_wall(path: Path) -> None:
    if path.stem != "lightning_internals":
        assert not PRIVATE.search(path.read_text())


MOST_LINES = 250
MOST_PARAMETERS = 8
# Their parameters are what a user writes: flags of a verb, keys of a config section.
LONG_SIGNATURES = {
    "bench/model.py: bench_model", "data/prepare/__init__.py: prepare", "evaluation/evaluate.py: evaluate",
    "jobs/launch.py: launch", "lab/lab.py: lab", "predict/verbs.py: predict", "predict/probe.py: probe",
    "predict/verbs.py: features", "training/run.py: train", "learn/learn.py: learn",
    "learn/doubts.py: doubts", "models/besnet.py: __init__", "models/inflate.py: __init__",
    "training/data.py: __init__", "predict/span_evaluation.py: evaluate_spans",
}  # fmt: skip


def test_files_are_short() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}
    assert not {name for name, lines in lengths.items() if lines > MOST_LINES}


def test_functions_take_few_parameters() -> None:
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                names = [word.arg for word in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
                if len([name for name in names if name not in ("self", "cls")]) > MOST_PARAMETERS:
                    found.add(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert found == LONG_SIGNATURES


def test_modules_import_each_other_in_no_circle() -> None:
    """Imports inside functions count, too. Modules that import none of the others are taken away again and again."""
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in names.items()}
    del modules["besnet"]  # the front: `besnet.load` is imported at its first use
    left = {name: imported(path) & modules.keys() - {name} for name, path in modules.items()}
    while free := {name for name, needed in left.items() if not needed & left.keys()}:
        left = {name: needed for name, needed in left.items() if name not in free}
    assert not left, f"a circle among {sorted(left)}"
