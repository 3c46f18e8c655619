"""Weights of libraries into networks: every name in its place, and last layers only as a user wants them."""

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from besnet.models.build import build, build_shapes
from besnet.models.inflate import InflatedNetwork
from besnet.models.loading import library_head, load_library_weights
from besnet.models.network import Network
from besnet.models.video_networks import KINDS, VideoNetwork

# one of each family, with the name of the last layer in its library
FAMILIES = {
    "resnet18": "fc", "torchvision/resnet50": "fc", "resnext50_32x4d": "fc", "wide_resnet50_2": "fc",
    "regnety_004": "head.fc", "mobilenetv2_100": "classifier", "mobilenet_v2": "classifier.1",
    "mobilenetv3_small_100": "classifier", "mobilenet_v3_small": "classifier.3", "efficientnet_b0": "classifier",
    "torchvision/efficientnet_b0": "classifier.1", "tf_efficientnet_lite0": "classifier", "convnext_atto": "head.fc",
    "torchvision/convnext_tiny": "classifier.2", "densenet121": "classifier",
    "torchvision/inception_v3": "fc", "torchvision/googlenet": "fc",
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_last_layer_of_every_video_network(name: str) -> None:
    """Another number of classes changes the weights that the table calls the last layer, and no others."""
    small, large = (
        build_shapes({"network": name, "num_classes": 3}),
        build_shapes({"network": name, "num_classes": 400}),
    )
    assert library_head(small) == KINDS[name].head
    theirs = KINDS[name]
    with torch.device("meta"):
        flat = theirs.make(400).state_dict()
    differing = {key for key, value in theirs_state(small).items() if flat[key].shape != value.shape}
    assert {key.rpartition(".")[0] for key in differing} == {KINDS[name].head}
    assert load_library_weights(large, flat, "w", new_head=False) is False
    assert load_library_weights(small, flat, "w", new_head=True) is True
    with pytest.raises(ValueError, match="has the shape"):
        load_library_weights(small, flat, "w", new_head=False)
    body = {key: value for key, value in flat.items() if key not in differing}
    assert load_library_weights(small, body, "w", new_head=True) is True
    with pytest.raises(ValueError, match=r"no weights for the last layer .* predicts nothing"):
        load_library_weights(large, body, "w", new_head=False)


def theirs_state(network: Network) -> dict[str, Tensor]:
    """The state dict of a video network as its library has it."""
    return {name.removeprefix("network."): value for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_layer_of_every_family(name: str) -> None:
    network = build_shapes({"backbone": name, "num_classes": 3, "dilations": []})
    assert library_head(network) == FAMILIES[name]
    library, _, short = name.rpartition("/")
    with torch.device("meta"):
        if library != "torchvision" and short in timm.list_models():
            flat = timm.create_model(short).state_dict()
        else:
            heads = {"aux_logits": True, "init_weights": True} if short in ("inception_v3", "googlenet") else {}
            flat = torchvision.models.get_model(short, weights=None, **heads).state_dict()
    assert load_library_weights(network, flat, "w", new_head=True) is True
    assert network.fc.weight.shape[0] == 3
    if "inception" in name or "googlenet" in name:
        assert any(key.lower().startswith("aux") for key in flat), "a second head, which is left out"


@pytest.fixture
def r3d() -> tuple[Network, dict[str, Tensor]]:
    network = build_shapes({"network": "r3d_18", "num_classes": 5})
    return network, theirs_state(network)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"stem.0.weight": None}, "'stem.0.weight' is missing"),
        ({"stem.1.running_mean": None}, "'stem.1.running_mean' is missing"),
        ({"extra.weight": torch.zeros(1)}, "'extra.weight' has no place in it"),
        ({"stem.1.weight": torch.zeros(3)}, r"'stem.1.weight' has the shape \(3,\), and \(64,\) is expected"),
        ({"fc.weight": torch.zeros(5, 7)}, r"'fc.weight' has the shape \(5, 7\), and \(5, 512\) is expected"),
    ],
)
@pytest.mark.parametrize("new_head", [True, False])
def test_every_other_name_must_match(
    r3d: tuple[Network, dict[str, Tensor]], change: dict[str, Tensor | None], why: str, new_head: bool
) -> None:
    network, state = r3d
    changed = {name: value for name, value in (state | change).items() if value is not None}
    with pytest.raises(ValueError, match=f"w: weights of another network: {why}"):
        load_library_weights(network, changed, "w", new_head)


def test_counters_of_batches_may_be_absent(r3d: tuple[Network, dict[str, Tensor]]) -> None:
    network, state = r3d
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    assert load_library_weights(network, old, "w", new_head=False) is False


def test_a_network_of_one_s_own_gets_all_its_weights() -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 4))
    network = VideoNetwork(nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 4)), 4)
    load_library_weights(network, theirs.state_dict(), "w", new_head=False)
    clip = torch.randn(2, 3, 2, 4, 4)
    assert torch.equal(network(clip), theirs(clip))


@torch.no_grad()
def test_the_inflated_network_starts_as_the_2d_one() -> None:
    """With its own number of classes the last layer is loaded, too."""
    torch.manual_seed(0)
    flat = timm.create_model("resnet18").eval()
    network = build({"backbone": "resnet18", "num_classes": 1000, "dilations": [1, 2], "inflation": "centre"}).eval()
    assert isinstance(network, InflatedNetwork)
    assert load_library_weights(network, flat.state_dict(), "w", new_head=True) is False
    picture = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(network(picture.unsqueeze(2)), flat(picture))
