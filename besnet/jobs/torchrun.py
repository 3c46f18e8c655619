"""torchrun with the exit code of its ranks: `python -m besnet.jobs.torchrun ARGUMENTS OF TORCHRUN`.

torchrun itself always exits with 1; a launcher needs the code to decide whether to restart.
"""

import os
import sys

from besnet.environment import LAUNCHER, whole_number
from besnet.supervision import end_with
from besnet.training.exit_codes import NON_RETRYABLE, STOPPED

SIGNALS = "SIGTERM,SIGINT,SIGUSR1,SIGHUP"


def torchrun(words: list[str]) -> int:
    """Run torchrun in this process; returns the ranks' exit code, see besnet.training.exit_codes."""
    # without it restarted ranks read the ports of the dead ones (pytorch issue 135712)
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main([f"--signals-to-handle={SIGNALS}", *words])
    except ChildFailedError as error:
        return summary([failure.exitcode for failure in error.failures.values()])
    except SignalException:
        return STOPPED  # torchrun passed the signal on and waited until the ranks had saved
    return 0


def summary(codes: list[int]) -> int:
    """One exit code for a job: the one that decides whether a restart makes sense.

    When a rank fails, torchrun ends the others with a signal: they save a checkpoint, or fail because the rank is lost.
    """
    non_retryable = [code for code in codes if code in NON_RETRYABLE and code != STOPPED]
    failed = [code for code in codes if code != STOPPED]
    code = (non_retryable or failed or codes)[0]
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    end_with(whole_number(LAUNCHER, 0, least=1))
    sys.exit(torchrun(sys.argv[1:]))
