"""The bottleneck of a training: its time in each phase, and a sentence that says what to change."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from besnet.training.data import VideoData
from besnet.training.machine_checks import usable_cores
from besnet.training.progress import is_logged
from besnet.training.step_timer import STEP, StepTimer

WARM_UP = 5  # micro-batches in which workers start, memory is allocated and kernels are chosen
LEAST = 20  # micro-batches to measure before a bottleneck is named
MUCH = 0.2  # share of the step from which on a phase is the bottleneck
ALL_REDUCE = "all-reduce"


class BottleneckReport(pl.Callback):
    """Writes each phase's share of the step to TensorBoard, and prints the bottleneck at the end of the run."""

    def __init__(self, phases: StepTimer) -> None:
        self.phases = phases
        self.batches = 0
        self.before = dict(phases.seconds)
        self.start = dict(phases.seconds)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Write the shares since the last logged step, at every logged step."""
        self.batches += 1
        if self.batches <= WARM_UP:
            self.before = self.start = dict(self.phases.seconds)
        elif trainer.is_global_zero and is_logged(trainer) and trainer.logger:
            now = dict(self.phases.seconds)
            shares = share({name: now[name] - self.before[name] for name in STEP})
            trainer.logger.log_metrics({f"Time/{name}": part for name, part in shares.items()}, trainer.global_step)
            self.before = now

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the bottleneck, from the mean of all ranks."""
        seconds = {name: self.phases.seconds[name] - self.start[name] for name in STEP}
        measured = self.batches - WARM_UP
        exposed = min(exposed_all_reduce_sec(trainer.strategy.model) * measured, seconds["backward"])
        seconds |= {"backward": seconds["backward"] - exposed, ALL_REDUCE: exposed}
        total = torch.tensor(list(seconds.values()), dtype=torch.float32, device=trainer.strategy.root_device)
        if trainer.world_size > 1:
            dist.all_reduce(total)
        if measured >= LEAST and trainer.is_global_zero:
            data = trainer.datamodule  # type: ignore[attr-defined]
            assert isinstance(data, VideoData)
            shares = share(dict(zip(seconds, total.tolist(), strict=True)))
            spare = usable_cores() // (trainer.world_size // trainer.num_nodes) - 1 - data.workers
            print(sentence(shares, data.workers, spare, data.manifest.about.encode.get("mode") == "encode"))


def share(seconds: dict[str, float]) -> dict[str, float]:
    """Each part of a whole, 0..1."""
    whole = sum(seconds.values()) or 1.0
    return {name: part / whole for name, part in seconds.items()}


def exposed_all_reduce_sec(model: Any) -> float:
    """Seconds per step in which backward only waits for other ranks' gradients, as torch samples them."""
    if not isinstance(model, DistributedDataParallel):
        return 0.0
    facts = model._get_ddp_logging_data()
    spent, hidden = facts.get("avg_backward_comm_time", 0), facts.get("avg_backward_compute_comm_overlap_time", 0)
    return float(max(0, spent - hidden)) / 1e9


def sentence(shares: dict[str, float], workers: int, spare_cores: int, encoded: bool) -> str:
    """The bottleneck and what to do about it. shares: of the step, by phase; spare_cores: of each rank."""
    parts = ", ".join(f"{name} {percent(part)}" for name, part in shares.items() if part >= 0.005)
    waiting = shares["waiting for data"]
    if waiting >= MUCH:
        more = math.ceil(max(workers, 1) * waiting / (1 - waiting + 1e-9)) if waiting < 0.95 else 4 * max(workers, 1)
        advice = [] if encoded else ["re-encode the videos with besnet prepare"]
        if spare_cores >= more:
            advice.append(f"--data.workers={workers + more}")
        else:
            advice.append(f"use {more} more cores and workers per rank (this machine has {max(spare_cores, 0)} free)")
        return f"bottleneck: decoding: {' or '.join(advice)}: {parts}"
    if shares["copy"] >= MUCH:
        return f"bottleneck: copying to the GPU (more workers do not help): {parts}"
    if shares.get(ALL_REDUCE, 0) >= MUCH:
        return (
            "bottleneck: the network between ranks: raise data.batch_size or trainer.accumulate_grad_batches, which "
            f"exchange gradients less often: {parts}"
        )
    if shares["agreeing"] >= MUCH:
        return f"bottleneck: the slowest rank, which the others wait for: {parts}"
    return f"bottleneck: computing: {parts}"


def percent(part: float) -> str:
    """A share in percent: 0.62 → 62 %."""
    return f"{part * 100:.0f} %"
