"""Every verb with every kind of network: another backbone, a video network by name, a class of one's own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.evaluation.stored import read_evaluation
from besnet.models.build import ModelArguments, applicable, build
from besnet.models.recalibration import batch_norms, measure_batch, set_statistics
from besnet.predict.model import load
from besnet.training.engine import SynchronisedNorms
from besnet.training.starting import taps_line
from tests import command

OWN = "tests.ten_lines:TenLines"
SMALL = [word for word in command.TINY if not word.startswith("--model")]
KINDS = {
    "backbone": ["--model.backbone=test_efficientnet", "--model.mean=[0.5,0.5,0.5]", "--model.std=[0.5,0.4,0.3]"],
    "r3d_18": ["--model.network=r3d_18", "--data.clip.num_frames=2"],
    "own": [f"--model.network={OWN}", "--model.std=[0.2,0.2,0.2]"],
}


def words_of(data: Path, run: Path, kind: str, epochs: int = 2) -> list[str]:
    limit = [
        "--trainer.limit_train_batches=2",
        f"--trainer.max_epochs={epochs}",
        "--data.val_videos=2",
        "--data.val_split=test",
    ]
    return [f"--data.folder={data}", f"--out={run}", *SMALL, *KINDS[kind], *limit]


def named(kind: str) -> list[str]:
    return [f"--network={OWN}"] if kind == "own" else []


@pytest.fixture(scope="module", params=["backbone", pytest.param("r3d_18", marks=pytest.mark.slow), "own"])
def trained(
    request: pytest.FixtureRequest, squares: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A run of each kind, checked by the doctor before."""
    run = tmp_path_factory.mktemp(request.param) / "run"
    words = words_of(squares, run, request.param)
    assert cli.run("doctor", words) in (0, 2)
    assert cli.run("train", [*words, "--saving.every_steps=2", "--saving.keep=9"]) == 0
    return request.param, run


def test_a_stopped_run_resumes_to_the_same_bits(trained: tuple[str, Path], squares: Path, tmp_path: Path) -> None:
    kind, run = trained
    whole, half = store.load(run), tmp_path / "half"
    checkpoints = store.by_age(run / "checkpoints")
    (half / "checkpoints").mkdir(parents=True)
    (half / "checkpoints" / checkpoints[-1].name).write_bytes(checkpoints[-1].read_bytes())
    assert cli.run("train", [*words_of(squares, half, kind), "--saving.keep=9"]) == 0
    again = store.load(half)
    assert all(torch.equal(again["state_dict"][name], value) for name, value in whole["state_dict"].items())
    assert again["besnet"]["model"] == whole["besnet"]["model"]


def test_it_is_evaluated_and_predicts_with_its_own_normalisation(
    trained: tuple[str, Path], squares: Path, tmp_path: Path
) -> None:
    kind, run = trained
    video = sorted((squares.parent / "test").iterdir())[0]
    assert cli.run("evaluate", [f"--ckpt_path={run}", f"--out={tmp_path / 'e'}", "--workers=0", *named(kind)]) == 0
    found = read_evaluation(tmp_path / "e")
    assert len(found.ids) == 9
    words = [str(video), f"--ckpt_path={run}", *named(kind)]
    assert cli.run("predict", [*words, f"--json={tmp_path / 'p.json'}", f"--sheet={tmp_path / 'p.png'}"]) == 0
    top = json.loads((tmp_path / "p.json").read_text())["videos"][0]["predictions"][0]
    assert 0 < top["probability"] <= 1
    assert cli.run("features", [*words, f"--out={tmp_path / 'f.npz'}"]) == 0
    assert np.isfinite(np.load(tmp_path / "f.npz")["features"]).all()
    model = load(run, network=OWN if kind == "own" else None)
    frames = torch.randint(256, (1, 2, 32, 32, 3), dtype=torch.uint8)
    network = model.network
    wanted = (frames[0].permute(3, 0, 1, 2) / 255 - torch.tensor(network.mean).view(3, 1, 1, 1)) / torch.tensor(
        network.std
    ).view(3, 1, 1, 1)
    torch.testing.assert_close(model.views(frames)[0], wanted)
    expected = {"backbone": (0.5, 0.4, 0.3), "r3d_18": (0.229, 0.224, 0.225), "own": (0.2, 0.2, 0.2)}
    assert network.std == expected[kind]


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch.export.load's own
@pytest.mark.parametrize("to", ["folder", "onnx", "torch-export"])
def test_it_is_exported(trained: tuple[str, Path], tmp_path: Path, to: str) -> None:
    kind, run = trained
    target = tmp_path / {"folder": "model", "onnx": "model.onnx", "torch-export": "model.pt2"}[to]
    assert cli.run("export", [str(run), f"--to={to}", f"--out={target}", *named(kind)]) == 0
    about = json.loads((target / "model.json" if to == "folder" else target.with_suffix(".json")).read_text())
    network = rebuild(store.load(run), named=OWN if kind == "own" else None).network
    assert about.get("transforms", about)["input"]["std"] == pytest.approx([255 * value for value in network.std])


def test_ranks_accumulation_and_recomputation_make_the_same_steps(squares: Path, tmp_path: Path) -> None:
    """Of an inflated backbone; with frozen norms and one dilation nothing depends on how a step is divided."""
    same = ["--model.backbone=test_efficientnet", "--model.frozen_bn=true", "--model.dilations=[2]", *SMALL,
            "--data.crop.flip=0", "--recipe.optimizer=sgd", "--recipe.lr=0.05", "--trainer.max_epochs=1",
            f"--data.folder={squares}"]  # fmt: skip
    runs = {
        "plain": [],
        "recomputed": ["--model.activation_checkpointing=true"],
        "accumulated": ["--data.batch_size=2", "--trainer.accumulate_grad_batches=2"],
    }
    for name, words in runs.items():
        assert cli.run("train", [*same, *words, f"--out={tmp_path / name}"]) == 0
    ranks = ["--data.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp", *runs["recomputed"]]
    process = command.start("train", *same, *ranks, f"--out={tmp_path / 'ranks'}", ranks=2)
    said = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == 0, said
    plain = store.load(tmp_path / "plain")["state_dict"]
    fresh = build({"num_classes": 4, "backbone": "test_efficientnet", "dilations": [2]}).state_dict()
    assert max(float((plain[f"network.{name}"] - value).abs().max()) for name, value in fresh.items()) > 1e-3
    for name in ("recomputed", "accumulated", "ranks"):
        other = store.load(tmp_path / name)["state_dict"]
        for weight, value in plain.items():
            torch.testing.assert_close(other[weight], value, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_norms_with_an_activation_keep_it_when_they_are_synchronised() -> None:
    """timm's norms bring their activation along; torch's own conversion drops it."""
    torch.manual_seed(0)
    network, clips = build({"num_classes": 3, "backbone": "test_efficientnet"}).eval(), torch.randn(1, 3, 3, 32, 32)
    expected = network(clips)
    synchronised = SynchronisedNorms().apply(network)
    norms = [module for module in synchronised.modules() if isinstance(module, torch.nn.SyncBatchNorm)]
    assert norms
    assert not any(type(module).__name__ == "BatchNormAct2d" for module in synchronised.modules())
    torch.testing.assert_close(synchronised(clips), expected)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_recalibrated_norms_answer_as_on_the_batch_itself(name: str) -> None:
    torch.manual_seed(0)
    network, clips = build({"num_classes": 3, "backbone": name}), torch.randn(6, 3, 4, 128, 128)
    set_statistics(network, measure_batch(network, clips).unsqueeze(0), torch.tensor([6]))
    with torch.no_grad():
        used = network.eval()(clips)
        for norm in batch_norms(network):
            norm.train()
        torch.testing.assert_close(used, network(clips), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("model", [{"blocks": [1, 1], "width": 8}, {"backbone": "test_efficientnet"}])
@torch.no_grad()
def test_the_activation_of_a_class_adds_up_to_its_logit(model: dict[str, object]) -> None:
    torch.manual_seed(0)
    network, picture = build(model | {"num_classes": 3}).eval(), torch.randn(2, 3, 1, 64, 64)
    logits = network(picture)
    for number in range(3):
        activation = network.class_activation(picture, number)
        assert activation is not None
        assert activation.shape[:2] == (2, 1)
        bias = network.get_submodule("fc").bias[number]  # type: ignore[index]
        torch.testing.assert_close(activation.mean((1, 2, 3)) + bias, logits[:, number], rtol=1e-4, atol=1e-5)
    for other in ({"backbone": "convnext_atto"}, {"network": OWN}):  # a norm after the pooling; a network of one's own
        assert build(other | {"num_classes": 3}).eval().class_activation(picture, 0) is None


def test_the_start_says_which_layers_have_taps() -> None:
    line = taps_line(build({"num_classes": 3, "backbone": "tf_efficientnet_lite0"}))
    assert line == "taps in time in 31 layers: blocks.0.0.conv_pw, blocks.1.0.conv_pw, ..., blocks.6.0.conv_pwl"
    assert not build({"num_classes": 3, "dilations": [], "blocks": [1], "width": 8}).temporal_layers


def test_statistics_of_a_network_without_norms_are_refused(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--data.folder={squares}", f"--out={tmp_path}", *SMALL, "--model.network=swin3d_t",
             "--trainer.max_epochs=1", "--recipe.precise_bn=4"]  # fmt: skip
    with pytest.raises(SystemExit):
        cli.run("train", words)
    assert "recipe.precise_bn: the network has no BatchNorm" in capsys.readouterr().err


def test_a_checkpoint_imports_nothing(squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert cli.run("train", words_of(squares, run, "own", epochs=1)) == 0
    for words in (
        ["evaluate", f"--ckpt_path={run}"],
        ["predict", str(next((squares.parent / "test").iterdir())), f"--ckpt_path={run}"],
        ["export", str(run)],
    ):
        with pytest.raises(SystemExit):
            cli.run(words[0], words[1:])
        assert f"a checkpoint imports nothing: if you trust that code, name it with --network {OWN}" in (
            capsys.readouterr().err
        )
    with pytest.raises(SystemExit):
        cli.run("evaluate", [f"--ckpt_path={run}", "--network=r3d_18"])
    assert f"holds the network {OWN}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"network": "r3d_18", "dilations": [1]}, "model.dilations does not apply to r3d_18"),
        ({"network": "r3d_18", "backbone": "resnet18"}, "model.backbone does not apply to r3d_18"),
        ({"network": "slow_r50", "dropout": 0.2}, "model.dropout does not apply to slow_r50"),
        ({"network": OWN, "inflation": "centre"}, "model.inflation does not apply to tests.ten_lines"),
        ({"backbone": "resnet18", "width": 8}, "model.width does not apply to BesNet from resnet18"),
        ({"network": "no_module:Net"}, "no_module cannot be imported .* PYTHONPATH"),
        ({"network": "tests.ten_lines:Absent"}, "has no attribute 'Absent'"),
        ({"network": "tests.ten_lines:NoClasses"}, "it must take num_classes"),
        ({"network": "builtins:dict"}, "an nn.Module is expected, not dict"),
        ({"network": "r3d18"}, "did you mean 'r3d_18'"),
        ({"backbone": "vit_tiny_patch16_224"}, "vit_tiny_patch16_224.* no layer that can have taps in time"),
        ({"std": [0.1, 0, 0.1]}, "model.std must be above 0"),
        ({"mean": [0.1, 0.1]}, "model.mean must be a list of 3 to 3 numbers"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(model: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        build(model | {"num_classes": 3})
    assert "\n" not in str(refused.value)


def test_clips_that_do_not_go_in_are_refused_before_anything_is_decoded(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        "--model.network=mvit_v2_s": "data.clip.num_frames 4: the network takes 16 frames",
        "--model.network=s3d": "data.clip.num_frames 4: the network takes at least 14 frames",
        "--model.network=tests.ten_lines:WrongShape": "logits (B, 4) are expected, and one clip gave (1, 3)",
    }
    for word, why in wrong.items():
        for verb in ("doctor", "train"):
            with pytest.raises(SystemExit):
                cli.run(
                    verb,
                    [f"--data.folder={squares}", f"--out={tmp_path / 'run'}", *SMALL, word, "--trainer.max_epochs=1"],
                )
            assert why in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_header_holds_what_applies_and_no_more() -> None:
    every = vars(ModelArguments(3, network="r3d_18"))
    assert applicable(every).keys() == {"num_classes", "network", "frozen_bn", "mean", "std"}
    assert "width" not in applicable(vars(ModelArguments(3, backbone="resnet18")))
    assert applicable(vars(ModelArguments(3))) == vars(ModelArguments(3))
