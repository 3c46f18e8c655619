"""Fine-tuning: what is frozen stays as it was, and learning rates go by depth."""

import csv
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from besnet.checkpoints import store
from besnet.models.backbones import backbone_named
from besnet.models.besnet import BesNet
from besnet.models.build import build
from besnet.models.depth import depths
from besnet.models.inflate import InflatedNetwork
from besnet.models.video_networks import KINDS, VideoNetwork
from besnet.training.fine_tuning import freeze_depths, frozen_depths
from besnet.training.module import ActionModule
from besnet.training.recipe import Recipe
from tests import command

SGD = ["--recipe.optimizer=sgd", "--recipe.lr=0.01", "--model.dropout=0"]


def short(name: str) -> str:
    """A name without the module that wraps the 2D network."""
    return name.removeprefix("backbone.")


class Own(nn.Module):
    """A network of one's own, with weights that belong to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 4, 1, 1, 1))
        self.stem = nn.Conv3d(3, 4, 1)
        self.norm = nn.BatchNorm3d(4)
        self.body = nn.Sequential(nn.Conv3d(4, 4, 1), nn.Dropout(0.5), nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4))
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.norm(self.stem(x)) + self.position)
        return self.out(self.drop(x.mean((2, 3, 4))))


def small(**model: object) -> BesNet:
    torch.manual_seed(0)
    return BesNet(2, **({"blocks": (1, 2), "width": 8} | model))  # type: ignore[arg-type]


FAMILIES = {
    "besnet": (small, 3, "layer2.1"),
    "tf_efficientnet_lite0": (lambda: InflatedNetwork(backbone_named("tf_efficientnet_lite0"), 2), 17, "conv_head"),
    "torchvision/mobilenet_v2": (
        lambda: InflatedNetwork(backbone_named("torchvision/mobilenet_v2"), 2), 18, "features.18",
    ),
    "regnetx_002": (lambda: InflatedNetwork(backbone_named("regnetx_002"), 2), 4, "s4"),
    "vit_tiny_patch16_224": (
        lambda: InflatedNetwork(backbone_named("vit_tiny_patch16_224"), 2, dilations=()), 12, "blocks.11",
    ),
    "r3d_18": (lambda: KINDS["r3d_18"].make(2), 8, "layer4.1"),
    "s3d": (lambda: KINDS["s3d"].make(2), 11, "features.15"),
    "slow_r50": (lambda: KINDS["slow_r50"].make(2), 16, "layer4.2"),
    "own": (lambda: VideoNetwork(Own(), 2), 2, "body.2"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_each_parameter_has_one_depth(name: str) -> None:
    make, blocks, last = FAMILIES[name]
    network = make()  # type: ignore[operator]
    found = depths(network)
    assert len(found) == blocks + 2
    assert found[-2].name.endswith(last)
    assert sorted(p for depth in found for p in depth.parameters) == sorted(n for n, _ in network.named_parameters())
    places = [number for number, depth in enumerate(found) for module in depth.modules if module]
    assert places == sorted(places)
    assert sum(network.get_parameter(p).shape[0] == 2 for p in found[-1].parameters) == len(found[-1].parameters)
    groups = Recipe(lr=0.1, layer_decay=0.5, head_lr=3.0, weight_decay=0.01).build_optimizer(network).param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates) == len(list(network.parameters()))
    assert groups[0]["lr"] == pytest.approx(0.3), "the rate that is shown is the last layer's"
    for number, depth in enumerate(found):
        expected = 0.1 * (3.0 if depth is found[-1] else 0.5 ** (blocks + 1 - number))
        assert all(rates[id(network.get_parameter(p))] == pytest.approx(expected) for p in depth.parameters)
    for group in groups:
        assert {weight.ndim > 1 for weight in group["params"]} == {group["weight_decay"] > 0}


def test_what_is_frozen_keeps_no_graph_and_stays_in_evaluation() -> None:
    network = small(dropout=0.5)
    task = ActionModule(network, Recipe(freeze=2))
    assert tuple(map(short, task.frozen)) == ("conv1", "bn1", "relu", "maxpool", "layer1.0", "layer2.0")
    outputs: dict[str, bool] = {}
    modules = {short(name): module for name, module in network.named_modules()}
    for name in ("layer1.0", "layer2.0", "layer2.1"):
        modules[name].register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output.requires_grad})
        )
    for mode in (False, True):
        task.train(mode)
        assert network.dropout.training == modules["layer2.1.bn1"].training == mode
        assert not modules["bn1"].training
        assert not modules["layer2.0.bn1"].training
    before = {name: value.clone() for name, value in network.state_dict().items()}
    task.network(torch.randn(2, 3, 4, 32, 32)).sum().backward()
    assert outputs == {"layer1.0": False, "layer2.0": False, "layer2.1": True}
    learned = {name for name, weight in network.named_parameters() if weight.grad is not None}
    free = ("layer2.1.", "fc.")
    assert learned == {name for name in dict(network.named_parameters()) if short(name).startswith(free)}
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("layer2.1.bn" in name for name in changed)


@pytest.mark.parametrize("model", [{"blocks": (1, 1)}, {"backbone": "tf_efficientnet_lite0"}, {"network": "r3d_18"}])
def test_every_batchnorm_stays_frozen_also_when_ranks_share_them(model: dict[str, object]) -> None:
    frozen = build(model | {"num_classes": 2, "frozen_bn": True})
    for network in (frozen, nn.SyncBatchNorm.convert_sync_batchnorm(frozen)):
        norms = [module for module in network.train().modules() if isinstance(module, _BatchNorm)]
        assert norms
        assert not any(norm.training for norm in norms)
        assert not any(weight.requires_grad for norm in norms for weight in norm.parameters())
    task = ActionModule(build(model | {"num_classes": 2}), Recipe(freeze="backbone"))
    task = nn.SyncBatchNorm.convert_sync_batchnorm(task).train()
    assert not any(module.training for module in task.modules() if isinstance(module, nn.SyncBatchNorm))


def test_only_the_last_layer_and_what_drops_its_input_are_outside_of_the_backbone() -> None:
    network = VideoNetwork(Own(), 2)
    names = freeze_depths(network, "backbone")
    assert {name for name, weight in network.named_parameters() if weight.requires_grad} == {
        "network.out.weight", "network.out.bias",
    }  # fmt: skip
    assert "network.body.1" in names
    assert "network.drop" not in names
    with pytest.raises(ValueError, match=r"recipe.freeze 3: the network has 2 blocks after its stem .* at most 2"):
        frozen_depths(network, 3)


def test_a_frozen_run_resumes_to_the_same_bits_and_to_no_other_freeze(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--recipe.freeze=1", "--recipe.layer_decay=0.5", "--recipe.head_lr=4", "--recipe.ema=0.9"]
    words += ["--recipe.warmup_epochs=0.5", "--trainer.max_epochs=1", "--saving.every_steps=2", "--saving.keep=9"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command.train(squares, whole, *words) == 0
    said = capsys.readouterr().out
    assert "conv1 to " in said
    assert "what is frozen are random numbers" in said
    assert re.search(r"learning rates: fc 0\.02, \S*layer2\.0 0\.0025\n", said)
    state = store.load(whole)["state_dict"]
    torch.manual_seed(0)
    fresh = small(blocks=(1, 1), temporal_padding="replicate").state_dict()
    still = [name for name in fresh if not short(name).startswith(("layer2.", "fc."))]
    for name in still:
        assert torch.equal(state[f"network.{name}"], state[f"ema.network.{name}"])
        if "running" in name or "batches" in name:
            assert torch.equal(state[f"network.{name}"], fresh[name])
    moved = [name for name in fresh if name not in still and "running_mean" in name]
    assert moved
    assert not any(torch.equal(state[f"network.{name}"], fresh[name]) for name in moved)
    with open(whole / "metrics.csv", newline="") as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    factor = Recipe(warmup_epochs=0.5).schedule(6, 6)
    assert rates == pytest.approx([0.02 * factor(step) for step in range(1, 7)], abs=1e-9)
    assert command.train(squares, cut, *words) == 0
    for path in store.by_age(cut / "checkpoints"):
        if path.name >= "step_000000003":
            path.unlink()
    assert command.train(squares, cut, *words) == 0
    assert command.weights_hash(cut) == command.weights_hash(whole)
    for other in ("--recipe.freeze=backbone", "--recipe.layer_decay=0.7", "--recipe.head_lr=null"):
        with pytest.raises(SystemExit, match="2"):
            command.train(squares, cut, *words, other, "--accept_changes=true")
        assert f"do not fit the new settings ({other[2:].split('=')[0]}: " in capsys.readouterr().err


def test_two_ranks_with_recomputed_and_frozen_blocks_learn_what_one_learns(squares: Path, tmp_path: Path) -> None:
    """BatchNorm sees other clips on each rank, so it is frozen everywhere; without unused parameters to find."""
    words = ["--trainer.max_epochs=1", "--model.blocks=[1,2]", "--model.frozen_bn=true", *SGD]
    freeze = ["--recipe.freeze=1", "--recipe.layer_decay=0.5"]
    assert command.train(squares, tmp_path / "one", *words, *freeze) == 0
    two = ["--data.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp"]
    two += ["--model.activation_checkpointing=[1,2]"]
    process = command.start("train", *command.train_words(squares, tmp_path / "two", *words, *freeze, *two), ranks=2)
    assert command.train(squares, tmp_path / "all", *words) == 0
    _, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == 0, err
    one, both, unfrozen = (store.load(tmp_path / name)["state_dict"] for name in ("one", "two", "all"))
    for name, weight in one.items():
        torch.testing.assert_close(both[name], weight, rtol=1e-4, atol=1e-6)
    (stem,) = [name for name in one if short(name.removeprefix("network.")) == "conv1.weight"]
    assert not torch.equal(one[stem], unfrozen[stem])


def test_statistics_are_not_measured_where_they_are_frozen(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.train(squares, tmp_path, "--recipe.freeze=backbone", "--recipe.precise_bn=8")
    assert "recipe.precise_bn would change the statistics that recipe.freeze keeps" in capsys.readouterr().err
