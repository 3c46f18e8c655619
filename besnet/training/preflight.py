"""Checks before the first step: every rank has the same code, data, config and checkpoint, and a fit machine."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist

from besnet.data.order import sample
from besnet.data.streaming import AHEAD
from besnet.training.data import VideoData
from besnet.training.exit_codes import HUNG, RunExit
from besnet.training.machine_checks import Needs, RemoteShards, machine
from besnet.training.resume import differences


class Preflight(pl.Callback):
    """Compares the ranks and checks each machine, as `besnet doctor` does before a training.

    ValueError on every rank if they differ. A problem of a machine is a warning: the needs are estimates.
    """

    def __init__(self, about: dict[str, Any], checkpoint: Path | None, needs: Needs) -> None:
        self.own = {
            "host": socket.gethostname(),
            "checkpoint": checkpoint.name if checkpoint else None,
            **{key: about[key] for key in ("revision", "versions", "passport", "config")},
        }
        self.needs = needs

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the machine, compare the ranks, and refuse to start if they differ."""
        if trainer.local_rank == 0:
            for finding in machine(self.needs):
                if finding.fix:
                    print(f"besnet: {self.own['host']}: {finding}", file=sys.stderr, flush=True)
        if trainer.world_size == 1:
            return
        everyone: list[dict[str, Any]] = [{}] * trainer.world_size
        dist.all_gather_object(everyone, self.own)
        refuse_differences(everyone)


def refuse_differences(everyone: list[dict[str, Any]]) -> None:
    """ValueError if any rank differs from rank 0, or RunExit where a restart may help."""
    first = everyone[0]
    for rank, other in enumerate(everyone):
        where = f"rank {rank} on {other['host']}"
        if other["revision"] != first["revision"]:
            revision = first["revision"].removesuffix("+changes")
            raise ValueError(
                f"{where} runs revision {other['revision']}, rank 0 {first['revision']}: git checkout {revision} "
                "on every machine, or use the same image"
            )
        if other["versions"] != first["versions"]:
            found = "; ".join(differences(first["versions"], other["versions"]))
            raise ValueError(
                f"{where} has other versions ({found}): pip install --constraint constraints.txt --editable . there"
            )
        if other["passport"] != first["passport"]:
            found = "; ".join(differences(first["passport"], other["passport"], "passport."))
            raise ValueError(f"{where} has other data ({found}): copy rank 0's prepared folder there")
        found = "; ".join(differences(first["config"], other["config"]))
        if found:
            raise ValueError(f"{where} was started with other settings ({found}): give every rank the same command")
    for rank, other in enumerate(everyone):
        if other["checkpoint"] != first["checkpoint"]:
            raise RunExit(
                HUNG,
                f"rank {rank} on {other['host']} sees checkpoint {other['checkpoint']}, rank 0 {first['checkpoint']}: "
                "the run folder must be the same on every machine; if it is, start the job again",
            )


def needs(out: Path, data: VideoData, parameters: int, checkpoints: int, local_ranks: int, nodes: int) -> Needs:
    """What a training needs on each of its machines."""
    some = [data.manifest[int(row)] for row in sample(data.train_rows, 64)]
    side = max(min(row.height, row.width) for row in some)
    clip_bytes = data.clip.num_frames * side * side * 3
    batch_bytes = data.batch_size * clip_bytes
    shards = remote_shards(data, local_ranks, nodes) if data.manifest.is_remote else None
    return Needs(out, data.workers, batch_bytes, parameters, checkpoints, local_ranks, nodes, shards)


def remote_shards(data: VideoData, local_ranks: int, nodes: int) -> RemoteShards:
    """What a machine reads of remote shards in an epoch."""
    streaming, mixed = data.streaming, data.shuffle == "shards"
    shards = streaming.training_shards
    return RemoteShards(
        mixed,
        len(shards),
        len(data.train_rows),
        streaming.bytes_an_epoch(nodes) if mixed else sum(shard.size for shard in shards),
        streaming.open(nodes) + AHEAD if mixed else 0,
        streaming.bytes_open(nodes, data.batch_size * local_ranks),
    )
