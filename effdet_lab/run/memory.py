"""Memory that a training on the CPU frees is kept for its next step."""

import ctypes
import sys

# Parameters of mallopt. Source: glibc malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_TENSOR = 2**30  # bytes; larger ones still go back to the system
KEPT = 2**31 - 1  # bytes


def keep_freed_memory() -> None:
    """Ask glibc not to return large blocks to the system.

    Otherwise every activation of every step is mapped and zeroed anew: a third of the time of a detector's step.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(M_MMAP_THRESHOLD, LARGEST_TENSOR)
        mallopt(M_TRIM_THRESHOLD, KEPT)
