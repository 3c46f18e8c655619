"""The videos of a source with a split and groups, as the table that `besnet prepare` reads."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from besnet.data.labels import canonical
from besnet.data.prepare.listing import Entry, Listing
from besnet.data.prepare.sources import list_source
from besnet.data.prepare.sources.spans import END, START, with_span
from besnet.data.prepare.sources.table import TableRules
from besnet.files import replacing
from besnet.learn.holding_out import check_classes, held_out
from besnet.learn.recordings import groups_of


def split_videos(
    source: Path,
    videos: Path | None,
    rules: dict[str, str],
    table: TableRules,
    out: Path,
    seed: int,
) -> Listing:
    """The videos of a source, each with its split and group. Prints how they are split, before anything is decoded.

    A split of the source is obeyed. ValueError for classes that cannot be split, and for other kinds of sources.
    """
    listing = list_source(source, videos, rules, 1, out, table)
    if listing.objects:
        raise ValueError(f"{listing.root}: in object storage: besnet prepare and train read it, learn does not")
    entries = [entry for entry in listing.entries if entry.label is not None or entry.labels is not None]
    others = [e for e in entries if (e.start_sec is not None and not e.exact) or e.size is not None]
    if others or not entries:
        raise ValueError(f"{source}: needs class folders or a table label,path; for others, besnet prepare and train")
    if without := len(listing.entries) - len(entries):
        print(f"{without} videos without a label are left out")
    entries = [with_plain_spaces(entry) for entry in entries]
    groups, said = groups_of(entries, Path(listing.root))
    entries = [replace(entry, group=found) for entry, found in zip(entries, groups, strict=True)]
    print(said)
    splits = Counter(entry.split for entry in entries)
    if not splits["train"]:
        raise ValueError(f"{source}: no training videos: its only split is {', '.join(sorted(splits))}")
    if not splits["val"]:
        entries = with_validation(entries, seed)
    else:
        check_classes([sets_of(e) for e in entries], [e.id for e in entries])
        print(f"split: that of {source}: {counts(entries)}")
    across = {e.group for e in entries if e.split == "train"} & {e.group for e in entries if e.split == "test"}
    if across:
        print(f"WARNING: groups in both train and test: {len(across)} (such as {min(across)!r}): if they are one "
              "recording each, the test figures are too high: move their videos into one split")  # fmt: skip
    return replace(listing, entries=entries)


def with_validation(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """About a fifth of the training videos become validation videos."""
    train = [entry for entry in entries if entry.split == "train"]
    chosen = held_out([sets_of(e) for e in train], [e.group for e in train], seed)
    validate = {entry.id for entry, held in zip(train, chosen, strict=True) if held}
    entries = [replace(entry, split="val") if entry.id in validate else entry for entry in entries]
    of = {entry.group for entry in train}
    whole = {entry.group for entry in train if entry.id in validate}
    print(f"split: {len(whole)} of {len(of)} groups validate, every class among them: {counts(entries)}")
    return entries


def with_plain_spaces(entry: Entry) -> Entry:
    """The entry with single spaces in its labels."""
    if entry.labels is not None:
        return replace(entry, labels=tuple(" ".join(label.split()) for label in entry.labels))
    return replace(entry, label=" ".join(str(entry.label).split()))


def sets_of(entry: Entry) -> tuple[str, ...]:
    """What its labels mean, however they are spelled."""
    return tuple(sorted({canonical(label) for label in entry.all_labels}))


def counts(entries: Sequence[Entry]) -> str:
    """How many videos each split has."""
    found = Counter(entry.split for entry in entries)
    return ", ".join(f"{found[split]} {split}" for split in ("train", "val", "test") if found[split])


def write_index(file: Path, entries: Sequence[Entry]) -> None:
    """Write the table. Names that are not UTF-8 keep their bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spans = [START, END] if any(e.exact for e in entries) else []
    writer.writerow(["label", "path", "split", "group", *spans])
    for e in entries:
        times = [repr(e.start_sec), repr(e.end_sec)] if spans else []
        # of a span whose file is missing the id names the file
        path = e.path or (e.id.rpartition("@")[0] if spans else e.id)
        writer.writerow(["; ".join(e.all_labels), path, e.split, e.group, *times])
    with replacing(file) as stream:
        stream.write(text.getvalue().encode(errors="surrogateescape"))


def all_for_training(file: Path, to: Path) -> None:
    """Write a table anew with the validation videos among the training videos."""
    with open(file, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = list(csv.DictReader(stream))
    entries = [Entry(r["path"], r["label"], r["split"], r["path"], str(file), group=r["group"]) for r in rows]
    if rows and START in rows[0]:
        entries = [with_span(entry, row) for entry, row in zip(entries, rows, strict=True)]
    write_index(to, [replace(entry, split="train") if entry.split == "val" else entry for entry in entries])
