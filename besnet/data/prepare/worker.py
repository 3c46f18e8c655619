"""The process that touches untrusted videos: `python -m besnet.data.prepare.worker`.

Reads jobs from its standard input, one JSON object a line, and replies on its standard output. Its memory is limited,
it ends with its parent, and the parent kills it at a deadline: a bad file affects only its own row.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from typing import Any

from besnet.data.prepare.process_video import OF_THE_MACHINE, Job, Outcome, keep_copy, process_video
from besnet.data.prepare.reuse import reused_outcome

MEMORY_BYTES = 900 * 2**20
# a full disk, a server of files that is away: passing, and of no video
MACHINE_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE,
}  # fmt: skip


def main() -> None:
    """Serve jobs until the parent closes the pipe."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    # Counts private memory only; libraries mapped from files would make a limit on addresses meaningless.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # so that no output of a library mixes with the replies
    for line in sys.stdin:
        replies.write(json.dumps(serve(Job(**json.loads(line)))) + "\n")
        replies.flush()


def serve(job: Job) -> dict[str, Any]:
    """Do one job: the fields of its Outcome, which an error of the video is, too; or [errno, reason] of an error that
    is this machine's, after which nothing is known of the video."""
    try:
        return asdict(outcome_of(job))
    except OSError as error:
        return {OF_THE_MACHINE: [error.errno, error.strerror]}


def outcome_of(job: Job) -> Outcome:
    """What becomes of a job. OSError where this machine is to blame."""
    try:
        outcome = reused_outcome(job) or process_video(job)
        keep_copy(job)
        return outcome
    except (ValueError, OSError) as error:
        if getattr(error, "errno", None) in MACHINE_ERRORS:
            raise
        return Outcome(job.number, why=" ".join(str(error).split()))
    except MemoryError:
        return Outcome(job.number, why=f"{os.path.basename(job.path)}: needs more than {MEMORY_BYTES >> 20} MiB")


if __name__ == "__main__":
    main()
