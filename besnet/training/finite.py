"""Watches for losses that are not finite without making the device wait, and reports step, rate and videos."""

from collections import deque

import torch
from torch import Tensor

from besnet.data.manifest import Manifest
from besnet.training.exit_codes import NOT_FINITE, RunExit


class Losses:
    """The losses of the last micro-batches, watched on their device.

    bad: the number of the first micro-batch whose loss was not finite, int64 on the device; -1 for none.
    """

    def __init__(self, device: torch.device, accumulate: int) -> None:
        self.bad = torch.tensor(-1, device=device)
        # a loss is known up to two steps later
        self.recent: deque[tuple[int, int, float, list[int]]] = deque(maxlen=3 * accumulate + 1)

    def watch(self, loss: Tensor, micro_batch: int, step: int, lr: float, rows: list[int]) -> None:
        """Remember the first micro-batch whose loss is not finite; reading it now would make the device wait."""
        first = (self.bad < 0) & ~loss.isfinite()
        self.bad = torch.where(first, micro_batch, self.bad)
        self.recent.append((micro_batch, step, lr, rows))

    def run_exit(self, manifest: Manifest) -> RunExit:
        """The exit of a run whose loss was not finite; says where, if it was on this rank."""
        bad = int(self.bad)
        for micro_batch, step, lr, rows in self.recent:
            if micro_batch == bad:
                videos = ", ".join(manifest[row].id for row in rows)
                return RunExit(
                    NOT_FINITE,
                    f"the loss is not finite at step {step} (learning rate {lr:.3g}) on the videos {videos}; the last "
                    "checkpoint is kept: lower recipe.lr, or check these videos",
                )
        return RunExit(NOT_FINITE, "the loss of another rank is not finite: its message names the videos")
