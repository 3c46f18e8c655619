"""The process that touches untrusted videos: `python -m besnet.data.prepare.worker`.

Reads jobs from its standard input, one JSON object a line, and answers on its standard output. Its memory is limited,
it dies with its parent, and the parent kills it at a deadline: whatever a file does, only its own row suffers.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from typing import Any

from besnet.data.prepare.process_video import Job, Outcome, process_video
from besnet.data.prepare.reuse import reused_outcome

MEMORY_BYTES = 900 * 2**20


def main() -> None:
    """Serve jobs until the parent closes the pipe."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    # Counts private memory only; libraries mapped from files would make a limit on addresses meaningless.
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # nothing that a library prints can be taken for an answer
    for line in sys.stdin:
        answers.write(json.dumps(asdict(serve(json.loads(line)))) + "\n")
        answers.flush()


def serve(raw: dict[str, Any]) -> Outcome:
    """Do one job; what is wrong with the video becomes its answer."""
    job = Job(**raw)
    try:
        return reused_outcome(job) or process_video(job)
    except (ValueError, OSError) as error:
        return Outcome(job.number, why=" ".join(str(error).split()))
    except MemoryError:
        return Outcome(job.number, why=f"{os.path.basename(job.path)}: needs more than {MEMORY_BYTES >> 20} MiB")


if __name__ == "__main__":
    main()
