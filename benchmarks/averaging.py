"""What averaging over the dilations costs: time and multiplications against one dilation, whole ResNet-50 BesNet.

    python benchmarks/averaging.py                                     # everything: about 15 minutes on two cores
    python benchmarks/averaging.py --batch_size 1                      # a part of it
    python benchmarks/averaging.py --batch_size 4 --dilations 1,2 --beside alone
    python benchmarks/averaging.py --quick                             # a small network, seconds: does it run?

"Plain" is the layer as anyone would write it: F.conv3d with that dilation, and the mean of one such call a dilation.
The bound is on averaged / the fastest one-dilation forward in any memory format, plain or ours, in the same rounds.
"Folded" is the form that evaluation and export use; one dilation has it, too.
"""

import argparse
import copy
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from besnet.cli.process import short_waits

short_waits(os.environ)  # read when torch is loaded

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from besnet.bench.timing import alternate
from besnet.models.besnet import BesNet
from besnet.models.folding import fold
from besnet.models.inflate import InflatedConv
from besnet.models.network import lay_channels_last


class PlainConv(nn.Module):
    """An InflatedConv or a 2D convolution as 3D convolutions, one a dilation."""

    def __init__(self, conv: InflatedConv | nn.Conv2d) -> None:
        super().__init__()
        self.in_time = isinstance(conv, InflatedConv)
        self.weight = conv.weight if self.in_time else nn.Parameter(conv.weight.unsqueeze(2))
        self.stride = int(conv.stride if isinstance(conv, InflatedConv) else conv.stride[0])
        self.padding = int(conv.padding if isinstance(conv, InflatedConv) else conv.padding[0])
        self.dilations = conv.dilations if isinstance(conv, InflatedConv) else ()
        self.replicate = isinstance(conv, InflatedConv) and conv.temporal_padding == "replicate"

    def forward(self, x: Tensor, dilation: int | None = None) -> Tensor:
        stride = (1, self.stride, self.stride)
        if not self.in_time:
            return F.conv3d(x, self.weight, stride=stride, padding=(0, self.padding, self.padding))
        outputs = []
        for d in [dilation] if dilation is not None else self.dilations:
            clips = F.pad(x, (0, 0, 0, 0, d, d), mode="replicate" if self.replicate else "constant")
            space = (0, self.padding, self.padding)
            outputs.append(F.conv3d(clips, self.weight, stride=stride, padding=space, dilation=(d, 1, 1)))
        return outputs[0] if len(outputs) == 1 else sum(outputs[1:], outputs[0]) / len(outputs)


class PlainNorm(nn.Module):
    """A BatchNorm in evaluation mode, of clips."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


class PlainBesNet(nn.Module):
    """The same network and weights with plain layers on whole clips, in whatever memory format it is given."""

    def __init__(self, network: BesNet) -> None:
        super().__init__()
        own = copy.deepcopy(network)
        self.fc, self.flat = own.fc, own.backbone
        for parent in list(self.flat.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, InflatedConv | nn.Conv2d):
                    setattr(parent, name, PlainConv(child))
                elif isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, PlainNorm(child))

    def forward(self, x: Tensor, draws: list[int] | None = None) -> Tensor:
        net: Any = self.flat
        spacing = iter(draws or [])

        def convolved(conv: PlainConv, x: Tensor) -> Tensor:
            return conv(x, next(spacing, None)) if conv.in_time else conv(x)

        x = F.relu_(net.bn1(net.conv1(x)))
        x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for name in net.stages:
            for block in getattr(net, name):
                y = F.relu_(block.bn1(convolved(block.conv1, x)))
                y = block.bn2(convolved(block.conv2, y))
                if hasattr(block, "conv3"):
                    y = block.bn3(convolved(block.conv3, F.relu_(y)))
                y += x if block.downsample is None else block.downsample(x)
                x = F.relu_(y)
        return self.fc(x.mean((3, 4)).amax(2))


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
    parser.add_argument("--batch_size", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--dilations", nargs="+", default=["1,2", "1,2,3,4"])
    parser.add_argument("--beside", nargs="+", choices=["alone", "busy"], default=["alone", "busy"])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1 if options.quick else 2)
    if options.quick:
        options.batch_size, options.beside, options.rounds = [1], ["alone"], 3
    for batch, words, beside in itertools.product(options.batch_size, options.dilations, options.beside):
        dilations = tuple(int(word) for word in words.split(","))
        compare(batch, dilations, beside == "busy", options.rounds, options.quick)


def compare(batch: int, dilations: tuple[int, ...], busy: bool, rounds: int, quick: bool) -> None:
    """Time all forms of one network in turn and print a line a form, and the ratios that matter."""
    torch.manual_seed(0)
    shape: dict = {"blocks": (1, 1), "width": 8} if quick else {}
    size = 32 if quick else 112
    network = BesNet(400, dilations, **shape).eval()
    lay_channels_last(network)
    draws = torch.randint(len(dilations), (network.num_temporal_layers,))
    cases = cases_of(network, torch.randn(batch, 3, 16, size, size), draws)
    flops, answers = {}, {}
    with torch.inference_mode():
        for name, run in cases.items():
            with FlopCounterMode(display=False) as counter:
                answers[name] = run()
            flops[name] = counter.get_total_flops()
        with busy_process(busy):
            timings = alternate(cases, rounds, torch.device("cpu"))
    for name, answer in answers.items():  # every form computes the same function
        torch.testing.assert_close(answer, answers[name.split(",")[0] + ", ours"], rtol=1e-3, atol=1e-3)
    assert len({count for name, count in flops.items() if name != "averaged, plain channels-last"}) == 1
    beside = "beside a busy process" if busy else "alone"
    print(f"\nbatch {batch}, dilations {dilations}, 16 x {size} x {size}, {beside}, {rounds} rounds")
    fastest = min((name for name in cases if name.startswith("one")), key=timings.median)
    for name in cases:
        print(
            f"  {name:30}{1e3 * timings.median(name):9.1f} ms  {flops[name] / 1e9:8.3f} GFLOP"
            f"  {timings.ratio(name, fastest):6.3f} of {fastest!r}"
        )
    alike = timings.ratio("averaged, ours", "one, ours")
    folded = timings.ratio("averaged, ours folded", "one, ours folded")
    again = timings.ratio("one, ours again (A/A)", "one, ours")
    print(f"  averaged / one: {alike:.3f}, both folded {folded:.3f}; A/A {again:.3f}", flush=True)


if __name__ == "__main__":
    main()
