"""TensorBoard holds what its callback promises, and the run's bits are those of a run without it."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, IMAGES, EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from besnet.data.manifest import Manifest
from besnet.data.order import DILATION, generator
from besnet.training import engine, tensorboard
from tests import command

WORDS = ["--data.val_videos=9", "--data.val_split=test", "--model.dilations=[1,3]", "--trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def finished(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board") / "run"
    assert command.train(squares, folder, *WORDS) == 0
    return folder


@pytest.fixture(scope="module")
def events(finished: Path) -> EventAccumulator:
    written = EventAccumulator(str(finished / "tensorboard"), size_guidance={IMAGES: 0, HISTOGRAMS: 0})
    written.Reload()
    return written


def test_the_histogram_counts_the_dilations_that_were_drawn(events: EventAccumulator) -> None:
    first, second = events.Histograms("Train/dilations")
    layers = 4  # of two bottlenecks
    drawn = [generator(0, DILATION, number).integers(2, size=layers) for number in range(12)]
    for entry, draws in ((first, drawn[:6]), (second, drawn[6:])):
        counts = {
            round(limit - 0.5): count
            for limit, count in zip(entry.histogram_value.bucket_limit, entry.histogram_value.bucket, strict=True)
            if count
        }
        threes = int(np.sum(draws))
        assert counts == {1: 6 * layers - threes, 3: threes}


def test_contact_sheets_of_the_first_batch_and_of_the_hardest_videos(events: EventAccumulator, finished: Path) -> None:
    [first] = events.Images("Train/first batch")
    with Image.open(finished / "contact_sheet.png") as sheet:
        assert (first.width, first.height) == sheet.size
    hardest = events.Images("Val/hardest videos")
    assert len(hardest) == 2, "one of each check"
    assert hardest[0].height == tensorboard.MOST_SHOWN * (84 + 20 + 3)


def test_the_embedding_names_every_validation_video(finished: Path, squares: Path) -> None:
    folder = finished / "tensorboard"
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    [embedding] = config.embeddings
    table = (folder / embedding.metadata_path).read_text().splitlines()
    manifest = Manifest.load(squares)
    wanted = {
        f"{manifest.classes[manifest[int(row)].label]}\t{manifest[int(row)].id}" for row in manifest.select("test")
    }
    assert table[0] == "class\tvideo"
    assert set(table[1:]) == wanted
    features = np.loadtxt(folder / embedding.tensor_path)
    assert features.shape[0] == 9
    assert np.ptp(features, axis=0).max() > 0
    with Image.open(folder / embedding.sprite.image_path) as sprite:
        assert sprite.size == (3 * tensorboard.THUMBNAIL, 3 * tensorboard.THUMBNAIL)


def test_the_weights_are_those_of_a_run_without_it(
    squares: Path, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TensorBoardPictures", tensorboard.pl.Callback)
    assert command.train(squares, tmp_path / "run", *WORDS) == 0
    assert not (tmp_path / "run" / "tensorboard" / "projector_config.pbtxt").exists()
    assert command.weights_hash(tmp_path / "run") == command.weights_hash(finished)
