"""Whether a loss was finite, noticed without making the device wait, and told with step, learning rate and videos."""

from collections import deque

import torch
from torch import Tensor

from besnet.data.manifest import Manifest
from besnet.training.exit_codes import NOT_FINITE, RunExit


class Losses:
    """The losses of the last micro-batches, watched on their device.

    bad: the number of the first micro-batch whose loss was not finite, int64 on the device; -1 while there is none.
    """

    def __init__(self, device: torch.device, accumulate: int) -> None:
        self.bad = torch.tensor(-1, device=device)
        # what a loss was is known up to two steps later
        self.recent: deque[tuple[int, int, float, list[int]]] = deque(maxlen=3 * accumulate + 1)

    def watch(self, loss: Tensor, micro_batch: int, step: int, lr: float, rows: list[int]) -> None:
        """Remember the first micro-batch whose loss is not finite: asking the device now would make it wait."""
        first = (self.bad < 0) & ~loss.isfinite()
        self.bad = torch.where(first, micro_batch, self.bad)
        self.recent.append((micro_batch, step, lr, rows))

    def ending(self, manifest: Manifest) -> RunExit:
        """The end of a run whose loss was not finite: says where, where this rank knows."""
        bad = int(self.bad)
        for micro_batch, step, lr, rows in self.recent:
            if micro_batch == bad:
                videos = ", ".join(manifest[row].id for row in rows)
                return RunExit(
                    NOT_FINITE,
                    f"the loss was not finite at step {step}, learning rate {lr:.3g}, on the videos {videos}; nothing "
                    "was saved after it, the last checkpoint is kept: lower recipe.lr, or look at these videos",
                )
        return RunExit(NOT_FINITE, "stopped because the loss of another rank was not finite: its line names the videos")
