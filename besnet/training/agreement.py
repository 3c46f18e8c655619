"""What any rank reports, all ranks know at the same step, without making a GPU wait."""

import torch
import torch.distributed as dist
from torch import Tensor


class Agreement:
    """The largest of every rank's flags, exchanged once an optimiser step.

    On a CPU the answer is that of this step. A GPU is not waited for: there the answer is that of the step before,
    on every rank alike.
    """

    def __init__(self, world_size: int, device: torch.device) -> None:
        self.world_size = world_size
        self.device = device
        self.pending: tuple[Tensor, torch.cuda.Event] | None = None

    def exchange(self, flags: list[int], counted: Tensor) -> list[int]:
        """Flags of this process, and one that its device has counted (int64, no dimension): the largest of each."""
        cuda = self.device.type == "cuda"
        own = torch.tensor(flags, dtype=torch.int64, pin_memory=cuda).to(self.device, non_blocking=True)
        both = torch.cat([own, counted.reshape(1)])
        if self.world_size > 1:
            dist.all_reduce(both, dist.ReduceOp.MAX)
        if not cuda:
            return [int(flag) for flag in both.tolist()]
        answer = torch.empty(len(both), dtype=torch.int64, pin_memory=True).copy_(both, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        before, self.pending = self.pending, (answer, event)
        if before is None:
            return [0] * len(flags) + [-1]
        before[1].synchronize()
        return [int(flag) for flag in before[0].tolist()]

    def largest(self, *counted: Tensor) -> list[int]:
        """The largest of every rank's numbers, now; the device is waited for."""
        numbers = torch.stack(counted)
        if self.world_size > 1:
            dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return [int(number) for number in numbers.tolist()]
