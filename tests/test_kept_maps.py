"""Kept maps: trainings and evaluations of the layers above them are those on the videos themselves."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from besnet import cli
from besnet.checkpoints import store
from besnet.checkpoints.header import header
from besnet.data.clips import Clip, collate
from besnet.data.manifest import Manifest
from besnet.data.transforms import training_batch
from besnet.lab import inference_worker
from besnet.lab.plan import Checkpoint, Plan, chunk_file
from besnet.models.build import build
from besnet.models.folding import fold
from besnet.models.inflate import InflatedNetwork
from besnet.models.kept_maps import kept_maps
from besnet.models.network import Network
from besnet.models.recalibration import measure_batch
from besnet.training import kept_maps as writing
from besnet.video.sampling import ClipShape
from tests import command, moving_squares
from tests.prepared import bytes_of

MODEL = {"blocks": [1, 1], "width": 8, "temporal_padding": "replicate", "dropout": 0.2, "taps_after": 1}
BESNET = {"num_classes": 4, **MODEL}
LITE = {"num_classes": 4, "backbone": "tf_efficientnet_lite0", "taps_after": 11, "frozen_bn": True}
RECOMPUTED = BESNET | {"activation_checkpointing": True}


def taking_maps(model: dict[str, object], blocks: int) -> Network:
    torch.manual_seed(0)
    network = build(model)
    network.take_maps(blocks)
    return network


@pytest.mark.parametrize(("model", "blocks"), [(BESNET, 1), (BESNET, 0), (RECOMPUTED, 1), (LITE, 11)])
def test_a_network_goes_on_from_maps_as_from_the_frames(model: dict[str, object], blocks: int) -> None:
    network = taking_maps(model, blocks)
    first = [network.get_submodule(name) for name in network.passed]
    clips, draws = torch.randn(2, 3, 4, 48, 64), torch.arange(network.num_temporal_layers) % 2
    maps = kept_maps(network.eval(), clips)
    before = maps.clone()
    for mode in (True, False):
        gradients = []
        for x in (clips, maps):
            network.train(mode)
            for module in first:
                module.eval()
            network.zero_grad()
            torch.manual_seed(1)  # of the dropout
            logits = network(x, draws)
            logits.square().sum().backward()
            last = [weight.grad for name, weight in network.named_parameters() if name.startswith("fc")]
            gradients.append([logits, *last])
        assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    folded = fold(network)
    with torch.no_grad():
        torch.testing.assert_close(folded(maps), network(clips), rtol=1e-4, atol=1e-5)
        assert torch.equal(folded(kept_maps(folded, clips)), folded(clips))
    assert torch.equal(maps, before), "the caller's maps stay as they are"
    assert network.state_dict().keys() == build(model).state_dict().keys()


def test_only_statistics_that_maps_reach_are_measured() -> None:
    network = taking_maps(BESNET, 1)
    clips = torch.randn(4, 3, 4, 32, 32)
    kept, own = measure_batch(network, kept_maps(network.eval(), clips)), network.state_dict()
    means = [value for name, value in own.items() if "running_mean" in name and name.startswith(network.passed)]
    variances = [value for name, value in own.items() if "running_var" in name and name.startswith(network.passed)]
    first = sum(map(len, means))
    assert torch.equal(kept[0, :first], torch.cat(means).double())
    assert torch.equal(kept[1, :first], torch.cat(variances).double() + torch.cat(means).double().square())
    assert not torch.equal(kept[:, first:], measure_batch(network, clips)[:, first:]), "of other inputs"


class Doubles(torch.nn.Module):
    """A 2D network that doubles what its stem puts out, in no module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(self.body(2 * self.stem(x)).mean((2, 3)))
        return y


def test_a_network_that_cannot_go_on_is_refused() -> None:
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: taking_maps(BESNET | {"taps_after": 0}, 1), "model.taps_after must be at least 1"),
        (lambda: taking_maps(BESNET, 7), "the network has 2 blocks after its stem"),
        (lambda: taking_maps({"num_classes": 2, "network": "r3d_18"}, 1), "takes no kept maps"),
        (lambda: InflatedNetwork(Doubles(), 2, dilations=()).take_maps(1), "does not go on from the maps after body"),
    ]
    for make, why in refused:
        with pytest.raises(ValueError, match=why):
            make()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared videos, the weights to start from, a config, and the kept maps."""
    folder = tmp_path_factory.mktemp("maps")
    moving_squares.make(folder, train=8, test=4)
    start(folder / "start", seed=0)
    start(folder / "other", seed=1)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(folder)))
    assert cli.run("maps", [f"--config={folder / 'config.yaml'}", f"--out={folder / 'kept'}"]) == 0
    return folder


def start(folder: Path, seed: int) -> None:
    """A checkpoint of a network that was never trained; its statistics differ from where they start."""
    torch.manual_seed(seed)
    network = build(BESNET)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 4, 32, 32) + 0.3)
    about = {"data": {"folder": "x", "clip": {}, "crop_size": 32}, "evaluation": {}}
    entry = header(BESNET, list("abcd"), {"source": "", "encode": ""}, about)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    store.save({"besnet": entry, "state_dict": weights}, folder / "checkpoints", 1)


def config(folder: Path) -> dict[str, object]:
    return {
        "seed": 3, "out": "unused", "pretrained": str(folder / "start"), "model": MODEL,
        "data": {"folder": str(folder / "prepared"), "clip": {"num_frames": 4, "frame_interval": 2},
                 "crop": {"kind": "borderless", "flip": 0.5}, "crop_size": 32, "batch_size": 4, "workers": 0,
                 "val_videos": 4, "val_split": "test"},
        "recipe": {"optimizer": "adamw", "lr": 0.005, "freeze": 1, "ema": 0.9},
        "saving": {"every_steps": 1, "keep": 9},
        "evaluation": {"num_clips": 2, "num_crops": 1},
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1},
    }  # fmt: skip


def train(place: Path, data: str, *words: str) -> int:
    return cli.run("train", [f"--config={place / 'config.yaml'}", f"--data.folder={place / data}", *words])


@pytest.fixture(scope="module")
def runs(place: Path) -> Path:
    """An epoch of two steps on the videos, and on the maps."""
    for data in ("prepared", "kept"):
        assert train(place, data, f"--out={place / 'runs' / data}") == 0
    return place / "runs"


def test_the_maps_are_those_of_every_frame_and_its_mirror_image(place: Path) -> None:
    videos, kept = Manifest.load(place / "prepared"), Manifest.load(place / "kept")
    assert kept.passport.source == videos.passport.source
    assert kept.passport.encode != videos.passport.encode
    network = taking_maps(BESNET, 1)
    weights = store.load(place / "start")["state_dict"]
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})
    for row in range(len(videos)):
        own = {"path", "size", "hash"}
        assert all(value == vars(videos[row])[name] for name, value in vars(kept[row]).items() if name not in own)
        with videos.open(row) as video, kept.open(row) as maps:
            assert np.array_equal(video.times_sec, maps.times_sec)
            numbers = np.array([*range(16), 2, 2])
            frames, held = torch.from_numpy(video.read(numbers)), torch.from_numpy(maps.read(numbers))
        batch = collate([Clip(0, 0, frames, flip, False) for flip in (False, True)])
        of_maps = collate([Clip(0, 0, held, flip, False) for flip in (False, True)])
        expected = kept_maps(network.eval(), training_batch(batch, 32, network.normalisation, whole=True))
        assert torch.equal(training_batch(of_maps, 32, network.normalisation, whole=True), expected)
        assert not torch.equal(expected[0].flip(-1), expected[1])


def test_a_training_on_maps_is_that_on_the_videos_bit_by_bit(runs: Path) -> None:
    assert command.weights_hash(runs / "kept") == command.weights_hash(runs / "prepared")
    whole, last = command.weights_hash(runs / "kept"), store.by_age(runs / "kept" / "checkpoints")[0]
    assert last.name.startswith("step_000000002")
    last.unlink()
    assert train(runs.parent, "kept", f"--out={runs / 'kept'}") == 0, "it resumes"
    assert command.weights_hash(runs / "kept") == whole
    tables = [(runs / data / "metrics.csv").read_text().splitlines() for data in ("kept", "prepared")]
    assert tables[0][0] == tables[1][0]
    assert len(tables[0]) == len(tables[1])


def test_an_evaluation_on_maps_is_that_on_the_videos(
    place: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for data in ("kept", "prepared"):
        out = place / "evaluated" / data
        words = [f"--ckpt_path={runs / 'kept'}", f"--data={place / data}", f"--out={out}", "--workers=0"]
        assert cli.run("evaluate", words) == 0
        found[data] = json.loads((out / "results.json").read_text()), np.load(out / "predictions.npz")
    with pytest.raises(SystemExit, match="2"):
        cli.run("evaluate", [f"--ckpt_path={runs / 'kept'}", f"--data={place / 'kept'}", "--compile=true"])
    assert "--compile: " in capsys.readouterr().err
    (one, on_maps), (other, on_videos) = found.values()
    assert one["trained_on"] == other["trained_on"] == 0
    assert one["coverage"] == other["coverage"]
    assert on_maps["probabilities"].shape == (4, 2, 4)
    np.testing.assert_allclose(on_maps["probabilities"], on_videos["probabilities"], atol=1e-5)
    for data in ("kept", "prepared"):  # the training videos are known, whichever it learned from
        with pytest.raises(SystemExit, match="2"):
            cli.run("evaluate", [f"--ckpt_path={runs / 'kept'}", f"--data={place / data}", "--split=train"])


def test_a_lab_predicts_on_maps_what_it_predicts_on_videos(place: Path, runs: Path, tmp_path: Path) -> None:
    file = store.by_age(runs / "kept" / "checkpoints")[0]
    checkpoint = Checkpoint("run", str(file), store.file_hash(file))
    found = []
    for data in ("kept", "prepared"):
        manifest = Manifest.load(place / data)
        plan = Plan(
            folder=str(place / data), passport=asdict(manifest.passport), split="test", clip=asdict(ClipShape(4, 2)),
            crop_size=32, num_clips=2, num_crops=1, fixed=[1, 2], factors=[1.0, 2.0],
            families=["dilations", "padding", "recalibrated"], recalibration_videos=8, backend="pyav",
            checkpoints=[checkpoint], whole="borderless",
        )  # fmt: skip
        for stage in (inference_worker.recalibrate, inference_worker.predict):
            stage(plan, tmp_path / data, 0, 1, lambda what: None)  # type: ignore[arg-type]
        found.append(dict(np.load(chunk_file(plan.place(tmp_path / data, checkpoint), 0))))
    assert found[0].keys() == found[1].keys() >= {"averaged", "recalibrated", "dilation_2", "padding_zeros"}
    for name in ("averaged", "dilation_1", "dilation_2", "padding_zeros", "interval_2"):
        np.testing.assert_allclose(found[0][name], found[1][name], atol=1e-5)
    assert np.isfinite(found[0]["recalibrated"]).all()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--pretrained={place}/other"], "with other weights in its first 1 blocks"),
        (["--pretrained=null"], "with other weights in its first 1 blocks"),
        (["--model.mean=[0.5,0.5,0.5]"], "keeps maps of pixels with model.mean"),
        (["--recipe.freeze=0"], "recipe.freeze must be at least 1, not 0"),
        (["--recipe.freeze=null"], "recipe.freeze must be at least 1, not None"),
        (["--model.taps_after=0"], "model.taps_after must be at least 1"),
        (["--data.crop_size=48"], "and data.crop_size 32, not borderless and 48"),
        (["--evaluation.crop_size=48"], "and data.crop_size 32, not borderless and 48"),
        (["--data.crop.kind=jitter"], "data.crop.kind borderless and data.crop_size 32, not crops and 32"),
        (["--evaluation.whole=true"], "data.crop.kind borderless and data.crop_size 32, not whole and 32"),
        (["--recipe.mixup=0.5"], "recipe.mixup changes pictures"),
        (["--data.augmentation.erase=0.5"], "data.augmentation changes pictures"),
        (["--compile=true"], "use compile blocks"),
    ],
)
def test_a_config_that_does_not_fit_the_maps_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train(place, "kept", f"--out={tmp_path / 'run'}", *(word.format(place=place) for word in words))
    assert why in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_other_uses_of_maps_are_refused_in_a_line(
    place: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, file = f"--data={place / 'kept'}", f"--ckpt_path={runs / 'kept'}", f"--config={place / 'config.yaml'}"
    for verb, words, why in (
        ("probe", [data, run, f"--out={tmp_path / 'probe'}"], "features are computed of the prepared videos"),
        ("verify", [str(place / "kept"), "--decode=1"], "no videos to decode"),
        ("maps", [data, file, f"--out={tmp_path / 'twice'}"], "keeps maps itself"),
        (
            "maps",
            [f"--data={place / 'prepared'}", file, f"--out={place / 'prepared'}"],
            "the prepared videos are there",
        ),
        ("export", [str(runs / "kept"), "--to=onnx"], "export it --to folder"),
        (
            "evaluate",
            [data, f"--ckpt_path={place / 'other'}", f"--out={tmp_path / 'e'}"],
            "of pictures with data.crop.kind",
        ),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.run(verb, words)
        assert why in capsys.readouterr().err.splitlines()[-1]
    assert cli.run("verify", [str(place / "kept")]) == 0


def test_killed_maps_resume_to_the_same_bytes_and_folds_share_them(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    whole = writing.maps_of

    def counted(reader: object, *arguments: object) -> np.ndarray:
        computed.append(str(reader))
        if len(computed) == 4:
            raise RuntimeError("killed")
        return whole(reader, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "maps_of", counted)
    words = [f"--config={place / 'config.yaml'}", f"--out={tmp_path / 'again'}"]
    with pytest.raises(RuntimeError, match="killed"):
        cli.run("maps", words)
    assert not (tmp_path / "again" / "dataset.json").exists()
    damaged, *_ = (tmp_path / "again" / "maps").rglob("*.maps")
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"1234")
    assert cli.run("maps", words) == 0
    assert len(computed) == 4 + 10, "two of three were whole"
    assert bytes_of(tmp_path / "again") == bytes_of(place / "kept")
    shutil.copytree(place / "prepared", tmp_path / "fold", symlinks=True)
    words = [f"--config={place / 'config.yaml'}", f"--out={tmp_path / 'fold'}-kept"]
    assert cli.run("maps", [*words, f"--cache={tmp_path / 'again' / 'maps'}"]) == 0
    assert len(computed) == 14, "every video's maps were there"
    with Manifest.load(tmp_path / "fold-kept").open(0) as one, Manifest.load(place / "kept").open(0) as other:
        assert np.array_equal(one.read([0, 3]), other.read([0, 3]))
