"""What a lab is asked for is checked before anything is written; what its clips cannot show is left out and said."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from besnet import cli
from besnet.formats import upgraded
from besnet.lab.arguments import sort_factors
from besnet.lab.controls import find_control
from besnet.lab.queue import Attempts
from besnet.lab.runs import training
from besnet.report.lab_page import lab_page
from besnet.settings import read_settings
from besnet.video.sampling import ClipShape, uniform_clips

ROOT = Path(__file__).parents[1]
GOOD = {
    "model": {"block": "basic", "blocks": [1], "width": 8},
    "data": {"clip": {"num_frames": 4}, "crop_size": 32, "batch_size": 4, "workers": 0},
    "trainer": {"accelerator": "cpu", "max_epochs": 1},
}  # fmt: skip


def write(path: Path, squares: Path, **changed: Any) -> Path:
    """A config; `changed` replaces sections."""
    settings = GOOD | {"data": GOOD["data"] | {"folder": str(squares)}} | changed
    path.write_text(yaml.safe_dump(settings))
    return path


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `besnet lab` says in one line with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.run("lab", words)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--seeds=0"], "--seeds must be at least 1, not 0"),
        (["--max_parallel=-1"], "--max_parallel must be at least 1, not -1"),
        (["--max_parallel=0"], "--max_parallel must be at least 1, not 0"),
        (["--threads=0"], "--threads must be at least 1, not 0"),
        (["--num_clips=0"], "--num_clips must be at least 1"),
        (["--recalibration_videos=0"], "--recalibration_videos must be at least 1, not 0"),
        (["--frame_interval_scales=[1,0]"], "--frame_interval_scales must be at least 0.01, not 0.0"),
        (["--frame_interval_scales=[-2]"], "--frame_interval_scales must be at least 0.01, not -2.0"),
        (["--frame_interval_scales=[.nan]"], "--frame_interval_scales must be a number, not nan"),
        (["--split=tset"], "no split 'tset'"),
        (["--controls=[none]", "--primary_seeds=5"], "--primary_seeds 5: give --primary too"),
        (["--controls=[none,c2d]", "--primary_seeds=2"], "and at least as many as --seeds"),
        (["--primary_seeds=0"], "--primary_seeds must be at least 1, not 0"),
        (["--split=val"], "no readable video in the split val"),
        (["--controls=[none,none]"], "each with its own name"),
        (["--controls=['vit: --model.backbone=vit_tiny_patch16_224']"], "vit: model.backbone vit_tiny_patch16_224: "),
        (["--controls=[none,mvit_v2_s]"], "mvit_v2_s: data.clip.num_frames 4: the network takes 16 frames"),
        (
            ["--controls=['own: --model.network=absent:Net']"],
            "own: model.network absent:Net: absent cannot be imported",
        ),
        (["--controls=['long: --data.clip.num_frames=8']"], "compared on equal clips"),
    ],
)
def test_wrong_arguments_are_found_before_the_first_training(
    words: list[str], why: str, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path / "config.yaml", squares)
    assert why in refused([f"--config={config}", f"--out={tmp_path / 'lab'}", *words], capsys)
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize(
    ("section", "value", "why"),
    [
        ("trainer", None, "trainer holds no settings"),
        ("data", None, "needs --data.folder"),
        ("data", {"folder": "nowhere"}, "nowhere: no prepared data here"),
        ("data", {"folder": None}, "needs --data.folder"),
        ("data", {"folder": "nowhere", "clip": {"frames": 4}}, "did you mean 'data.clip.num_frames'"),
        ("evaluation", {"num_crops": 0}, "must be at least 1"),
        ("evaluation", {"pairs": None}, "not iterable"),
        ("evaluation", {"pairs": [["left", "rigth"]]}, "has no class 'rigth'"),
    ],
)
def test_wrong_configs_are_found_before_the_first_training(
    section: str, value: Any, why: str, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path / "config.yaml", squares, **{section: value})
    assert why in refused([f"--config={config}", f"--out={tmp_path / 'lab'}"], capsys)
    assert not (tmp_path / "lab").exists(), "so that the mended config is taken"


@pytest.mark.parametrize("text", ["hello\n", "data: {folder: [\n", ""])
def test_what_is_no_config_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert "config.yaml: no" in refused([f"--config={config}", f"--out={tmp_path / 'lab'}"], capsys)


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        (ClipShape(), [0.5, 1.0, 1.5, 2.0, 3.0]),
        (ClipShape(frame_interval=1, target_fps=None), [1.0, 2.0, 3.0]),
        (ClipShape(frame_interval=2, target_fps=None), [0.5, 1.0, 1.5, 2.0, 3.0]),
        (ClipShape(frame_interval=4, grid=4), [1.0, 2.0, 3.0]),
        (ClipShape(frame_interval=4, grid=4, target_fps=None), [1.0, 2.0, 3.0]),
        (ClipShape(frame_interval=8, grid=4, target_fps=None), [0.5, 1.0, 1.5, 2.0, 3.0]),
        (ClipShape(sampling="uniform"), [1.0]),
    ],
)
def test_factors_that_are_shown_are_exact(shape: ClipShape, shown: list[float]) -> None:
    factors = [0.5, 1.0, 1.5, 2.0, 3.0]
    found, left_out = sort_factors(shape, factors)
    assert found == shown
    assert [f"{factor:g}" for factor in factors if factor not in shown] == list(left_out)
    times_sec = np.arange(2000) / 30
    spacing = {factor: np.diff(uniform_clips(times_sec, shape.spaced(factor), 1)[0]) for factor in found}
    if shape.sampling == "dense":
        assert all((spacing[factor] == shape.frame_interval * factor).all() for factor in found)


def test_a_factor_that_is_left_out_is_said(squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = GOOD["data"] | {"folder": str(squares), "clip": {"frame_interval": 1, "target_fps": None}}
    config, out = write(tmp_path / "config.yaml", squares, data=data), tmp_path / "lab"
    words = [f"--config={config}", f"--out={out}", "--controls=['broken: --recipe.lr=-1']", "--seeds=1"]
    assert cli.run("lab", [*words, "--frame_interval_scales=[0.5,1,2]"]) == 1
    why = "0.5 frames apart cannot be picked with data.clip.target_fps null"
    assert f"left out: frame interval x 0.5: {why}\n" in capsys.readouterr().out
    assert json.loads((out / "results.json").read_text())["arguments"]["factors_left_out"] == {"0.5": why}


@pytest.mark.parametrize("factors", [[1.0, 2.0], []])
def test_the_page_says_what_is_left_out(factors: list[float], tmp_path: Path) -> None:
    kept = ROOT / "benchmarks" / "results" / "lab_stick_figures_hard.json"  # of 0.1
    report = upgraded(json.loads(kept.read_text()), "lab", str(kept))
    report["plan"]["factors"] = factors
    report["arguments"]["factors_left_out"] = {"0.5": "such clips do not exist"}
    lab_page(report, {}).write(tmp_path / "page.html")
    assert "Left out: x 0.5: such clips do not exist." in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_run_asks_for_one_device(config: Path, tmp_path: Path) -> None:
    _, settings = read_settings(config)
    job = training(find_control("frames"), 0, tmp_path, config, settings | {"pretrained": None})
    assert len(job.commands) == 2
    for command in job.commands:
        given = dict(re.findall(r"--trainer\.(\w+)=(\S+)", " ".join(command)))
        trainer = settings["trainer"] | given
        assert str(trainer.get("devices", "auto")) in ("1", "auto")  # of the one device that a slot shows
        assert trainer.get("strategy", "auto") == "auto"
        assert str(trainer.get("num_nodes", 1)) == "1"
        assert set(given) <= set(settings["trainer"]), "what the config leaves open stays as it is"


def test_a_line_cut_by_a_crash_locks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "attempts.jsonl"
    Attempts(path).add(name="none-0", code=0, command=["train"])
    with open(path, "a") as file:
        file.write('{"name": "none-1", "command": {}')  # as long as it looks whole, too
    Attempts(path).add(name="none-2", code=0, command=["train"])
    Attempts(path).add(name="none-3", code=0, command=["train"])
    assert [attempt["name"] for attempt in Attempts(path).known] == ["none-0", "none-2", "none-3"]
    assert path.read_text().endswith("}\n")
