"""This process among those that evaluate together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from besnet.environment import refuse_bare_srun, started_as


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is, and the device it computes on."""

    rank: int
    world_size: int
    device: torch.device

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, values: list[Any]) -> list[Any]:
        """Every rank's values in one list on rank 0; an empty list elsewhere."""
        if self.world_size == 1:
            return values
        boxes: list[Any] | None = [None] * self.world_size if self.rank == 0 else None
        dist.gather_object(values, boxes)
        return [value for box in boxes for value in box] if boxes is not None else []


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did. ValueError if the device is not there."""
    refuse_bare_srun()
    started = started_as()
    place = choose_device(device)
    if started.world_size == 1:
        yield Ranks(0, 1, place)
        return
    # gloo: nothing travels but one list at the end; the slowest rank may take hours longer than the fastest
    dist.init_process_group("gloo", timeout=timedelta(hours=12))
    try:
        yield Ranks(started.rank, started.world_size, place)
    finally:
        dist.destroy_process_group()


def choose_device(device: str) -> torch.device:
    """`auto` is this rank's GPU where there is one, else the CPU. ValueError for a GPU that is not there."""
    local = started_as().local_rank
    if device == "auto":
        device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    if device.startswith(("cuda", "gpu")):
        if not torch.cuda.is_available():
            raise ValueError(f"--device {device}: no CUDA device is visible here; use --device cpu")
        number = device.partition(":")[2] or str(local)
        if not number.isdecimal() or int(number) >= torch.cuda.device_count():
            raise ValueError(f"--device {device}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
        return torch.device(f"cuda:{number}")
    if device != "cpu":
        raise ValueError(f"--device {device}: auto, cpu, cuda or cuda:N are expected")
    return torch.device("cpu")
