"""Every shipped config is read, builds its network and takes a step, at tiny size."""

import re
from pathlib import Path

import pytest

from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.data.prepare import prepare

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
SMALL = [
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto", "--trainer.precision=32-true",
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--data.val_videos=0", "--data.batch_size=2",
    "--data.workers=0", "--data.crop_size=32", "--data.clip.num_frames=3", "--model.width=4", "--model.blocks=[1,1]",
    "--evaluation.pairs=[]",
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_takes_a_step(config: Path, squares: Path, tmp_path: Path) -> None:
    words = [f"--config={config}", f"--data.folder={squares}", f"--out={tmp_path}", "--pretrained=null", *SMALL]
    assert cli.run("train", words) == 0
    checkpoint = store.load(tmp_path)
    assert checkpoint["global_step"] == 1
    trained = rebuild(checkpoint)
    # two blocks: one temporal layer in a basic block, two in a bottleneck
    assert trained.network.num_temporal_layers == {"basic": 2, "bottleneck": 4}[trained.config["model"]["block"]]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_begins_with_its_command_and_its_figures(config: Path) -> None:
    head = config.read_text().split("\nseed:")[0]
    assert "train.py --config" in head or "besnet train --config" in head
    assert re.search(r"cores|GPU", head)
    assert re.search(r"minutes|hour|Hours", head)
    assert re.search(r"[Tt]op-1", head)


def test_at_least_one_config_reads_with_decord() -> None:
    assert any(re.search(r"^  backend: decord$", config.read_text(), re.M) for config in CONFIGS)


def test_a_network_trains_from_shards_with_decord(squares: Path, tmp_path: Path) -> None:
    shards = prepare(squares.parent / "index.csv", tmp_path / "shards", workers=1)
    assert shards[0].in_shard
    (config,) = [path for path in CONFIGS if "backend: decord" in path.read_text()]
    words = [f"--config={config}", f"--data.folder={tmp_path / 'shards'}", f"--out={tmp_path / 'run'}", *SMALL]
    words += ["--pretrained=null", "--trainer.limit_train_batches=null", "--data.workers=1", "--trainer.max_epochs=2"]
    assert cli.run("train", words) == 0
    assert store.load(tmp_path / "run")["global_step"] == 24
