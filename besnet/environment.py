"""What the environment says about this process: who started it, as which of how many ranks. Wrong values are named."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

LAUNCHER = "BESNET_LAUNCHER"  # process id of `besnet launch` or `besnet lab`, whose end is the end of all
MOST = 2**31 - 1
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Rank:
    """This process among those that were started together; local: among those on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def whole_number(name: str, default: int, least: int = 0, environment: Mapping[str, str] = os.environ) -> int:
    """A variable that holds a whole number. ValueError names the variable."""
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= MOST):
        raise ValueError(f"{name}={text[:40]} in the environment must be a whole number from {least}: unset {name}")
    return int(text)


def started_as(environment: Mapping[str, str] = os.environ) -> Rank:
    """Which rank this process is, as torchrun says it. ValueError where the variables do not go together."""
    world_size = whole_number("WORLD_SIZE", 1, 1, environment)
    if world_size == 1:
        return Rank()
    missing = [name for name in ("RANK", *ADDRESS) if not environment.get(name)]
    if missing:
        raise ValueError(
            f"WORLD_SIZE={world_size} in the environment, but no {missing[0]}: start ranks with torchrun or "
            "`besnet launch`, or unset WORLD_SIZE"
        )
    whole_number("MASTER_PORT", 0, 1, environment)
    found = Rank(
        rank=whole_number("RANK", 0, 0, environment),
        world_size=world_size,
        local_rank=whole_number("LOCAL_RANK", 0, 0, environment),
        local_world_size=whole_number("LOCAL_WORLD_SIZE", world_size, 1, environment),
    )
    if found.rank >= world_size or found.local_rank >= found.local_world_size or found.local_world_size > world_size:
        raise ValueError(f"the environment's ranks do not go together: {found}: start them with torchrun")
    return found


def refuse_bare_srun(environment: Mapping[str, str] = os.environ) -> None:
    """ValueError in a step of several tasks that srun started without torchrun: each would work by itself."""
    tasks = whole_number("SLURM_STEP_NUM_TASKS", 1, 1, environment)
    if tasks > 1 and "TORCHELASTIC_RUN_ID" not in environment and whole_number("WORLD_SIZE", 1, 1, environment) == 1:
        raise ValueError(
            f"srun started {tasks} tasks without torchrun: start one task per machine that runs torchrun, "
            "as `besnet launch --launcher slurm` writes it"
        )
