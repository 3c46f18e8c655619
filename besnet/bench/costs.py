"""The cost of a case: FLOP by torch's own count, memory, time and MFU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from besnet.bench.cases import Case, Cases
from besnet.bench.flops import counted
from besnet.bench.peak import Peak, measured, probes
from besnet.bench.timing import Timings, alternate, wait

AGAIN = "the first case again"


@dataclass
class Cost:
    """A row of the table. gflops and clips_per_sec count clips; mfu is a share of the peak."""

    network: str
    mode: str
    form: str
    parameters_m: float
    gflops: float
    memory_mb: float | None
    ms: float
    clips_per_sec: float
    mfu: float


def measure(bench: Cases, rounds: int) -> tuple[list[Cost], Timings, Peak]:
    """Run all cases in turn, products and convolutions of the same precision among them, and the first case twice."""
    dtype = torch.bfloat16 if bench.precision == "bf16" else torch.float32
    others = probes(bench.device, dtype)
    flop_of = {}
    for case in bench.cases:
        # Counting needs eager mode; the compiled form does the same multiplications.
        if case.form == "eager":
            flop_of[case.network, case.mode] = counted(case.run)
    runs = {case.name: case.run for case in bench.cases}
    runs |= {AGAIN: bench.cases[0].run} | {name: run for name, (_, run) in others.items()}
    timings = alternate(runs, rounds, bench.device)
    flops_of = {name: flop for name, (flop, _) in others.items()}
    flops_of |= {case.name: flop_of[case.network, case.mode] for case in bench.cases}
    peak = measured(flops_of, timings)
    costs = []
    for case in bench.cases:
        flops, seconds = flop_of[case.network, case.mode], timings.median(case.name)
        costs.append(
            Cost(
                case.network,
                case.mode,
                case.form,
                parameters_m=sum(p.numel() for p in bench.networks[case.network].parameters()) / 1e6,
                gflops=flops / len(bench.clips) / 1e9,
                memory_mb=memory_mb(bench, case),
                ms=1e3 * seconds,
                clips_per_sec=len(bench.clips) / seconds,
                mfu=flops / seconds / peak.flop_per_sec,
            )
        )
    return costs, timings, peak


def memory_mb(bench: Cases, case: Case) -> float | None:
    """On a GPU the peak of the run; on a CPU what a step keeps for its backward pass."""
    if bench.device.type == "cuda":
        wait(bench.device)
        torch.cuda.reset_peak_memory_stats()
        case.run()
        return torch.cuda.max_memory_allocated() / 2**20
    if case.mode != "training step" or case.form != "eager":
        return None
    with kept_for_backward() as kept:
        case.run()
    parameters = {p.untyped_storage().data_ptr() for p in bench.networks[case.network].parameters()}
    return sum(size for address, size in kept.items() if address not in parameters) / 2**20


@contextmanager
def kept_for_backward() -> Iterator[dict[int, int]]:
    """Collects the memory blocks that autograd saves meanwhile: address → bytes."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def table(costs: list[Cost]) -> str:
    """The costs as text, a line each."""
    heads = f"{'M param.':>9}{'GFLOP/clip':>12}{'MB':>8}{'ms':>10}{'clips/s':>9}{'MFU':>6}"
    width = max(24, *(len(c.network) + 1 for c in costs))
    lines = [f"{'network':{width}}{'mode':23}{'form':10}{heads}"]
    for c in costs:
        memory = "-" if c.memory_mb is None else f"{c.memory_mb:.0f}"
        lines.append(
            f"{c.network:{width}}{c.mode:23}{c.form:10}{c.parameters_m:9.2f}{c.gflops:12.2f}{memory:>8}"
            f"{c.ms:10.1f}{c.clips_per_sec:9.2f}{c.mfu:6.0%}"
        )
    return "\n".join(lines)
