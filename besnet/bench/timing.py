"""Timings that can be compared on a busy machine: every case runs in every round, and ratios are within rounds."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from besnet.progress import Meter


class Timings:
    """Seconds of each case in each round."""

    def __init__(self, seconds: Mapping[str, list[float]]) -> None:
        self.seconds = dict(seconds)

    def median(self, case: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[case])

    def ratio(self, case: str, other: str) -> float:
        """Time of one case over another's: the median of the ratios within the rounds."""
        return statistics.median(a / b for a, b in zip(self.seconds[case], self.seconds[other], strict=True))


def alternate(
    cases: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> Timings:
    """Run every case once per round, in alternating order, after one round that does not count (compiling, warm-up).

    clock: time.process_time counts this process's work instead; with one thread it is steady on a busy machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    meter = Meter(len(cases) * (rounds + 1), "runs")
    for turn in range(-1, rounds):
        for name in list(cases)[:: 1 if turn % 2 else -1]:
            wait(device)
            start = clock()
            cases[name]()
            wait(device)
            if turn >= 0:
                seconds[name].append(clock() - start)
            meter.add(1, name)
    meter.close()
    return Timings(seconds)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
