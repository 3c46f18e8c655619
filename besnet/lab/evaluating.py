"""The evaluation of a lab's trained runs, and what is kept of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from besnet.checkpoints.header import header_of
from besnet.data.manifest import Manifest
from besnet.evaluation.truth import own_labels
from besnet.evaluation.views import evaluation_crop_size
from besnet.evaluation.views import settings as settings_of
from besnet.lab.gathering import gather
from besnet.lab.inference_variants import InferenceVariant, loaded, network_for
from besnet.lab.outcomes import NAME, EvaluatedRun, EvaluatedRuns
from besnet.lab.plan import Checkpoint, Plan, chunk_file, chunks
from besnet.lab.queue import Attempts, Job, Slot, work
from besnet.lab.runs import curve, videos_known
from besnet.lab.setup import WHOLE, Setup


def evaluate_runs(
    asked: Setup, runs: Sequence[str], known: EvaluatedRuns, slots: list[Slot], attempts: Attempts
) -> None:
    """Evaluate those of the finished runs of a fold that are not known with these settings, and record each."""
    plan = plan_of(asked, runs, known)
    if plan.checkpoints:
        record(asked, plan, known, slots, attempts)


def record(
    asked: Setup, plan: Plan, known: EvaluatedRuns, slots: list[Slot], attempts: Attempts, suffix: str = ""
) -> None:
    """Evaluate the plan's checkpoints on each set of videos, and record their runs; suffix: of the plans' files."""
    plans = asked.plans(plan)
    evaluate_all({f"{name}{suffix}": one for name, one in plans.items()}, asked.evaluation, asked.out, slots, attempts)
    for checkpoint in plan.checkpoints:
        known.add(evaluated(asked, plans, checkpoint))


def plan_of(asked: Setup, runs: Sequence[str], known: EvaluatedRuns) -> Plan:
    """How the networks of finished runs are evaluated, and the checkpoints of those that are not known so.

    ValueError if they were not trained on clips of one kind, or if a run that has to be evaluated again is gone.
    """
    before = {run: one for run in runs if (one := known.of(asked.job_name(run), asked.arguments_of(run)))}
    fresh = [asked.checkpoint(run) for run in runs if run not in before]
    headers: dict[str, Mapping[str, Any]] = {run: one.entry for run, one in before.items()}
    headers |= {one.run: header_of(loaded(one), one.file) for one in fresh}
    plan = view_plan({run: headers[run] for run in runs}, asked)
    wanted = {name: json.loads(json.dumps(of.settings)) for name, of in asked.plans(plan).items()}
    again = [once_more(asked, run) for run, one in before.items() if one.settings != wanted]
    return replace(plan, checkpoints=[*fresh, *again])


def once_more(asked: Setup, run: str) -> Checkpoint:
    """The network of a run that was evaluated with other settings. ValueError if it is gone."""
    try:
        return asked.checkpoint(run)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{asked.out}: {asked.job_name(run)} was evaluated with other settings or videos, and its checkpoint is "
            f"not here to evaluate it again ({error}): take the settings and the data of {NAME}.jsonl, or delete the "
            "run's line there to train it again"
        ) from error


def view_plan(headers: Mapping[str, Mapping[str, Any]], asked: Setup) -> Plan:
    """How networks with such checkpoint headers are evaluated; it has no checkpoints yet. ValueError if they were not
    trained on clips of one kind."""
    configs = {run: settings_of(header["config"], run) for run, header in headers.items()}
    first, *_ = configs
    data = configs[first]["data"]
    views = configs[first]["evaluation"].with_views(asked.num_clips, None)
    for run, config in configs.items():
        if (config["data"]["clip"], config["data"]["crop_size"]) != (data["clip"], data["crop_size"]):
            raise ValueError(f"{run}: data.clip or data.crop_size differs from {first}: a lab compares on equal clips")
    return Plan(
        folder=str(asked.manifest.folder),
        passport=asdict(asked.manifest.passport),
        split=asked.split,
        clip=asdict(data["clip"]),
        crop_size=evaluation_crop_size(configs[first]),
        short_side=views.short_side,
        whole=views.whole or False,
        num_clips=views.num_clips,
        num_crops=views.num_crops,
        fixed=sorted({dilation for header in headers.values() for dilation in header["model"].get("dilations", ())}),
        factors=asked.factors,
        families=list(asked.variants),
        recalibration_videos=asked.recalibration_videos,
        backend=data.get("backend", "pyav"),
        checkpoints=[],
    )


def evaluated(asked: Setup, plans: dict[str, Plan], checkpoint: Checkpoint) -> EvaluatedRun:
    """A run, once all of its predictions are there."""
    content, sets = loaded(checkpoint), {}
    for name, plan in plans.items():
        manifest = asked.manifests[name]
        rows, place = plan.rows(manifest), plan.place(asked.evaluation, checkpoint)
        labels = own_labels(manifest, rows, asked.manifest.classes)
        sets[name] = gather(plan, place, content, rows, labels, asked.shown.numbers)
    network = network_for(content, InferenceVariant(), checkpoint.network)
    header = content["besnet"]
    # another machine has the data elsewhere
    config = header["config"] | {"data": header["config"]["data"] | {"folder": ""}}
    return EvaluatedRun(
        run=asked.job_name(checkpoint.run),
        arguments=asked.arguments_of(checkpoint.run),
        checkpoint=checkpoint.hash,
        entry={"model": header["model"], "config": config},
        parameters=sum(weight.numel() for weight in network.parameters()),
        known=videos_known(checkpoint, asked.manifest, plans[WHOLE].split),
        curve=curve(asked.out / "runs" / asked.job_name(checkpoint.run) / "metrics.csv"),
        settings={name: plan.settings for name, plan in plans.items()},
        sets=sets,
    )


def evaluate_all(plans: dict[str, Plan], root: Path, out: Path, slots: list[Slot], attempts: Attempts) -> None:
    """Recalibrate and predict below `root`, on all slots; plans by the names of their files.

    ValueError with the last line of the log if a process fails.
    """
    for name, plan in plans.items():
        plan.write(root / f"{name}.json")
    files = [str(root / f"{name}.json") for name in plans]
    counts = [len(plan.rows(Manifest.load(Path(plan.folder)))) for plan in plans.values()]

    def share_done() -> float:
        return sum(share_of(plan, root, n) for plan, n in zip(plans.values(), counts, strict=True)) / len(plans)

    if share_done() == 1:
        return
    checkpoints = max(len(plan.checkpoints) for plan in plans.values())
    recalibrated = any("recalibrated" in plan.families for plan in plans.values())
    for stage, most in (("recalibrate", checkpoints * recalibrated), ("predict", len(chunks(max(counts))))):
        count = min(len(slots), most)
        # the processes share the progress of all of them
        done = share_done if stage == "predict" else (lambda: 0.0)
        jobs = [
            Job(f"{stage}-{k}", [["besnet.lab.inference_worker", stage, str(k), str(count), *files]], done)
            for k in range(count)
        ]
        work(jobs, slots, attempts, out / "logs", "processes of evaluation")
        for job in jobs:
            if job.code != 0:
                raise ValueError(f"{out / 'logs' / job.name}.log: the evaluation failed: {job.why}")


def share_of(plan: Plan, root: Path, videos: int) -> float:
    """The share of the predictions that are stored, of all checkpoints for so many videos."""
    files = [chunk_file(plan.place(root, c), number) for c in plan.checkpoints for number in chunks(videos)]
    return sum(file.exists() for file in files) / len(files)


def evaluation_cost(attempts: Attempts) -> dict[str, float]:
    """CPU and wall seconds of all inference workers; wall seconds of parallel processes add up."""
    names = {attempt["name"] for attempt in attempts.known if attempt["command"][0].startswith("besnet.")}
    costs = [attempts.cost(name) for name in sorted(names)]
    return {key: sum(cost[key] for cost in costs) for key in ("cpu_sec", "wall_sec")}
