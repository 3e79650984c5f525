"""Compiled functions kept on disk, without which training goes on where the disk refuses them."""

from __future__ import annotations

import contextlib
from typing import Any


class ForgivingCache:
    """A function's cache of Numba's; what it cannot write or read there, as on a full disk, is compiled in memory."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled function."""
        with contextlib.suppress(OSError):
            self._cache.save_overload(signature, compiled)

    def load_overload(self, signature: Any, context: Any) -> Any:
        """What was kept for a signature; None for nothing."""
        with contextlib.suppress(OSError):
            return self._cache.load_overload(signature, context)
        return None

    def __getattr__(self, name: str) -> Any:
        """Numba's own, in everything else."""
        return getattr(self._cache, name)
