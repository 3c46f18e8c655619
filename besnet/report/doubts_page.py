"""A page of the videos whose labels are likely wrong, as contact sheets."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from besnet.report.page import Page
from besnet.report.sheet import contact_sheet

SHEET = 10  # videos of a picture


def doubts_page(
    path: Path,
    name: str,
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str],
    strips: Sequence[tuple[str, np.ndarray]],
    rows: Sequence[tuple[str, str, str, float]],
) -> None:
    """Write the page.

    facts: (value, what it is) for the head of the page. strips: (text, frames uint8 (N, H, W, 3)) of the most doubtful
    videos. rows: (path, given label, suggested label, score), the most doubtful first.
    """
    page = Page(f"Doubtful labels of {name}")
    page.cards(facts)
    for note in notes:
        page.text(note)
    page.heading("The most doubtful first")
    for start in range(0, len(strips), SHEET):
        page.picture(contact_sheet(list(strips[start : start + SHEET])))
    page.heading("Table")
    page.table(["video", "given", "suggested", "score"], rows, folded=f"{len(rows):,} videos")
    page.write(path)
