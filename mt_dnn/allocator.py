"""Memory that an update frees is kept for the next one, where glibc allocates it."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def keep_freed_memory() -> None:
    """Have glibc give freed memory back only beyond 1 GiB; elsewhere nothing happens.

    By default each large tensor is mapped anew and the kernel fills it with zeros, page by page: some 12,000 page
    faults an update of a small encoder. The process's peak grows little, as all of it is needed again. What the user
    sets by MALLOC_ variables is for glibc's start and loses against this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if hasattr(ctypes, "CDLL") else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**30)
        mallopt(M_TOP_PAD, 2**26)
