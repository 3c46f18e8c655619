"""Memory that a training step frees and the next one needs again."""

import ctypes
import sys

# Of malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for training on a CPU: after one step the next needs no more.

    Otherwise the C library gives large blocks (feature maps, gradients) back to the system, which clears every page
    of them again at the next step. Only glibc can be told so; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap, too
        mallopt(M_TRIM_THRESHOLD, -1)  # whose free end stays
