"""Keeps the memory that a training step frees, because the next step needs it again."""

import ctypes
import sys

# Of malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for training on a CPU.

    Otherwise the C library returns large blocks (feature maps, gradients) to the system, which clears their pages again
    at the next step. Works with glibc only; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap, too
        mallopt(M_TRIM_THRESHOLD, -1)  # whose free end stays
