"""All runs of a lab, trained and evaluated seed by seed, and what comes of them together."""

from collections.abc import Container, Iterator, Sequence
from typing import Any

from besnet.lab import results
from besnet.lab.comparisons import Comparisons
from besnet.lab.evaluating import evaluate_runs, evaluation_cost, plan_of
from besnet.lab.folds import together
from besnet.lab.outcomes import EvaluatedRuns
from besnet.lab.queue import Attempts, Job, Slot, settle, work
from besnet.lab.runs import curve
from besnet.lab.setup import Setup
from besnet.report.lab_plots import Curve


class AllRuns:
    """The trainings of a lab by name, and those whose networks have been evaluated."""

    def __init__(self, asked: Setup, slots: list[Slot]) -> None:
        self.asked, self.slots = asked, slots
        self.attempts = Attempts(asked.out / "attempts.jsonl")
        self.known = EvaluatedRuns(asked.out, asked.text)
        self.folds = asked.each_fold
        self.of_fold = [one.jobs() for one in self.folds]
        self.jobs = {job.name: job for of_one in self.of_fold for job in of_one.values()}

    def finish(self) -> None:
        """Train what is not trained and evaluate what is not evaluated: some runs at a time, whose outcomes are kept
        before the next are trained."""
        for one, of_one in zip(self.folds, self.of_fold, strict=True):
            for run, job in of_one.items():
                if self.known.of(job.name, one.arguments_of(run)):
                    job.code = 0
                settle(job, self.attempts)
        ended = sum(job.code == 0 for job in self.jobs.values())
        if ended:
            print(f"{ended} of {len(self.jobs)} runs were already finished", flush=True)
        logs = self.asked.out / "logs"
        # Of one seed and fold together: their dilations decide how all of them are evaluated. With few runs for each
        # slot, slots would wait for the last run.
        groups = [[jobs[run] for run in runs] for runs in self.asked.runs_of_seeds for jobs in self.of_fold]
        for some in batches(groups, 4 * len(self.slots), self.known.known):
            work(some, self.slots, self.attempts, logs, "runs", list(self.jobs.values()))
            for one, of_one in zip(self.folds, self.of_fold, strict=True):
                ready = [run for run, job in of_one.items() if job.code == 0]
                if ready:
                    evaluate_runs(one, ready, self.known, self.slots, self.attempts)

    @property
    def finished(self) -> list[str]:
        """The runs whose training has succeeded, on every fold."""
        return [run for run in self.of_fold[0] if all(of_one[run].code == 0 for of_one in self.of_fold)]

    def figures(self, comparisons: Comparisons, alike: Sequence[int]) -> dict[str, Any]:
        """Every figure of the page; alike: of each fold, how many test videos are also training videos."""
        asked, finished = self.asked, self.finished
        outcomes, videos = together([one.gathered(finished, self.known) for one in self.folds])
        first = {run: self.known.known[self.folds[0].job_name(run)] for run in finished}
        plan = plan_of(self.folds[0], finished, self.known)
        sets = asked.speed_sets
        classes = asked.shown.classes
        at = None
        if sets.manifests:
            elsewhere = {name: {run: one.sets[name] for run, one in first.items()} for name in sets.variants}
            at = sets.gather(plan, elsewhere, classes)
        found = results.summarize(
            asked.chosen, asked.seeds_of, outcomes, {run: one.parameters for run, one in first.items()}, videos,
            asked.shown, comparisons, dict.fromkeys(sets.variants, (at.outcomes, at.videos)) if at else {},
        )  # fmt: skip
        if at:
            found["speeds"] = at.figures(asked.chosen, asked.seeds_of, comparisons.reference or asked.chosen[0].name)
        known = [
            max(count, *(self.known.known[one.job_name(run)].known for run in finished))
            for one, count in zip(self.folds, alike, strict=True)
        ]
        if known != list(alike):
            print(f"WARNING: {sum(known)} videos of the split {asked.split} are training videos of these networks, or "
                  "of the weights that they start from")  # fmt: skip
        found["coverage"] = {
            "expected": sum(len(one.manifest.select(asked.split, state=None)) for one in self.folds),
            "evaluated": len(videos.labels),
            "undecodable": videos.unread,
            "looped": videos.looped,
            "trained_on": sum(known),
        }
        found["plan"] = {name: value for name, value in plan.settings.items() if name != "passport"}
        found["plan"]["folder"] = plan.folder
        return found

    def _names(self) -> Iterator[str]:
        return (one.job_name(run) for one in self.folds for run in self.finished)

    def hashes(self) -> dict[str, str]:
        """The hashes of the checkpoints that were evaluated, by run."""
        return {name: self.known.known[name].checkpoint for name in self._names()}

    def curves(self) -> dict[str, Curve]:
        """The training curves by run."""
        kept = {name: self.known.known[name].curve for name in self._names()}
        return {name: kept.get(name) or curve(self.asked.out / "runs" / name / "metrics.csv") for name in self.jobs}

    def cost(self) -> dict[str, dict[str, float]]:
        """CPU and wall seconds by run, and of the evaluation."""
        return {name: self.attempts.cost(name) for name in self.jobs} | {"evaluation": evaluation_cost(self.attempts)}


def batches(groups: list[list[Job]], least: int, kept: Container[str]) -> Iterator[list[Job]]:
    """The jobs of one group or more at a time, of which at least so many are to do; the last ones may be fewer.

    A group of which some jobs have ended and are not kept yet comes without the next ones, so that they are kept soon.
    """
    some: list[Job] = []
    for group in groups:
        some += group
        begun = any(one.code == 0 and one.name not in kept for one in group)
        if begun or sum(one.code is None for one in some) >= least:
            yield some
            some = []
    if some:
        yield some
