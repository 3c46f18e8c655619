"""Job files for Slurm: torchrun on every machine for a training, arrays and a last job for what is done in parts."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from besnet.jobs.stages import LAST, STAGES
from besnet.jobs.torchrun import SIGNALS
from besnet.training.exit_codes import NON_RETRYABLE, STOPPED

TEMPLATE = """\
#!/bin/bash
#SBATCH --job-name=besnet
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@{warn_sec}
{more}
# Written by `besnet launch --launcher slurm`. This shell passes Slurm's warning on to the ranks. They save a checkpoint
# and exit with code {stopped}; the job is queued again and resumes.

address=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
again=0
trap 'again=1; scancel --signal=USR1 "$SLURM_JOB_ID.0"' USR1

srun --kill-on-bad-exit=1 {python} -m besnet.jobs.torchrun --nnodes={nodes} --nproc_per_node={ranks} \\
    --rdzv_backend=c10d --rdzv_endpoint="$address:$port" --max-restarts=0 \\
    --rdzv_id="$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}" \\
    -m besnet {command} &
job=$!
code=0
while kill -0 $job 2>/dev/null; do wait $job; code=$?; done

case $code in
    0) exit 0 ;;
    {non_retryable}) [ $again = 1 ] || exit $code ;;
    *) [ $again = 1 ] || [ "${{SLURM_RESTART_COUNT:-0}}" -lt {retries} ] || exit $code ;;
esac
scontrol requeue "$SLURM_JOB_ID"
"""


PARTS = """\
#!/bin/bash
#SBATCH --job-name=besnet-{name}
#SBATCH --array=0-{last}
#SBATCH --ntasks=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@{warn_sec}
{more}
# Written by `besnet launch --launcher slurm`: task k does part k of {parts}. The number of parts stands here and not in
# Slurm's variables, which count only the tasks of this submission. A task that fails is queued again, {retries} times;
# one that reaches its time limit is stopped before, queued again, and resumes.

again=0
trap 'again=1; scancel --signal=TERM "$SLURM_JOB_ID.0"' USR1

srun --ntasks=1 {python} -m besnet {command} "{flag}$SLURM_ARRAY_TASK_ID/{parts}" &
job=$!
code=0
while kill -0 $job 2>/dev/null; do wait $job; code=$?; done

case $code in
    0) exit 0 ;;
    {non_retryable}) [ $again = 1 ] || exit $code ;;
    *) [ $again = 1 ] || [ "${{SLURM_RESTART_COUNT:-0}}" -lt {retries} ] || exit $code ;;
esac
scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
"""

LAST_JOB = """\
#!/bin/bash
#SBATCH --job-name=besnet-{name}
#SBATCH --ntasks=1
#SBATCH --requeue
#SBATCH --open-mode=append
{more}
# Written by `besnet launch --launcher slurm`: does what the tasks of the arrays have left, and ends the work. It is
# submitted behind them with --dependency=afterany.

exec srun --ntasks=1 {python} -m besnet {command}
"""


def check_options(sbatch: list[str]) -> str:
    """Further options of Slurm as lines of a job file. ValueError for what is none."""
    for option in sbatch:
        if not option.startswith("-") or "\n" in option:
            raise ValueError(f"launch: --sbatch takes options such as --time=24:00:00, not {option!r}")
    return "".join(f"#SBATCH {option}\n" for option in sbatch)


def scripts_of_parts(command: list[str], parts: int, retries: int, sbatch: list[str], warn_sec: int) -> dict[str, str]:
    """The job files of a preparation or a lab by what is added to their names: its arrays, and the last job."""
    shared = {"more": check_options(sbatch), "python": shlex.quote(sys.executable), "command": shlex.join(command)}
    shared["non_retryable"] = "|".join(str(code) for code in NON_RETRYABLE if code)
    numbers = {"parts": parts, "last": parts - 1, "retries": retries, "warn_sec": warn_sec}
    found = {
        name: PARTS.format(name=f"{command[0]}{name}", flag=flag, **numbers, **shared)
        for name, flag in STAGES[command[0]].items()
    }
    return found | {LAST: LAST_JOB.format(name=f"{command[0]}{LAST}", **shared)}


def submit_parts(files: list[Path], parts: int) -> int:
    """Submit the arrays and the last job, each behind the one before; returns sbatch's exit code. ValueError where
    Slurm takes no such array."""
    most = max_array_size()
    if most is not None and parts > most:
        raise ValueError(f"launch: {parts} parts: this Slurm takes arrays of up to {most} tasks (MaxArraySize)")
    numbers: list[str] = []
    for file in files:
        behind = [f"--dependency=afterany:{numbers[-1]}"] if numbers else []
        found = submit([*behind, str(file)])
        if found.returncode:
            return found.returncode
        numbers.append(found.stdout.strip().partition(";")[0])
    print(f"submitted: arrays {', '.join(numbers[:-1])}, last job {numbers[-1]}")
    return 0


def max_array_size() -> int | None:
    """The most tasks of an array; None where Slurm does not say."""
    try:
        found = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", found.stdout)
    return int(match[1]) if match else None


def submit(words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Submit a job file; its output is the job's number. ValueError without Slurm."""
    try:
        return subprocess.run(["sbatch", "--parsable", *words], stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise ValueError("launch: no sbatch on this machine: run this where Slurm jobs are submitted") from None


def script(command: list[str], ranks: int, nodes: int, retries: int, sbatch: list[str], warn_sec: int) -> str:
    """The text of the job file; `sbatch`: further options of Slurm."""
    assert "SIGUSR1" in SIGNALS
    return TEMPLATE.format(
        nodes=nodes,
        ranks=ranks,
        retries=retries,
        warn_sec=warn_sec,
        more=check_options(sbatch),
        stopped=STOPPED,
        python=shlex.quote(sys.executable),
        command=shlex.join(command),
        non_retryable="|".join(str(code) for code in NON_RETRYABLE if code),
    )
