"""What averaging over the dilations costs: time and multiplications against one dilation, whole ResNet-50 BesNet.

    python benchmarks/averaging.py            # about ten minutes on two cores
    python benchmarks/averaging.py --steady   # CPU time of one thread: comparable on a machine that others use too
    python benchmarks/averaging.py --quick    # a small network, seconds: does it run?

"Plain" is the layer as anyone would write it: F.conv3d with that dilation, and the mean of one such call a dilation.
The bound is on averaged / the fastest one-dilation forward, ours or plain, contiguous or channels-last, in the same
rounds.
"""

import argparse
import copy
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does; read when torch is loaded

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from besnet.bench.timing import alternate
from besnet.models.besnet import BesNet, SpatialConv
from besnet.models.dilation import DilationConv
from besnet.models.folding import fold


class PlainConv(nn.Module):
    """A DilationConv or SpatialConv as 3D convolutions, one a dilation."""

    def __init__(self, conv: DilationConv | SpatialConv) -> None:
        super().__init__()
        self.weight, self.stride, self.padding = conv.weight, conv.stride, conv.padding
        self.dilations = conv.dilations if isinstance(conv, DilationConv) else None

    def forward(self, x: Tensor, dilation: int | None = None) -> Tensor:
        stride = (1, self.stride, self.stride)
        if self.dilations is None:
            return F.conv3d(x, self.weight, stride=stride, padding=(0, self.padding, self.padding))
        outputs = [
            F.conv3d(x, self.weight, stride=stride, padding=(d, self.padding, self.padding), dilation=(d, 1, 1))
            for d in ([dilation] if dilation is not None else self.dilations)
        ]
        return outputs[0] if len(outputs) == 1 else sum(outputs[1:], outputs[0]) / len(outputs)


class PlainBesNet(nn.Module):
    """The same network and weights with plain layers, in whatever memory format it is given."""

    def __init__(self, network: BesNet) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for parent in list(self.network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, DilationConv | SpatialConv):
                    setattr(parent, name, PlainConv(child))

    def forward(self, x: Tensor, draws: list[int] | None = None) -> Tensor:
        net, spacing = self.network, iter(draws or [])
        x = F.relu_(net.bn1(net.conv1(x)))
        x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for name in net.stages:
            for block in getattr(net, name):
                y = F.relu_(block.bn1(block.conv1(x, next(spacing, None))))
                y = F.relu_(block.bn2(block.conv2(y)))
                y = block.bn3(block.conv3(y, next(spacing, None)))
                y += x if block.downsample is None else block.downsample(x)
                x = F.relu_(y)
        return net.fc(x.mean((3, 4)).amax(2))


def spin() -> None:
    while True:
        pass


@contextmanager
def busy_process(wanted: bool) -> Iterator[None]:
    """Another process that computes for ever on one core, as a neighbour would."""
    process = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    if wanted:
        process.start()
    try:
        yield
    finally:
        if wanted:
            process.terminate()
            process.join()


def cases_of(network: BesNet, clips: Tensor, draws: Tensor) -> dict[str, Callable[[], object]]:
    contiguous, last = clips.contiguous(), clips.contiguous(memory_format=torch.channels_last_3d)
    plain = PlainBesNet(network).to(memory_format=torch.contiguous_format)
    plain_last = PlainBesNet(network).to(memory_format=torch.channels_last_3d)
    spacing = [network.dilations[i] for i in draws.tolist()]
    folded, folded_one = fold(network), fold(network, draws)
    return {
        "one, plain contiguous": lambda: plain(contiguous, spacing),
        "one, plain channels-last": lambda: plain_last(last, spacing),
        "one, ours": lambda: network(last, draws),
        "one, ours again (A/A)": lambda: network(last, draws),
        "one, ours folded": lambda: folded_one(last),
        "averaged, ours": lambda: network(last),
        "averaged, ours folded": lambda: folded(last),
        "averaged, plain channels-last": lambda: plain_last(last),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steady", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1 if options.steady else 2)
    clock = time.process_time if options.steady else time.perf_counter
    shape: dict = {"blocks": (1, 1), "width": 8} if options.quick else {}
    size, rounds = (32, 3) if options.quick else (112, options.rounds)
    for busy in (False,) if options.steady or options.quick else (False, True):
        for batch in (1,) if options.quick else (1, 4):
            for dilations in ((1, 2), (1, 2, 3, 4)):
                torch.manual_seed(0)
                network = BesNet(400, dilations, zero_init_residual=False, **shape).eval()
                network.to(memory_format=torch.channels_last_3d)
                draws = torch.randint(len(dilations), (network.num_temporal_layers,))
                cases = cases_of(network, torch.randn(batch, 3, 16, size, size), draws)
                flops = {}
                with torch.inference_mode():
                    answers = {}
                    for name, run in cases.items():
                        with FlopCounterMode(display=False) as counter:
                            answers[name] = run()
                        flops[name] = counter.get_total_flops()
                    with busy_process(busy):
                        timings = alternate(cases, rounds, torch.device("cpu"), clock)
                for name, answer in answers.items():  # every form computes the same function
                    torch.testing.assert_close(answer, answers[name.split(",")[0] + ", ours"], rtol=1e-3, atol=1e-3)
                beside = "beside a busy process" if busy else "alone"
                print(f"\nbatch {batch}, dilations {dilations}, 16 x {size} x {size}, {beside}, {rounds} rounds")
                fastest = min((n for n in cases if n.startswith("one") and "folded" not in n), key=timings.median)
                for name in cases:
                    print(
                        f"  {name:30}{1e3 * timings.median(name):9.1f} ms  {flops[name] / 1e9:8.3f} GFLOP"
                        f"  {timings.ratio(name, fastest):6.3f} of {fastest!r}"
                    )
                folded = timings.ratio("averaged, ours folded", "one, ours folded")
                print(f"  folded: averaged / one = {folded:.3f}", flush=True)
                assert flops["averaged, ours"] == flops["one, ours"] == flops["one, plain channels-last"]


if __name__ == "__main__":
    main()
