"""What each choice of the training step costs, in time and in memory kept for the backward pass.

    python benchmarks/choices.py            # two threads, some minutes
    python benchmarks/choices.py --steady   # CPU time of one thread: comparable on a machine that others use too
    python benchmarks/choices.py --quick    # a small network, seconds: does it run?

Every case is a whole step (forward, backward, update) of the ResNet-50 BesNet and changes one thing of the first.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does; read when torch is loaded

import torch
import torch.nn.functional as F

from besnet.bench.costs import kept_for_backward
from besnet.bench.timing import alternate
from besnet.models.besnet import BesNet

Step = Callable[[], None]


def step_of(
    shape: dict,
    clips: torch.Tensor,
    memory_format: torch.memory_format = torch.channels_last_3d,
    optimiser: dict | None = None,
    bf16: bool = False,
    compiled: bool = False,
    draws_as_tensors: bool = False,
    averaged: bool = False,
    **arguments: object,
) -> Step:
    torch.manual_seed(0)
    network = BesNet(400, (1, 2), **shape, **arguments).train()
    network.to(memory_format=memory_format)
    updates = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad],
        1e-4,
        momentum=0.9,
        weight_decay=1e-4,
        **({"fused": True} if optimiser is None else optimiser),
    )
    run = torch.compile(network) if compiled else network
    draws = None if averaged else torch.arange(network.num_temporal_layers) % 2
    if draws_as_tensors:
        assert draws is not None
        tensors = list(torch.tensor(network.dilations)[draws])
        network.in_frames = lambda _: tensors  # type: ignore[method-assign]
    labels = torch.zeros(len(clips), dtype=torch.int64)

    def step() -> None:
        updates.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(run(clips, draws), labels)
        loss.backward()
        updates.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steady", action="store_true")
    parser.add_argument("--compiled", action="store_true", help="one case more, which takes minutes to compile")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1 if options.steady else 2)
    shape: dict = {"blocks": (1, 1, 1, 1), "width": 8} if options.quick else {}
    size, rounds = (32, 2) if options.quick else (112, options.rounds)
    clips = torch.randn(options.batch_size, 3, 16, size, size)
    cases = {
        "channels-last filters, fused SGD": step_of(shape, clips),
        "the same again (A/A)": step_of(shape, clips),
        "contiguous filters": step_of(shape, clips, torch.contiguous_format),
        "SGD foreach": step_of(shape, clips, optimiser={"foreach": True}),
        "SGD one by one": step_of(shape, clips, optimiser={"foreach": False}),
        "draws as tensors": step_of(shape, clips, draws_as_tensors=True),
        "averaged (learned mixture)": step_of(shape, clips, averaged=True, mixture="learned"),
        "bf16 autocast": step_of(shape, clips, bf16=True),
        "frozen BatchNorm": step_of(shape, clips, frozen_bn=True),
        "stage 1 recomputed": step_of(shape, clips, activation_checkpointing=(1,)),
        "stages 1, 2 recomputed": step_of(shape, clips, activation_checkpointing=(1, 2)),
        "all stages recomputed": step_of(shape, clips, activation_checkpointing=True),
        "replicate padding": step_of(shape, clips, temporal_padding="replicate"),
    }
    if options.compiled:
        cases["compiled"] = step_of(shape, clips, compiled=True)
    memory = {}
    for name, step in cases.items():
        if name != "compiled":
            with kept_for_backward() as kept:
                step()
            memory[name] = sum(kept.values()) / 2**20
    timings = alternate(cases, rounds, torch.device("cpu"), time.process_time if options.steady else time.perf_counter)
    first = next(iter(cases))
    print(f"a step of {options.batch_size} clips of 16 x {size} x {size}, {rounds} rounds")
    for name in cases:
        kept_mb = f"{memory[name]:8.0f} MB" if name in memory else " " * 11
        print(f"  {name:34}{1e3 * timings.median(name):9.0f} ms  {timings.ratio(name, first):6.3f}{kept_mb}")


if __name__ == "__main__":
    main()
