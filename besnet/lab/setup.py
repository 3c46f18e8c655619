"""What a lab's arguments come to, checked before anything is written: its runs, and how they are evaluated."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from besnet.data.manifest import Manifest
from besnet.data.prepare.parts import own_name
from besnet.evaluation.views import ViewPlan
from besnet.lab.arguments import check_data, check_pairs, check_variants, clip_and_views, find_controls, sort_factors
from besnet.lab.comparisons import Comparisons
from besnet.lab.controls import Control, find_control
from besnet.lab.networks import check_networks, own_class
from besnet.lab.outcomes import EvaluatedRuns, Outcomes
from besnet.lab.plan import Checkpoint, Family, Plan
from besnet.lab.queue import Job
from besnet.lab.results import Shown, Videos, read_by_all
from besnet.lab.runs import arguments_of, checkpoint_of, of_fold, origin, run_name, training
from besnet.lab.speeds import SpeedSets, at_speed
from besnet.settings import data_folder, read_settings

KEPT = "config.yaml"
WHOLE = "plan"  # the test videos as they are, among the sets of videos: the name of their plan's file


@dataclass(frozen=True)
class Setup:
    """The arguments of `besnet lab` that decide its figures, see there. ValueError where they do not fit."""

    config: Path
    out: Path
    controls: Sequence[str]
    seeds: int
    split: str
    num_clips: int | None
    frame_interval_scales: list[float]
    recalibration_videos: int
    variants: Sequence[Family]
    primary: list[str] | None
    secondary: list[list[str]]
    speed_data: Path | None = None
    folds: Sequence[Path] = ()
    primary_seeds: int | None = None
    fold: Path | None = None  # the one of them that this is about, see each_fold

    @classmethod
    def of(cls, flags: dict[str, Any]) -> "Setup":
        """From all arguments of `besnet lab`."""
        return cls(**{field.name: flags[field.name] for field in fields(cls) if field.name in flags})

    @cached_property
    def each_fold(self) -> list["Setup"]:
        """The same for each of the folds; itself where there are none."""
        return [replace(self, fold=fold) for fold in self.folds] or [self]

    def check(self) -> "Setup":
        """Read what the arguments name, and compare it; returns itself."""
        if self.folds:
            self._check_folds()
        for one in self.each_fold:
            one._check()
        check_pairs([one.manifest for one in self.each_fold], self.split, self.views.pairs)
        return self

    def _check(self) -> None:
        chosen = self.chosen
        if self.primary_seeds is not None and (self.comparisons.primary is None or self.primary_seeds < self.seeds):
            raise ValueError(
                f"--primary_seeds {self.primary_seeds}: give --primary too, and at least as many as --seeds"
            )
        check_variants(self.comparisons, list(self.variants), self.factors, self.speed_sets.variants)
        check_data(self.manifest, self.split)
        shape, _ = clip_and_views(self.config, self.settings, self.num_clips)
        speeds = self.speed_sets.manifests
        if speeds and shape.sampling == "uniform":
            raise ValueError("--speed_data: with data.clip.sampling uniform a clip is the same at every speed")
        for count in sorted({shape.num_frames, *(at_speed(shape, speed).num_frames for speed in speeds)}):
            check_networks(chosen, self.settings, len(self.manifest.classes), count)

    def _check_folds(self) -> None:
        """ValueError unless every test video is in one fold alone."""
        if self.speed_data is not None:
            raise ValueError("--folds: the videos of --speed_data belong to no fold: give one of the two")
        of: dict[str, Path] = {}
        first = self.each_fold[0].manifest
        for one in self.each_fold:
            found = one.manifest
            if found.classes != first.classes:
                raise ValueError(f"--folds: {found.folder} has other classes than {first.folder}")
            for row in found.select(self.split, state=None):
                name = found[int(row)].id
                if name in of:
                    raise ValueError(
                        f"--folds: {name} is in the split {self.split} of {of[name]} and of {found.folder}"
                    )
                of[name] = found.folder
        if len({fold.name for fold in self.folds}) < len(self.folds):
            raise ValueError("--folds: two folders have the same name, which names their runs")

    @cached_property
    def _read(self) -> tuple[str, dict[str, Any]]:
        return read_settings(self.config)

    @property
    def text(self) -> str:
        """The config as it is written."""
        return self._read[0]

    @property
    def settings(self) -> dict[str, Any]:
        """The config's settings."""
        return self._read[1]

    @cached_property
    def chosen(self) -> list[Control]:
        """The controls."""
        found = find_controls(list(self.controls), self.settings)
        return [replace(control, what=origin(control, self.settings)) for control in found]

    @property
    def _names(self) -> list[str]:
        return [find_control(text).name for text in self.controls]

    @cached_property
    def comparisons(self) -> Comparisons:
        """What is compared."""
        return Comparisons.read(self.primary, self.secondary, self._names)

    @property
    def views(self) -> ViewPlan:
        """The views of the test videos."""
        return clip_and_views(self.config, self.settings, self.num_clips)[1]

    @property
    def factors(self) -> list[float]:
        """The factors on the frame interval that the clips can show."""
        return self._factors[0]

    @property
    def left_out(self) -> dict[str, str]:
        """The others, and why."""
        return self._factors[1]

    @cached_property
    def _factors(self) -> tuple[list[float], dict[str, str]]:
        shape, _ = clip_and_views(self.config, self.settings, self.num_clips)
        return sort_factors(shape, self.frame_interval_scales)

    @cached_property
    def manifest(self) -> Manifest:
        """The prepared data."""
        return Manifest.load(self.fold or data_folder(self.config, self.settings))

    @cached_property
    def speed_sets(self) -> SpeedSets:
        """The test videos at other speeds."""
        if self.speed_data is None:
            return SpeedSets({})
        return SpeedSets.read(self.speed_data, self.split, self.manifest.classes)

    def begin(self) -> None:
        """Keep the config beside the runs: the user may change the file while the lab runs. ValueError if the lab was
        started with another one."""
        kept = self.out / KEPT
        if kept.exists() and kept.read_text() != self.text:
            raise ValueError(
                f"{self.out}: this lab was started with another {self.config.name}: restore it, or choose another --out"
            )
        self.out.mkdir(parents=True, exist_ok=True)
        own = kept.with_name(f".{KEPT}.{own_name()}")  # the first parts may come at the same time
        own.write_text(self.text)
        os.replace(own, kept)

    @cached_property
    def seeds_of(self) -> dict[str, int]:
        """The number of trainings of each control, by its name."""
        first = self.comparisons.primary
        more = first.controls if first else set()
        most = self.primary_seeds or self.seeds
        return {name: most if name in more else self.seeds for name in self._names}

    @cached_property
    def _runs(self) -> dict[str, tuple[Control, int]]:
        return {
            run_name(control, seed): (control, seed)
            for seed in range(max(self.seeds_of.values()))
            for control in self.chosen
            if seed < self.seeds_of[control.name]
        }

    @property
    def count(self) -> int:
        """The number of trainings; it reads no file."""
        return sum(self.seeds_of.values()) * len(self.each_fold)

    def job_name(self, run: str) -> str:
        """The name of a run's training."""
        return of_fold(self.fold, run)

    def jobs(self) -> dict[str, Job]:
        """The trainings by the names of their runs."""
        return {
            run: training(*of, self.out, self.out / KEPT, self.settings, self.fold) for run, of in self._runs.items()
        }

    def arguments_of(self, run: str) -> list[str]:
        """What a run is trained with on top of the config."""
        return arguments_of(*self._runs[run])

    @property
    def runs_of_seeds(self) -> list[list[str]]:
        """The names of the runs, seed by seed."""
        found: dict[int, list[str]] = {}
        for run, (_, seed) in self._runs.items():
            found.setdefault(seed, []).append(run)
        return list(found.values())

    @property
    def evaluation(self) -> Path:
        """The folder of the predictions."""
        return self.out / "evaluation" / self.job_name("")

    @property
    def shown(self) -> Shown:
        """The classes and the pairs of the page."""
        return Shown(self.manifest.classes, self.views.pairs)

    @property
    def manifests(self) -> dict[str, Manifest]:
        """Every set of videos that the networks are evaluated on, by its name."""
        return {WHOLE: self.manifest, **self.speed_sets.by_name}

    def plans(self, whole: Plan) -> dict[str, Plan]:
        """How networks are evaluated on each set of videos."""
        return {WHOLE: whole, **self.speed_sets.plans(whole)}

    def checkpoint(self, run: str) -> Checkpoint:
        """The network of a finished run."""
        return checkpoint_of(self.out / "runs" / self.job_name(run), own_class(self._runs[run][0], self.settings))

    def gathered(self, runs: Sequence[str], known: EvaluatedRuns) -> tuple[dict[str, Outcomes], Videos]:
        """What the networks of evaluated runs are right about, and the videos."""
        found = {run: known.known[self.job_name(run)].sets[WHOLE] for run in runs}
        return read_by_all(found, self.manifest, self.manifest.select(self.split), self.manifest.classes)
