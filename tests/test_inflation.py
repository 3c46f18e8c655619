"""Inflated networks against torchvision's own ResNets on still videos."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import ResNet, resnet18, resnet50

from besnet.bench.flops import counted
from besnet.checkpoints.pretrained import Start, load_pretrained
from besnet.models.besnet import BesNet
from besnet.models.build import build
from besnet.models.depth import depths
from besnet.models.inflation import inflate_weights


def settled(network: ResNet) -> ResNet:
    """Random weights with BatchNorm statistics and parameters that are neither 0 nor 1, and tame activations."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def flat50() -> ResNet:
    torch.manual_seed(0)
    return settled(resnet50(num_classes=7)).double()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()


def inflated(flat: nn.Module, **arguments: object) -> BesNet:
    model = BesNet(7, **arguments).double()  # type: ignore[arg-type]
    model.load_state_dict(inflate_weights(flat.state_dict(), model))
    return model.eval()


def frame_features(model: BesNet, video: Tensor, dilations: Tensor | None) -> Tensor:
    """(T, C): each frame's own pooled features."""
    return model.frame_features(video, dilations)[0]


def flat_features(network: nn.Module, image: Tensor) -> Tensor:
    return nn.Sequential(*list(network.children())[:-1])(image).flatten(1)


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_replicate_padding_makes_a_still_video_its_image(flat50: ResNet, image: Tensor, frames: int) -> None:
    model = inflated(flat50, temporal_padding="replicate")
    video = image.unsqueeze(2).repeat(1, 1, frames, 1, 1)
    expected, logits = flat_features(flat50, image), flat50(image)
    assert expected.abs().max() > 0.1
    for dilations in (None, torch.arange(32) % 2):
        torch.testing.assert_close(
            frame_features(model, video, dilations), expected.repeat(frames, 1), rtol=0, atol=1e-9
        )
        torch.testing.assert_close(model(video, dilations), logits, rtol=0, atol=1e-9)


@torch.no_grad()
def test_float32_agrees_to_1e4_of_the_logits(flat50: ResNet, image: Tensor) -> None:
    model = inflated(flat50, temporal_padding="replicate").float()
    logits = model(image.float().unsqueeze(2).repeat(1, 1, 4, 1, 1)).double()
    expected = flat50(image)
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()


@torch.no_grad()
def test_zero_padding_leaves_the_middle_of_a_long_still_video(flat50: ResNet, image: Tensor) -> None:
    """The ends of 96 frames do not reach frames 40 to 56, whatever the dilations; they do reach the ends themselves."""
    model = inflated(flat50)
    image = image[:, :, :32, :32]
    video = image.unsqueeze(2).repeat(1, 1, 96, 1, 1)
    expected = flat_features(flat50, image)
    for dilations in (torch.zeros(32, dtype=torch.int64), torch.ones(32, dtype=torch.int64), None):
        features = frame_features(model, video, dilations)
        torch.testing.assert_close(features[40:57], expected.repeat(17, 1), rtol=0, atol=1e-4)
        assert (features[0] - expected[0]).abs().max() > 1e-2


@torch.no_grad()
def test_basic_blocks_and_the_c2d_control_inflate_too(image: Tensor) -> None:
    torch.manual_seed(0)
    flat = settled(resnet18(num_classes=7)).double()
    video = image.unsqueeze(2).repeat(1, 1, 3, 1, 1)
    for dilations in ((1, 2), ()):
        model = inflated(flat, dilations=dilations, block="basic", blocks=(2, 2, 2, 2), temporal_padding="replicate")
        torch.testing.assert_close(model(video), flat(image), rtol=0, atol=1e-9)


def test_another_number_of_classes_keeps_the_new_last_layer(flat50: ResNet) -> None:
    model = BesNet(4).double()
    before = model.fc.weight.clone()
    model.load_state_dict(inflate_weights(flat50.state_dict(), model))
    assert torch.equal(model.fc.weight, before)
    weight = flat50.layer1[0].conv1.weight
    torch.testing.assert_close(model.backbone.get_submodule("layer1.0.conv1").weight.sum(2), weight)


@pytest.fixture
def small() -> BesNet:
    torch.manual_seed(0)
    return BesNet(3, block="basic", blocks=(2, 2, 2, 2))


def start(network: BesNet, source: Path | str) -> Start:
    """Start a training of three classes."""
    return load_pretrained(network, str(source), {"block": "basic", "blocks": [2, 2, 2, 2]}, ["a", "b", "c"])


def test_files_of_both_kinds_load(small: BesNet, tmp_path: Path) -> None:
    flat = resnet18(num_classes=3)
    torch.save(flat.state_dict(), tmp_path / "a.pth")
    save_file(flat.state_dict(), tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        start(small, tmp_path / name)
        torch.testing.assert_close(small.fc.weight, flat.fc.weight)
        nn.init.zeros_(small.fc.weight)


def test_a_name_reads_torchvisions_cache_and_checks_the_hash(
    small: BesNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    cached = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    torch.save(resnet18(num_classes=3).state_dict(), cached)
    with pytest.raises(ValueError, match=r"resnet18-f37072fd.pth: damaged, its hash begins with .* download it again"):
        start(small, "ResNet18_Weights.IMAGENET1K_V1")


def test_without_a_network_the_message_says_where_to_put_the_file(
    small: BesNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("besnet.checkpoints.download.urlopen", unreachable)
    with pytest.raises(
        ValueError, match=r"resnet50-0676ba61\.pth .*put that file at .*checkpoints/resnet50-0676ba61\.pth"
    ):
        start(small, "ResNet50_Weights.IMAGENET1K_V1")


def test_what_cannot_be_used_is_refused_in_one_line(small: BesNet, tmp_path: Path) -> None:
    torch.save(resnet50().state_dict(), tmp_path / "other.pth")
    torch.save({"layer": torch.nn.ReLU}, tmp_path / "objects.pth")
    torch.save({"epoch": 3}, tmp_path / "values.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    expected = {
        "other.pth": "weights of another network",
        "objects.pth": r"refused: it holds more than tensors and plain values \(torch.nn.modules.activation.ReLU\)",
        "values.pth": "holds no state dict",
        "noise.pth": "not a file of weights",
        "noise.safetensors": "not a file of weights",
        "absent.pth": "no such file of weights",
        "ResNet50_Weights.IMAGENET9": "torchvision has no such weights",
    }
    for name, why in expected.items():
        with pytest.raises(ValueError, match=why) as caught:
            start(small, name if "Weights" in name else tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_the_same_names_with_other_shapes_are_refused(small: BesNet) -> None:
    narrow = BesNet(3, block="basic", blocks=(2, 2, 2, 2), width=32)
    with pytest.raises(
        ValueError, match=r"'conv1.weight' has shape \(64, 3, 7, 7\), which cannot fill \(32, 3, 7, 7\)"
    ):
        inflate_weights(resnet18(num_classes=3).state_dict(), narrow)


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet18", None])
def test_blocks_without_taps_see_single_frames(backbone: str | None) -> None:
    """With centre inflation the outer taps are 0: which blocks have taps changes nothing but the work."""
    model = {"num_classes": 5, "inflation": "centre", "temporal_padding": "replicate", "backbone": backbone}
    if backbone is None:
        model |= {"blocks": [1, 2], "width": 8, "block": "basic"}
    torch.manual_seed(0)
    whole, upper = build(model).eval(), build(model | {"taps_after": 2}).eval()
    flat = {
        name: torch.randn_like(value) * 0.1 for name, value in whole.state_dict().items() if value.is_floating_point()
    }
    state = {name: flat.get(name, value) for name, value in whole.state_dict().items()}
    for name, value in state.items():
        if value.ndim == 5 and name.endswith("weight"):
            value[:, :, 0] = value[:, :, 2] = 0
        if name.endswith("running_var"):
            value.abs_().add_(0.5)
    whole.load_state_dict(state)
    upper.load_state_dict(
        {name: value[:, :, 1] if value.ndim > upper.state_dict()[name].ndim else value for name, value in state.items()}
    )
    assert set(upper.temporal_layers) < set(whole.temporal_layers)
    places = depths(upper)
    frozen = [name for depth in places[:3] for name in depth.modules]
    assert not any(f"backbone.{layer}.".startswith(f"{name}.") for layer in upper.temporal_layers for name in frozen)
    clips = torch.randn(1, 3, 5, 64, 64)
    draws = torch.ones(upper.num_temporal_layers, dtype=torch.int64)
    with torch.no_grad():
        wanted = whole(clips)
        torch.testing.assert_close(upper(clips), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(upper(clips, draws), wanted, rtol=1e-4, atol=1e-4)
    assert counted(lambda: upper(clips)) < counted(lambda: whole(clips))


def test_taps_after_the_last_layer_are_refused() -> None:
    with pytest.raises(ValueError, match="taps_after 40: no layer after so many blocks"):
        build({"num_classes": 5, "backbone": "resnet18", "taps_after": 40})
    with pytest.raises(ValueError, match="taps_after"):
        build({"num_classes": 5, "taps_after": -1})
    with pytest.raises(ValueError, match="does not apply to r3d_18"):
        build({"num_classes": 5, "network": "r3d_18", "taps_after": 1})
