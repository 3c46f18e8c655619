"""The whole frame inside the square: in training, in evaluation and in what is exported."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from besnet import cli
from besnet.checkpoints import model_folder
from besnet.data.clips import Clip, collate
from besnet.data.crop import RandomCrop
from besnet.data.transforms import evaluation_views, training_batch
from besnet.evaluation.views import ViewPlan, check_shapes, settings
from besnet.models.network import IMAGENET
from tests import command, moving_squares

WHOLE = "--data.crop.kind=whole"


def frames(height: int, width: int) -> torch.Tensor:
    """Dark frames with a bright line at each edge."""
    clip = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    for edge in (clip[:, 0], clip[:, -1], clip[:, :, 0], clip[:, :, -1]):
        edge.fill_(255)
    return clip


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 32), (32, 18), (12, 48), (90, 30), (1, 500)])
def test_every_edge_is_seen_and_the_border_is_the_mean(height: int, width: int) -> None:
    clip = frames(height, width)
    (evaluated,) = evaluation_views(clip[None], 32, 1, IMAGENET, whole=True)
    (learned,) = training_batch(collate([Clip(0, 0, clip, False, False)]), 32, IMAGENET, whole=True)
    assert torch.equal(evaluated, learned), "training and evaluation see the same picture"
    assert evaluated.shape == (3, 2, 32, 32)
    rows, columns = (evaluated[0, 0] != 0).any(1).nonzero(), (evaluated[0, 0] != 0).any(0).nonzero()
    inside = int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)
    scale = 32 / max(height, width)
    assert inside == (max(1, round(height * scale)), max(1, round(width * scale)))
    for places in (rows, columns):
        assert abs(int(places.min()) - (31 - int(places.max()))) <= 1, "the picture is in the middle"
    picture = evaluated[0, 0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    (borderless,) = evaluation_views(clip[None], 32, 1, IMAGENET, whole="borderless")
    (learned,) = training_batch(collate([Clip(0, 0, clip, False, False)]), 32, IMAGENET, whole="borderless")
    assert torch.equal(borderless, learned)
    assert torch.equal(borderless[0, 0], picture)
    if min(inside) > 4:
        middle = picture[inside[0] // 2, inside[1] // 2]
        for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
            assert edge.median() > middle, "no edge of the frame is cut off"


def test_a_whole_box_is_the_frame_and_only_the_mirror_is_drawn() -> None:
    drawn = [RandomCrop("whole", flip=0.5).draw(30, 40, np.random.default_rng(seed)) for seed in range(20)]
    assert {box for box, _ in drawn} == {(0, 0, 30, 40)}
    assert {flip for _, flip in drawn} == {False, True}


def test_borderless_videos_have_one_shape() -> None:
    class Videos(dict[int, SimpleNamespace]):
        folder = "here"

    sizes = {0: (240, 320), 1: (480, 640), 2: (120, 320)}
    some = Videos({row: SimpleNamespace(id=f"v{row}", height=h, width=w) for row, (h, w) in sizes.items()})
    check_shapes(some, np.arange(2), "borderless", 128)  # type: ignore[arg-type]
    check_shapes(some, np.arange(3), True, 128)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="here: borderless, v2 has 128 x 48 pixels and v0 128 x 96"):
        check_shapes(some, np.arange(3), "borderless", 128)  # type: ignore[arg-type]
    drawn = RandomCrop("borderless").draw(30, 40, np.random.default_rng(0))
    assert drawn == RandomCrop("whole").draw(30, 40, np.random.default_rng(0))


def test_clips_of_different_shapes_make_one_batch_and_are_mirrored() -> None:
    wide, tall = (torch.randint(256, (2, *size, 3), dtype=torch.uint8) for size in ((20, 40), (40, 20)))
    batch = training_batch(collate([Clip(0, 0, wide, True, False), Clip(1, 0, tall, False, False)]), 24, IMAGENET, True)
    assert batch.shape == (2, 3, 2, 24, 24)
    plain = evaluation_views(wide[None], 24, 1, IMAGENET, whole=True)[0]
    torch.testing.assert_close(batch[0], plain.flip(-1), atol=0.02, rtol=0)


def test_an_evaluation_follows_the_training_and_more_crops_are_refused() -> None:
    data = {"folder": "", "clip": {}, "crop_size": 32, "crop": {"kind": "whole"}}
    assert settings({"data": data, "evaluation": {"num_crops": 1}}, "here")["evaluation"].whole
    assert settings({"data": data, "evaluation": {"num_crops": 1, "whole": False}}, "here")["evaluation"].whole is False
    data["crop"] = {"kind": "borderless"}
    assert settings({"data": data, "evaluation": {"num_crops": 1}}, "here")["evaluation"].whole == "borderless"
    with pytest.raises(ValueError, match=r"here.*num_crops to 1"):
        settings({"data": data, "evaluation": {"num_crops": 3}}, "here")
    with pytest.raises(ValueError, match="num_crops to 1"):
        ViewPlan(num_crops=1, whole=True).with_views(None, 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny training on whole frames, and its data beside it."""
    folder = tmp_path_factory.mktemp("whole")
    data = moving_squares.make(folder, train=8, test=4)
    assert command.train(data, folder / "run", WHOLE, "--trainer.max_epochs=1") == 0
    return folder / "run"


def test_evaluation_prediction_and_export_see_whole_frames(run: Path, tmp_path: Path) -> None:
    video = tmp_path / "wide.mp4"
    moving_squares.draw(video, (0, 1), seed=5)
    assert cli.run("evaluate", ["--ckpt_path", str(run), "--workers", "0", "--out", str(tmp_path / "results")]) == 0
    assert json.loads((tmp_path / "results" / "results.json").read_text())["views"]["whole"] is True
    assert cli.run("export", [str(run), "--to", "folder", "--out", str(tmp_path / "model")]) == 0
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert "long side to 32 pixels" in about["transforms"]["input"]["resize"]
    assert settings(model_folder.read(tmp_path / "model").trained.config, "model")["evaluation"].whole
    with open(tmp_path / "results" / "report.html") as page:
        assert "whole frame" in page.read()


def test_a_config_that_takes_several_crops_of_whole_frames_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.train_words(run.parent / "prepared", tmp_path / "run", WHOLE, "--evaluation.num_crops=3")
    with pytest.raises(SystemExit, match="2"):
        cli.run("train", words)
    assert "set num_crops to 1" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()
