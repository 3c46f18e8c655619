"""The cases of the benchmark: networks in training and inference, on clips of one shape."""

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from besnet.bench.peers import difference, our_i3d, pytorchvideo_peers, torchvision_peers
from besnet.models.folding import fold
from besnet.models.network import Network, lay_channels_last

PEER_I3D = "PyTorchVideo I3D-R50"
OUR_I3D = "our I3D-R50"


@dataclass
class Case:
    """One network in one mode and form."""

    network: str
    mode: str
    form: str
    run: Callable[[], object]

    @property
    def name(self) -> str:
        return f"{self.network}, {self.mode}, {self.form}"


class Cases:
    """The cases of one run: networks on a device, with clips (batch_size, 3, num_frames, crop_size, crop_size)."""

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

    def add_network(self, name: str, network: Network, compiled: bool) -> None:
        """Forward (with one dilation per layer, and averaged, where it has dilations), folded, and a training step."""
        lay_channels_last(network.to(self.device))
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
            if layers:
                self.cases.append(Case(name, "forward, one dilation", form, self.forward(network, run, draws)))
            self.cases += [
                Case(name, "forward, averaged" if layers else "forward", form, self.forward(network, run)),
                Case(name, "inference form", form, self.forward(folded, folded)),
                Case(name, "training step", form, self.step(network, run, draws)),
            ]

    def add_peers(self, published: bool = True) -> list[str]:
        """Other libraries' networks and our I3D-R50 with the weights of PyTorchVideo's, in eager mode; returns notes.

        published: also the networks without a counterpart here.
        """
        frames, size = self.clips.shape[2:4]
        peers = torchvision_peers(self.num_classes) if published else {}
        notes = []
        try:
            theirs = pytorchvideo_peers(self.num_classes, frames, size)
        except ImportError as error:
            notes.append(f"without PyTorchVideo ({error}): pip install pytorchvideo")
        else:
            ours = our_i3d(theirs[PEER_I3D], self.num_classes)
            apart = difference(ours, theirs[PEER_I3D], self.clips[:1].cpu())
            notes.append(f"{OUR_I3D} with the weights of {PEER_I3D}: logits differ by at most {apart:.1e}")
            peers |= theirs if published else {PEER_I3D: theirs[PEER_I3D]}
            lay_channels_last(ours)
            peers[OUR_I3D] = ours
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
