"""The runs of a lab: their names, the commands that train them, and how far they are."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

from besnet.checkpoints import store
from besnet.checkpoints.header import header_of
from besnet.data.known import count_known
from besnet.data.manifest import Manifest
from besnet.lab.controls import Control
from besnet.lab.inference_variants import loaded
from besnet.lab.plan import Checkpoint
from besnet.lab.queue import Job

ONE_DEVICE = {"devices": 1, "strategy": "auto", "num_nodes": 1}


def run_name(control: Control, seed: int) -> str:
    """The name of a run and of its folder."""
    return f"{control.name}-{seed}"


def of_fold(fold: Path | None, run: str) -> str:
    """The name of a run on the prepared data of a fold; None: on the config's."""
    return f"{fold.name}/{run}" if fold else run


def training(
    control: Control, seed: int, out: Path, config: Path, settings: dict[str, Any], fold: Path | None = None
) -> Job:
    """The commands of one run; without pretrained weights a control of frames is first trained on single frames."""
    name = of_fold(fold, run_name(control, seed))
    run = out / "runs" / name
    trainer = settings.get("trainer", {})
    same = ["train", f"--config={config}", f"--seed={seed}", *on_one_device(trainer)]
    same += [f"--data.folder={fold}"] if fold else []
    commands = [[*same, f"--out={run}", *control.words]]
    if control.from_frames and not settings.get("pretrained"):
        single = run.with_name(f"{run.name}-single_frames")
        first = [*same, f"--out={single}", "--model.dilations=[]", "--data.clip.num_frames=1"]
        commands = [first, [*commands[0], f"--pretrained={single}"]]
    return Job(name, commands, partial(share_done, run / "metrics.csv", trainer.get("max_epochs")), there=run.exists)


def on_one_device(trainer: dict[str, Any]) -> list[str]:
    """Arguments that give a run the one device of its slot where the config sets others.

    Settings that the config leaves open already come to one device: nothing is added for them, so that a lab that was
    started without these arguments resumes.
    """
    return [
        f"--trainer.{name}={value}"
        for name, value in ONE_DEVICE.items()
        if str(trainer.get(name, value)) not in (str(value), "auto")
    ]


def origin(control: Control, settings: dict[str, Any]) -> str:
    """The description of a control; for a control of frames with the origin of its frozen weights."""
    if not control.from_frames:
        return control.what
    weights = settings.get("pretrained") or "first trained on single frames of this data, no ImageNet weights"
    return f"{control.what} ({weights})"


def arguments_of(control: Control, seed: int) -> list[str]:
    """What a run is trained with on top of the config."""
    return [f"--seed={seed}", *control.words]


def share_done(metrics: Path, epochs: int | None) -> float:
    """The share of a training that is done, from its table of metrics; 0 if unknown."""
    try:
        return min(1.0, int(metrics.read_text().rstrip().rsplit("\n", 1)[-1].split(",")[1]) / (epochs or 0))
    except (OSError, ValueError, IndexError, TypeError, ZeroDivisionError):
        return 0.0


def checkpoint_of(run: Path, network: str | None) -> Checkpoint:
    """A finished run's last checkpoint. ValueError if there is none that verifies.

    network: the class of a network of the user's own, see Checkpoint.
    """
    stored = store.read(run)
    return Checkpoint(run.name, str(stored.path), stored.hash, network)


def videos_known(checkpoint: Checkpoint, manifest: Manifest, split: str) -> int:
    """How many videos of a split a network of a lab, or the weights that it started from, was trained on."""
    known = header_of(loaded(checkpoint), checkpoint.file).get("trained_on")
    return 0 if known is None else count_known(manifest, manifest.select(split), known.numpy()) or 0


def run_facts(name: str, job: Job) -> dict[str, Any]:
    """How a run ended."""
    return {"run": name, "state": "finished" if job.code == 0 else "failed", "code": job.code, "why": job.why}


def curve(table: Path) -> list[tuple[float, float, float]]:
    """(epoch, loss, precision in percent) of a training, a mean for each epoch."""
    if not table.exists():
        return []
    by_epoch: dict[int, list[tuple[float, float]]] = {}
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            if row.get("Train/Loss") and row.get("Train/Prec@1"):
                by_epoch.setdefault(int(row["epoch"]), []).append(
                    (float(row["Train/Loss"]), float(row["Train/Prec@1"]))
                )
    return [
        (epoch, sum(loss for loss, _ in rows) / len(rows), sum(share for _, share in rows) / len(rows))
        for epoch, rows in sorted(by_epoch.items())
    ]
