"""What being unbreakable costs: two ranks train with all guards and, in turn, without any.

    make bench-overhead     # about 3 minutes on two cores

The same network, data and Lightning loop. "Guarded" is what `besnet train` runs: the agreement of the ranks at every
step, signals, watchdog, phases, verdict, figures, positions and the failure log. "Bare" is Lightning's trainer without
callbacks, logger and profiler. Printed: the ratio of their step times in alternating pairs, the ratio of bare to bare
(A/A), and the sum of the timed spans of the guards as a share of the step, with one checkpoint in 500 steps.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from besnet.cli.parsing import parse, plain
from besnet.cli.training import train_parser
from besnet.data.failures import FailureLog
from besnet.models.build import build
from besnet.training.engine import build_trainer, quieten
from besnet.training.finite import Losses
from besnet.training.task import ActionTraining
from besnet.training.tensorboard import TensorBoardPictures
from besnet.watchdog import Watchdog
from tests import moving_squares

RANKS = 2
SAVE_EVERY = 500  # the default of `saving.every_steps`
WARM_UP = 3  # steps that are not counted


class Steps(pl.Callback):
    """Time stamps of the steps' beginnings."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.stamps.append(time.perf_counter())

    @property
    def median_sec(self) -> float:
        """Median time from one step's beginning to the next one's."""
        begun = self.stamps[WARM_UP:]
        return statistics.median(after - before for before, after in pairwise(begun))


class Spans:
    """Adds up the time spent inside chosen methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.depth = 0

    def around(self, owner: object, name: str) -> None:
        """Time a method from now on; what one timed method spends in another counts once."""
        method: Callable[..., Any] = getattr(owner, name)
        label = f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"

        def timed(*words: Any, **named: Any) -> Any:
            self.depth += 1
            began_sec = time.perf_counter()
            try:
                return method(*words, **named)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - began_sec

        setattr(owner, name, timed)


HOOKS = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end", "on_before_zero_grad")


def fit(parser: Any, parsed: Any, folder: Path, steps: int, guarded: bool) -> tuple[float, dict[str, float], float]:
    """Train for some steps. Median step, seconds of each timed span a step, seconds of one save."""
    built = parser.instantiate(parsed)
    config = plain(parser, parsed)
    settings = config["trainer"] | {"max_steps": steps, "limit_val_batches": 0}
    folder.mkdir(exist_ok=True)
    pl.seed_everything(0, verbose=False)
    network = build(config["model"] | {"num_classes": len(built.data.manifest.classes)})
    clock, spans, watch = Steps(), Spans(), Losses.watch
    with warnings.catch_warnings():
        quieten()
        if guarded:
            engine = build_trainer(folder, built.saving, settings)
        else:
            engine = pl.Trainer(
                **settings, default_root_dir=folder, logger=False, use_distributed_sampler=False,
                num_sanity_val_steps=0, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False,
            )  # fmt: skip
        engine.callbacks.append(clock)  # type: ignore[attr-defined]
        failures = FailureLog(folder, engine.global_rank, len(built.data.train_rows))
        built.data.arrange(0, engine.global_rank, engine.world_size, failures)
        task = ActionTraining(network, built.recipe, built.data, 0, failures, {})
        if guarded:
            for callback in engine.callbacks[:-1]:  # type: ignore[attr-defined]
                for hook in (
                    HOOKS if not isinstance(callback, TensorBoardPictures) else ()
                ):  # pictures for people guard nothing
                    spans.around(callback, hook)
            for owner, name in ((Losses, "watch"), (task, "draw_dilations"), (failures, "append"),
                                (built.saving.phases, "start"), (built.saving.phases, "stop")):  # fmt: skip
                spans.around(owner, name)
        watchdog = Watchdog(engine.global_rank, 600.0, lambda: built.saving.phases.now, lambda: True)
        if guarded:
            watchdog.start()
        engine.fit(task, built.data)
        Losses.watch = watch  # type: ignore[method-assign]
        if guarded:
            watchdog.stop()
        began_sec = time.perf_counter()
        if guarded:
            built.saving.save(engine)
        save_sec = time.perf_counter() - began_sec
    return clock.median_sec, {name: total / steps for name, total in spans.seconds.items()}, save_sec


def rank(folder: Path, pairs: int, steps: int) -> None:
    """What each rank runs; rank 0 prints."""
    torch.set_num_threads(1)
    parser = train_parser("train")
    words = [
        "--config=configs/stick_figures.yaml", f"--data.folder={folder / 'squares' / 'prepared'}", f"--out={folder}",
        "--data.workers=1", "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=1000",
        f"--saving.every_steps={10 * steps}", "--evaluation.pairs=[]",
    ]  # fmt: skip
    parsed = parse(parser, words, "train")
    ratios, same, shares, saves = [], [], [], []
    spans: dict[str, float] = {}
    for _ in range(pairs):
        bare, *_ = fit(parser, parsed, folder / "bare", steps, guarded=False)
        full, spans, save_sec = fit(parser, parsed, folder / "guarded", steps, guarded=True)
        again, *_ = fit(parser, parsed, folder / "bare", steps, guarded=False)
        ratios.append(2 * full / (bare + again))
        same.append(again / bare)
        saves.append(save_sec)
        shares.append((sum(spans.values()) + save_sec / SAVE_EVERY) / full)
        if os.environ["RANK"] == "0":
            print(f"step {full * 1000:.1f} ms guarded, {bare * 1000:.1f} and {again * 1000:.1f} ms bare", flush=True)
    if os.environ["RANK"] == "0":
        print("milliseconds a step, last pair:")
        for name, seconds in sorted(spans.items(), key=lambda item: -item[1])[:8]:
            print(f"  {name:40} {seconds * 1000:.3f}")
        print(f"  one save in {SAVE_EVERY} steps{'':21} {statistics.median(saves) / SAVE_EVERY * 1000:.3f}")
        print(
            f"guarded / bare {statistics.median(ratios):.3f}, A/A {statistics.median(same):.3f} (medians of {pairs} "
            f"pairs); timed spans {statistics.median(shares):.2%} of the step"
        )


def main() -> None:
    """Draw a few videos, then start the ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=24)
    words = parser.parse_args()
    if "RANK" in os.environ:
        rank(Path(os.environ["OVERHEAD_FOLDER"]), words.pairs, words.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        moving_squares.make(Path(folder) / "squares", train=64, test=4)
        command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone",
                   f"--nproc_per_node={RANKS}", "-m", "benchmarks.overhead", *sys.argv[1:]]  # fmt: skip
        subprocess.run(command, check=True, env=os.environ | {"OVERHEAD_FOLDER": folder})


if __name__ == "__main__":
    main()
