"""A page on how much of a data set is there, by split and class, and what is wrong with the rest."""

from collections import Counter
from pathlib import Path

import numpy as np

from besnet.data.coverage import coverage, difference, remarks, same_pictures
from besnet.data.manifest import SPLITS, STATES, Manifest
from besnet.report.page import Page

LISTED = 200  # missing or broken videos named on the page; the manifest has all


def coverage_page(data: Path, out: Path | None = None) -> Path:
    """Write a page on a prepared data set: ready, missing and broken videos by split and class, and why.

    Args:
        data: Folder written by `besnet prepare`.
        out: Where to write the page; by default coverage.html in that folder.
    """
    manifest = Manifest.load(data)
    cover = coverage(manifest)
    page = Page(f"Coverage of {manifest.name}", f"passport {manifest.passport.source} / {manifest.passport.encode}")
    totals = cover.videos.sum(axis=0)
    share = totals[0] / max(1, totals.sum())
    page.cards(
        [
            (f"{share:.1%}", "of the videos listed are ready"),
            *((f"{n:,}", s) for n, s in zip(totals.tolist(), STATES, strict=True)),
        ]
    )
    for text in (difference(manifest), *remarks(manifest)):
        page.text(text)
    for (first, second), pairs in same_pictures(manifest).items():
        page.heading(f"The same pictures in {first} and {second}, encoded anew")
        page.text("A guess from a few frames, their changes and the length: look at them before you remove one.")
        page.table([first, second], pairs[:LISTED])
    page.heading("Splits")
    page.table(
        ["split", *STATES, "ready"],
        [
            [split, *found.values(), f"{found['ready'] / sum(found.values()):.1%}"]
            for split in SPLITS
            if sum((found := cover.of_split(split)).values())
        ],
    )
    _classes(page, manifest, cover.counts)
    _reasons(page, manifest)
    path = out or data / "coverage.html"
    page.write(path)
    return path


def _classes(page: Page, manifest: Manifest, counts: np.ndarray) -> None:
    by_class = counts.sum(axis=0)
    page.heading("Classes, those that lack most first")
    lacking = by_class[:, 1:].sum(axis=1)
    order = [n for n in np.argsort(-lacking, kind="stable") if by_class[n].sum()]
    names = [*manifest.classes, "(none of the classes)" if manifest.multi_label else "(without a label)"]
    page.table(
        ["class", *STATES, *(f"{split} ready" for split in SPLITS)],
        [[names[n], *by_class[n].tolist(), *counts[:, n, 0].tolist()] for n in order],
    )


def _reasons(page: Page, manifest: Manifest) -> None:
    for state in ("broken", "missing"):
        rows = np.flatnonzero(manifest.columns["state"] == STATES.index(state))
        if not len(rows):
            continue
        page.heading(f"{state.capitalize()} videos")
        if state == "broken":
            kinds = Counter(manifest[int(n)].why.split(": ")[-1] for n in rows)
            page.table(["what is wrong", "videos"], [[why, count] for why, count in kinds.most_common(20)])
        if len(rows) > LISTED:
            page.text(f"The first {LISTED} of {len(rows):,}; all are in manifest.jsonl.")
        shown = [manifest[int(n)] for n in rows[:LISTED]]
        page.table(["video", "split", "why"], [[row.id, row.split, row.why] for row in shown])
