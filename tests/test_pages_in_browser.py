"""Pages of evaluate in a real browser, at 10, 21 and 400 classes, wide and narrow.

The screenshots lie in pytest's folder: pytest tests/test_pages_in_browser.py --basetemp=build/pages
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from besnet.evaluation import comparison, metrics, reliability
from besnet.report import confusion
from besnet.report.evaluation_page import evaluation_page
from besnet.stick_figures.actions import CLASSES
from tests.browser import browser
from tests.conftest import ROOT

KINETICS = (ROOT / "data" / "kinetics400" / "classes.txt").read_text().splitlines()
NAMES = {10: list(CLASSES[:10]), 21: KINETICS[:21], 400: KINETICS}


def answers(names: list[str], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4 views, C) and labels (N,) of a network that confuses classes whose names share a word."""
    size = len(names)
    words = [set(name.replace("_", " ").replace("(", "").split()) for name in names]
    alike = np.array([[len(one & other) for other in words] for one in words], dtype=float)
    labels = np.repeat(np.arange(size), 49)
    logits = rng.normal(size=(len(labels), 4, size)) + 2.5 * rng.normal(size=(len(labels), 1, size))
    logits += 4.0 * alike[labels][:, None] + 4.0 * np.eye(size)[labels][:, None]
    probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (probabilities / probabilities.sum(axis=-1, keepdims=True)).astype(np.float32), labels


def results(names: list[str], folder: Path) -> tuple[dict[str, Any], np.ndarray]:
    """An evaluation's account, and its confusion matrix, as besnet.evaluation.results makes them."""
    rng = np.random.default_rng(0)
    views, labels = answers(names, rng)
    mean = views.mean(axis=1)
    counts = metrics.confusion(mean.argmax(axis=1), labels, len(names))
    table = metrics.per_class(counts, names)
    passport = {"source": "5f3a" * 16, "encode": "0c1d" * 16}
    about: dict[str, Any] = {
        "data": {"name": "kinetics400", "passport": passport},
        "split": "val",
        "classes": names,
        "checkpoint": {
            "file": "step_000450000-60977fa0a088863e.ckpt", "hash": "60977fa0a088863e", "revision": "8aa54b7c6a11",
            "passport": passport, "network": "BesNet, 43.05 M parameters, dilations [1, 2]",
        },
        "views": {"num_clips": 4, "num_crops": 1, "crop_size": 224},
        "clip": {"num_frames": 16, "frame_interval": 4, "target_fps": 30.0, "sampling": "dense"}, "trained_on": 0,
        "dilations": [1, 2],
        "coverage": {"expected": len(labels) + 3, "evaluated": len(labels), "missing": 2, "undecodable": 1}
        | {"looped": 0},
        "unread": [{"id": f"{name}/aVery_long-video-name_000010_000020", "why": "no such file"} for name in names[:3]],
        "accuracy": metrics.accuracies(mean, labels, len(labels) + 3),
        "per_class": table,
        "pairs": metrics.pairwise_accuracy(mean, labels, names, [(names[0], names[1])]),
        "calibration": reliability.reliability(mean, labels),
        "run": {"cost": "1:02:03 on 8 x cuda, 42.0 videos/s", "command": "besnet evaluate --ckpt_path " + "long/" * 40},
    }  # fmt: skip
    about["accuracy"]["mean_class_top1"] = float(np.mean([row["top1"] for row in table]))
    arrays = {"ids": np.array([f"v{n}" for n in range(len(labels))]), "labels": labels, "probabilities": views}
    about["over_clips"] = comparison.over_clips(arrays, 4)
    gains = [{"class": row["class"], "videos": 49, "top1": row["top1"], "gained": rng.normal(0, 0.05)} for row in table]
    about["baseline"] = {
        "folder": "runs/none/evaluations/kinetics400-val-4x1-d1", "checkpoint": {"network": "BesNet, dilations [1]"},
        "difference": 0.021, "interval": [0.015, 0.027], "videos": len(labels), "gained": 900, "lost": 500,
        "per_class": sorted(gains, key=lambda row: float(row["gained"])),
    }  # fmt: skip
    return about, counts


@pytest.mark.parametrize("size", [10, 21, 400])
def test_a_page_is_quiet_and_fits(size: int, tmp_path: Path) -> None:
    about, counts = results(NAMES[size], tmp_path)
    frames = np.random.default_rng(0).integers(0, 255, (8, 9, 12, 3)).astype(np.uint8).repeat(20, 1).repeat(20, 2)
    mistakes = [(f"{NAMES[size][n]}, predicted as {NAMES[size][n + 1]} (98 %): v{n}", frames) for n in range(5)]
    one = {"views": "4 x 1", "dilations": "[1, 2]", "top1": 0.7, "interval": [0.69, 0.71]}
    others = [{"name": f"kinetics400-val-4x1-d{d}"} | one for d in ("1", "1_2")]
    page = tmp_path / "report.html"
    evaluation_page(about, counts, mistakes, others).write(page)
    with browser(tmp_path / "profile") as chromium:
        for width in (1400, 390):
            chromium.open(page, width)
            assert chromium.complaints() == []
            assert chromium.requests() == [page.resolve().as_uri()]
            assert chromium.value("document.documentElement.scrollWidth") <= width, "the page itself scrolls sideways"
            assert chromium.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            picture = tmp_path / f"{size}_classes_{width}.png"
            chromium.picture(picture)
            with Image.open(picture) as image:
                assert image.width == width
    assert page.stat().st_size < 3e6


def test_the_browser_sees_what_a_page_must_not_do(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src='https://example.invalid/a.png'><script>console.error('here')</script>")
    with browser(tmp_path / "profile") as chromium:
        chromium.open(page, 800)
        assert any("here" in line for line in chromium.complaints())
        assert "https://example.invalid/a.png" in chromium.requests()


def test_groups_hold_what_is_confused_together() -> None:
    """Classes 0, 10, 20 ... are taken for each other, so are 1, 11, 21 ..., and nothing else is."""
    size = 80
    counts = 40 * np.eye(size, dtype=int) + (np.subtract.outer(np.arange(size), np.arange(size)) % 10 == 0)
    found = confusion.groups(counts)
    assert sorted(number for group in found for number in group) == list(range(size))
    assert sorted(map(sorted, found)) == [list(range(first, size, 10)) for first in range(10)]
    counts[5, 15] = 30
    assert set(confusion.most_confused_groups(counts, found)[0]) == set(range(5, size, 10))
    assert confusion.most_confused_groups(np.eye(size, dtype=int), found) == []
