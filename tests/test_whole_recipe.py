"""Everything that a recipe can switch on, together: exact under resume, and each part does what it says."""

from pathlib import Path

import pytest
import torch

from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.manifest import Manifest
from besnet.data.order import sample
from besnet.data.transforms import evaluation_views
from besnet.video.sampling import ClipShape
from tests import command

TWO_RANKS = ["--data.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp"]
EVERYTHING = ["--recipe.ema=0.95", "--recipe.mixup=0.4", "--recipe.cutmix=1", "--recipe.ohem=1",
              "--recipe.precise_bn=20", "--recipe.label_smoothing=0.1", "--data.repeats=2",
              "--data.clip.speed=[0.8,1.2]", "--data.augmentation.rand_augment=2", "--data.augmentation.erase=0.5",
              "--trainer.max_epochs=1",
              "--saving.every_steps=5", "--saving.keep=9", "--evaluation.crop_size=40"]  # fmt: skip


def train_on_two_ranks(squares: Path, run: Path, *words: str) -> None:
    process = command.start("train", *command.train_words(squares, run, *TWO_RANKS, *words), ranks=2)
    _, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == 0, err


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks, an epoch of twelve steps, everything switched on."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train_on_two_ranks(squares, run, *EVERYTHING)
    return run


def test_everything_together_resumes_bit_by_bit(squares: Path, run: Path) -> None:
    whole, steps = command.weights_hash(run), [path.name[:14] for path in store.by_age(run / "checkpoints")]
    assert steps == ["step_000000012", "step_000000010", "step_000000005"]
    for path in store.by_age(run / "checkpoints")[:2]:
        path.unlink()
    train_on_two_ranks(squares, run, *EVERYTHING)
    assert command.weights_hash(run) == whole


def test_precise_statistics_are_those_of_the_drawn_videos_at_the_size_of_evaluation(squares: Path, run: Path) -> None:
    """The oracle: mean and variance of what the stem says to the middle clips of twenty videos."""
    network = rebuild(store.load(run)).network
    manifest = Manifest.load(squares)
    rows = sample(manifest.select("train"), 20)
    views = EvaluationClips(manifest, rows, ClipShape(4, 2), 1)
    frames = [views[number].frames for number in range(20)]
    with torch.no_grad():
        clips = [evaluation_views(video, 40, 1, network.normalisation) for video in frames if video is not None]
        said = network.backbone.conv1(torch.cat(clips).transpose(1, 2).flatten(0, 1))
    torch.testing.assert_close(network.backbone.bn1.running_mean, said.mean((0, 2, 3)))
    torch.testing.assert_close(network.backbone.bn1.running_var, said.var((0, 2, 3)), rtol=1e-3, atol=1e-6)
    raw = rebuild(store.load(run), raw=True).network
    assert not torch.allclose(raw.backbone.bn1.running_mean, network.backbone.bn1.running_mean, rtol=1e-3)
