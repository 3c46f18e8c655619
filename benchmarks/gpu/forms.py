"""The forms in which a network runs: as it is, compiled whole, and compiled by block."""

import copy
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.step import Found, Line, Options
from besnet.bench.cases import Cases
from besnet.bench.timing import alternate, wait
from besnet.evaluation.forward import VIEWS_PER_CHUNK, in_precision
from besnet.models.besnet import BesNet
from besnet.models.build import build
from besnet.models.folding import fold
from besnet.models.network import Network, lay_channels_last


def bench_of(options: Options, batch_size: int) -> tuple[Cases, BesNet, Tensor]:
    """BesNet on the device, its clips, and one draw of its dilations on the host."""
    if options.tiny:
        bench = Cases(torch.device("cpu"), "fp32", 1, 4, 32, 5)
        network = BesNet(bench.num_classes, (1, 2), blocks=(1, 1), width=8)
    else:
        bench = Cases(torch.device("cuda"), "bf16", batch_size, 16, 224, 400)
        network = BesNet(bench.num_classes, (1, 2))
    lay_channels_last(network.to(bench.device))
    bench.networks["BesNet"] = network
    return bench, network, torch.arange(network.num_temporal_layers) % 2


def in_form(form: str, bench: Cases, network: BesNet, host: Tensor, options: Options) -> Callable[[], object]:
    """A training step of a network in a compiled form; tiny: as it is."""
    if options.tiny:
        return bench.step(network, network, host)
    if form == "compiled":
        return bench.step(network, torch.compile(network), host.to(bench.device))
    by_block = copy.deepcopy(network)
    by_block.compile_blocks()
    return bench.step(by_block, by_block, host.to(bench.device))


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """How long one run takes, until the device has done it."""
    begun_sec = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - begun_sec


def inference_forms(options: Options) -> Found:
    """A chunk of an evaluation's views by the inference form of a large and a small network: as it is, compiled as by
    `evaluate --compile`, and compiled with CUDA graphs."""
    found = Found()
    for name, network in evaluated_networks(options).items():
        device = next(network.parameters()).device
        frames, side = (4, 32) if options.tiny else (16, 224)
        views = torch.randn(VIEWS_PER_CHUNK, 3, frames, side, side, device=device)
        run = in_precision(fold(network.eval()), "32" if options.tiny else "bf16")
        forms = {"as it is": run}
        if not options.tiny:
            forms |= {"compiled": torch.compile(run), "with graphs": torch.compile(run, mode="reduce-overhead")}
        with torch.inference_mode():
            cases = {form: partial(one, views) for form, one in forms.items()}
            times = alternate(cases, 3 if options.tiny else 15, device)
        for form in cases:
            cost = f"{1e3 * times.median(form):.2f} ms, {times.ratio(form, 'as it is'):.2f} of as it is"
            found.lines.append(Line(f"{VIEWS_PER_CHUNK} views, {name}, {form}", cost))
    return found


def evaluated_networks(options: Options) -> dict[str, Network]:
    """BesNet-50, and one on EfficientNet-Lite0; tiny: one small one."""
    _, network, _ = bench_of(options, 1)
    if options.tiny:
        return {"BesNet": network}
    small = build({"backbone": "tf_efficientnet_lite0", "num_classes": 400})
    lay_channels_last(small.cuda())
    return {"BesNet-50": network, "BesNet on Lite0": small}
