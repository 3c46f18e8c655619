"""How a run starts: from whose weights, with what learning rate, and what it shows of its data."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import header
from besnet.checkpoints.pretrained import load_pretrained
from besnet.data.transforms import normalise, pixels
from besnet.models.besnet import BesNet
from besnet.models.network import IMAGENET
from besnet.training.batch_preview import draw_batch_preview, text
from besnet.training.config_checks import as_launched
from besnet.training.recipe import Recipe
from tests import command

MODEL = {"dilations": [1, 2], "blocks": [1, 1], "width": 8}


def save(folder: Path, classes: list[str], model: dict[str, object], seed: int) -> BesNet:
    """A checkpoint of a random network; returns the network."""
    torch.manual_seed(seed)
    arguments = model | {"num_classes": len(classes)}
    network = BesNet(**arguments)  # type: ignore[arg-type]
    entry = header(arguments, classes, {"source": "", "encode": ""}, {})
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    store.save({"besnet": entry, "state_dict": weights}, folder, 1)
    return network


@pytest.mark.parametrize("classes", [["a", "b", "c"], ["a", "c", "b"], ["a", "b", "c", "d"]])
def test_another_run_s_weights_but_for_the_last_layer_of_other_classes(tmp_path: Path, classes: list[str]) -> None:
    other = save(tmp_path, ["a", "b", "c"], MODEL, seed=0)
    torch.manual_seed(1)
    network = BesNet(len(classes), blocks=(1, 1), width=8)
    fresh = network.fc.weight.clone()
    said = load_pretrained(network, str(tmp_path), MODEL, classes).said
    for name, value in network.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, other.state_dict()[name]), name
    if classes == ["a", "b", "c"]:
        assert torch.equal(network.fc.weight, other.fc.weight)
        assert "all of its weights" in said
    else:
        assert torch.equal(network.fc.weight, fresh)
        assert f"all but its last layer: it knows 3 other classes, and the {len(classes)} of this data" in said


def test_a_2d_run_is_inflated_and_another_network_refused(tmp_path: Path) -> None:
    flat = save(tmp_path / "flat", ["a", "b"], MODEL | {"dilations": []}, seed=0)
    network = BesNet(2, blocks=(1, 1), width=8)
    load_pretrained(network, str(tmp_path / "flat"), MODEL, ["b", "a"])
    inflated = network.state_dict()["backbone.layer1.0.conv1.weight"].sum(2)
    torch.testing.assert_close(inflated, flat.state_dict()["backbone.layer1.0.conv1.weight"])
    assert not torch.equal(network.fc.weight, flat.fc.weight)
    save(tmp_path / "wide", ["a", "b"], MODEL | {"width": 16}, seed=0)
    with pytest.raises(ValueError, match=r"weights of another network than the config's model .*conv1.weight"):
        load_pretrained(network, str(tmp_path / "wide"), MODEL, ["a", "b"])


def test_the_learning_rate_grows_with_the_clips_of_a_step() -> None:
    assert Recipe(lr=0.1).for_batch(512) == Recipe(lr=0.1)
    assert Recipe(lr=0.1, lr_batch=64).for_batch(16).lr == pytest.approx(0.025)
    assert Recipe(lr=0.1, lr_batch=64).for_batch(64) == Recipe(lr=0.1, lr_batch=64)


def test_a_run_says_where_it_starts_and_shows_what_it_sees(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "other", ["a", "b", "c"], MODEL, seed=0)
    words = [f"--pretrained={tmp_path / 'other'}", "--model.blocks=[1,1]", "--recipe.lr=0.02", "--recipe.lr_batch=64",
             "--trainer.accumulate_grad_batches=2", "--trainer.max_epochs=1", "--recipe.mixup=0.8",
             "--data.augmentation.colour=0.4"]  # fmt: skip
    assert command.train(squares, tmp_path / "run", *words) == 0
    out = capsys.readouterr().out
    assert "all but its last layer: it knows 3 other classes, and the 4 of this data" in out
    assert "learning rate 0.0025 for 8 clips per step (0.02 for 64)" in out
    assert store.load(tmp_path / "run")["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 0.0025
    with Image.open(tmp_path / "run" / "contact_sheet.png") as sheet:
        assert sheet.width > 4 * 84, "four frames per clip"
        assert sheet.height > 4 * 84, "four clips"


def test_a_contact_sheet_shows_the_batch(tmp_path: Path) -> None:
    frames = torch.randint(256, (2, 3, 84, 84, 3), dtype=torch.uint8)
    clips = normalise(frames.permute(0, 1, 4, 2, 3), IMAGENET)
    assert torch.equal(pixels(clips, IMAGENET), frames)
    draw_batch_preview(tmp_path / "sheet.png", clips, torch.tensor([1, 0]), ["left", "right"], IMAGENET)
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown = np.asarray(sheet)
    assert np.array_equal(shown[20:104, :84], frames[0, 0].numpy())
    assert np.array_equal(shown[20:104, 174:258], frames[0, 2].numpy())
    assert np.array_equal(shown[127:211, 87:171], frames[1, 1].numpy())
    assert text(torch.tensor(1), ["left", "right"]) == "right"
    assert text(torch.tensor([0.3, 0.7]), ["left", "right"]) == "70% right + 30% left"
    assert text(torch.tensor([1.0, 0.0]), ["left", "right"]) == "100% left"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--recipe.ohem=5"], "recipe.ohem 5 must be at most data.batch_size 4"),
        (["--recipe.precise_bn=5", "--model.frozen_bn=true"], "precise_bn would change"),
        (["--data.no_flip=[lefd]"], "no class 'lefd': did you mean 'left'"),
        (["--data.repeats=3"], "multiple of data.repeats"),
        (["--recipe.mixup=0"], "recipe.mixup must be at least 0.001"),
        (["--data.augmentation.hue=2"], "hue must be at most 0.5"),
        (["--data.crop.flip=5"], "flip must be at most 1"),
        (["--data.val_videos=-1"], "data.val_videos must be at least 0"),
        (["--evaluation.pairs=[[left,rigth]]"], "no class 'rigth': did you mean 'right'"),
        (["--model.width=0"], "model.width must be at least 1"),
        (["--recipe.warmup_epochs=-1"], "recipe.warmup_epochs"),
        (["--trainer.max_epochs=0"], "trainer.max_epochs must be at least 1"),
        (["--trainer.max_epochs=null", "--trainer.max_steps=8"], "trainer.max_epochs must be at least 1"),
        (["--trainer.limit_train_batches=0"], "trainer.limit_train_batches must be at least 1"),
        (["--trainer.log_every_n_steps=0"], "trainer.log_every_n_steps must be at least 1"),
        (["--trainer.precision=bf16-true"], "trainer.precision must be one of 32"),
        (["--trainer.precision=16-mixed", "--trainer.gradient_clip_val=1"], "use bf16-mixed"),
        (["--trainer.accelerator=tpu"], "trainer.accelerator"),
        (["--trainer.sync_batchnorm"], "trainer.sync_batchnorm true needs GPUs"),
        (["--trainer.devices=two"], "devices"),
        (["--trainer.devices=0"], "devices"),
        (["--trainer.min_epochs=2"], "unknown argument"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.train(squares, tmp_path / "run", *words)
    assert why in capsys.readouterr().err.splitlines()[-1]


def test_what_torchrun_started_is_what_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that each took themselves for the only one would write into one folder."""
    settings = {"devices": "auto", "num_nodes": 1}
    assert as_launched(settings) == settings
    ranks = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "here", "MASTER_PORT": "29500"}
    for name, value in ({"TORCHELASTIC_RUN_ID": "none"} | ranks).items():
        monkeypatch.setenv(name, value)
    assert as_launched(settings) == {"devices": 2, "num_nodes": 2}
    fitting = {"devices": 2, "num_nodes": 2}
    assert as_launched(fitting) == fitting
    for devices in (1, "1", [0]):
        with pytest.raises(ValueError, match=r"do not match the 4 started processes .2 on this machine"):
            as_launched({"devices": devices, "num_nodes": 2})


def test_ranks_that_no_config_names_train_together(squares: Path, tmp_path: Path) -> None:
    words = ["--data.batch_size=2", "--trainer.max_epochs=1"]
    process = command.start("train", *command.train_words(squares, tmp_path / "run", *words), ranks=2)
    out, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == 0, err
    assert out.count("2 ranks x 2 clips") == 1
    assert store.load(tmp_path / "run")["global_step"] == 6


def test_a_run_s_own_config_is_a_config(squares: Path, tmp_path: Path) -> None:
    assert command.train(squares, tmp_path / "run", "--trainer.max_epochs=1") == 0
    words = [f"--config={tmp_path / 'run' / 'config.yaml'}", f"--out={tmp_path / 'again'}"]
    assert cli.run("train", words) == 0
    assert command.weights_hash(tmp_path / "again") == command.weights_hash(tmp_path / "run")


def test_what_a_run_started_from_is_not_needed_again(squares: Path, tmp_path: Path) -> None:
    assert command.train(squares, tmp_path / "first", "--trainer.max_epochs=1") == 0
    words = [f"--pretrained={tmp_path / 'first'}", "--saving.every_steps=2", "--saving.keep=9"]
    assert command.train(squares, tmp_path / "run", *words) == 0
    whole = command.weights_hash(tmp_path / "run")
    for path in store.by_age(tmp_path / "run" / "checkpoints")[:3]:
        path.unlink()
    shutil.rmtree(tmp_path / "first")
    assert command.train(squares, tmp_path / "run", *words) == 0
    assert command.weights_hash(tmp_path / "run") == whole


def test_gradients_are_clipped_also_in_bf16(squares: Path, tmp_path: Path) -> None:
    """With gradients next to nothing, SGD without decay moves the weights by next to nothing."""
    words = ["--recipe.optimizer=sgd", "--recipe.weight_decay=0", "--trainer.max_epochs=1", "--saving.every_steps=1",
             "--saving.keep=9", "--trainer.precision=bf16-mixed"]  # fmt: skip
    moved = []
    for clip in ("null", "1e-6"):
        run = tmp_path / clip
        assert command.train(squares, run, *words, f"--trainer.gradient_clip_val={clip}") == 0
        last, *_, first = (
            store.load(path)["state_dict"]["network.fc.weight"] for path in store.by_age(run / "checkpoints")
        )
        moved.append(float((last - first).norm()))
    assert moved[0] > 1e-3
    assert moved[1] < 1e-6


def test_the_schedule_ends_with_max_steps(squares: Path, tmp_path: Path) -> None:
    assert command.train(squares, tmp_path / "run", "--trainer.max_epochs=9", "--trainer.max_steps=8") == 0
    with open(tmp_path / "run" / "metrics.csv") as file:
        lrs = [float(row["lr"]) for row in csv.DictReader(file)]
    assert len(lrs) == 8
    assert lrs[0] > 0.004
    assert lrs[-1] == pytest.approx(0, abs=1e-9)
