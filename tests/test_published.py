"""Published weights in our controls: the same logits as the networks that they come from."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from besnet.bench.peers import pytorchvideo_peers
from besnet.checkpoints.pretrained import load_pretrained
from besnet.checkpoints.published_model import AS_STATED, published_model
from besnet.models.build import build
from besnet.models.controls import I3DResNet50, PublishedResNet50, SlowResNet50
from besnet.models.published import from_mmaction2, from_pyslowfast, from_pytorchvideo, with_our_names

TAPS = {
    I3DResNet50: (5, ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))),
    SlowResNet50: (1, ((1,) * 3, (1,) * 4, (3,) * 6, (3,) * 3)),
}


def randomise(network: nn.Module) -> nn.Module:
    """Weights and statistics such that every layer matters and the logits are of the order of one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                nn.init.kaiming_normal_(value)
            elif name.endswith(("running_var", "weight")):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.normal_(0, 0.1)
    return network.eval()


def check(ours: PublishedResNet50, state: dict[str, Tensor], theirs: Tensor, clips: Tensor) -> None:
    ours.load_state_dict(state)
    with torch.no_grad():
        logits = ours.eval()(clips)
    assert theirs.std() > 0.01
    torch.testing.assert_close(logits / theirs.std(), theirs / theirs.std(), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "control"), [("PyTorchVideo I3D-R50", I3DResNet50), ("PyTorchVideo Slow-R50", SlowResNet50)]
)
def test_pytorchvideo_s_own_network_says_the_same(name: str, control: type[PublishedResNet50]) -> None:
    pytest.importorskip("pytorchvideo", reason="pip install pytorchvideo==0.1.5 compares with its own networks")
    peer = randomise(pytorchvideo_peers(7, num_frames=8, crop_size=64)[name])
    clips = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        theirs = peer(clips)
    check(control(7), from_pytorchvideo(peer.state_dict()), theirs, clips)


class SlowFastBlock(nn.Module):
    """PySlowFast's bottleneck, by its description: names a, b, c in branch2, a projection in branch1."""

    def __init__(self, channels: int, inner: int, taps: int, stride: int) -> None:
        super().__init__()
        if channels != 4 * inner:
            self.branch1 = nn.Conv3d(channels, 4 * inner, 1, (1, stride, stride), bias=False)
            self.branch1_bn = nn.BatchNorm3d(4 * inner)
        self.branch2 = nn.Module()
        self.branch2.a = nn.Conv3d(channels, inner, (taps, 1, 1), padding=(taps // 2, 0, 0), bias=False)
        self.branch2.b = nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.branch2.c = nn.Conv3d(inner, 4 * inner, 1, bias=False)
        for part in "abc":
            self.branch2.add_module(f"{part}_bn", nn.BatchNorm3d(4 * inner if part == "c" else inner))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.branch2.a_bn(self.branch2.a(x)))
        y = F.relu(self.branch2.b_bn(self.branch2.b(y)))
        y = self.branch2.c_bn(self.branch2.c(y))
        return F.relu(y + (self.branch1_bn(self.branch1(x)) if hasattr(self, "branch1") else x))


class SlowFastNetwork(nn.Module):
    """PySlowFast's single-pathway ResNet-50 with its names: s1 the stem, s2 to s5 the stages, head."""

    def __init__(self, control: type[PublishedResNet50], classes: int) -> None:
        super().__init__()
        stem_taps, stages = TAPS[control]
        self.halve = control is I3DResNet50
        self.s1 = nn.Module()
        self.s1.pathway0_stem = nn.Module()
        self.s1.pathway0_stem.conv = nn.Conv3d(3, 64, (stem_taps, 7, 7), (1, 2, 2), (stem_taps // 2, 3, 3), bias=False)
        self.s1.pathway0_stem.bn = nn.BatchNorm3d(64)
        channels = 64
        for i, taps in enumerate(stages):
            stage = nn.Module()
            for j, size in enumerate(taps):
                stage.add_module(
                    f"pathway0_res{j}", SlowFastBlock(channels, 64 * 2**i, size, 2 if i > 0 and j == 0 else 1)
                )
                channels = 256 * 2**i
            self.add_module(f"s{i + 2}", stage)
        self.head = nn.Module()
        self.head.projection = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.s1.pathway0_stem
        x = F.max_pool3d(F.relu(stem.bn(stem.conv(x))), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for i in range(2, 6):
            for block in getattr(self, f"s{i}").children():
                x = block(x)
            if i == 2 and self.halve:
                x = F.max_pool3d(x, (2, 1, 1))
        return self.head.projection(x.mean((2, 3, 4)))


@pytest.mark.parametrize("control", [I3DResNet50, SlowResNet50])
def test_pyslowfast_s_names_find_their_places(control: type[PublishedResNet50]) -> None:
    peer = randomise(SlowFastNetwork(control, 7))
    clips = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        theirs = peer(clips)
    check(control(7), from_pyslowfast(peer.state_dict()), theirs, clips)


class Mmaction2Conv(nn.Module):
    """MMAction2's ConvModule: a convolution and a BatchNorm called conv and bn."""

    def __init__(self, channels: int, out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        padding = tuple(size // 2 for size in kernel)
        self.conv = nn.Conv3d(channels, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Mmaction2Block(nn.Module):
    """MMAction2's Bottleneck3d with inflate_style 3x1x1."""

    def __init__(self, channels: int, inner: int, taps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Mmaction2Conv(channels, inner, (taps, 1, 1), (1, 1, 1))
        self.conv2 = Mmaction2Conv(inner, inner, (1, 3, 3), (1, stride, stride))
        self.conv3 = Mmaction2Conv(inner, 4 * inner, (1, 1, 1), (1, 1, 1))
        if channels != 4 * inner:
            self.downsample = Mmaction2Conv(channels, 4 * inner, (1, 1, 1), (1, stride, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Mmaction2Network(nn.Module):
    """MMAction2's Recognizer3D: backbone and cls_head; its I3D halves the frames in the stem and the first pooling."""

    def __init__(self, control: type[PublishedResNet50], classes: int) -> None:
        super().__init__()
        stem_taps, stages = TAPS[control]
        self.i3d = control is I3DResNet50
        self.backbone = nn.Module()
        self.backbone.conv1 = Mmaction2Conv(3, 64, (stem_taps, 7, 7), (2 if self.i3d else 1, 2, 2))
        channels = 64
        for i, taps in enumerate(stages):
            stage = nn.Sequential()
            for j, size in enumerate(taps):
                stage.append(Mmaction2Block(channels, 64 * 2**i, size, 2 if i > 0 and j == 0 else 1))
                channels = 256 * 2**i
            self.backbone.add_module(f"layer{i + 1}", stage)
        self.cls_head = nn.Module()
        self.cls_head.fc_cls = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.backbone.conv1(x))
        x = F.max_pool3d(x, (1, 3, 3), (2 if self.i3d else 1, 2, 2), (0, 1, 1))
        x = self.backbone.layer1(x)
        if self.i3d:
            x = F.max_pool3d(x, (2, 1, 1))
        x = self.backbone.layer4(self.backbone.layer3(self.backbone.layer2(x)))
        return self.cls_head.fc_cls(x.mean((2, 3, 4)))


@pytest.mark.parametrize(
    ("control", "ours"), [(I3DResNet50, I3DResNet50(7, stride=2)), (SlowResNet50, SlowResNet50(7))]
)
def test_mmaction2_s_networks_say_the_same(control: type[PublishedResNet50], ours: PublishedResNet50) -> None:
    peer = randomise(Mmaction2Network(control, 7))
    clips = torch.randn(2, 3, 16, 64, 64)
    with torch.no_grad():
        theirs = peer(clips)
    check(ours, from_mmaction2(peer.state_dict()), theirs, clips)


def test_files_of_all_three_libraries_load_under_their_network_s_name(tmp_path: Path) -> None:
    """As their training programs wrap them; without a last layer they start a training."""
    slowfast, mmaction2 = (randomise(kind(SlowResNet50, 400)) for kind in (SlowFastNetwork, Mmaction2Network))
    torch.save({"epoch": 3, "model_state": slowfast.state_dict(), "cfg": "DATA: {}"}, tmp_path / "slow.pyth")
    torch.save({"meta": {}, "state_dict": mmaction2.state_dict()}, tmp_path / "slow.pth")
    for file, peer, library in (("slow.pyth", slowfast, "PyTorchVideo"), ("slow.pth", mmaction2, "MMAction2")):
        found = published_model("slow_r50", str(tmp_path / file), AS_STATED)
        assert f"as {library.upper()}_8X8" in found.said
        clips = torch.randn(1, 3, 4, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(found.trained.network(clips), peer(clips), rtol=1e-3, atol=1e-3)
    torch.save(mmaction2.backbone.state_dict(), tmp_path / "body.pth")
    network = build({"network": "slow_r50", "num_classes": 3})
    start = load_pretrained(network, str(tmp_path / "body.pth"), {"network": "slow_r50"}, ["a", "b", "c"])
    assert "all but its last layer" in start.said
    assert torch.equal(network.get_submodule("network.bn1").bias, mmaction2.backbone.conv1.bn.bias)


def test_the_same_layers_on_other_frames_are_another_network() -> None:
    """The weights of one would load into the other, and answer wrongly."""
    mmaction2 = {"backbone.conv1.conv.weight": torch.zeros(64, 3, 5, 7, 7)}
    assert with_our_names(mmaction2, "i3d_r50_32x2").keys() == {"conv1.weight"}
    with pytest.raises(ValueError, match="weights of MMAction2: they are for the networks i3d_r50_32x2"):
        with_our_names(mmaction2, "i3d_r50")
    with pytest.raises(ValueError, match="weights of PyTorchVideo: they are for the networks i3d_r50, slow_r50"):
        with_our_names({"blocks.0.conv.weight": torch.zeros(1)}, "i3d_r50_32x2")


def test_other_networks_weights_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"s2\.pathway1_res0\.branch1\.weight.*PySlowFast"):
        from_pyslowfast({"s2.pathway1_res0.branch1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"blocks\.1\.multipathway.*PyTorchVideo"):
        from_pytorchvideo({"blocks.1.multipathway_blocks.0.weight": torch.zeros(1)})
