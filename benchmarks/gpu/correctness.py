"""First call: what a GPU computes is what the CPU computes, and a killed training resumes with the same bits."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.step import ROOT, Found, Line, Options, Step, promise
from besnet import cli
from besnet.data.manifest import Manifest
from besnet.data.paths import read_range
from tests import command


@contextmanager
def products_of(bits: str) -> Iterator[None]:
    """`full`: float32 with all its bits; `default`: as PyTorch does it, which convolves in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    if bits == "full":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def marked_tests(options: Options) -> Found:
    """The tests that need a GPU: the layer, folded, averaged and compiled against the CPU; a step without waiting."""
    files = [str(file) for file in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in file.read_text()]
    words = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    if options.tiny:
        words.append("--collect-only")
    finished = subprocess.run([sys.executable, *words], cwd=ROOT, text=True, capture_output=True)
    said = finished.stdout.strip().splitlines() or finished.stderr.strip().splitlines()
    notes = said[-120:] if finished.returncode else []
    return Found([Line("tests marked gpu", said[-1].strip("= "), "all pass", finished.returncode == 0)], notes)


def resumed(options: Options) -> Found:
    """Train; train again, killed by SIGKILL and resumed: the same bits."""
    undisturbed, killed = options.work / "undisturbed", options.work / "killed"
    interval = 4  # steps between checkpoints
    finish(start("train.py", training(options, undisturbed, interval), options.ranks))
    launcher = start("train.py", training(options, killed, interval), options.ranks)
    command.wait_for_step(killed, interval + interval // 2)
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.communicate()
    output = finish(start("train.py", training(options, killed, interval), options.ranks))
    same = command.weights_hash(undisturbed) == command.weights_hash(killed)
    inside = "resumes from step" in output
    return Found(
        [
            Line("killed and resumed: bits of the undisturbed run", "equal" if same else "others", "equal", same),
            Line("resumed inside the run", "yes" if inside else "no", "yes", inside),
        ]
    )


def evaluated(options: Options) -> Found:
    """The killed run's network on the GPU and on the CPU: probabilities."""
    device = "cpu" if options.tiny else "cuda"
    shares, coverage = evaluation(options, "cpu", "32", "full")
    lines = [
        Line(
            "evaluated, each video once",
            f"{coverage['evaluated']} of {coverage['expected']}",
            "all that are ready",
            coverage["evaluated"] + coverage["missing"] + coverage["undecodable"] == coverage["expected"],
        )
    ]
    notes = []
    for precision, bits, bound in (("32", "full", 1e-4), ("32", "default", None), ("bf16", "default", 1e-3)):
        others, _ = evaluation(options, device, precision, bits)
        apart = float(np.abs(shares - others).max())
        holds = None if bound is None else apart <= bound
        said = "" if bound is None else f"at most {bound:g}"
        alike = (others.mean(1).argmax(-1) == shares.mean(1).argmax(-1)).mean()
        notes.append(
            f"{precision}, {bits} products: mean difference {np.abs(shares - others).mean():.2g}, the same first class "
            f"for {alike:.0%} of the videos; the CPU's mean first probability {shares.max(-1).mean():.2f}"
        )
        lines.append(
            promise(f"probabilities, GPU - CPU, {precision}, {bits} products", apart, said, holds, options.tiny)
        )
    if not options.tiny:
        lines.append(Line("peak memory of the evaluations", f"{torch.cuda.max_memory_allocated() / 2**20:.0f} MB"))
    return Found(lines, notes)


def predicted(options: Options) -> Found:
    """Predictions of three test videos on the GPU and on the CPU."""
    manifest, videos = Manifest.load(options.data), []
    for row in manifest.select("test")[:3]:
        facts = manifest[int(row)]
        with manifest.held(facts) as path:
            content = read_range(path, facts.offset, facts.size) if facts.in_shard else Path(path).read_bytes()
        videos.append(options.work / f"video_{row}.mp4")
        videos[-1].write_bytes(content)
    found = []
    for number, device in enumerate(("cpu", "cpu" if options.tiny else "cuda")):
        file = options.work / f"predictions_{number}.json"
        with products_of("full"):
            besnet("predict", *map(str, videos), f"--ckpt_path={options.work / 'killed'}", f"--device={device}",
                   f"--json={file}")  # fmt: skip
        answers = json.loads(file.read_text())["videos"]
        found.append([{one["class"]: one["probability"] for one in video["predictions"]} for video in answers])
    pairs = [(one, other) for one, other in zip(*found, strict=True)]
    same = [one.keys() == other.keys() for one, other in pairs]
    apart = max(abs(one[name] - other[name]) for one, other in pairs for name in one.keys() & other.keys())
    return Found(
        [
            Line("predict, GPU and CPU: the same five classes", f"{sum(same)} of {len(same)}"),
            promise("predict, GPU - CPU", apart, "at most 0.0001", apart <= 1e-4, options.tiny),
        ]
    )


def evaluation(options: Options, device: str, precision: str, bits: str) -> tuple[np.ndarray, dict[str, int]]:
    """Probabilities (videos, views, classes) of the killed run's network, and how many videos were evaluated."""
    out = options.work / f"evaluation_{device}_{precision}_{bits}"
    with products_of(bits):
        besnet("evaluate", f"--ckpt_path={options.work / 'killed'}", f"--data={options.data}", f"--out={out}",
               "--num_clips=1", "--num_crops=1", f"--device={device}", f"--precision={precision}",
               f"--workers={0 if options.tiny else 8}")  # fmt: skip
    results = json.loads((out / "results.json").read_text())
    return np.load(out / "predictions.npz")["probabilities"], results["coverage"]


def training(options: Options, run: Path, interval: int) -> list[str]:
    """The arguments of the training that is killed."""
    words = [f"--data.folder={options.data}", f"--out={run}", f"--trainer.devices={options.ranks}",
             "--trainer.strategy=ddp", "--trainer.max_epochs=100", f"--trainer.max_steps={4 * interval}",
             "--trainer.deterministic=true", f"--saving.every_steps={interval}"]  # fmt: skip
    if options.tiny:
        return [*command.TINY, *words, "--data.batch_size=1"]
    words += ["--trainer.accelerator=gpu", "--trainer.precision=bf16-mixed", "--trainer.log_every_n_steps=1",
              "--data.clip.num_frames=8", "--data.clip.frame_interval=2", "--data.crop_size=112",
              "--data.batch_size=16", "--data.workers=4", "--model.dropout=0.5"]  # fmt: skip
    if options.weights:
        words += ["--model.backbone=tf_efficientnet_lite0", f"--pretrained={options.weights}"]
    return words


def start(script: str, words: list[str], ranks: int) -> subprocess.Popen[str]:
    """A script under torchrun, in a process group of its own."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *torchrun, str(ROOT / script), *words],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a process printed; it must end well."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}:\n{output[-4000:]}")
    return output


def besnet(verb: str, *words: str) -> None:
    """A verb in this process; it must end well."""
    code = cli.run(verb, [*words])
    if code:
        raise SystemExit(f"besnet {verb} ended with exit code {code}")


STEPS = [
    Step("tests", 90, marked_tests),
    Step("resume", 160, resumed),
    Step("evaluate", 80, evaluated),
    Step("predict", 40, predicted),
]
