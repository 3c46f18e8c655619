"""The result of `besnet doubts`: which videos were judged, by what, and its table and page."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from besnet.data.manifest import Manifest
from besnet.evaluation.label_doubts import Doubts
from besnet.files import write_table
from besnet.report.doubts_page import doubts_page

SHOWN = 60  # videos in pictures
FRAMES = 8
UNSURE = 0.7  # share of agreement


@dataclass(frozen=True)
class Judgement:
    """The rows of the videos, which of them could be judged, by what, and the result.

    agreed: the share of the judged videos whose label the judges find most probable.
    """

    manifest: Manifest
    rows: np.ndarray
    able: np.ndarray
    how: str
    agreed: float
    found: Doubts

    @property
    def table(self) -> list[tuple[str, str, str, float]]:
        """(path, given label, suggested label, score), the most doubtful first."""
        names, lines = self.manifest.classes, []
        for place, suggested, score in zip(self.found.places, self.found.suggested, self.found.scores, strict=True):
            facts = self.manifest[int(self.rows[place])]
            path = facts.id if facts.in_shard or not facts.path else facts.path
            lines.append((path, names[facts.label], names[suggested], round(float(score), 4)))
        return lines

    @property
    def unjudged(self) -> list[str]:
        """The classes with videos that could not be judged."""
        labels = np.unique(self.manifest.labels[self.rows[~self.able]])
        return [self.manifest.classes[label] for label in labels]

    def strips(self) -> list[tuple[str, np.ndarray]]:
        """A line and a few frames of each of the most doubtful videos."""
        found = []
        for place, (path, given, suggested, _) in zip(self.found.places[:SHOWN], self.table, strict=False):
            with self.manifest.open(int(self.rows[place])) as reader:
                count = len(reader.times_sec)
                frames = reader.read(np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int))
            found.append((f"{given}? rather {suggested}: {path}", frames))
        return found


def report(judgement: Judgement, out: Path) -> Path:
    """Write doubts.csv and the page, print the result, and return the page."""
    table, likely = judgement.table, judgement.found.likely
    write_table(out / "doubts.csv", [["path", "given", "suggested", "score"], *table])
    notes = [
        f"Judged by {judgement.how}. A score of 0 is a label that is surely wrong, 1 one that is surely right. Test "
        "videos are not judged.",
    ]
    if judgement.agreed < UNSURE:
        notes.append(
            f"The judges agree with {judgement.agreed:.0%} of the labels only, so many doubts are theirs: judge by "
            "other features (--network, --weights), or by trainings of the network (--retrain)."
        )
    if judgement.unjudged:
        notes.append(
            f"{(~judgement.able).sum()} videos cannot be judged (all videos of their class are of one group, or they "
            f"cannot be read), of the classes {', '.join(judgement.unjudged)}."
        )
    page = out / "doubts.html"
    facts = [(f"{likely:,}", "labels are likely wrong"), (f"{len(table):,}", "videos judged"),
             (f"{judgement.agreed:.0%}", "of the labels are found most probable")]  # fmt: skip
    doubts_page(page, judgement.manifest.name, facts, notes, judgement.strips(), table)
    print(f"{likely} of {len(table)} labels are likely wrong, by {judgement.how}")
    for note in notes[1:]:
        print(note)
    print(f"table: {out / 'doubts.csv'}")
    return page
