"""What a training process is doing now, and how long it spends on what: read by the watchdog and the verdict."""

import time
from collections import deque
from itertools import pairwise

import torch
from pytorch_lightning.profilers import Profiler

# Lightning announces what it begins and ends by names; these are the parts of a run that we tell apart.
PHASES = {
    "[_TrainingEpochLoop].train_dataloader_next": "waiting for data",
    "[_EvaluationLoop].val_next": "evaluation",
    "validation_step": "evaluation",
    "on_validation_epoch_end": "evaluation",
    "batch_to_device": "copy",
    "training_step": "forward",
    "backward": "backward",
    "optimizer_step": "optimiser",
    "save_checkpoint": "saving",
    "agreement": "agreeing",
    "preflight": "preflight",
}
STEP = ("waiting for data", "copy", "forward", "backward", "optimiser", "agreeing", "other")


class StepTimer(Profiler):
    """Follows a run through its phases; costs a dictionary look-up a hook and a time stamp a phase.

    On a CUDA device the stamps are events in its stream, so that seconds are the device's own: while it idles because
    the next batch is not there, that is waiting for data.
    """

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        self.now = ("starting", time.monotonic())
        self.seconds: dict[str, float] = dict.fromkeys(STEP, 0.0)
        self.moving = False  # whether a step has been made
        self._open: list[str] = []
        self._stamps: list[tuple[str, torch.cuda.Event]] = []
        self._pending: deque[list[tuple[str, torch.cuda.Event]]] = deque()

    def start(self, action_name: str) -> None:
        """Enter a phase; names that are none of ours change nothing."""
        phase = self._phase(action_name)
        if phase is not None:
            self._open.append(phase)
            self._enter(phase)

    def stop(self, action_name: str) -> None:
        """Go back to the phase around it."""
        if self._phase(action_name) is not None:
            self.moving = self.moving or self._open[-1] == "optimiser"
            self._open.pop()
            self._enter(self._open[-1] if self._open else "other")

    @staticmethod
    def _phase(action_name: str) -> str | None:
        if action_name.startswith("[Callback]"):
            return None
        return PHASES.get(action_name) or PHASES.get(action_name.rpartition(".")[2])

    def _enter(self, phase: str) -> None:
        left, since_sec = self.now
        now_sec = time.monotonic()
        self.now = (phase, now_sec)
        if self.device.type != "cuda":
            self._add(left, now_sec - since_sec)
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._stamps.append((phase, event))
        if phase == "waiting for data":  # a step ends where the next one's wait begins
            self._pending.append(self._stamps)
            self._stamps = [(phase, event)]
            while self._pending and self._pending[0][-1][1].query():
                self._resolve(self._pending.popleft())

    def _resolve(self, stamps: list[tuple[str, torch.cuda.Event]]) -> None:
        for (phase, begin), (_, end) in pairwise(stamps):
            self._add(phase, begin.elapsed_time(end) / 1000)

    def _add(self, phase: str, seconds: float) -> None:
        if phase in self.seconds:
            self.seconds[phase] += seconds
