"""`besnet bench model`: what a network costs here, in time, memory and multiplications."""

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from besnet.bench.peers import difference, our_i3d, pytorchvideo_peers, torchvision_peers
from besnet.bench.timing import Timings, alternate, wait
from besnet.models.besnet import BesNet
from besnet.models.folding import fold

MATRIX_PRODUCT = "matrix product"
Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Case:
    """One network in one way of use."""

    network: str
    mode: str
    form: str
    run: Callable[[], object]

    @property
    def name(self) -> str:
        return f"{self.network}, {self.mode}, {self.form}"


@dataclass
class Cost:
    """A row of the table. gflops and clips_per_sec count clips; mfu is a share of the matrix product's speed."""

    network: str
    mode: str
    form: str
    parameters_m: float
    gflops: float
    memory_mb: float | None
    ms: float
    clips_per_sec: float
    mfu: float


def bench_model(
    num_frames: int = 16,
    crop_size: int = 112,
    batch_size: int = 4,
    num_classes: int = 400,
    dilations: tuple[int, ...] = (1, 2),
    block: Literal["bottleneck", "basic"] = "bottleneck",
    blocks: tuple[int, ...] = (3, 4, 6, 3),
    width: int = 64,
    precision: Literal["fp32", "bf16"] = "fp32",
    compiled: bool = True,
    compare: bool = False,
    rounds: int = 7,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    output: Path | None = None,
) -> None:
    """Time a BesNet: forward, averaged forward, inference form and training step, eager and compiled.

    Args:
        num_frames: frames of a clip.
        crop_size: height and width in pixels.
        batch_size: clips at once.
        num_classes: size of the last layer.
        dilations: the set of temporal dilations.
        block: block type of the network.
        blocks: blocks in each stage.
        width: channels of the stem.
        precision: fp32, or bf16 by autocast.
        compiled: also run everything under torch.compile (minutes on a CPU).
        compare: also run torchvision's and PyTorchVideo's video networks, and I3D-R50 built from BesNet's parts.
        rounds: every case runs once a round; the table shows medians.
        device: auto takes the GPU where there is one.
        output: a JSON file for the same numbers.
    """
    place = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    if device == "cuda" and place.type == "cpu":
        raise ValueError("device: no GPU is available here; use --device cpu")
    bench = Bench(place, precision, batch_size, num_frames, crop_size, num_classes)
    network = BesNet(num_classes, dilations, block=block, blocks=blocks, width=width)
    bench.add_besnet("BesNet", network, compiled)
    notes = bench.add_peers() if compare else []
    costs, timings = bench.measure(rounds)
    print(f"{bench.describe()}\n\n{table(costs)}\n")
    first = bench.cases[0].name
    notes.insert(0, f"A/A: {first} against itself, {timings.ratio(AGAIN, first):.3f}")
    if compare and OUR_I3D in bench.networks:
        ours, peer = f"{OUR_I3D}, training step, eager", f"{PEER_I3D}, training step, eager"
        notes.append(f"{OUR_I3D} trains {timings.ratio(peer, ours):.2f} times the clips a second of {PEER_I3D}")
    print("\n".join(notes))
    if output is not None:
        content = {"setting": bench.describe(), "notes": notes, "costs": [asdict(cost) for cost in costs]}
        output.write_text(json.dumps(content, indent=1) + "\n")


AGAIN = "the first case again"
PEER_I3D = "PyTorchVideo I3D-R50"
OUR_I3D = "our I3D-R50"


class Bench:
    """The cases of one run: networks on a device, with clips of one shape."""

    def __init__(
        self,
        device: torch.device,
        precision: Literal["fp32", "bf16"],
        batch_size: int,
        num_frames: int,
        crop_size: int,
        num_classes: int,
    ) -> None:
        torch.manual_seed(0)
        self.device, self.precision, self.num_classes = device, precision, num_classes
        self.clips = torch.randn(batch_size, 3, num_frames, crop_size, crop_size, device=device)
        self.labels = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self.networks: dict[str, nn.Module] = {}
        self.cases: list[Case] = []

    def describe(self) -> str:
        gpu = self.device.type == "cuda"
        name = torch.cuda.get_device_name() if gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
        shape = " x ".join(map(str, self.clips.shape))
        return f"{name}; torch {torch.__version__}; {self.precision}; clips of {shape}"

    def add_besnet(self, name: str, network: BesNet, compiled: bool) -> None:
        """Forward with one dilation a layer, averaged, folded, and a training step."""
        network = channels_last(network.to(self.device))
        self.networks[name] = network
        choices, layers = max(1, len(network.dilations)), network.num_temporal_layers
        host = torch.randint(choices, (layers,), generator=torch.Generator().manual_seed(0))
        for form in ("eager", "compiled") if compiled else ("eager",):
            # On a GPU a compiled step takes its draws from the device, an eager one knows them on the host.
            draws = host.to(self.device) if form == "compiled" else host
            run: nn.Module = network
            folded: nn.Module = fold(network)
            if form == "compiled":
                run, folded = torch.compile(run), torch.compile(folded)  # type: ignore[assignment]
            self.cases += [
                Case(name, "forward, one dilation", form, self.forward(network, run, draws)),
                Case(name, "forward, averaged", form, self.forward(network, run)),
                Case(name, "inference form", form, self.forward(folded, folded)),
                Case(name, "training step", form, self.step(network, run, draws)),
            ]

    def add_peers(self) -> list[str]:
        """Other libraries' networks as published, in eager mode; returns remarks."""
        frames, size = self.clips.shape[2:4]
        peers = torchvision_peers(self.num_classes)
        notes = []
        try:
            peers |= pytorchvideo_peers(self.num_classes, frames, size)
        except ImportError as error:
            notes.append(f"without PyTorchVideo ({error}): pip install pytorchvideo")
        else:
            ours = our_i3d(peers[PEER_I3D], self.num_classes)
            apart = difference(ours, peers[PEER_I3D], self.clips[:1].cpu())
            notes.append(f"{OUR_I3D} with the weights of {PEER_I3D}: logits differ by at most {apart:.1e}")
            peers[OUR_I3D] = channels_last(ours)
        for name, network in peers.items():
            self.networks[name] = network.to(self.device)
            self.cases.append(Case(name, "forward", "eager", self.forward(network, network)))
            self.cases.append(Case(name, "training step", "eager", self.step(network, network)))
        return notes

    def forward(self, network: nn.Module, run: nn.Module, *draws: Tensor) -> Callable[[], object]:
        def forward() -> object:
            network.eval()
            with torch.no_grad(), self.autocast():
                return run(self.clips, *draws)

        return forward

    def step(self, network: nn.Module, run: nn.Module, *draws: Tensor) -> Callable[[], object]:
        """Forward, backward and update, as in training: fused SGD with momentum and weight decay."""
        optimiser = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4, fused=True)

        def step() -> object:
            network.train()
            optimiser.zero_grad()
            with self.autocast():
                loss = F.cross_entropy(run(self.clips, *draws), self.labels)
            loss.backward()
            optimiser.step()
            return loss

        return step

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def measure(self, rounds: int) -> tuple[list[Cost], Timings]:
        side = 8192 if self.device.type == "cuda" else 2048
        matrix = torch.randn(side, side, device=self.device)
        if self.precision == "bf16":
            matrix = matrix.bfloat16()
        counted = {}
        for case in self.cases:
            # Counting needs eager mode; the compiled form does the same multiplications.
            if case.form == "eager":
                with FlopCounterMode(display=False) as counter:
                    case.run()
                counted[case.network, case.mode] = counter.get_total_flops()
        runs = {case.name: case.run for case in self.cases}
        runs |= {AGAIN: self.cases[0].run, MATRIX_PRODUCT: lambda: matrix @ matrix}
        timings = alternate(runs, rounds, self.device)
        peak = 2 * side**3 / timings.median(MATRIX_PRODUCT)
        costs = []
        for case in self.cases:
            flops, seconds = counted[case.network, case.mode], timings.median(case.name)
            costs.append(
                Cost(
                    case.network,
                    case.mode,
                    case.form,
                    parameters_m=sum(p.numel() for p in self.networks[case.network].parameters()) / 1e6,
                    gflops=flops / len(self.clips) / 1e9,
                    memory_mb=self.memory_mb(case),
                    ms=1e3 * seconds,
                    clips_per_sec=len(self.clips) / seconds,
                    mfu=flops / seconds / peak,
                )
            )
        return costs, timings

    def memory_mb(self, case: Case) -> float | None:
        """On a GPU the peak of the run; on a CPU what a step keeps for its backward pass."""
        if self.device.type == "cuda":
            wait(self.device)
            torch.cuda.reset_peak_memory_stats()
            case.run()
            return torch.cuda.max_memory_allocated() / 2**20
        if case.mode != "training step" or case.form != "eager":
            return None
        with kept_for_backward() as kept:
            case.run()
        parameters = {p.untyped_storage().data_ptr() for p in self.networks[case.network].parameters()}
        return sum(size for address, size in kept.items() if address not in parameters) / 2**20


def channels_last(network: Network) -> Network:
    """As training sets the networks up."""
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


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
    lines = [f"{'network':24}{'mode':23}{'form':10}{heads}"]
    for c in costs:
        memory = "-" if c.memory_mb is None else f"{c.memory_mb:.0f}"
        lines.append(
            f"{c.network:24}{c.mode:23}{c.form:10}{c.parameters_m:9.2f}{c.gflops:12.2f}{memory:>8}"
            f"{c.ms:10.1f}{c.clips_per_sec:9.2f}{c.mfu:6.0%}"
        )
    return "\n".join(lines)
