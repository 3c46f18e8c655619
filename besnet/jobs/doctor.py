"""Checks before a training: this machine, this code, this data, and the run that it would resume."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import cuda

from besnet.checkpoints import store
from besnet.checkpoints.header import header_of
from besnet.environment import whole_number
from besnet.formats import filled
from besnet.jobs.pipeline import measured, pipeline
from besnet.models.build import build
from besnet.training.config_checks import check_network
from besnet.training.data import VideoData
from besnet.training.machine_checks import Finding, machine
from besnet.training.preflight import needs
from besnet.training.resume import differences, located
from besnet.training.saving import Saving
from besnet.version import revision

TROUBLE = 2


def doctor(
    config: dict[str, Any],
    defaults: dict[str, Any],
    out: Path,
    model: dict[str, Any],
    data: VideoData,
    saving: Saving,
    trainer: dict[str, Any],
) -> int:
    """Print one line for each check; the line of a problem ends with the command that fixes it.

    Returns 0, or 2 if there is a problem.
    """
    network = build(model | {"num_classes": len(data.manifest.classes)})
    check_network(network, data, config)
    parameters = sum(weight.numel() for weight in network.parameters())
    world_size = whole_number("WORLD_SIZE", 0)
    named = str(trainer["devices"]).isdecimal()  # else as many as will be started
    devices = int(trainer["devices"]) if named else 1
    nodes = int(trainer.get("num_nodes") or 1)
    asked = needs(out, data, parameters, saving.keep + saving.keep_best, devices, nodes)
    if world_size or named:
        config = config | {"world_size": world_size or devices * nodes}
    loading = measured(data)
    on_gpu = trainer["accelerator"] in ("gpu", "cuda") or (trainer["accelerator"] == "auto" and cuda.is_available())
    flow = pipeline(loading, asked, model, data, on_gpu) if loading else []
    findings = [*machine(asked), *flow, *run(out, config, defaults, asdict(data.manifest.passport))]
    for finding in findings:
        print(f"{'fix' if finding.fix else 'ok':5} {finding}")
    return TROUBLE if any(finding.fix for finding in findings) else 0


def run(out: Path, config: dict[str, Any], defaults: dict[str, Any], passport: dict[str, str]) -> list[Finding]:
    """What would differ from the run in a folder."""
    path, damaged = store.newest(out / "checkpoints")
    findings = [Finding("checkpoint", f"{file.name} is damaged and will be skipped", f"rm {file}") for file in damaged]
    if path is None:
        found = [("code", revision()), ("passport", passport["source"][:16]), ("config", f"a new run in {out}")]
        return findings + [Finding(name, what) for name, what in found]
    old = header_of(store.read(path).content, str(path))
    findings.append(Finding("checkpoint", f"{path.name} verifies"))
    now = revision()
    same = old["revision"] == now
    findings.append(
        Finding("code", now if same else f"{now}, the run was saved by {old['revision']}",
                "" if same else f"git checkout {old['revision'].removesuffix('+changes')}")
    )  # fmt: skip
    changed = differences(dict(old["passport"]), passport)
    findings.append(
        Finding("passport", "; ".join(changed) or passport["source"][:16],
                f"prepare the same data again, or choose another run folder than {out} with --out" if changed else "")
    )  # fmt: skip
    before = filled(located(old["config"]), defaults)
    changed = differences(before, {"world_size": before.get("world_size")} | located(config))
    findings.append(
        Finding("config", "; ".join(changed) or f"that of the run in {out}",
                "restore the settings, or add --accept_changes" if changed else "")
    )  # fmt: skip
    return findings
