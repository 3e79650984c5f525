"""Every change that a process makes to the files below a folder, and the folder as death before each of them leaves it.

Python tells an audit hook of every file that is opened to write, renamed, removed and so on. It does not tell of what
is written to an open file, of fsync, and of files that safetensors writes in Rust: those are wrapped. A write counts
twice, the second time when half of it is done.

After a power cut a file may have lost whatever was not brought to the disk by fsync: all of it, or where it was only
appended to or shortened since, what came after. Folders are taken to be journalled in order, as common file systems do:
one that has lost its last changes is as it was before an earlier operation.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.mkdir": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 9,
}
"""Audit events of which the first argument is a path, and which argument the folder is that it starts from, if any."""

open_file, fsync, serialize_file = io.open, os.fsync, safetensors.torch.serialize_file


class FileOperations:
    """Counts changes to files below a folder, and copies the folder before each of them, or dies before one.

    Args:
        folder: the folder; changes elsewhere do not count.
        copies: where the copies go, as `0001`, `0002`, …, with `journal`, what each was made before, a line each.
        power_cut: cut in the copies what was not brought to the disk, to half (before an odd change) or to nothing.
        fsync_works: whether fsync brings anything to the disk.
        fatal: the number of the change to die before by SIGKILL, counted from 1; there are no copies then.
    """

    def __init__(
        self, folder: Path, copies: Path, *, power_cut: bool = False, fsync_works: bool = True, fatal: int = 0
    ) -> None:
        self.folder, self.copies, self.fatal = str(folder), copies, fatal
        self.power_cut, self.fsync_works = power_cut, fsync_works
        self.count = 0
        self.on_disk: dict[int, tuple[int, int]] = {}  # by inode: time of the last change, size
        self.safe: dict[str, int] = {}  # by path: the first bytes of a file that grows which are on the disk
        self._asleep = False

    def install(self) -> None:
        """Begin. There is no way back: for a process that is made for it."""
        self.copies.mkdir(parents=True)
        self._journal = os.open(self.copies / "journal", os.O_WRONLY | os.O_CREAT)
        for path in files(Path(self.folder)):
            self._note(os.stat(path))
        sys.addaudithook(self._audit)
        os.fsync = self._fsync
        io.open = builtins.open = self._open
        safetensors.torch.serialize_file = self._serialize_file

    def counts(self, path: str) -> bool:
        """Whether a path lies in the folder."""
        return path == self.folder or path.startswith(self.folder + os.sep)

    def before(self, name: str, path: str) -> None:
        """Take up one change that is about to be made."""
        if self._asleep or not self.counts(path):
            return
        self._asleep = True  # what follows is no change of the process's own
        self.count += 1
        os.write(self._journal, f"{name} {path[len(self.folder) + 1 :]}\n".encode())
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        if not self.fatal and os.path.isdir(self.folder):
            self._copy(self.copies / f"{self.count:04d}")
        self._asleep = False

    def _copy(self, copy: Path) -> None:
        shutil.copytree(self.folder, copy)
        for path in files(Path(self.folder)) if self.power_cut else ():
            stat = os.stat(path)
            if self.on_disk.get(stat.st_ino) != (stat.st_mtime_ns, stat.st_size):
                safe = min(self.safe.get(str(path), 0), stat.st_size)
                lost = (stat.st_size - safe) // (2 if self.count % 2 else 1)
                os.truncate(copy / path.relative_to(self.folder), stat.st_size - lost)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self._asleep:
            return
        if event in CHANGES:
            folder = CHANGES[event]
            path = _full_path(args[0], args[folder] if folder < len(args) else -1)
            self._note_safe(path, shrinks=event == "os.truncate")
            if event == "os.rename":
                self._note_safe(_full_path(args[1], args[3]))
            self.before(event, path)
        elif event == "open" and args[2] & WRITING:
            self._note_safe(_full_path(args[0]), grows=bool(args[2] & os.O_APPEND))
            self.before("open", _full_path(args[0]))

    def _note_safe(self, path: str, *, grows: bool = False, shrinks: bool = False) -> None:
        """Take up that a file is going to be appended to or shortened, or to become another."""
        if not (grows or shrinks):
            self.safe.pop(path, None)
        elif path not in self.safe:
            stat = os.stat(path) if os.path.exists(path) else None
            brought = stat and self.on_disk.get(stat.st_ino) == (stat.st_mtime_ns, stat.st_size)
            self.safe[path] = stat.st_size if stat and brought else 0

    def _open(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
        """`open`, with writes that are counted."""
        if not set(mode) & set("wax+") or isinstance(file, int) or not self.counts(_full_path(file)):
            return open_file(file, mode, buffering, *args, **kwargs)
        raw = _CountedFile(file, mode.replace("t", ""), self)
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, *args, **kwargs, line_buffering=buffering == 1)

    def _fsync(self, descriptor: Any) -> None:
        self.before("fsync", _full_path(descriptor))
        fsync(descriptor)
        if self.fsync_works:
            self._note(os.fstat(descriptor))
            if (path := _full_path(descriptor)) in self.safe:
                self.safe[path] = os.fstat(descriptor).st_size

    def _serialize_file(self, tensors: Any, filename: Any, *args: Any, **kwargs: Any) -> None:
        self.before("serialize_file", _full_path(filename))
        if self.counts(_full_path(filename)):
            serialize_file(tensors, filename, *args, **kwargs)
            self._asleep = True
            os.truncate(filename, os.stat(filename).st_size // 2)
            self._asleep = False
            self.before("serialize_file halfway", _full_path(filename))
        serialize_file(tensors, filename, *args, **kwargs)

    def _note(self, stat: os.stat_result) -> None:
        self.on_disk[stat.st_ino] = (stat.st_mtime_ns, stat.st_size)


class _CountedFile(io.FileIO):
    """A file of which every write is a change, as it reaches the operating system."""

    def __init__(self, path: Any, mode: str, operations: FileOperations) -> None:
        super().__init__(path, mode)
        self._operations, self._path = operations, _full_path(path)

    def write(self, data: Any) -> int:
        half = len(data) // 2
        self._operations.before("write", self._path)
        written = super().write(memoryview(data)[:half])
        self._operations.before("write halfway", self._path)
        return written + super().write(memoryview(data)[half:])

    def truncate(self, size: int | None = None) -> int:
        self._operations.before("truncate", self._path)
        return super().truncate(size)


def _full_path(path: Any, folder: int = -1) -> str:
    """The path of a file that may be given as a descriptor, or relative to an open folder."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    start = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else os.getcwd()
    return os.path.normpath(os.path.join(start, os.fsdecode(path)))


def files(folder: Path) -> Iterator[Path]:
    """All files below a folder, by name."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def content(folder: Path) -> str:
    """A hash of a folder's names and bytes, without the lock's process number."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        if path.is_file() and path.name != "run.lock":
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
