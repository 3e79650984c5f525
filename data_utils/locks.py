"""Locks between processes, where the file system has them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock of a file or a folder, then hold it; nothing is written.

    Processes run on where there are no locks: on some network file systems, and on Windows.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    # To write to, where that can be: NFS locks no file for one process alone that is open to be read.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
