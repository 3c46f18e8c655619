"""How much of a data set is there: ready, missing and broken videos, by class and in all."""

from dataclasses import dataclass

import numpy as np

from besnet.data.looks import alike
from besnet.data.manifest import SPLITS, STATES, Manifest, Row
from besnet.data.targets import labels_of
from besnet.text import visible

SHOWN = 3  # pairs of videos in a line


@dataclass(frozen=True)
class Coverage:
    """Counts of videos: int64 (splits, classes + 1, states); the last class row is for videos without a label.

    videos: int64 (splits, states), each video once, where it counts for each of several labels in `counts`.
    """

    counts: np.ndarray
    videos: np.ndarray

    def of_split(self, split: str) -> dict[str, int]:
        """{state: videos} of a split."""
        return dict(zip(STATES, self.videos[SPLITS.index(split)].tolist(), strict=True))


def coverage(manifest: Manifest) -> Coverage:
    """Count the videos of a manifest."""
    counts = np.zeros((len(SPLITS), len(manifest.classes) + 1, len(STATES)), dtype=np.int64)
    splits, states = manifest.columns["split"], manifest.columns["state"]
    labels = np.where(manifest.labels < 0, len(manifest.classes), manifest.labels)
    np.add.at(counts, (splits, labels, states), 1)
    videos = counts.sum(axis=1)
    if manifest.multi_label:
        counts[:] = 0
        for row in range(len(manifest)):
            own = list(labels_of(manifest[row])) or [len(manifest.classes)]
            counts[splits[row], own, states[row]] += 1
    return Coverage(counts, videos)


def summary(manifest: Manifest, worst: int = 5) -> str:
    """The coverage in a few lines of text: each split, the classes that lack most, the first broken videos."""
    cover = coverage(manifest)
    several = f" (several a video, {cover.counts[:, -1].sum():,} videos with none)" if manifest.multi_label else ""
    classes = f"{len(manifest.classes)} classes{several}"
    lines = [f"{manifest.name}: {len(manifest):,} videos, {classes}, in {manifest.folder}"]
    for split in SPLITS:
        found = cover.of_split(split)
        if sum(found.values()):
            lines.append(f"  {split:5} " + ", ".join(f"{found[state]:,} {state}" for state in STATES))
    if not any(sum(cover.of_split(split).values()) for split in SPLITS[1:]):
        lines.append("  no val and no test videos, which evaluation wants: folders test/CLASS/, a column, or --test")
    lacking = cover.counts[:, :-1, 1:].sum(axis=(0, 2))
    for number in [n for n in np.argsort(-lacking, kind="stable")[:worst] if lacking[n]]:
        total = int(cover.counts[:, number].sum())
        lines.append(f"  lacks {int(lacking[number]):,} of {total:,} {manifest.classes[number]}")
    if (lacking > 0).sum() > worst:
        lines.append(f"  and {(lacking > 0).sum() - worst:,} more classes, each video in manifest.jsonl")
    broken = np.flatnonzero(manifest.columns["state"] == STATES.index("broken"))
    lines += [f"  broken {manifest[int(n)].id}: {manifest[int(n)].why}" for n in broken[:worst]]
    if len(broken) > worst:
        lines.append(f"  and {len(broken) - worst:,} more broken videos, each with its reason in manifest.jsonl")
    lines += [f"  {remark}" for remark in remarks(manifest)]
    return "\n".join(visible(line) for line in lines)  # a name may hold the end of a line


def remarks(manifest: Manifest) -> list[str]:
    """What is worth knowing of videos that are ready, a sentence each: the same bytes twice, groups, what is cut."""
    first: dict[str, Row] = {}
    pairs: dict[str, list[tuple[str, str]]] = {}
    cut: list[Row] = []
    splits_of: dict[str, dict[str, None]] = {}  # of each group
    for number in np.flatnonzero(manifest.columns["state"] == STATES.index("ready")).tolist():
        row = manifest[number]
        if row.why:
            cut.append(row)
        if row.group:
            splits_of.setdefault(row.group, {})[row.split] = None
        other = first.setdefault(row.hash, row) if row.hash else row
        if other.split != row.split:
            pairs.setdefault(f"the same bytes in {other.split} and {row.split}", []).append((other.id, row.id))
        elif labels_of(other) != labels_of(row):
            pairs.setdefault(f"the same bytes in {row.split} with two labels", []).append((other.id, row.id))
    found = [f"{len(ids):,} times {what}: {ids[0][0]} and {ids[0][1]}" for what, ids in pairs.items()]
    found += [
        f"{len(ids):,} times the same pictures, encoded anew, in {first} and {second}: "
        + "; ".join(f"{one} and {other}" for one, other in ids[:SHOWN])
        + ("; and more" if len(ids) > SHOWN else "")
        for (first, second), ids in same_pictures(manifest).items()
    ]
    if splits_of:
        found.append(f"{len(splits_of):,} groups{shared_groups(splits_of)}")
    if cut:
        found.append(f"{len(cut):,} videos not whole, such as {cut[0].id}: {cut[0].why}")
    return found


def same_pictures(manifest: Manifest) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Videos that show the same but have other bytes, in different splits: {(split, split): [(id, id), ...]}.

    A guess from a few frames and the length, see besnet.data.looks.
    """
    ready = np.flatnonzero(manifest.columns["state"] == STATES.index("ready")).tolist()
    rows = [row for row in map(manifest.__getitem__, ready) if row.looks]
    if len({row.split for row in rows}) < 2:
        return {}
    lengths = np.array([row.duration_sec for row in rows])
    splits = np.array([SPLITS.index(row.split) for row in rows])
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one, other in alike([row.looks for row in rows], lengths, splits):
        first, second = sorted((rows[one], rows[other]), key=lambda row: SPLITS.index(row.split))
        if first.hash != second.hash and first.source_hash != second.source_hash:
            found.setdefault((first.split, second.split), []).append((first.id, second.id))
    return found


def shared_groups(splits_of: dict[str, dict[str, None]]) -> str:
    """The end of a sentence on groups: whether one is in two splits, where a network knows it before it is tested."""
    several = {group: list(splits) for group, splits in splits_of.items() if len(splits) > 1}
    if not several:
        return ", each in one split"
    group, splits = next(iter(several.items()))
    return f", {len(several):,} of them in several splits, such as {group!r} in {' and '.join(splits)}"


def difference(manifest: Manifest) -> str:
    """One sentence on what results on this data cannot be compared with."""
    cover = coverage(manifest)
    lacking = {split: sum(cover.of_split(split).values()) - cover.of_split(split)["ready"] for split in SPLITS}
    parts = [f"{count:,} of {split}" for split, count in lacking.items() if count]
    if not parts:
        return "Every video of the list is ready."
    return (
        f"Of the list {' and '.join(parts)} cannot be used: an accuracy on what is left is another number than "
        "one on the whole list, and evaluation prints both."
    )
