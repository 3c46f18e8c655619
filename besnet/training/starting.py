"""What a run writes and prints at its start."""

import sys
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from besnet.data.known import count_known
from besnet.files import write_json, write_text
from besnet.formats import stamp
from besnet.models.network import Network
from besnet.training.data import VideoData


def describe(run: Path, about: dict[str, Any], steps: int) -> None:
    """Write config.yaml (the resolved configuration) and run.json (revision, versions, passport, steps, command)."""
    config = {key: value for key, value in about["config"].items() if key != "world_size"}
    write_text(run / "config.yaml", yaml.safe_dump(stamp("run") | config, sort_keys=False))
    facts = {key: about[key] for key in ("revision", "versions", "passport", "model", "classes")}
    facts["world_size"] = about["config"]["world_size"]
    write_json(run / "run.json", stamp("run") | facts | {"steps": steps, "command": sys.argv})


def report_start(data: VideoData, network: Network, checkpoint: Path | None, world_size: int) -> None:
    """Print the data, the size of the run, which layers have taps in time, and where the run starts."""
    parameters = sum(weight.numel() for weight in network.parameters())
    print(
        f"{data.manifest.name}: {len(data.train_rows)} training videos, {len(data.manifest.classes)} classes; "
        f"{parameters / 1e6:.2f} M parameters; {world_size} rank{'s' * (world_size > 1)} x {data.batch_size} clips"
    )
    if network.temporal_layers:
        print(taps_line(network))
    if data.balance is not None:
        print(data.balance.described(data.manifest.classes))
    order = data.order
    left = len(order.rows) - len(order) * order.global_batch // order.repeats
    if left:
        limited = order.clips < len(order.rows) * order.repeats
        why = "trainer.limit_train_batches" if limited else "they do not fill a batch"
        print(f"{left} videos are left out of each epoch, different ones each time: {why}")
    step = int(checkpoint.name.split("-")[0].removeprefix("step_")) if checkpoint else 0
    print(f"resumes from step {step} ({checkpoint.name})" if checkpoint else "new run", flush=True)


def warn_of_known(data: VideoData, known: Tensor) -> None:
    """Say where the validation videos are training videos, of this training or of the weights that it starts from."""
    if count := count_known(data.manifest, data.val_rows, known.numpy()):
        print(
            f"WARNING: {count} of the {len(data.val_rows)} validation videos are training videos, of this training or "
            "of the weights that it starts from: validation shows how well the network remembers them"
        )


def taps_line(network: Network) -> str:
    """Which layers of a network have taps in time: how many, and the first and the last ones by name."""
    names = network.temporal_layers
    some = names if len(names) <= 4 else (*names[:2], "...", names[-1])
    return f"taps in time in {len(names)} layers: {', '.join(some)}"
