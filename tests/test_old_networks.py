"""Networks of format 1, before BesNet was made from a 2D network: the same answers, and moments find their weights."""

import pytest
import torch

from besnet.checkpoints import model_folder, store
from besnet.checkpoints.header import rebuild
from besnet.models.network import IMAGENET
from besnet.training.recipe import Recipe
from tests.conftest import ROOT

OLD = ROOT / "tests" / "formats" / "7a24d25"
CLIPS = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["bottleneck", "basic", "c2d", "frames"])
def test_an_old_checkpoint_answers_as_it_did(kind: str) -> None:
    content = store.load(OLD / kind)
    for weights, raw in (("raw", True), ("averaged", False)):
        network = rebuild(content, raw).network
        with torch.no_grad():
            torch.testing.assert_close(network(CLIPS), content["logits"][weights], rtol=1e-5, atol=1e-6)
        assert network.normalisation == IMAGENET


@pytest.mark.parametrize("kind", ["bottleneck", "basic", "c2d", "frames"])
def test_moments_follow_their_weights(kind: str) -> None:
    content = store.load(OLD / kind)
    network = rebuild(content, raw=True).network.train()
    for name, weight in network.named_parameters():
        weight.requires_grad_(name.removeprefix("backbone.") in content["order"])
    names = {id(weight): name for name, weight in network.named_parameters()}
    optimizer = Recipe(optimizer="adamw" if kind == "basic" else "sgd").build_optimizer(network)
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert [names[id(weight)].removeprefix("backbone.") for weight in trained] == content["order"]
    saved = content["optimizer_states"][0]
    assert [len(group["params"]) for group in saved["param_groups"]] == [
        len(group["params"]) for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(saved)
    for weight in trained:
        for name, value in optimizer.state[weight].items():
            assert name == "step" or value.shape == weight.shape


def test_an_old_model_folder_answers_as_its_checkpoint() -> None:
    network = model_folder.read(OLD / "model").trained.network
    expected = store.load(OLD / "bottleneck")["logits"]["averaged"]
    with torch.no_grad():
        torch.testing.assert_close(network(CLIPS), expected, rtol=1e-5, atol=1e-6)
