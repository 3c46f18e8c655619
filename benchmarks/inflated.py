"""What taps in time cost EfficientNet-Lite0: a training step and a forward pass, beside the same network per frame.

    python -m benchmarks.inflated            # half a minute on two cores

C2D is the same backbone without taps. A second C2D shows by how much two equal cases differ on this machine. All cases
run in turn in every round; the ratios are within rounds. Averaged and one dilation are folded, as in evaluation.
"""

import argparse
import os
from collections.abc import Callable

from besnet.cli.process import short_waits

short_waits(os.environ)  # read when torch is loaded

import torch
import torch.nn.functional as F

from besnet.bench.flops import counted
from besnet.bench.timing import alternate
from besnet.models.build import build
from besnet.models.folding import fold
from besnet.models.network import Network, lay_channels_last
from besnet.training.memory import keep_freed_memory

BACKBONE = "tf_efficientnet_lite0"


def network(dilations: tuple[int, ...], taps_after: int = 0) -> Network:
    """A network for 21 classes; taps_after: blocks without taps."""
    torch.manual_seed(0)
    found = build({"backbone": BACKBONE, "dilations": dilations, "num_classes": 21, "taps_after": taps_after})
    lay_channels_last(found)
    return found


def step_of(trained: Network, clips: torch.Tensor) -> Callable[[], None]:
    """A training step: forward, backward, update; a new draw of dilations each time."""
    updates = torch.optim.AdamW(trained.train().parameters(), 1e-4, fused=True)
    labels = torch.zeros(len(clips), dtype=torch.int64)

    def step() -> None:
        draws = torch.randint(2, (trained.num_temporal_layers,)) if trained.num_temporal_layers else None
        updates.zero_grad()
        F.cross_entropy(trained(clips, draws), labels).backward()
        updates.step()

    return step


def forward_of(trained: Network, clips: torch.Tensor, draws: torch.Tensor | None) -> Callable[[], None]:
    """A folded forward pass; draws: see Network.forward; None averages over the dilations."""
    folded = fold(trained, draws)

    def forward() -> None:
        with torch.inference_mode():
            folded(clips)

    return forward


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clips", type=int, nargs=3, default=(4, 8, 112), metavar=("BATCH", "FRAMES", "SIZE"))
    given = parser.parse_args()
    batch, frames, size = given.clips
    keep_freed_memory()  # as training does
    clips = torch.randn(batch, 3, frames, size, size)
    print(f"{BACKBONE}, {batch} clips of {frames} x {size} x {size}, {torch.get_num_threads()} threads")
    steps = {
        "C2D": step_of(network(()), clips),
        "C2D again": step_of(network(()), clips),
        "taps in the last 5 blocks": step_of(network((1, 2), 11), clips),
        "taps in all blocks": step_of(network((1, 2)), clips),
    }
    show("a training step", steps, "C2D", given.rounds)
    whole = network((1, 2)).eval()
    one = torch.zeros(whole.num_temporal_layers, dtype=torch.int64)
    passes = {
        "one dilation": forward_of(whole, clips, one),
        "one dilation again": forward_of(whole, clips, one),
        "averaged": forward_of(whole, clips, None),
    }
    show("a folded forward pass", passes, "one dilation", given.rounds)


def show(what: str, cases: dict[str, Callable[[], None]], first: str, rounds: int) -> None:
    """A line for each case: time, its ratio to the first case, GFLOP and their ratio."""
    costs = {name: counted(case) / 1e9 for name, case in cases.items()}
    timings = alternate(cases, rounds, torch.device("cpu"))
    print(what)
    for name, cost in costs.items():
        print(
            f"  {name:28}{1e3 * timings.median(name):8.0f} ms {timings.ratio(name, first):6.3f}"
            f"{cost:9.1f} GFLOP {cost / costs[first]:6.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
