"""`besnet bench model`: the time, memory and FLOP of a network on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch

from besnet.bench.cases import OUR_I3D, PEER_I3D, Cases
from besnet.bench.costs import AGAIN, measure, table
from besnet.files import write_json
from besnet.formats import stamp
from besnet.models.build import build, kind
from besnet.training.memory import keep_freed_memory
from besnet.training.starting import taps_line


def bench_model(
    num_frames: int = 16,
    crop_size: int = 112,
    batch_size: int = 4,
    num_classes: int = 400,
    network: str = "besnet",
    backbone: str | None = None,
    dilations: list[int] | None = None,
    block: Literal["bottleneck", "basic"] = "bottleneck",
    blocks: list[int] | None = None,
    width: int = 64,
    precision: Literal["fp32", "bf16"] = "fp32",
    compile: bool = True,
    compare: bool = False,
    rounds: int = 7,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json: Path | None = None,
) -> None:
    """Time a network: forward, averaged forward, inference form and training step, eager and compiled.

    Prints parameters, GFLOP per clip (torch's own count), memory, ms, clips/s and MFU. The peak of the MFU is the
    fastest of all cases and of matrix products and convolutions of several sizes. The first case is timed twice: the
    ratio shows the noise of this machine.

    Args:
        num_frames: frames of a clip.
        crop_size: height and width in pixels.
        batch_size: clips in a batch.
        num_classes: size of the last layer.
        network: besnet, a video network by name, or module:Class, as model.network of a config.
        backbone: the 2D network that besnet is made from, as model.backbone of a config.
        dilations: the set of temporal dilations; by default [1,2]; [] for no taps in time (C2D).
        block: block type of the network.
        blocks: blocks in each stage; by default [3,4,6,3], as in ResNet-50.
        width: channels of the stem.
        precision: fp32, or bf16 with autocast.
        compile: also run everything under torch.compile (minutes on a CPU).
        compare: also time torchvision's and PyTorchVideo's video networks, and I3D-R50 built from BesNet's layers.
        rounds: each case runs once per round; the table shows medians.
        device: auto uses a GPU if there is one.
        json: file for the same numbers.
    """
    place = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    if device == "cuda" and place.type == "cpu":
        raise ValueError("--device cuda: no CUDA device is visible: use --device cpu")
    if place.type == "cpu":
        keep_freed_memory()  # as training does
    bench = Cases(place, precision, batch_size, num_frames, crop_size, num_classes)
    given = {"dilations": dilations, "blocks": blocks, "block": block, "width": width, "backbone": backbone}
    model = {name: value for name, value in given.items() if value is not None}
    built = build(model | {"num_classes": num_classes, "network": network})
    built.check_clip(num_frames, crop_size)
    name = kind(model | {"network": network}).title
    bench.add_network(name, built, compile)
    notes = bench.add_peers() if compare else []
    costs, timings, peak = measure(bench, rounds)
    taps = f"{name}: {taps_line(built)}\n" if built.temporal_layers else ""
    print(f"{bench.describe()}\n{taps}\n{table(costs)}\n")
    first = bench.cases[0].name
    notes.insert(0, str(peak))
    notes.insert(1, f"A/A: {first} timed twice, ratio {timings.ratio(AGAIN, first):.3f}")
    if OUR_I3D in bench.networks:
        ours, peer = f"{OUR_I3D}, training step, eager", f"{PEER_I3D}, training step, eager"
        notes.append(
            f"{OUR_I3D} trains {timings.ratio(peer, ours):.2f} times the clips/s of {PEER_I3D}, both set up as besnet "
            "does (make bench-peers sets up each as its own library does)"
        )
    print("\n".join(notes))
    if json is not None:
        content = {"setting": bench.describe(), "notes": notes, "costs": [asdict(cost) for cost in costs]}
        write_json(json, stamp("benchmark") | content)
