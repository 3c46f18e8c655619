"""An answer from published weights: predict, evaluate, calibrate, export and features without any training."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import get_model_weights
from torchvision.transforms.v2 import functional

import besnet
from besnet import cli
from besnet.checkpoints import weights_source
from besnet.checkpoints.lite import lite_file
from besnet.checkpoints.published_model import AS_STATED, Input, published_model
from besnet.checkpoints.published_weights import published
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.predict.model import Model, open_reader
from besnet.video.sampling import ClipShape, uniform_clips
from tests import moving_squares
from tests.ten_lines import TenLines

NETWORK = "mc3_18"  # the smallest of torchvision's
SMALL = ["--input.num_frames=4", "--input.crop_size=32"]


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """torchvision's network with random weights, whose classes differ clearly."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(NETWORK, weights=None, num_classes=400)
    with torch.no_grad():
        network.fc.weight.mul_(30)
    return network.eval()


@pytest.fixture(scope="module")
def file(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its state dict, which is in no table."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(theirs.state_dict(), path)
    return path


@pytest.fixture
def announced(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The same file in torch.hub's cache, and its hash in the table: what a download leaves. The working folder is a
    fresh one."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    about = replace(published(NETWORK, "DEFAULT"), url=f"https://nowhere/{NETWORK}-{digest[:8]}.pth", digest=digest[:8])
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "checkpoints" / about.file_name
    cached.parent.mkdir(parents=True)
    cached.symlink_to(file)
    monkeypatch.setattr(weights_source, "of_network", lambda network: [about])
    monkeypatch.setattr(weights_source, "published", lambda network, name: about)
    monkeypatch.chdir(tmp_path)
    return file


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    moving_squares.draw(path, (0, 1), seed=1, frames=40)
    return path


@torch.no_grad()
def outside(network: nn.Module, video: Path, clips: int, num_frames: int = 16, size: int | None = None) -> np.ndarray:
    """The probabilities as torchvision's own description of the weights has them; size: of whole squares."""
    preset = get_model_weights(NETWORK).KINETICS400_V1.transforms()
    with open_reader(video) as reader:
        numbers = uniform_clips(reader.times_sec, ClipShape(num_frames, 1, 15.0), clips)
        frames = torch.from_numpy(reader.read(numbers.reshape(-1))).unflatten(0, numbers.shape)
    shares = []
    for clip in frames.permute(0, 1, 4, 2, 3):
        resized = functional.resize(clip, [size or min(preset.resize_size)], antialias=True)
        square = functional.center_crop(resized, [size or preset.crop_size[0]]).float() / 255
        normalised = functional.normalize(square, preset.mean, preset.std)
        shares.append(network(normalised.transpose(0, 1)[None]).softmax(1))
    return torch.cat(shares).mean(0).numpy()


def test_predict_with_published_weights_says_what_the_network_says_outside(
    announced: Path, theirs: nn.Module, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(video), "--network", NETWORK, "--weights", "KINETICS400_V1", "--json=out.json", "--num_clips=2"]
    assert cli.run("predict", words) == 0
    expected = outside(theirs, video, clips=2)
    best = int(expected.argmax())
    found = json.loads(Path("out.json").read_text())
    first = found["videos"][0]["predictions"][0]
    assert first["class"] == get_model_weights(NETWORK).KINETICS400_V1.meta["categories"][best]
    assert first["probability"] == pytest.approx(float(expected[best]), abs=1e-3)
    assert (found["network"], found["num_clips"], found["num_crops"]) == (NETWORK, 2, 1)
    assert found["hash"] == hashlib.sha256(announced.read_bytes()).hexdigest()[:16]
    out = capsys.readouterr().out
    assert "16 frames at 15 fps, 112 pixels, mean 0.432 0.395 0.376, std 0.228 0.221 0.217" in out
    assert first["class"] in out


def test_a_file_that_is_in_no_table_has_no_names_of_classes(
    file: Path, theirs: nn.Module, video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    words = [str(video), "--network", NETWORK, "--weights", str(file), "--num_clips=1", *SMALL]
    assert cli.run("predict", words) == 0
    out = capsys.readouterr().out
    best = int(outside(theirs, video, clips=1, num_frames=4, size=32).argmax())
    assert f"clip.mp4: class {best} " in out
    assert "the file does not say how it takes videos: as KINETICS400_V1 (torchvision)" in out
    assert cli.run("predict", [*words, "--classes=kinetics400"]) == 0
    assert "clip.mp4: class" not in capsys.readouterr().out


def kinetics(folder: Path, names: list[str]) -> Path:
    """Prepared data with a video of each of these classes for testing, and one for validation."""
    rows = ["label,path,split"]
    for number, name in enumerate(names):
        for split in ("test", "val"):
            moving_squares.draw(folder / f"{split}{number}.mp4", (0, 1), seed=number + 100 * (split == "val"))
            rows.append(f'"{name}",{split}{number}.mp4,{split}')
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    prepare(folder / "index.csv", folder / "prepared", index_only=True, workers=1, classes=None)
    return folder / "prepared"


@pytest.fixture(scope="module")
def dinosaurs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a class that is none of Kinetics'."""
    return kinetics(tmp_path_factory.mktemp("data"), ["abseiling", "walking the dinosaur"])


def test_evaluate_matches_classes_by_name_and_calibrate_export_and_features_follow(
    announced: Path, theirs: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data's spelling and order are others than the network's; results name network, weights and hash."""
    names = ["Playing_Guitar", "abseiling", "massaging persons head"]
    data = kinetics(tmp_path / "data", names)
    given = ["--network", NETWORK, "--weights", "KINETICS400_V1", *SMALL]
    assert cli.run("evaluate", [*given, f"--data={data}", "--num_clips=1", "--workers=0"]) == 0
    (folder,) = Path("runs/published").glob(f"{NETWORK}-KINETICS400_V1*/evaluations/*")
    results = json.loads((folder / "results.json").read_text())
    digest = hashlib.sha256(announced.read_bytes()).hexdigest()[:16]
    assert results["checkpoint"]["hash"] == digest
    assert results["checkpoint"]["file"] == f"{NETWORK} KINETICS400_V1"
    assert NETWORK in results["checkpoint"]["network"]
    categories = get_model_weights(NETWORK).KINETICS400_V1.meta["categories"]
    with np.load(folder / "predictions.npz") as stored:
        wanted = ["playing guitar", "abseiling", "massaging person's head"]
        manifest = Manifest.load(data)
        spelled = [manifest.classes[manifest[int(row)].label] for row in manifest.select("test")]
        assert [categories[label] for label in stored["labels"]] == [wanted[names.index(name)] for name in spelled]
        probabilities = stored["probabilities"].mean(axis=1)
    first = tmp_path / "data" / manifest[int(manifest.select("test")[0])].path
    np.testing.assert_allclose(probabilities[0], outside(theirs, first, clips=1, num_frames=4, size=32), atol=1e-4)

    assert cli.run("evaluate", [*given, f"--data={data}", "--split=val", "--num_clips=1", "--workers=0"]) == 0
    (val,) = [one for one in folder.parent.iterdir() if "-val-" in one.name]
    assert cli.run("calibrate", [str(val)]) == 0
    capsys.readouterr()
    assert cli.run("predict", [str(first), *given, "--num_clips=1"]) == 0
    assert "probabilities are calibrated with temperature" in capsys.readouterr().out

    assert cli.run("export", [*given, "--out=model"]) == 0
    model = besnet.load("model", num_clips=1)
    assert model.temperature is not None
    assert (model.crop_size, model.shape.num_frames, model.shape.target_fps) == (32, 4, 15.0)
    assert model.predict(first).probabilities.argmax() == probabilities[0].argmax()
    direct = besnet.load_published(NETWORK, "KINETICS400_V1")
    assert (direct.plan.short_side, direct.crop_size, direct.shape.num_frames) == (128, 112, 16)
    assert (direct.plan.num_clips, direct.plan.num_crops) == (5, 1)
    assert direct.classes == model.classes

    assert cli.run("features", [str(first), *given, "--num_clips=1", "--out=f.npz"]) == 0
    with np.load("f.npz") as stored:
        assert stored["features"].shape == (1, 512)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--network=mvit_v2_s", "--weights=FILE", "--input.num_frames=8"], "the network takes 16 frames"),
        (["--network=mvit_v2_s", "--weights=KINETICS400_V1", "--input.num_frames=32"], "the network takes 16 frames"),
        (["--network=mc3_18", "--weights=BODY"], "no weights for the last layer"),
        (["--network=r3d_18", "--weights=FILE"], "weights of another network"),
        (["--network=mc3-18", "--weights=FILE"], "did you mean 'mc3_18'"),
        (["--network=mc3_18", "--weights=KINETICS"], "did you mean 'KINETICS400_V1'"),
        (["--weights=KINETICS400_V1"], "--network"),
        (["--network=mc3_18"], "needs --ckpt_path, or --network with --weights"),
        (["--network=mc3_18", "--weights=FILE", "--ckpt_path=x"], "give one of them"),
        (["--network=mc3_18", "--weights=FILE", "--classes=stick_figures"], "names for the 400 classes"),
        (["--ckpt_path=x", "--classes=kinetics400"], "a checkpoint brings its own"),
        (["--network=mc3_18", "--weights=FILE", "--input.std=[0,1,1]"], "--input.std must be above 0"),
        (["--network=tf_efficientnet_lite0", "--weights=lite"], "give --input.num_frames, --input.frame_interval"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_anything_is_decoded(
    file: Path, theirs: nn.Module, tmp_path: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    torch.save(body, tmp_path / "body.pth")
    words = [word.replace("FILE", str(file)).replace("BODY", str(tmp_path / "body.pth")) for word in words]
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "not_there.mp4", *words])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert why in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--weights=KINETICS400_V1"], "does not know 1 of its 2 classes (the first: 'walking the dinosaur')"),
        (["--weights=FILE"], "never matched by their order"),
        (["--weights=KINETICS400_V1", "--dilations=[1]"], "go with a checkpoint"),
        (["--weights=KINETICS400_V1", "--recalibrate=8"], "only for a checkpoint"),
    ],
)
def test_evaluate_refuses_what_it_could_only_guess(
    announced: Path, dinosaurs: Path, tmp_path: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if "FILE" in words[0]:
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
    words = [word.replace("FILE", str(announced)) for word in words]
    with pytest.raises(SystemExit):
        cli.main(["evaluate", f"--network={NETWORK}", f"--data={dinosaurs}", "--workers=0", *words])
    assert why in capsys.readouterr().err


def test_a_class_of_one_s_own_with_a_file_of_its_weights(video: Path, tmp_path: Path) -> None:
    """Nothing says how it takes videos but the user."""
    torch.manual_seed(0)
    own = TenLines(3).eval()
    torch.save(own.state_dict(), tmp_path / "own.pth")
    name, file = "tests.ten_lines:TenLines", str(tmp_path / "own.pth")
    with pytest.raises(ValueError, match=r"give --input\.num_frames, .*--input\.mean, --input\.std"):
        published_model(name, file, AS_STATED)
    given = Input(num_frames=4, frame_interval=2, crop_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.4, 0.3))
    model = Model(published_model(name, file, given), num_clips=1, num_crops=1)
    assert model.classes == ["class 0", "class 1", "class 2"]
    assert model.network.std == (0.5, 0.4, 0.3)
    views = model.views(torch.zeros(1, 4, 32, 32, 3, dtype=torch.uint8))
    with torch.no_grad():
        torch.testing.assert_close(model.network(views), own(views))
    with pytest.raises(ValueError, match="a folder, not a file of weights"):
        published_model(name, str(tmp_path), given)


def test_a_2d_network_looks_at_every_frame(video: Path) -> None:
    """Lite0 from its package on the frames of a video: the largest features over time, classified."""
    by_name, by_file = (
        published_model("tf_efficientnet_lite0", source, Input(num_frames=3, frame_interval=4, crop_size=64))
        for source in ("lite", str(lite_file("tf_efficientnet_lite0")))
    )
    assert by_name.hash == by_file.hash
    model = Model(by_name, num_clips=1)
    assert model.classes[985] == "class 985"
    assert model.predict(video).probabilities.shape == (1000,)
    assert model.features(video).shape == (1280,)
    assert model.network.mean == pytest.approx((127 / 255,) * 3)
