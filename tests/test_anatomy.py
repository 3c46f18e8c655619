"""Which layers of a 2D network get taps in time, family by family, and that nothing else about it changes."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.averaging import PlainBesNet
from besnet.models.anatomy import anatomy
from besnet.models.backbones import backbone_named
from besnet.models.besnet import BesNet
from besnet.models.folding import fold
from besnet.models.inflate import InflatedNetwork
from besnet.models.inflation import inflate_weights

# name → layers with taps; all but projection shortcuts, squeeze-excite and heads
FAMILIES = {
    "resnet50": 32, "resnext50_32x4d": 32, "wide_resnet50_2": 32, "resnet18": 8, "regnety_004": 32, "regnetx_004": 44,
    "mobilenetv2_100": 33, "mobilenetv3_small_100": 21, "efficientnet_b0": 31, "tf_efficientnet_lite0": 31,
    "convnext_atto": 24, "convnextv2_atto": 24, "densenet121": 61, "mobilenetv4_conv_small": 26,
    "efficientnetv2_rw_t": 66, "torchvision/resnet50": 32, "torchvision/regnet_y_400mf": 32,
    "torchvision/mobilenet_v2": 33, "torchvision/mobilenet_v3_small": 21, "torchvision/efficientnet_b0": 31,
    "torchvision/convnext_tiny": 36,
}  # fmt: skip
# one of each kind of layer, for the tests that compute: bottlenecks, basic blocks, squeeze-excite, Linear layers
KINDS = ["resnet18", "resnext50_32x4d", "regnety_004", "mobilenetv2_100", "mobilenetv3_small_100", "efficientnet_b0",
         "tf_efficientnet_lite0", "convnext_atto"]  # fmt: skip
NEVER = ("downsample", ".se.", "classifier", "head", "fc.fc", "conv_head", ".proj.")


def lively(network: nn.Module) -> nn.Module:
    """No branch that adds nothing (some begin so), and BatchNorm statistics that fit the network."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = None
        gamma = getattr(module, "gamma", None)  # ConvNeXt's scale of a branch
        if isinstance(gamma, nn.Parameter):
            nn.init.uniform_(gamma, 0.2, 0.5)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="module", params=KINDS)
def flat(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return lively(timm.create_model(request.param, pretrained=False, num_classes=7))


def inflated(flat: nn.Module, inflation: str = "average", **arguments: object) -> InflatedNetwork:
    network = InflatedNetwork(copy.deepcopy(flat), 7, **arguments)  # type: ignore[arg-type]
    network.load_state_dict(inflate_weights(flat.state_dict(), network, inflation))  # type: ignore[arg-type]
    return network.eval()


@pytest.mark.parametrize(("name", "layers"), FAMILIES.items())
def test_layers_with_taps(name: str, layers: int) -> None:
    network = backbone_named(name)
    found = anatomy(network)
    assert len(found.temporal) == layers
    assert not [layer for layer in found.temporal if any(part in f".{layer}." for part in NEVER)]
    order = {layer: number for number, (layer, _) in enumerate(network.named_modules())}
    assert all(isinstance(network.get_submodule(layer), nn.Conv2d | nn.Linear) for layer in found.temporal)
    assert set(found.temporal) <= set(order)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "nfnet_f0", "vgg11"])
def test_a_network_without_such_layers_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="no layer that can have taps in time") as refused:
        InflatedNetwork(backbone_named(name), 5)
    assert "\n" not in str(refused.value)


def test_a_network_without_a_linear_head_is_refused() -> None:
    with pytest.raises(ValueError, match="does not end with a linear layer"):
        anatomy(backbone_named("torchvision/squeezenet1_0"))


def test_a_name_that_nobody_knows_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'efficientnet_b0'"):
        backbone_named("eficientnet_b0")


@pytest.mark.parametrize("inflation", ["average", "centre"])
@torch.no_grad()
def test_a_still_video_is_its_picture_at_every_frame(flat: nn.Module, inflation: str) -> None:
    picture = torch.randn(2, 3, 65, 64)
    network = inflated(flat, inflation, temporal_padding="replicate")
    expected, video = flat(picture), picture.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    scale = expected.abs().max()
    draws = torch.arange(network.num_temporal_layers) % 2
    for logits in (network(video), network(video, draws)):
        torch.testing.assert_close(logits / scale, expected / scale, rtol=0, atol=1e-4)
    frames = network.frame_features(video)
    torch.testing.assert_close(
        frames, frames[:, :1].expand_as(frames), rtol=1e-3, atol=1e-4 * float(frames.abs().max())
    )


@torch.no_grad()
def test_the_centre_tap_alone_is_the_2d_network_on_any_video(flat: nn.Module) -> None:
    network, video = inflated(flat, "centre"), torch.randn(1, 3, 3, 64, 64)
    c2d = inflated(flat, dilations=())
    torch.testing.assert_close(network.frame_features(video), c2d.frame_features(video), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_taps_see_other_frames_and_without_them_none(flat: nn.Module) -> None:
    video = torch.randn(1, 3, 4, 64, 64).double()  # an untrained network says little, so it has to say it exactly
    full, c2d = inflated(flat).double(), inflated(flat, dilations=()).double()
    shuffled = video[:, :, [1, 0, 2, 3]]  # not reversed: copied taps are the same both ways
    assert (full(video) - full(shuffled)).abs().max() > 1e-9 * full(video).abs().max()
    torch.testing.assert_close(c2d(video), c2d(shuffled), rtol=1e-11, atol=1e-12)


@torch.no_grad()
def test_folded_it_answers_alike(flat: nn.Module) -> None:
    network, clips = inflated(flat), torch.randn(2, 3, 4, 65, 64)
    draws = torch.arange(network.num_temporal_layers) % 2
    scale = network(clips).abs().max()
    torch.testing.assert_close(fold(network)(clips) / scale, network(clips) / scale, rtol=0, atol=1e-4)
    torch.testing.assert_close(fold(network, draws)(clips) / scale, network(clips, draws) / scale, rtol=0, atol=1e-4)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in fold(network).modules())


@torch.no_grad()
def test_averaging_four_dilations_costs_what_one_costs(flat: nn.Module) -> None:
    network, clips = inflated(flat, dilations=(1, 2, 3, 4)), torch.randn(1, 3, 4, 64, 64)
    counts = []
    for draws in (torch.zeros(network.num_temporal_layers, dtype=torch.int64), None):
        with FlopCounterMode(display=False) as counter:
            network(clips, draws)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


def gradients(network: InflatedNetwork, clips: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Of two forward passes under other draws, both made before their backward passes."""
    network.zero_grad()
    one, two = network(clips, first).square().sum(), network(2 * clips, second).square().sum()
    one.backward()
    two.backward()
    return torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "convnext_atto"])
def test_recomputed_blocks_keep_their_own_draws(name: str) -> None:
    plain, again = (
        InflatedNetwork(backbone_named(name), 3),
        InflatedNetwork(backbone_named(name), 3, activation_checkpointing=True),
    )
    again.load_state_dict(plain.state_dict())
    clips = torch.randn(2, 3, 3, 64, 64)
    first = torch.arange(plain.num_temporal_layers) % 2
    expected, found = (gradients(network, clips, first, 1 - first) for network in (plain, again))
    assert torch.equal(found, expected)
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), again.buffers(), strict=True)), "counted once"
    assert list(plain.state_dict()) == list(again.state_dict())


def test_compiled_every_draw_is_one_graph() -> None:
    torch._dynamo.reset()
    network = InflatedNetwork(backbone_named("mobilenetv3_small_100"), 3).eval()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    clips = torch.randn(1, 3, 3, 64, 64)
    compiled(clips, torch.zeros(network.num_temporal_layers, dtype=torch.int64))
    with torch.compiler.set_stance("fail_on_recompile"):
        for seed in range(4):
            draws = torch.randint(2, (network.num_temporal_layers,), generator=torch.Generator().manual_seed(seed))
            torch.testing.assert_close(compiled(clips, draws), network(clips, draws))


@torch.no_grad()
def test_nothing_of_a_forward_pass_stays() -> None:
    network = InflatedNetwork(backbone_named("mobilenetv3_small_100"), 3).eval()
    before = {name: (m.num_frames, m.dilation) for name, m in network.named_modules() if hasattr(m, "num_frames")}
    network(torch.randn(1, 3, 4, 64, 64), torch.ones(network.num_temporal_layers, dtype=torch.int64))
    with pytest.raises(ValueError, match="indices are expected"):
        network(torch.randn(1, 3, 4, 64, 64), torch.ones(1, dtype=torch.int64))
    after = {name: (m.num_frames, m.dilation) for name, m in network.named_modules() if hasattr(m, "num_frames")}
    assert before == after


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize("block", ["bottleneck", "basic"])
@torch.no_grad()
def test_besnet_is_plain_3d_convolutions(block: str, padding: str) -> None:
    """The oracle: the same weights in 3D convolutions of whole clips, one a dilation, drawn and averaged."""
    torch.manual_seed(0)
    network = BesNet(5, (1, 2), block=block, blocks=(2, 1), width=8, temporal_padding=padding)  # type: ignore[arg-type]
    for _ in range(3):
        network(torch.randn(4, 3, 4, 32, 32))
    plain = PlainBesNet(network.eval())
    for frames, size in ((1, 33), (5, 48)):
        clips = torch.randn(2, 3, frames, size, size)
        draws = torch.arange(network.num_temporal_layers) % 2
        torch.testing.assert_close(network(clips), plain(clips), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network(clips, draws), plain(clips, (draws + 1).tolist()), rtol=1e-5, atol=1e-5)
