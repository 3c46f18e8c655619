"""A sample of a list is one, whatever the list's order, and means are over what was counted."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.data.crop import RandomCrop
from besnet.data.evaluation_clips import EvaluationClips
from besnet.data.manifest import Manifest
from besnet.data.order import sample
from besnet.data.transforms import evaluation_views
from besnet.evaluation.metrics import accuracies
from besnet.evaluation.recalibration import BATCH_SIZE, drawn_rows, equal_batches
from besnet.models.network import IMAGENET
from besnet.training.data import VideoData
from besnet.training.validation_metrics import Tally
from besnet.video.sampling import ClipShape
from tests import command, moving_squares

CLASSES, EACH = 12, 100
LISTS = {"sorted": np.arange(CLASSES * EACH) // EACH, "periodic": np.arange(CLASSES * EACH) % CLASSES}


@pytest.mark.parametrize("count", [1, 16, 17, 33, 150])
def test_no_batch_of_statistics_is_a_remainder(count: int) -> None:
    batches = equal_batches(count)
    assert [number for batch in batches for number in batch] == list(range(count))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= BATCH_SIZE
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("order", LISTS)
def test_batches_of_statistics_have_as_many_classes_as_a_fair_draw(order: str) -> None:
    labels = LISTS[order]
    manifest = SimpleNamespace(folder="x", select=lambda split: np.arange(len(labels)))
    rows = drawn_rows(cast(Any, manifest), 150)  # every eighth of 1200
    assert len(set(rows.tolist())) == 150
    batches = [labels[rows[start : start + BATCH_SIZE]] for start in range(0, 144, BATCH_SIZE)]
    # 16 draws of 12 equal classes have 12 (1 - (11/12)^16) = 9.0 of them on average
    assert np.mean([len(set(batch.tolist())) for batch in batches]) == pytest.approx(9.0, abs=1.0)
    assert np.bincount(labels[rows], minlength=CLASSES).min() >= 4
    assert np.array_equal(rows, drawn_rows(cast(Any, manifest), 150)), "the same at every call"


def test_validation_videos_are_a_draw_of_those_with_a_label(squares: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = Manifest.load(squares).labels.copy()
    rows = Manifest.load(squares).select("test")
    labels[rows[3]] = -1
    monkeypatch.setattr(Manifest, "labels", labels)
    data = VideoData(squares, ClipShape(num_frames=4), RandomCrop(), val_videos=5, val_split="test")
    assert data.val_rows.tolist() == sample(np.delete(rows, 3), 5).tolist()


@pytest.fixture(scope="module")
def half_lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set that has lost four of its eight test videos since."""
    folder = tmp_path_factory.mktemp("half")
    prepared = moving_squares.make(folder, train=8, test=8)
    for number in (1, 3, 4, 6):
        (path,) = folder.glob(f"test/*_{number}.mp4")
        path.unlink()
    return prepared


def test_validation_is_over_the_videos_that_were_read_as_evaluation_sees_them(
    half_lost: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The oracle is the mean over the four that are left, at the size of evaluation."""
    words = ["--trainer.max_epochs=1", "--data.val_videos=8", "--data.val_split=test", "--evaluation.crop_size=48"]
    assert command.train(half_lost, tmp_path, *words) == 0
    with open(tmp_path / "metrics.csv", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    manifest = Manifest.load(half_lost)
    rows = manifest.select("test")
    views = [EvaluationClips(manifest, rows, ClipShape(4, 2), 1)[number] for number in range(8)]
    read = [video for video in views if video.frames is not None]
    assert len(read) == 4
    network = rebuild(store.load(tmp_path)).network
    with torch.no_grad():
        logits = network(torch.cat([evaluation_views(v.frames, 48, 1, IMAGENET) for v in read if v.frames is not None]))
    labels = torch.tensor([int(manifest.labels[video.row]) for video in read])
    assert float(row["Val/Loss"]) == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
    assert float(row["Val/Prec@1"]) == pytest.approx(100 * (logits.argmax(1) == labels).float().mean().item())
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("besnet: validation")]
    assert "4 of 8 videos could not be read" in line
    assert ".mp4" in line


def test_without_a_video_there_is_no_figure() -> None:
    figures = Tally(torch.device("cpu")).figures(lambda counts: counts)
    assert all(value.isnan() for value in figures.values())


def test_shares_say_how_many_videos_they_are_of() -> None:
    found = accuracies(np.eye(3, dtype=np.float32), np.array([0, 1, 0]), 5)
    assert (found["over_evaluated"]["videos"], found["missing_counted_wrong"]["videos"]) == (3, 5)
    assert found["over_evaluated"]["top1"] == pytest.approx(2 / 3)
    assert found["missing_counted_wrong"]["top1"] == pytest.approx(2 / 5)
