"""Memory that an update frees is kept for the next one, where glibc allocates it."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> None:
    """Have glibc keep up to 1 GiB of freed memory at its heap's end, and map no tensor by itself; elsewhere a no-op.

    By default each large tensor is mapped anew and the kernel fills it with zeros, page by page: some 12,000 page
    faults an update of a small encoder.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)  # a higher M_MMAP_THRESHOLD would be refused beyond 32 MiB
        mallopt(M_TRIM_THRESHOLD, 2**30)
        mallopt(M_TOP_PAD, 2**26)
