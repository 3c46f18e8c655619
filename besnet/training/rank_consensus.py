"""What any rank reports, all ranks know at the same step, without making anybody wait for it."""

from collections import deque
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor


class RankConsensus:
    """The largest of every rank's flags, exchanged once an optimiser step, on the way while the next one is made.

    Nobody waits for it: the answer is that of the step before, on every rank alike.
    """

    def __init__(self, world_size: int, device: torch.device) -> None:
        self.world_size = world_size
        self.device = device
        self.started: deque[tuple[Tensor, Callable[[], object] | None]] = deque()

    def start(self, flags: list[int], counted: Tensor) -> None:
        """Send flags of this process, and one that its device has counted (int64, no dimension)."""
        cuda = self.device.type == "cuda"
        own = torch.tensor(flags, dtype=torch.int64, pin_memory=cuda).to(self.device, non_blocking=True)
        both = torch.cat([own, counted.reshape(1)])
        work = dist.all_reduce(both, dist.ReduceOp.MAX, async_op=not cuda) if self.world_size > 1 else None
        if not cuda:
            self.started.append((both, work and work.wait))
            return
        answer = torch.empty(len(both), dtype=torch.int64, pin_memory=True).copy_(both, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.started.append((answer, event.synchronize))

    def answer(self) -> list[int] | None:
        """The largest of each flag over the ranks at the step before; None if no step has been made since the last."""
        if len(self.started) < 2:
            return None
        numbers, wait = self.started.popleft()
        if wait:
            wait()
        return [int(number) for number in numbers.tolist()]

    def largest(self, *counted: Tensor) -> list[int]:
        """The largest of every rank's numbers, now; the device is waited for."""
        numbers = torch.stack(counted)
        if self.world_size > 1:
            dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return [int(number) for number in numbers.tolist()]


def leave_ranks() -> None:
    """Close gloo's process group while Python still runs: its threads hold tensors, and abort a process that ends.

    Not for a group with a lost rank, which would be waited for.
    """
    if dist.is_initialized() and dist.get_backend() == "gloo":
        dist.destroy_process_group()
