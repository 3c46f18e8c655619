"""A lab on many machines: one run's training, or one network's evaluation, beside others in one folder.

The parts take no lock of the lab: each has files of its own, and what is done is known by them. The same command
without a part does what is left, and writes the page.
"""

from dataclasses import fields, replace
from typing import Any

from besnet.data.prepare.parts import Part
from besnet.lab.queue import Attempts, Job, free_slots, work
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
    asked = Setup(**{field.name: flags[field.name] for field in fields(Setup) if field.name in flags}).check()
    jobs = [(one, run, job) for one in asked.each_fold for run, job in one.jobs().items()]
    if own.count != len(jobs):
        raise ValueError(f"--part {part}: this lab has {len(jobs)} runs: a part for each is expected")
    asked.begin()
    attempts = Attempts(asked.out / "attempts.jsonl", f"{stage}-{own.number}-of-{own.count}")
    slots = free_slots(asked.settings, flags["max_parallel"], flags["threads"])[:1]
    of_fold, run, training = jobs[own.number]
    todo = [training] if stage == "train" else evaluation(of_fold, run, attempts)
    for job in todo:
        work([job], slots, attempts, asked.out / "logs", "runs" if stage == "train" else "evaluations")
        if job.code:
            return job.code
    print(f"{asked.out}: {stage} of {training.name} is done")
    return 0


def evaluation(asked: Setup, own: str, attempts: Attempts) -> list[Job]:
    """What evaluates one run's network as the whole lab does. ValueError where it is not trained."""
    jobs = asked.jobs()
    trained = [run for run, job in jobs.items() if all(attempts.done(job.name, command) for command in job.commands)]
    if own not in trained:
        raise ValueError(
            f"{asked.out}: {jobs[own].name} is not trained: the last job, without --part, does what is left"
        )
    whole = asked.plan(asked.checkpoints(trained))
    path = asked.evaluation / f"plan-{own}.json"
    replace(whole, checkpoints=[one for one in whole.checkpoints if one.run == own]).write(path)
    return [
        Job(f"{stage}-{jobs[own].name}", [["besnet.lab.inference_worker", stage, "0", "1", str(path)]])
        for stage in ("recalibrate", "predict")
    ]
