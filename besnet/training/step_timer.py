"""What a training process is doing now, and its time in each phase: for the watchdog and the bottleneck report."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from pytorch_lightning.profilers import Profiler

from besnet.training.lightning_internals import phase_of

STEP = ("waiting for data", "copy", "forward", "backward", "optimiser", "agreeing", "other")


class StepTimer(Profiler):
    """Follows a run through its phases; costs a dictionary look-up for each hook and a time stamp for each phase.

    On a CUDA device the stamps are events in its stream, so that seconds are the device's own: its idle time until the
    next batch counts as waiting for data.
    """

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        self.now = ("starting", time.monotonic())
        self.seconds: dict[str, float] = dict.fromkeys(STEP, 0.0)
        self.moving = False  # whether an optimiser step has been made
        self._open: list[str] = []
        self._stamps: list[tuple[str, torch.cuda.Event]] = []
        self._pending: deque[list[tuple[str, torch.cuda.Event]]] = deque()

    def start(self, action_name: str) -> None:
        """Enter the phase of a part of the run that Lightning announces; other parts change nothing."""
        phase = phase_of(action_name)
        if phase is not None:
            self._begin(phase)

    def stop(self, action_name: str) -> None:
        """Return to the phase around it."""
        if phase_of(action_name) is not None:
            self._end()

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """A phase of our own, such as `agreeing`; also tells the watchdog that this process makes progress."""
        self._begin(phase)
        try:
            yield
        finally:
            self._end()

    def _begin(self, phase: str) -> None:
        self._open.append(phase)
        self._enter(phase)

    def _end(self) -> None:
        self.moving = self.moving or self._open[-1] == "optimiser"
        self._open.pop()
        self._enter(self._open[-1] if self._open else "other")

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
