"""A lab on many machines: one run's training, or one network's evaluation, beside others in one folder.

The parts take no lock of the lab: each has files of its own, and what is done is known by them. The same command
without a part does what is left, and writes the page.
"""

from dataclasses import replace
from typing import Any

from besnet.data.prepare.parts import Part
from besnet.lab.evaluating import plan_of, record
from besnet.lab.outcomes import EvaluatedRuns
from besnet.lab.queue import Attempts, Slot, free_slots, settle, work
from besnet.lab.setup import Setup

STAGES = ("train", "evaluate")


def lab_part(part: str, **flags: Any) -> int:
    """Train or evaluate one run of a lab.

    part: train:3/12 or evaluate:3/12 of 12 runs, counted from 0; auto/12 takes the number from SLURM_ARRAY_TASK_ID or
    JOB_COMPLETION_INDEX. flags: the arguments of `lab`. Returns the exit code of what failed, else 0.
    """
    stage, _, number = part.partition(":")
    if stage not in STAGES:
        raise ValueError(f"--part {part}: write train:NUMBER/COUNT or evaluate:NUMBER/COUNT")
    own = Part.read(number)
    asked = Setup.of(flags).check()
    jobs = [(one, run, job) for one in asked.each_fold for run, job in one.jobs().items()]
    if own.count != len(jobs):
        raise ValueError(f"--part {part}: this lab has {len(jobs)} runs: a part for each is expected")
    asked.begin()
    attempts = Attempts(asked.out / "attempts.jsonl", f"{stage}-{own.number}-of-{own.count}")
    slots = free_slots(asked.settings, flags["max_parallel"], flags["threads"])[:1]
    of_fold, run, training = jobs[own.number]
    if stage == "train":
        settle(training, attempts)
        work([training], slots, attempts, asked.out / "logs", "runs")
        if training.code:
            return training.code
    else:
        known = EvaluatedRuns(asked.out, asked.text, f"{own.number}-of-{own.count}")
        evaluate(of_fold, run, known, slots, attempts)
    print(f"{asked.out}: {stage} of {training.name} is done")
    return 0


def evaluate(asked: Setup, own: str, known: EvaluatedRuns, slots: list[Slot], attempts: Attempts) -> None:
    """Evaluate one run's network as the whole lab does, and record it. ValueError where it is not trained."""
    jobs = asked.jobs()
    for job in jobs.values():
        settle(job, attempts)
    trained = [run for run, job in jobs.items() if job.code == 0]
    if own not in trained:
        raise ValueError(
            f"{asked.out}: {jobs[own].name} is not trained: the last job, without --part, does what is left"
        )
    whole = plan_of(asked, trained, known)
    mine = [checkpoint for checkpoint in whole.checkpoints if checkpoint.run == own]
    if mine:
        record(asked, replace(whole, checkpoints=mine), known, slots, attempts, f"-{own}")
