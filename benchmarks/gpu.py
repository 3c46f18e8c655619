"""Everything that only a GPU can show, in one command of less than 8 minutes on one H100 or H200.

    besnet prepare shared/data/jhmdb/split1.csv data/jhmdb/128 --short_side 128    # shards to carry there
    python -m benchmarks.gpu --data data/jhmdb/128 --out gpu.json
    python -m benchmarks.gpu --data FOLDER --out tiny.json --tiny    # on a CPU, tiny: does it run?

First the job: train.py under torchrun (one rank a GPU; NCCL, bf16, deterministic), the same killed by SIGKILL and
resumed, evaluate.py on the result. Then timings in turn: the average against one dilation, the training step against a
matrix product, our I3D-R50 against PyTorchVideo's, and a profile of the step. Exit code 1 where a bound does not hold.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from besnet.cli.process import short_waits

short_waits(os.environ)  # read when torch is loaded

import torch
from torch.autograd import DeviceType
from torch.profiler import profile

from besnet.bench.cases import OUR_I3D, PEER_I3D, Case, Cases
from besnet.bench.costs import AGAIN, Cost, measure, table
from besnet.models.besnet import BesNet
from besnet.models.folding import fold
from besnet.models.network import lay_channels_last
from tests import command

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Line:
    """One line of the closing table; `holds` is None where nothing is promised."""

    what: str
    seen: str
    bound: str = ""
    holds: bool | None = None

    def __str__(self) -> str:
        mark = {True: "holds", False: "DOES NOT HOLD", None: ""}[self.holds]
        return f"{self.what:44}{self.seen:34}{self.bound:22}{mark}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="prepared data set with a train and a test split")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--ranks", type=int, default=max(1, torch.cuda.device_count()))
    parser.add_argument("--batch_size", type=int, default=16, help="clips at once in the timings")
    parser.add_argument("--only", choices=["job", "timings"], help="one of the two halves")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device is visible here; --tiny runs on a CPU")
    if options.only != "timings" and options.data is None:
        parser.error("the training needs --data")
    begun_sec = time.monotonic()
    lines: list[Line] = []
    costs: list[Cost] = []
    notes: list[str] = []
    facts: dict[str, Any] = {}
    if options.only != "timings":
        with tempfile.TemporaryDirectory() as work:
            lines, facts = job(options.data, Path(work), options.ranks, options.tiny)
    if options.only != "job":
        more, costs, notes = timings(options.batch_size, options.tiny)
        lines += more
    lines.append(Line("the whole of it", f"{time.monotonic() - begun_sec:.0f} s", "at most 480 s"))
    print("\n".join(map(str, lines)), *notes, sep="\n")
    content = {"lines": [asdict(line) for line in lines], "costs": [asdict(cost) for cost in costs], "notes": notes}
    options.out.write_text(json.dumps(content | facts, indent=1) + "\n")
    sys.exit(int(any(line.holds is False for line in lines)))


def job(data: Path, work: Path, ranks: int, tiny: bool) -> tuple[list[Line], dict[str, Any]]:
    """Train, train and be killed, evaluate."""
    undisturbed, killed = work / "undisturbed", work / "killed"
    interval = 5 if tiny else 10  # steps between checkpoints
    output = finish(start("train.py", training(data, undisturbed, ranks, interval, tiny), ranks))
    launcher = start("train.py", training(data, killed, ranks, interval, tiny), ranks)
    command.wait_for_step(killed, interval + interval // 2)
    os.killpg(launcher.pid, 9)
    launcher.communicate()
    resumed = finish(start("train.py", training(data, killed, ranks, interval, tiny), ranks))
    same = command.weights_hash(undisturbed) == command.weights_hash(killed)
    evaluation = [f"--ckpt_path={killed}", f"--out={work / 'evaluation'}", "--num_clips=1", "--num_crops=1"]
    finish(start("evaluate.py", evaluation, ranks))
    coverage = json.loads((work / "evaluation" / "results.json").read_text())["coverage"]
    verdict = next((line for line in output.splitlines() if line.startswith("bottleneck: ")), "")
    rates = [float(rate) for rate in re.findall(r"([\d.]+) clips/s", output)]
    lines = [
        Line("killed and resumed: bits of the undisturbed", "equal" if same else "others", "equal", same),
        Line(
            "resumed inside the run",
            "yes" if "resumes from step" in resumed else "no",
            "yes",
            "resumes from" in resumed,
        ),
        Line(
            "evaluated, each video once",
            f"{coverage['evaluated']} of {coverage['expected']}",
            "all that are ready",
            coverage["evaluated"] + coverage["missing"] + coverage["undecodable"] == coverage["expected"],
        ),
        Line("training from shards, with all of Lightning", f"{rates[-1] if rates else 0:.1f} clips/s"),
        Line("waiting for data", waiting(verdict)),
    ]
    return lines, {"verdict": verdict, "coverage": coverage}


def training(data: Path, run: Path, ranks: int, interval: int, tiny: bool) -> list[str]:
    """The arguments of the training that is killed."""
    words = [f"--data.folder={data}", f"--out={run}", f"--trainer.devices={ranks}", "--trainer.strategy=ddp",
             "--trainer.max_epochs=1", f"--trainer.limit_train_batches={(2 if tiny else 4) * interval}",
             "--trainer.deterministic=true", f"--saving.every_steps={interval}"]  # fmt: skip
    if tiny:
        return [*command.TINY, *words, "--data.batch_size=1"]
    return [*words, "--trainer.accelerator=gpu", "--trainer.precision=bf16-mixed", "--trainer.log_every_n_steps=1",
            "--data.clip.num_frames=16", "--data.clip.frame_interval=2", "--data.crop_size=112", "--data.batch_size=16",
            f"--data.workers={max(1, (os.cpu_count() or 2) // ranks - 1)}", "--model.dropout=0.5"]  # fmt: skip


def start(script: str, words: list[str], ranks: int) -> subprocess.Popen[str]:
    """A script under torchrun, in a process group of its own."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *torchrun, str(ROOT / script), *words],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd=ROOT,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a process printed; it must end well."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}:\n{output[-4000:]}")
    return output


def waiting(verdict: str) -> str:
    """The share of the step that waited for data, from the training's own verdict."""
    found = re.search(r"waiting for data (\d+ %)", verdict)
    return f"{found[1]} of the step" if found else "less than 0.5 % of the step" if verdict else "too few steps to tell"


def timings(batch_size: int, tiny: bool) -> tuple[list[Line], list[Cost], list[str]]:
    """The cases of the issue's bounds, one round after the other."""
    device = torch.device("cpu" if tiny else "cuda")
    shape: dict[str, Any] = {"blocks": (1, 1), "width": 8} if tiny else {}
    bench = Cases(device, "fp32", 1, 4, 32, 5) if tiny else Cases(device, "bf16", batch_size, 16, 224, 400)
    network = BesNet(bench.num_classes, (1, 2), **shape).to(device)
    lay_channels_last(network)
    bench.networks["BesNet"] = network
    host = torch.arange(network.num_temporal_layers) % 2
    draws = host.to(device)
    forms = {"eager": network} if tiny else {"eager": network, "compiled": torch.compile(network)}
    for form, run in forms.items():
        given = host if form == "eager" else draws
        bench.cases += [
            Case("BesNet", "forward, one dilation", form, bench.forward(network, run, given)),
            Case("BesNet", "forward, averaged", form, bench.forward(network, run)),
            Case("BesNet", "training step", form, bench.step(network, run, given)),
        ]
    averaged, one = fold(network), fold(network, host)
    bench.cases.append(Case("BesNet", "folded, one dilation", "eager", bench.forward(one, one)))
    bench.cases.append(Case("BesNet", "folded, averaged", "eager", bench.forward(averaged, averaged)))
    notes = [] if tiny else bench.add_peers(published=False)
    if OUR_I3D in bench.networks:
        ours = bench.networks[OUR_I3D]
        bench.cases.append(Case(OUR_I3D, "training step", "compiled", bench.step(ours, torch.compile(ours))))
    costs, times, peak = measure(bench, 3 if tiny else 7)
    print(f"{bench.describe()}\n\n{table(costs)}\n{peak}\n")

    def ratio(case: str, other: str) -> float:
        return times.ratio(case, other)

    lines = [Line("A/A", f"{ratio(AGAIN, bench.cases[0].name):.3f}")]
    for form in forms:
        price = ratio(f"BesNet, forward, averaged, {form}", f"BesNet, forward, one dilation, {form}")
        lines.append(promise(f"averaged / one dilation, {form}", price, "at most 1.05", price <= 1.05, tiny))
    price = ratio("BesNet, folded, averaged, eager", "BesNet, folded, one dilation, eager")
    lines.append(promise("averaged / one dilation, folded", price, "at most 1.05", price <= 1.05, tiny))
    steps = [cost for cost in costs if cost.network == "BesNet" and cost.mode == "training step"]
    best = max(steps, key=lambda cost: cost.mfu)
    lines.append(
        promise(f"training step, {best.form}: share of a product", best.mfu, "0.20, target 0.35", best.mfu >= 0.2, tiny)
    )
    lines.append(Line("memory of a training step", f"{best.memory_mb or 0:.0f} MB for {len(bench.clips)} clips"))
    if OUR_I3D in bench.networks:
        for form in ("eager", "compiled"):
            gain = ratio(f"{PEER_I3D}, training step, eager", f"{OUR_I3D}, training step, {form}")
            bound = ("at least 1.5", gain >= 1.5) if form == "compiled" else ("", None)
            lines.append(promise(f"clips/s of our I3D-R50, {form} / theirs", gain, *bound, tiny))
    step = next(case for case in bench.cases if (case.mode, case.form) == (best.mode, best.form))
    return lines, costs, [*notes, "", *kernels(step)]


def promise(what: str, value: float, bound: str, holds: bool | None, tiny: bool) -> Line:
    """A line with a bound, which says nothing about tiny networks on a CPU."""
    return Line(what, f"{value:.3f}", bound, None if tiny else holds)


def kernels(step: Case) -> list[str]:
    """What a training step spends its time on: the ten largest kernels, and the share of all that multiplies."""
    with profile() as profiled:
        step.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    on_device = [event for event in profiled.key_averages() if event.device_type == DeviceType.CUDA]
    spent = {event.key: event.self_device_time_total for event in on_device}
    if not spent:
        spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    whole = sum(spent.values())
    products = sum(time for name, time in spent.items() if re.search("conv|gemm|xmma|cutlass|nvjet|fprop|grad", name))
    lines = [f"profile of the training step, {step.form}: {products / whole:.0%} in convolutions and matrix products"]
    largest = sorted(spent.items(), key=lambda entry: -entry[1])[:10]
    return lines + [f"  {time / whole:5.1%}  {name[:100]}" for name, time in largest]


if __name__ == "__main__":
    main()
