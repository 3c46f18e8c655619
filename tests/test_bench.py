"""The benchmark of a network: its counts against torch's, its timings in order, its comparisons of equal functions."""

import json
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from besnet import cli
from besnet.bench.budget import bench_budget, training_clips, training_gflops, whole_number
from besnet.bench.costs import kept_for_backward
from besnet.bench.flops import counted
from besnet.bench.model import bench_model
from besnet.bench.peak import measured, probes
from besnet.bench.peers import difference, our_i3d, pytorchvideo_peers
from besnet.bench.timing import Timings, alternate
from besnet.models.besnet import BesNet


def test_a_small_network_is_counted_and_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "costs.json"
    words = "--num_frames=4 --crop_size=32 --batch_size=2 --num_classes=5 --dilations=[1,2,3] --blocks=[1,1] --width=8"
    options = ["--compile=false", "--rounds=2", "--device=cpu", f"--json={output}"]
    assert cli.run("bench model", [*words.split(), *options]) == 0
    content = json.loads(output.read_text())
    rows = {row["mode"]: row for row in content["costs"]}
    one, averaged, step = rows["forward, one dilation"], rows["forward, averaged"], rows["training step"]
    assert one["gflops"] == averaged["gflops"] == rows["inference form"]["gflops"]
    # A backward pass is two forwards, less the gradient of the clips, which the first convolution leaves out.
    stem = 2 * 8 * 3 * 49 * 4 * 16 * 16 / 1e9
    assert step["gflops"] == pytest.approx(3 * one["gflops"] - stem)
    assert step["memory_mb"] > 0
    assert all(row["ms"] > 0 and row["clips_per_sec"] == pytest.approx(2000 / row["ms"]) for row in rows.values())
    text = capsys.readouterr().out
    assert "A/A" in text
    assert re.search(r"peak: [\d.e-]+ TFLOP/s, the fastest of all that ran here \(.+\)", text)
    assert all(0 < row["mfu"] <= 1 for row in rows.values())
    assert "training step" in text


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_grouped_convolutions_are_counted_as_so_many_small_ones(groups: int) -> None:
    whole = nn.Conv2d(8, 16, 3, padding=1, groups=groups)
    parts = [nn.Conv2d(8 // groups, 16 // groups, 3, padding=1) for _ in range(groups)]
    x = torch.randn(2, 8, 10, 10, requires_grad=True)
    together = counted(lambda: whole(x).sum().backward())
    one_by_one = sum(
        counted(lambda part=part, piece=piece: part(piece).sum().backward())  # type: ignore[misc]
        for part, piece in zip(parts, x.chunk(groups, 1), strict=True)
    )
    assert together == one_by_one == 3 * 2 * 2 * 16 * 100 * 9 * 8 // groups


def test_the_shipped_networks_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--backbone=test_efficientnet"], ["--network=tests.ten_lines:TenLines"]):
        options = ["--num_frames=2", "--crop_size=32", "--batch_size=1", "--num_classes=5", "--rounds=1"]
        assert cli.run("bench model", [*words, *options, "--compile=false", "--device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert "BesNet from test_efficientnet: taps in time in " in printed
    assert re.search(r"^tests.ten_lines:TenLines +forward +eager", printed, re.M)
    with pytest.raises(ValueError, match="num_frames 2: the network takes 16 frames"):
        bench_model(2, network="mvit_v2_s", device="cpu")


def test_a_missing_gpu_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="no CUDA device is visible"):
        bench_model(device="cuda")


def test_a_budget_counts_clips_and_multiplications(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = {"blocks": [1, 1], "width": 8}
    network, clips = BesNet(400, blocks=(1, 1), width=8), torch.randn(1, 3, 4, 32, 32)
    with FlopCounterMode(display=False) as counter:
        network(clips, torch.zeros(network.num_temporal_layers, dtype=torch.int64)).sum().backward()
    gflops = training_gflops(model, 4, 32)
    assert gflops == counter.get_total_flops() / 1e9
    config = tmp_path / "config.yaml"
    data = {"clip": {"num_frames": 4}, "crop_size": 32}
    config.write_text(yaml.safe_dump({"model": model, "data": data, "trainer": {"max_epochs": 10}}))
    bench_budget(config, videos=10**9, mfu=0.5, peak_tflops=10.0, gpus=2)
    hours = 10**10 * gflops * 1e9 / 5e12 / 3600
    assert f"{hours:.1f} GPU hours, {hours / 2:.1f} hours on 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("trainer", "clips", "how"),
    [
        ({}, 10 * 18 * 16, "10 epochs x 18 micro-batches of 16 clips"),
        ({"max_steps": -1}, 10 * 18 * 16, "10 epochs x 18 micro-batches of 16 clips"),
        ({"limit_train_batches": 4}, 10 * 4 * 16, "10 epochs x 4 micro-batches of 16 clips"),
        ({"limit_train_batches": 1000}, 10 * 18 * 16, "10 epochs x 18 micro-batches of 16 clips"),
        ({"accumulate_grad_batches": 7, "max_steps": 5}, (18 + 14) * 16, "5 steps of 112 clips"),
        ({"max_steps": 7, "accumulate_grad_batches": 3}, 7 * 3 * 16, "7 steps of 48 clips"),
    ],
)
def test_a_budget_stops_where_the_training_does(
    trainer: dict[str, int], clips: int, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    data = {"batch_size": 8, "repeats": 3, "clip": {"num_frames": 2}, "crop_size": 32}
    model = {"blocks": [1], "width": 8}
    config.write_text(yaml.safe_dump({"model": model, "data": data, "trainer": {"max_epochs": 10} | trainer}))
    bench_budget(config, videos=100, gpus=2)
    assert f": {how} = {clips / 1e6:.2f} million clips" in capsys.readouterr().out
    found, _ = training_clips(100, 2, partial(whole_number, config, yaml.safe_load(config.read_text())))
    assert found == clips


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model: {}\n", "trainer.max_epochs must be a whole number of at least 1, not None"),
        ("trainer: {max_epochs: many}\n", "trainer.max_epochs must be a whole number of at least 1, not many"),
        ("data: {folder: [\n", "not readable as YAML"),
        ("trainer: {max_epochs: 1}\nmodel: {dilation: [1]}\n", "config.yaml: model: .*'dilation'"),
        ("trainer: {max_epochs: 1}\nmodel:\n", "model holds no settings"),
        ("trainer: {max_epochs: 1}\ndata: {clip: 5}\n", "data.clip holds no settings"),
        ("hello\n", "no settings in it"),
    ],
)
def test_a_budget_of_a_wrong_config_is_refused(text: str, why: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    with pytest.raises(ValueError, match=why):
        bench_budget(config, videos=100)


def test_no_dilations_are_measured_as_none(tmp_path: Path) -> None:
    sizes = {}
    for name, dilations in {"c2d": [], "usual": None}.items():
        output = tmp_path / f"{name}.json"
        bench_model(
            2, 32, 1, 5, dilations=dilations, blocks=[1], width=8, compile=False, rounds=1, device="cpu", json=output
        )
        sizes[name] = json.loads(output.read_text())["costs"][0]["parameters_m"] * 1e6
    for name, own in {"c2d": (), "usual": (1, 2)}.items():
        network = BesNet(5, own, blocks=(1,), width=8)
        assert sizes[name] == pytest.approx(sum(weight.numel() for weight in network.parameters()))


def test_cases_alternate_after_a_warm_up() -> None:
    order: list[str] = []
    cases = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = alternate(cases, 3, torch.device("cpu"), time.process_time)
    assert "".join(order) == "abbaabba"
    assert all(len(values) == 3 for values in timings.seconds.values())


def test_ratios_are_taken_within_rounds() -> None:
    """A slow phase of the machine that hits both cases leaves the ratio alone."""
    timings = Timings({"a": [1.0, 10.0, 1.0], "b": [2.0, 20.0, 2.0]})
    assert timings.ratio("b", "a") == 2
    assert timings.median("b") == 2


def test_nothing_is_faster_than_the_peak() -> None:
    """A neighbour may slow a product in every round but one, or all of them: a case shows then what the device can."""
    timings = Timings({"product": [5.0, 1.0, 9.0], "convolution": [4.0, 4.0, 4.0], "case": [2.0, 2.0, 3.0]})
    peak = measured({"product": 10.0, "convolution": 10.0, "case": 10.0}, timings)
    assert (peak.flop_per_sec, peak.what) == (10.0, "product")
    peak = measured({"product": 10.0, "case": 30.0}, timings)
    assert (peak.flop_per_sec, peak.what) == (15.0, "case")


def test_probes_do_what_they_count() -> None:
    for flop, run in probes(torch.device("cpu"), torch.float32, small=True).values():
        with FlopCounterMode(display=False) as counter:
            run()
        assert counter.get_total_flops() == flop


def test_memory_counts_each_block_once() -> None:
    x = torch.randn(1000, requires_grad=True)
    with kept_for_backward() as kept:
        y = x.exp()
        _ = y * y + y[:500].sum()
    assert sum(kept.values()) == 4000


@pytest.mark.filterwarnings("ignore")
def test_our_i3d_is_pytorchvideos() -> None:
    pytest.importorskip("pytorchvideo", reason="a benchmark's package: pip install pytorchvideo")
    peer = pytorchvideo_peers(7, 4, 32)["PyTorchVideo I3D-R50"]
    assert difference(our_i3d(peer, 7), peer, torch.randn(1, 3, 4, 32, 32)) < 1e-5


def test_each_library_s_step_runs_in_a_process_of_its_own() -> None:
    pytest.importorskip("pytorchvideo", reason="a benchmark's package: pip install pytorchvideo")
    size = ["--batch_size", "1", "--num_frames", "4", "--crop_size", "32", "--rounds", "1"]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.peers", *size]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    names = [line[:24].strip() for line in finished.stdout.splitlines() if "of ours" in line]
    assert names == ["ours", "ours again", "theirs", "theirs, set up as ours"]


@pytest.mark.parametrize("script", ["averaging", "choices"])
def test_the_scripts_run_at_a_small_size(script: str) -> None:
    """averaging.py also asserts that every form gives the same answer for the same multiplications."""
    file = Path(__file__).parents[1] / "benchmarks" / f"{script}.py"
    command = [sys.executable, str(file), "--quick"]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "A/A" in finished.stdout
