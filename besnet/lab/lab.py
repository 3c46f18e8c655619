"""The verb `lab`: networks trained for several controls and seeds, evaluated, and compared on one page."""

import os
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from besnet.checkpoints.lock import only_writer
from besnet.files import write_json
from besnet.formats import stamp
from besnet.lab.all_runs import AllRuns
from besnet.lab.arguments import trained_and_evaluated
from besnet.lab.plan import Family
from besnet.lab.queue import free_slots
from besnet.lab.runs import run_facts
from besnet.lab.setup import Setup
from besnet.report.lab_comparisons import verdict_line
from besnet.report.lab_page import lab_page
from besnet.version import revision

FAILED = 1


def lab(
    config: Path,
    out: Path,
    controls: list[str] = ["c2d", "none", "fixed_2", "random_12", "random_1234"],  # noqa: B006
    seeds: int = 3,
    max_parallel: int | None = None,
    threads: int = 1,
    split: str = "test",
    num_clips: int | None = None,
    frame_interval_scales: list[float] = [0.5, 1.0, 1.5, 2.0, 3.0],  # noqa: B006
    recalibration_videos: int = 256,
    variants: list[Family] = ["dilations", "padding", "recalibrated"],  # noqa: B006
    primary: list[str] | None = None,
    secondary: list[list[str]] = [],  # noqa: B006
    question: str = "",
    stopping_rule: str = "",
    speed_data: Path | None = None,
    folds: list[Path] = [],  # noqa: B006
    primary_seeds: int | None = None,
) -> int:
    """Train every control with every seed on one config, evaluate all networks, and write a page that compares them.

    Finished runs are not repeated and unfinished ones resume: run the same command again after an interruption, or with
    more seeds or controls. An evaluated run is kept in outcomes.jsonl, a few kilobytes: with it, config.yaml and the
    prepared data, the lab goes on without the run's weights, on another machine too. Failed runs are listed on the
    page. Writes report.html and results.json. Returns 1 if a run failed.

    Args:
        config: config of `besnet train`; each control changes some arguments of its `model:` section.
        out: folder of the lab: runs, logs, predictions, page.
        controls: such as [c2d,none,random_12]: c2d, none, fixed_2, random_12, random_1234, interval_12, channels_12,
            averaged_12, network_12, clip_12, learned_1234, frames, a video network by its name (r3d_18, ...), or your
            own as 'NAME: ARGUMENTS OF besnet train'.
        seeds: trainings of each control, with the seeds 0, 1, ...
        max_parallel: trainings at a time on CPU cores; by default the number of cores divided by `threads`. Each GPU
            trains one at a time.
        threads: threads of each training on CPU cores.
        split: split that the networks are evaluated on.
        num_clips: clips of each test video; by default as in the config.
        frame_interval_scales: factors on the frame interval of the test clips; those that would need frames between the
            clip's own are left out.
        recalibration_videos: training videos that BatchNorm is recalibrated on.
        variants: inference variants of each network: dilations (each alone, and the average of all), padding (zeros and
            replicate), recalibrated (each of these with BatchNorm measured again).
        primary: the one comparison that the lab is made for: [A, B] for A - B. A term is a control, or
            CONTROL@VARIANT for one of its inference variants, such as none@dilation_2 or none@interval_2. Four terms
            [A, B, C, D] compare (A - B) - (C - D). By default, of two controls, the second minus the first.
        secondary: further comparisons, [[A, B], ...]; their verdicts are corrected for their number (Holm). All others
            are shown without a verdict.
        question: what the lab asks, for its page.
        stopping_rule: when the lab ends, for its page.
        speed_data: folder of `besnet draw --speeds`, each speed prepared into <speed>/prepared: the networks are
            evaluated there too, with clips of as many frames as cover the same share of a video. A term of a comparison
            may be CONTROL@speed_2.
        primary_seeds: trainings of the controls of the primary comparison, where it needs more than the others.
        folds: prepared data sets that share out the test videos, in place of data.folder: each control is trained with
            every seed on each of them, and the figures are of the test videos of all.
    """
    asked = Setup(
        config, out, controls, seeds, split, num_clips, frame_interval_scales, recalibration_videos, variants, primary,
        secondary, speed_data, folds, primary_seeds,
    ).check()  # fmt: skip
    chosen, each_fold = asked.chosen, asked.each_fold
    manifest = each_fold[0].manifest
    with only_writer(out, "lab"):
        asked.begin()
        if asked.left_out:
            why_not = (f"frame interval x {factor}: {why}" for factor, why in asked.left_out.items())
            print("left out: " + "; ".join(why_not))
        alike = [trained_and_evaluated(one.manifest, split) for one in each_fold]
        if any(alike):
            print(f"WARNING: {sum(alike)} videos of the split {split} are also training videos (equal bytes)")
        slots = free_slots(asked.settings, max_parallel, threads)
        runs = AllRuns(asked, slots)
        runs.finish()
        found: dict[str, Any] = {"controls": [{"name": c.name, "what": c.what, "seeds": []} for c in chosen]}
        found |= {"differences": [], "coverage": None}
        if runs.finished:
            found = runs.figures(asked.comparisons, alike)
        report = {
            "data": {
                "name": manifest.name,
                "passport": asdict(manifest.passport),
                "split": split,
                "folds": {
                    fold.name: asdict(one.manifest.passport) for fold, one in zip(folds, each_fold, strict=False)
                },
            },
            "config": asked.text,
            "arguments": {
                "controls": [control.name for control in chosen],
                "seeds": seeds,
                "seeds_of": asked.seeds_of,
                "factors_left_out": asked.left_out,
                "question": question,
                "stopping_rule": stopping_rule,
            },
            "runs": [run_facts(name, job) for name, job in runs.jobs.items()],
            **found,
            "run": {
                "command": shlex.join(["besnet", *sys.argv[1:]]),
                "commands": {
                    name: [shlex.join(["besnet", *words]) for words in job.commands] for name, job in runs.jobs.items()
                },
                "cost": runs.cost(),
                "device": f"{len(slots)} x {slots[0].name.split(' ')[0]}",
                "checkpoints": runs.hashes(),
                "revision": revision(),
                "host": os.uname().nodename,
                "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            },
        }
        write_json(out / "results.json", stamp("lab") | report)
        lab_page(report, runs.curves()).write(out / "report.html")
        failed = [name for name, job in runs.jobs.items() if job.code != 0]
        if failed:
            print(
                f"{len(failed)} of {len(runs.jobs)} runs failed: {', '.join(failed)}; the same command tries them again"
            )
        for pair in report["differences"]:
            if pair["verdict"] is not None:
                print(verdict_line(pair))
        print(f"page: {out / 'report.html'}")
        return FAILED if failed else 0
