"""A file of lines that only grows: checkpoints keep a mark of how far it reached, resumed runs cut it back to there.

So a large log need not be copied into every checkpoint. The mark is good if the file's beginning is on the disk before
the checkpoint is: `sync` first, then save.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from data_utils.atomic import fsync
from data_utils.fingerprints import Fingerprint

CHUNK = 2**20
NOTHING = Fingerprint(0, hashlib.sha256().hexdigest())
"""The mark of a file that is empty, or not there."""


class GrowingFile:
    """Appends lines to a file, which is made with the first of them.

    Args:
        path: the file. What it holds beyond `mark` is removed.
        mark: its beginning.

    Attributes:
        damage: what is wrong with the file's beginning, None if nothing. Its whole lines are kept all the same.

    All methods raise OSError.
    """

    def __init__(self, path: Path, mark: Fingerprint = NOTHING) -> None:
        self.path = path
        self.damage: str | None = None
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0
        self._cut(mark)

    def _cut(self, mark: Fingerprint) -> None:
        """Cut the file back to the mark, or to its last whole line before."""
        if self.path.exists():
            if not mark.bytes:
                self.path.unlink()
                return
            kept = _last_line_end(self.path, mark.bytes)
            if kept < self.path.stat().st_size:
                os.truncate(self.path, kept)
            with self.path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    self._take(chunk)
        if self._size < mark.bytes:
            self.damage = f"it has {self._size:,} bytes of {mark.bytes:,}"
        elif self._digest.hexdigest() != mark.sha256:
            self.damage = "it is not what was written"

    def append(self, line: str) -> None:
        """Append a line, and hand it to the operating system."""
        if self._file is None:
            self._file = self.path.open("ab")
        data = line.encode() + b"\n"
        self._file.write(data)
        self._file.flush()
        self._take(data)

    def sync(self) -> Fingerprint:
        """Bring all lines to the disk; returns the mark of the file as it is."""
        if self._file:
            os.fsync(self._file.fileno())
            fsync(self.path.parent)  # it may have been made since the last time
        return Fingerprint(self._size, self._digest.hexdigest())

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def _take(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)


def _last_line_end(path: Path, within: int) -> int:
    """Where the last whole line among a file's first `within` bytes ends; 0 if there is none."""
    with path.open("rb") as file:
        end = min(within, path.stat().st_size)
        while end:
            start = max(0, end - CHUNK)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
    return 0
