"""Threads that share out the work of a step: as many as torch uses, none where there is little to do."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

LEAST = 2**15
"""Elements that are worth waking a thread for, which takes as long as updating some ten thousand."""


def run(step: Callable[..., None], work: np.ndarray, *arguments: Any) -> None:
    """Call `step(work, low, high, *arguments)` for ranges of rows that cover the work, one in each thread.

    `step` lets go of the interpreter's lock. Who does a row makes no difference to its result.
    """
    done = np.cumsum(work[:, 2] - work[:, 1])
    elements = int(done[-1]) if len(done) else 0
    threads = max(1, min(torch.get_num_threads(), elements // LEAST))
    edges = [0, *np.searchsorted(done, np.arange(1, threads) * elements / threads).tolist(), len(work)]
    if threads == 1:
        step(work, 0, len(work), *arguments)
        return
    ranges = list(itertools.pairwise(edges))
    pool = _pool(torch.get_num_threads())  # of one size for large and small groups: it stays
    others = [pool.submit(step, work, *rows, *arguments) for rows in ranges[1:]]
    try:
        step(work, *ranges[0], *arguments)
    finally:
        for other in others:
            other.result()


@functools.lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="optimizer")


if hasattr(os, "register_at_fork"):  # threads do not go along into a fork: that makes its own
    os.register_at_fork(after_in_child=_pool.cache_clear)
