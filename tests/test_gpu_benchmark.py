"""benchmarks/gpu: every step runs whole on a CPU, and a step that fails or is too slow costs only itself."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks.gpu.__main__ import run_all
from benchmarks.gpu.speed import steady_rate
from benchmarks.gpu.step import ROOT, Found, Line, Options, Step


def found(call: str, data: Path, out: Path) -> dict[str, dict[str, Any]]:
    """A whole call with tiny networks: the steps by name."""
    words = [call, f"--data={data}", f"--raw={data.parent / 'index.csv'}", f"--out={out}", "--tiny", "--ranks=1"]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu", *words]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return {step["name"]: step for step in json.loads((out / f"{call}.json").read_text())["steps"]}


def test_correctness_runs_on_a_cpu(squares: Path, tmp_path: Path) -> None:
    steps = found("correctness", squares, tmp_path)
    assert {step["state"] for step in steps.values()} == {"done"}
    assert [line["holds"] for line in steps["resume"]["lines"]] == [True, True]
    evaluated, *differences = steps["evaluate"]["lines"]
    assert evaluated["seen"] == "9 of 9"
    apart = [float(line["seen"]) for line in differences]
    assert apart[0] == apart[1] == 0, "the CPU's answers are the CPU's"
    assert 0 < apart[2] < 0.05, "bf16 is close, and it is bf16"


@pytest.mark.slow
def test_speed_runs_on_a_cpu(squares: Path, tmp_path: Path) -> None:
    steps = found("speed", squares, tmp_path)
    assert {step["state"] for step in steps.values()} == {"done"}
    lines = [line for step in steps.values() for line in step["lines"]]
    assert {line["holds"] for line in lines} == {None}, "tiny networks on a CPU promise nothing"
    assert any("in convolutions and matrix products" in note for note in steps["compiled step"]["notes"])
    assert "videos/s" in steps["evaluation"]["lines"][0]["seen"]


def test_the_steady_rate_leaves_the_start_out() -> None:
    """Four epochs of 7 steps of 10 clips: the first two take 14 s, the last two 7 s."""
    took_sec = (10.0, 14.0, 17.5, 21.0)
    lines = [f"epoch {n}/9  step 7/7  loss 1.0  lr 1e-3  {70 * n / sec:.4f} clips/s  0:10 left"
             for n, sec in enumerate(took_sec, 1)]  # fmt: skip
    assert steady_rate("\n".join(["epoch 1/9  step 3/7  loss 1.0  2.0 clips/s", *lines])) == pytest.approx(20, rel=1e-3)
    assert steady_rate(lines[0]) == pytest.approx(7)
    assert steady_rate("") == 0


def fails(options: Options) -> Found:
    raise ValueError("a broken step")


def hangs(options: Options) -> Found:
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (options.work / "left_over").write_text(str(started.pid))
    time.sleep(600)
    return Found()


def counts(options: Options) -> Found:
    return Found([Line("one", "1", "1", holds=True)])


def may_use_a_gpu(options: Options) -> Found:
    return Found([Line("three", "", "", holds=not torch.cuda._is_in_bad_fork())])


def misses(options: Options) -> Found:
    return Found([Line("two", "1", "2", holds=False)])


def test_a_bad_step_costs_only_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Step("fails", 300, fails), Step("hangs", 2, hangs), Step("counts", 300, counts)]
    options = Options(tmp_path, tmp_path, None, None, 1, 1, tiny=True)
    assert run_all(steps, options, 600, 1.0, tmp_path / "x.json") == 1
    broken, slow, good = json.loads((tmp_path / "x.json").read_text())["steps"]
    assert (broken["state"], good["state"]) == ("failed", "done")
    assert "ValueError: a broken step" in broken["notes"]
    assert slow["state"] == "stopped at its deadline of 2 s"
    assert good["lines"][0]["seen"] == "1"
    left = tmp_path / "left_over"
    if left.exists():  # what a step started ends with it
        pid = int(left.read_text())
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert run_all([Step("counts", 300, counts)], options, 600, 1.0, tmp_path / "x.json") == 0
    torch.cuda.is_available()  # after this no fork of this process may start CUDA
    assert run_all([Step("may use a GPU", 300, may_use_a_gpu)], options, 600, 1.0, tmp_path / "x.json") == 0
    assert run_all([Step("misses", 300, misses)], options, 600, 1.0, tmp_path / "x.json") == 1
    assert run_all([Step("counts", 300, counts)], options, 0, 1.0, tmp_path / "x.json") == 1
    assert "counts: no time left" in capsys.readouterr().out
