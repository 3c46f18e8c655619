"""Every number of every setting: taken where it means something, else refused in one line. The schema is the list."""

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from besnet import cli
from besnet.cli import training
from besnet.cli.parsing import new_parser
from besnet.cli.verbs import VERBS, Verb
from besnet.data.augment import Augmentation
from besnet.data.crop import RandomCrop
from besnet.evaluation.views import ViewPlan
from besnet.models.besnet import BesNet
from besnet.ranges import ARGUMENTS, RANGES, Range
from besnet.training.config_checks import check_devices
from besnet.training.recipe import Recipe
from besnet.training.saving import Saving
from besnet.video.sampling import ClipShape
from tests import command

HOSTILE = ["-1", "0", ".nan", ".inf", "-.inf", "1e30", str(10**30), "some", "{a: 1}", "[[1]]"]
# What of these means something; everything else has to be refused.
ZERO = {"seed", "model.dropout", "model.taps_after", "data.workers", "data.val_videos", "data.crop.flip",
        "data.augmentation.colour", "data.augmentation.hue", "data.augmentation.rand_augment",
        "data.augmentation.magnitude", "data.augmentation.erase", "recipe.momentum",
        "recipe.weight_decay", "recipe.warmup_epochs", "recipe.final_lr",
        "recipe.label_smoothing", "recipe.freeze", "saving.keep_best", "draw.seed", "evaluate.workers", "probe.workers",
        "verify.decode", "launch.node_rank",
        "launch.max_restarts"}  # fmt: skip
MINUS_ONE = {"trainer.max_steps", "trainer.devices"}
# a count or a list or a word, and a word that may look like a number: they have checks of their own
NOT_NUMBERS = {"trainer.devices", "trainer.precision"}


def numeric(parser: Any) -> Iterator[tuple[str, bool]]:
    """Names of a parser's arguments that hold numbers, and whether they hold lists of them."""
    for action in parser._actions:
        hint = str(getattr(action, "_typehint", "") or action.type)
        if ("int" in hint or "float" in hint) and not action.dest.endswith(".help"):
            yield action.dest, "equence[" in hint or "tuple[" in hint or "list[" in hint


@functools.cache
def train_parser() -> Any:
    return training.train_parser("train")


@functools.cache
def fields() -> dict[str, bool]:
    """Every numeric setting of `besnet train`; those of the augmentation stand in an object of their own."""
    found = dict(numeric(train_parser()))
    return found | {f"data.augmentation.{name}": False for name in Augmentation.__dataclass_fields__}


def in_table(name: str) -> Any:
    place: Any = RANGES
    for part in name.split("."):
        place = place.get(part, {})
    return place


def test_the_table_has_every_numeric_setting() -> None:
    missing = [name for name in fields() if not isinstance(in_table(name), Range)]
    assert set(missing) == NOT_NUMBERS
    assert len(fields()) > 45


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`besnet train` as far as the first thing that it would do."""
    monkeypatch.setattr(training, "train_parser", lambda verb: train_parser())
    monkeypatch.setattr("besnet.training.run.train", lambda **settings: 0)


def outcome(verb: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Nothing if the words are accepted, else the one line that refuses them."""
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        assert cli.run(verb, words) == 0
        return ""
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("besnet: ")
    assert len(line) < 400
    return line


@pytest.mark.usefixtures("stubbed")
@pytest.mark.parametrize("name", sorted(fields()))
def test_a_setting_is_refused_in_one_line_or_means_something(
    squares: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in HOSTILE:
        written = f"[{value}, {value}]" if fields()[name] and name != "trainer.devices" else value
        line = outcome("train", command.train_words(squares, tmp_path, f"--{name}={written}"), capsys)
        meant = (value == "0" and name in ZERO) or (value == "-1" and name in MINUS_ONE)
        assert (line == "") == meant, f"{name}={written}: {line or 'taken'}"
        assert not line or name.split(".")[-1] in line, line


def stub(function: Any) -> Any:
    """The same arguments, and nothing done."""

    @functools.wraps(function)
    def nothing(*arguments: Any, **keywords: Any) -> int:
        return 0

    return nothing


NEEDED = {"draw": ["x"], "prepare": ["x", "y"], "verify": ["x"], "evaluate": ["--ckpt_path=x"],
          "lab": ["--out=x"], "predict": ["x.mp4", "--ckpt_path=x"], "features": ["x.mp4", "--ckpt_path=x"],
          "probe": ["--data=x", "--out=x", "--ckpt_path=x"], "bench model": [], "bench budget": ["x"],
          "launch": []}  # fmt: skip


@pytest.mark.parametrize("verb", sorted(NEEDED))
def test_an_argument_is_refused_in_one_line_or_means_something(
    squares: Path, tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    function = VERBS[verb].load()
    parser = new_parser("train")
    parser.add_function_arguments(function, skip={"videos", "command"} if verb != "bench budget" else set())
    real = Verb.load
    monkeypatch.setattr(Verb, "load", lambda declared: stub(real(declared)))
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"data": {"folder": str(squares), "clip": {}, "crop": {}}}))
    needed = NEEDED[verb] + ([f"--config={config}"] if verb == "lab" else [])
    names = dict(numeric(parser))
    assert names.keys() == ARGUMENTS[verb].keys()
    for (name, listed), value in itertools.product(names.items(), HOSTILE):
        written = f"[{value}, {value}]" if listed else value
        line = outcome(verb, [*needed, f"--{name}={written}", *(["train"] if verb == "launch" else [])], capsys)
        meant = value == "0" and f"{verb}.{name}" in ZERO
        assert (line == "") == meant, f"{name}={written}: {line or 'taken'}"
        assert not line or name in line, line


@pytest.mark.usefixtures("stubbed")
@pytest.mark.parametrize("value", ["ddp_spawn", "ddp_fork", "ddp_notebook", "fsdp", "deepspeed", "", "{class_path: x}"])
def test_strategies_are_those_of_a_list(
    squares: Path, tmp_path: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = outcome("train", command.train_words(squares, tmp_path, f"--trainer.strategy={value}"), capsys)
    assert "trainer.strategy" in line
    assert outcome("train", command.train_words(squares, tmp_path, "--trainer.strategy=ddp"), capsys) == ""


@pytest.mark.usefixtures("stubbed")
@pytest.mark.parametrize(
    "words", [["--trainer.gradient_clip_algorithm=nrom"], ["--trainer.precision=64"], ["--trainer.accelerator=mps"]]
)
def test_choices_are_refused_by_name(
    squares: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert words[0].partition("=")[0].strip("-") in outcome(
        "train", command.train_words(squares, tmp_path, *words), capsys
    )


@pytest.mark.parametrize("devices", ["auto", -1, "-1", 1, "8", [0], [0, 3], "0,1"])
def test_devices_that_mean_something(devices: object) -> None:
    check_devices(devices)


@pytest.mark.parametrize("devices", [0, "0", "two", 10**30, -2, [], [-1], [0.5], "1,x", 1.5, None, math.nan])
def test_devices_that_mean_nothing(devices: object) -> None:
    with pytest.raises(ValueError, match=r"trainer\.devices"):
        check_devices(devices)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Recipe(lr=math.nan), "recipe.lr"),
        (lambda: Recipe(cutmix=math.inf), "recipe.cutmix"),
        (lambda: Saving(watchdog_minutes=math.nan), "saving.watchdog_minutes"),
        (lambda: ClipShape(num_frames=8.5), "data.clip.num_frames"),  # type: ignore[arg-type]
        (lambda: ClipShape(target_fps="30"), "data.clip.target_fps"),  # type: ignore[arg-type]
        (lambda: RandomCrop(aspect=(1.0, math.inf)), "data.crop.aspect"),
        (lambda: RandomCrop(area=(0.5, 0.4)), "data.crop.area"),
        (lambda: Augmentation(hue=math.nan), "data.augmentation.hue"),
        (lambda: ViewPlan(crop_size=0), "evaluation.crop_size"),
        (lambda: BesNet(3, dilations=(1, 10**9)), "model.dilations"),
        (lambda: BesNet(3, blocks=(10**6,)), "model.blocks"),
        (lambda: BesNet(10**9), "model.num_classes"),
    ],
)
def test_what_a_file_says_is_checked_like_what_a_person_says(make: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must|^{name}: two rising"):
        make()


@given(st.floats(allow_nan=True) | st.integers() | st.booleans() | st.text(max_size=3))
def test_a_range_holds_what_lies_in_it(value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    assert (not Range(0, 5, open_below=True).fault(value)) == (number and 0 < value <= 5)  # type: ignore[operator]
    whole = number and isinstance(value, int)
    assert (not Range(-2, 5, whole=True, besides=(9,)).fault(value)) == (whole and (-2 <= value <= 5 or value == 9))  # type: ignore[operator]
