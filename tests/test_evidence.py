"""The comparison of docs/evidence.md, from drawing to its page, by the commands of `make evidence-small`."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from besnet import cli

ROOT = Path(__file__).resolve().parents[1]
# in place of ten controls with three seeds
QUICK = {
    "draw": ["--test_videos=2", "--workers=1"],
    "prepare": ["--workers=1"],
    "lab": ["--controls=[random_12]", "--seeds=1", "--primary=[random_12,random_12@interval_2]",
            "--secondary=[[random_12@speed_2,random_12@speed_1]]", "--variants=[dilations]", "--max_parallel=1"],
}  # fmt: skip


def recipe(target: str, *variables: str) -> list[list[str]]:
    """The besnet commands of a make target, in words."""
    said = subprocess.run(["make", "-n", target, *variables], cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        shlex.split(line) for line in re.findall(r"bin/besnet ([^&;]*?)(?:[&;]|\n)", said.stdout.replace("\\\n", " "))
    ]


def test_the_small_comparison_runs_from_drawing_to_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for verb, *words in recipe("evidence-small", "SIZE=--variant hard --train_videos 4", "SPEEDS=1 2"):
        assert not cli.run(verb, words + QUICK[verb])
    out = tmp_path / "runs" / "lab" / "evidence_small"
    results = json.loads((out / "results.json").read_text())
    assert results["coverage"]["evaluated"] == 2
    primary, secondary = results["differences"]
    assert primary["groups"] == 1, "the videos of one person count together"
    assert (primary["role"], primary["verdict"]) == ("primary", None)
    # at speed 1 the two test videos are drawn again, and evaluated as the lab evaluates them
    (control,), (there,) = results["controls"], results["speeds"]["controls"]
    at_speed = {name: one["mean"] for name, one in there["speeds"].items()}
    assert at_speed["1"] == control["top1"]["mean"]
    assert secondary["mean"] == at_speed["2"] - at_speed["1"]
    assert results["speeds"]["speeds"] == [
        {"speed": 1.0, "num_frames": 8, "looped": 0.0},
        {"speed": 2.0, "num_frames": 4, "looped": 0.0},
    ]
    page = (out / "report.html").read_text()
    assert "Does the whole comparison run?" in page
    assert "x 2: 4 frames, 0 % looped" in page


def test_both_comparisons_have_one_recipe() -> None:
    """The small one shows what the large one does: it differs by its folders, its sizes and its plan."""
    small, large = (
        recipe(target, "DRAWN=drawn", "SIZE=", "AT_SPEEDS=", "PLAN=plan") for target in ("evidence-small", "evidence")
    )
    assert small == large
    assert [verb for verb, *_ in small] == ["draw", "prepare", "draw", *["prepare"] * 3, "lab"]
