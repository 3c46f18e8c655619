"""What each choice of the training step costs, in time and in memory kept for the backward pass.

    python benchmarks/choices.py                    # about five minutes on two cores
    python benchmarks/choices.py --only compiled    # one line of the table
    python benchmarks/choices.py --quick            # a small network, seconds: does it run?

Every case is a whole step (forward, backward, update) of the ResNet-50 BesNet. It changes one thing of the first case,
with which it is timed in turn.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

from besnet.cli.process import short_waits

short_waits(os.environ)  # read when torch is loaded

import torch
import torch.nn.functional as F

from besnet.bench.costs import kept_for_backward
from besnet.bench.timing import alternate
from besnet.models.besnet import BesNet
from besnet.models.network import lay_channels_last
from besnet.training.memory import keep_freed_memory

Step = Callable[[], None]


def step_of(
    shape: dict,
    clips: torch.Tensor,
    channels_last: bool = True,
    optimiser: dict | None = None,
    bf16: bool = False,
    compiled: bool = False,
    draws_as_tensors: bool = False,
    averaged: bool = False,
    **arguments: object,
) -> Step:
    torch.manual_seed(0)
    network = BesNet(400, (1, 2), **shape, **arguments).train()
    if channels_last:
        lay_channels_last(network)
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


CHOICES: dict[str, dict[str, Any]] = {
    "the same again (A/A)": {},
    "contiguous filters": {"channels_last": False},
    "SGD foreach": {"optimiser": {"foreach": True}},
    "SGD one by one": {"optimiser": {"foreach": False}},
    "draws as tensors": {"draws_as_tensors": True},
    "averaged (learned mixture)": {"averaged": True, "mixture": "learned"},
    "replicate padding": {"temporal_padding": "replicate"},
    "bf16 autocast": {"bf16": True},
    "frozen BatchNorm": {"frozen_bn": True},
    "stage 1 recomputed": {"activation_checkpointing": (1,)},
    "stages 1, 2 recomputed": {"activation_checkpointing": (1, 2)},
    "all stages recomputed": {"activation_checkpointing": True},
    "compiled": {"compiled": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(CHOICES), default=list(CHOICES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, nargs=3, default=(2, 8, 64), metavar=("BATCH", "FRAMES", "SIZE"))
    options = parser.parse_args()
    torch.set_num_threads(1 if options.quick else 2)
    shape: dict[str, Any] = {"blocks": (1, 1, 1, 1), "width": 8} if options.quick else {}
    batch, frames, size = (2, 4, 32) if options.quick else options.clips
    rounds = 2 if options.quick else options.rounds
    keep_freed_memory()  # as training does
    clips = torch.randn(batch, 3, frames, size, size)
    first = step_of(shape, clips)
    print(f"a step of {batch} clips of {frames} x {size} x {size}, {rounds} rounds; ratios to the first line")
    print(f"  {'channels-last filters, fused SGD':34}{'':9}   {'':6}{kept_mb(first):8.0f} MB", flush=True)
    for name in options.only:
        if options.quick and name == "compiled":
            continue
        torch._dynamo.reset()
        step = step_of(shape, clips, **CHOICES[name])  # one beside the first at a time: each holds a whole optimiser
        memory = "" if name == "compiled" else f"{kept_mb(step):8.0f} MB"
        timings = alternate({"first": first, name: step}, rounds, torch.device("cpu"))
        print(f"  {name:34}{1e3 * timings.median(name):9.0f} ms{timings.ratio(name, 'first'):6.3f}{memory}", flush=True)


def kept_mb(step: Step) -> float:
    with kept_for_backward() as kept:
        step()
    return sum(kept.values()) / 2**20


if __name__ == "__main__":
    main()
