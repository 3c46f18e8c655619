"""Every shipped config is read, builds its network and takes a step, at tiny size."""

import re
from pathlib import Path

import pytest
import yaml

from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.data.prepare import prepare
from besnet.training.recipe import Recipe

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
SMALL = [
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto", "--trainer.precision=32-true",
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--data.val_videos=0", "--data.batch_size=2",
    "--data.workers=0", "--data.crop_size=32", "--data.clip.num_frames=3", "--evaluation.pairs=[]",
]  # fmt: skip
# of a ResNet; another backbone has the size that it has
RESNET = ["--model.width=4", "--model.blocks=[1,1]"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_takes_a_step(config: Path, squares: Path, tmp_path: Path) -> None:
    words = [f"--config={config}", f"--data.folder={squares}", f"--out={tmp_path}", "--pretrained=null", *SMALL]
    backbone = yaml.safe_load(config.read_text())["model"].get("backbone")
    words += RESNET if backbone is None else []
    assert cli.run("train", words) == 0
    checkpoint = store.load(tmp_path)
    assert checkpoint["global_step"] == 1
    trained = rebuild(checkpoint)
    model = trained.config["model"]
    # of Lite0's 16 blocks, the later ones have two 1x1 layers each; of a ResNet's two, one in a basic block
    layers = 2 * (16 - model["taps_after"]) if backbone else {"basic": 2, "bottleneck": 4}[model["block"]]
    assert trained.network.num_temporal_layers == layers


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_begins_with_its_command_and_its_figures(config: Path) -> None:
    head = config.read_text().split("\nseed:")[0]
    assert "train.py --config" in head or "besnet train --config" in head
    assert re.search(r"CPU core|cores|GPU", head)
    assert re.search(r"minutes|hour|Hours", head)
    assert re.search(r"[Tt]op-1|mAP", head)


def test_all_pad_alike_and_start_from_imagenet_at_its_rate() -> None:
    found = {config.stem: yaml.safe_load(config.read_text()) for config in CONFIGS}
    assert {settings["model"]["temporal_padding"] for settings in found.values()} == {"replicate"}
    strong, plain = found["kinetics400_r50_8x8"], found["kinetics400_r50_8x8_plain"]
    for settings in (strong, plain):
        assert settings["pretrained"].startswith("ResNet50_Weights.IMAGENET1K")
        assert (settings["recipe"]["lr"], settings["recipe"]["lr_batch"]) == (0.01, 64)
        assert 100 <= settings["trainer"]["max_epochs"] <= 118
    asked = Recipe(**plain["recipe"])
    assert asked == Recipe(lr=0.01, lr_batch=64), "flips, jitter, dropout, and nothing else"
    assert plain["data"]["augmentation"] is None
    assert {name for name in strong if strong[name] != plain[name]} == {"out", "data", "recipe"}


def test_a_network_trains_from_shards_with_decord(squares: Path, tmp_path: Path) -> None:
    shards = prepare(squares.parent / "index.csv", tmp_path / "shards", workers=1)
    assert shards[0].in_shard
    (config,) = [path for path in CONFIGS if path.stem == "kinetics400_r50_8x8_plain"]
    words = [f"--config={config}", f"--data.folder={tmp_path / 'shards'}", f"--out={tmp_path / 'run'}", *SMALL]
    words += [
        "--data.backend=decord",
        "--pretrained=null",
        "--trainer.limit_train_batches=null",
        "--data.workers=1",
        "--trainer.max_epochs=2",
    ]
    assert cli.run("train", words) == 0
    assert store.load(tmp_path / "run")["global_step"] == 24
