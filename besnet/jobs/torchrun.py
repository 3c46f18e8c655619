"""torchrun with the exit code of its ranks: `python -m besnet.jobs.torchrun ARGUMENTS OF TORCHRUN`.

torchrun itself leaves with 1 whatever happened; a launcher has to know whether trying again makes sense.
"""

import os
import sys

from besnet.environment import LAUNCHER, whole_number
from besnet.supervision import end_with
from besnet.training.exit_codes import NON_RETRYABLE, STOPPED

SIGNALS = "SIGTERM,SIGINT,SIGUSR1,SIGHUP"


def torchrun(words: list[str]) -> int:
    """Run torchrun in this process; returns the ranks' exit code, see besnet.training.exit_codes."""
    # without it ranks that are started again read the ports of those that died (pytorch issue 135712)
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main([f"--signals-to-handle={SIGNALS}", *words])
    except ChildFailedError as error:
        return summary([failure.exitcode for failure in error.failures.values()])
    except SignalException:
        return STOPPED  # torchrun passed the signal on and waited for the ranks, which save themselves
    return 0


def summary(codes: list[int]) -> int:
    """One code for a job: the one that says most about whether to try again.

    When a rank fails, torchrun ends the others with a signal: they save themselves, or die of the lost rank.
    """
    non_retryable = [code for code in codes if code in NON_RETRYABLE and code != STOPPED]
    failed = [code for code in codes if code != STOPPED]
    code = (non_retryable or failed or codes)[0]
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    end_with(whole_number(LAUNCHER, 0, least=1))
    sys.exit(torchrun(sys.argv[1:]))
