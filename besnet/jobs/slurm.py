"""The job file for Slurm: torchrun on every machine, a checkpoint before the time limit, queued again."""

import shlex
import sys

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


def script(command: list[str], ranks: int, nodes: int, retries: int, sbatch: list[str], warn_sec: int) -> str:
    """The text of the job file; `sbatch`: further options of Slurm."""
    for option in sbatch:
        if not option.startswith("-") or "\n" in option:
            raise ValueError(f"launch: --sbatch takes options such as --time=24:00:00, not {option!r}")
    assert "SIGUSR1" in SIGNALS
    return TEMPLATE.format(
        nodes=nodes,
        ranks=ranks,
        retries=retries,
        warn_sec=warn_sec,
        more="".join(f"#SBATCH {option}\n" for option in sbatch),
        stopped=STOPPED,
        python=shlex.quote(sys.executable),
        command=shlex.join(command),
        non_retryable="|".join(str(code) for code in NON_RETRYABLE if code),
    )
