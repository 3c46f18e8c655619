"""The verb `runs`: the trainings below a folder, and how far each is."""

import json as json_text
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from besnet.checkpoints import store
from besnet.checkpoints.lock import is_held
from besnet.progress import clock
from besnet.reading import parse_json
from besnet.training.metrics_table import whole_rows

RUN, TABLE = "run.json", "metrics.csv"
RECENT = 50  # logged steps that the speed is measured over


@dataclass(frozen=True)
class RunState:
    """One run. state: running, stopped (the same command resumes it) or finished.

    step: the last one that is known of; steps: of the whole run, None where an older besnet wrote it. steps_per_sec,
    left_sec: while it is running. last, best: top-1 (or mAP) of the validations, percent; None without one.
    """

    run: str
    state: str
    step: int
    steps: int | None
    steps_per_sec: float | None
    left_sec: float | None
    last: float | None
    best: float | None
    best_step: int | None


def runs(folder: Path, json: bool = False) -> None:
    """List the runs below a folder: running, stopped or finished; steps, speed, time left and validation.

    Args:
        folder: folder that holds run folders at any depth.
        json: print JSON instead of a table.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found = [state_of(Path(at), folder) for at, _, files in sorted(os.walk(folder)) if RUN in files]
    if json:
        print(json_text.dumps([asdict(one) for one in found], indent=2))
    elif not found:
        print(f"{folder}: no runs below it")
    else:
        table = [["run", "state", "step", "steps/s", "left", "last val", "best val"], *map(cells, found)]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        for row in table:
            print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def state_of(run: Path, folder: Path) -> RunState:
    """How far a run is. ValueError if its run.json is damaged."""
    about = parse_json(run / RUN)
    steps = about.get("steps") if isinstance(about, dict) else None
    figures = validations(run / TABLE)
    saved = [int(path.name[5:].split("-")[0]) for path in store.by_age(run / "checkpoints")]
    step = max([figure[0] for figure in figures] + saved, default=0)
    running = is_held(run)
    rate = None
    if running:
        step, rate = pace(run, step)
    state = "running" if running else "finished" if steps is not None and max(saved, default=0) >= steps else "stopped"
    tested = [(value, number) for number, value in figures if value is not None]
    best = max(tested, key=lambda one: (one[0], -one[1]), default=None)
    return RunState(
        run=os.path.relpath(run, folder),
        state=state,
        step=step,
        steps=steps,
        steps_per_sec=rate,
        left_sec=(steps - step) / rate if rate and steps is not None else None,
        last=tested[-1][0] if tested else None,
        best=best[0] if best else None,
        best_step=best[1] if best else None,
    )


def validations(table: Path) -> list[tuple[int, float | None]]:
    """(step, top-1 or mAP of the validation after it in percent, or None) of each row of metrics.csv that is whole."""
    header, *rows = whole_rows(table) or [[]]
    found = []
    for row in rows:
        values = dict(zip(header, row, strict=False))
        top1 = values.get("Val/Prec@1") or values.get("Val/mAP", "")
        known = re.fullmatch(r"[\d.]+(e[+-]?\d+)?", top1)  # nan is no figure
        if values.get("step", "").isdecimal():
            found.append((int(values["step"]), float(top1) if known else None))
    return found


def pace(run: Path, step: int) -> tuple[int, float | None]:
    """The last logged step of a running training, and steps per second, None where that is not known yet."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = sorted(run.rglob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return step, None
    read: Any = EventAccumulator(str(logs[-1]))
    read.Reload()
    if "Train/Loss" not in read.Tags()["scalars"]:
        return step, None
    events = read.Scalars("Train/Loss")[-RECENT:]
    took_sec = events[-1].wall_time - events[0].wall_time
    return max(step, events[-1].step), (events[-1].step - events[0].step) / took_sec if took_sec > 0 else None


def cells(one: RunState) -> list[str]:
    """A line of the table."""
    return [
        one.run,
        one.state,
        f"{one.step:,}" + (f" of {one.steps:,}" if one.steps is not None else ""),
        "" if one.steps_per_sec is None else f"{one.steps_per_sec:.2f}",
        "" if one.left_sec is None else clock(one.left_sec),
        "" if one.last is None else f"{one.last:.1f} %",
        "" if one.best is None else f"{one.best:.1f} % at step {one.best_step:,}",
    ]
