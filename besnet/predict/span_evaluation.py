"""`besnet evaluate --spans`: the spans that a network finds in long videos, compared with those of a table."""

import shlex
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from besnet.checkpoints.header import LoadedCheckpoint
from besnet.checkpoints.published_model import AS_STATED, chosen
from besnet.data.known import UNRECORDED, id_mark, known_files
from besnet.data.labels import canonical
from besnet.data.prepare.files import Folder
from besnet.data.prepare.listing import Entry, Listing
from besnet.data.prepare.sources.table import TableRules, list_table
from besnet.evaluation import spans as protocol
from besnet.evaluation.spans import Span, mean_average_precision
from besnet.files import write_json
from besnet.formats import stamp
from besnet.predict.model import Model, with_calibration
from besnet.predict.spans import check_background, spans_of, write_spans
from besnet.predict.verbs import each
from besnet.report.numbers import percent
from besnet.report.page import Page
from besnet.text import visible
from besnet.watchdog import watched

CLOSE_SEC = 0.001  # tables round times
FAILED = 1  # exit code where some video could not be read


def evaluate_spans(
    spans: Path,
    ckpt_path: Path,
    out: Path,
    videos: Path | None = None,
    split: str | None = None,
    every_sec: float | None = None,
    background: str | None = None,
    device: str = "auto",
    allow_training_videos: bool = False,
    watchdog_minutes: float = 30.0,
) -> int:
    """Find the spans of long videos and compare them with a table: mean average precision at tIoU 0.3 to 0.7.

    Args:
        spans: table label,path,start,end[,split] of the true spans.
        ckpt_path: model folder, run folder (its newest valid checkpoint) or checkpoint file.
        out: folder for results.json, report.html and the spans that were found.
        videos: folder with the videos of the table; by default the table's.
        split: rows of this split; by default test where the table has it, else all rows.
        every_sec: seconds between the clips; by default half a clip's length.
        background: class of the network that gives no spans.
        device: auto, cpu, cuda or cuda:N.
        allow_training_videos: evaluate although the network was trained on some of these videos, or on parts of them:
            the figures then show how well it remembers them.
        watchdog_minutes: minutes without progress after which the process names the video and exits with code 69.
    """
    listing = list_table(spans, Folder(videos or spans.parent), {}, TableRules(split_within_files=True))
    entries = of_split(listing.entries, spans, split)
    given = with_calibration(chosen(ckpt_path, None, None, AS_STATED, None))
    model = Model(given, device)
    check_background(model, background)
    if model.shape.sampling == "uniform" and every_sec is None:
        raise ValueError("--every_sec is needed for a network whose clips are whole videos: the length of the windows")
    truth = true_spans(entries, model.classes, spans)
    files = {Path(listing.root, span.video): span.video for span in truth}
    known = known_videos(given.trained, listing, files, watchdog_minutes)
    if known and not allow_training_videos:
        raise ValueError(
            f"{spans}: the network was trained on {len(known)} of these {len(files)} videos, or on parts of them (the "
            f"first: {visible(known[0])}): evaluate on others, or add --allow_training_videos"
        )

    def found_in(file: Path) -> tuple[list[Span], float]:
        along = model.timeline(file, every_sec)
        return spans_of(along, files[file], background), along.length_sec

    got, failed = each(list(files), found_in, watchdog_minutes)
    lengths = {files[file]: length for file, (_, length) in got.items()}
    predicted = [span for found, _ in got.values() for span in found]
    kept, facts = clipped(truth, lengths)
    unread = [{"video": files[file], "why": why} for file, why in failed.items()]
    results = mean_average_precision(kept, predicted) | facts | {"unread": unread}
    results["trained_on"] = None if known is None else len(known)
    out.mkdir(parents=True, exist_ok=True)
    write_spans(out / "found", predicted)
    about = {"table": str(spans), "checkpoint": model.origin, "every_sec": every_sec, "background": background}
    command = shlex.join(["besnet", *sys.argv[1:]])
    write_json(out / "results.json", stamp("evaluation") | about | {"spans": results, "command": command})
    page_of(results, listing.name, str(model.origin["weights"]), command).write(out / "report.html")
    show(results, out)
    return FAILED if failed else 0


def of_split(entries: Sequence[Entry], table: Path, split: str | None) -> list[Entry]:
    """The rows of a split. ValueError where there are none, or the table lists no spans."""
    if any(entry.start_sec is None for entry in entries):
        raise ValueError(f"{table}: no columns start and end: it lists no spans")
    there = {entry.split for entry in entries}
    wanted = split or ("test" if "test" in there else None)
    chosen_rows = [entry for entry in entries if wanted in (None, entry.split)]
    if not chosen_rows:
        raise ValueError(f"{table}: no row in the split {wanted}; there are rows in: {', '.join(sorted(there))}")
    return chosen_rows


def true_spans(entries: Sequence[Entry], classes: list[str], table: Path) -> list[Span]:
    """The spans of a table's rows, one for each label. ValueError for a label that is no class of the network."""
    names = {canonical(name): name for name in classes}
    found = []
    for entry in entries:
        assert entry.start_sec is not None
        assert entry.end_sec is not None
        for label in entry.all_labels:
            if canonical(label) not in names:
                raise ValueError(f"{entry.where}: label {label!r} is none of the network's {len(classes)} classes")
            found.append(Span(video_of(entry), names[canonical(label)], entry.start_sec, entry.end_sec))
    return found


def video_of(entry: Entry) -> str:
    """The video that a row's span is of."""
    return entry.path or entry.id.rpartition("@")[0]


def known_videos(
    trained: LoadedCheckpoint, listing: Listing, files: Mapping[Path, str], watchdog_minutes: float
) -> list[str] | None:
    """The videos that a network was trained on, or on parts of: by their bytes, or by the ids and classes of their
    spans in data that was prepared from a table of this name. None where that is not recorded."""
    if trained.trained_on is None:
        return None
    marked = set(trained.trained_on.tolist())
    names = {canonical(name): name for name in trained.classes}
    marks = defaultdict(set)
    for entry in listing.entries:
        label = names.get(canonical(entry.label), "") if entry.label is not None else ""
        marks[video_of(entry)].add(id_mark(listing.name, entry.id, label))
    with watched(watchdog_minutes) as pulse:
        by_bytes = known_files(files, trained.trained_on.numpy(), pulse)
    found = [video for file, video in files.items() if file in by_bytes or not marked.isdisjoint(marks[video])]
    return None if not found and UNRECORDED in marked else found


def known_line(results: Mapping[str, Any]) -> str:
    """The warning for a network that was evaluated on videos that it was trained on."""
    return (
        f"The network was trained on {results['trained_on']} of these {results['videos']} videos, or on parts of them: "
        "the figures show how well it remembers them, not how well it finds spans in new videos"
    )


def clipped(truth: Sequence[Span], lengths: dict[str, float]) -> tuple[list[Span], dict[str, int]]:
    """The true spans within their videos, and how many were clipped, or are left out because they lie beyond the end.

    Those of a video that could not be read stay as they are: nothing is found in it.
    """
    kept, cut, beyond = [], 0, 0
    for span in truth:
        length = lengths.get(span.video, span.end_sec)
        beyond += span.start_sec >= length
        cut += span.start_sec < length < span.end_sec - CLOSE_SEC
        if span.start_sec < length:
            kept.append(replace(span, end_sec=min(span.end_sec, length)))
    return kept, {"clipped": cut, "beyond_the_end": beyond}


def page_of(results: dict[str, Any], name: str, network: str, command: str) -> Page:
    """The page: mAP at each tIoU, AP of each class, and the protocol."""
    page = Page(f"{name} · spans", network)
    if results["trained_on"]:
        page.warning(known_line(results))
    levels = [f"tIoU {level:g}" for level in results["tiou"]]
    half = results["map"][results["tiou"].index(0.5)]
    page.cards([(percent(half), "mAP at tIoU 0.5"), (percent(results["mean"]), "mean of the mAPs at tIoU 0.3 to 0.7")])
    page.table(["", *levels], [["mAP", *map(percent, results["map"])]])
    page.text(" ".join(str(protocol.__doc__).partition("\n\n")[2].split()))
    page.text("Spans of equal probability are ranked by video, start and end. Predicted labels without a true span are "
              "left out.")  # fmt: skip
    page.heading("Spans")
    counts = ["videos", "spans", "clipped", "beyond_the_end", "predicted", "other_labels"]
    page.table([count.replace("_", " ") for count in counts], [[results[count] for count in counts]])
    if results["unread"]:
        page.table(["video", "not read"], [[one["video"], one["why"]] for one in results["unread"]])
    page.heading("Average precision of each class")
    rows = [[r["class"], r["spans"], r["predicted"], *map(percent, r["ap"])] for r in results["per_class"]]
    page.table(["class", "spans", "predicted", *levels], rows)
    page.code(command)
    return page


def show(results: dict[str, Any], out: Path) -> None:
    """Print the results."""
    counts = ("videos", "spans", "clipped", "beyond_the_end", "predicted", "other_labels")
    print("  ".join(f"{name.replace('_', ' ')} {results[name]}" for name in counts))
    for one in results["unread"]:
        print(f"not read, none of its spans is found: {visible(one['video'])}")
    levels = zip(results["tiou"], results["map"], strict=True)
    print("mAP at tIoU " + "  ".join(f"{level:g}: {percent(value)}" for level, value in levels)
          + f"  mean: {percent(results['mean'])}")  # fmt: skip
    if results["trained_on"]:
        print(f"WARNING: {known_line(results)}")
    print(f"page: {out / 'report.html'}")
