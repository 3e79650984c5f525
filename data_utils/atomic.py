"""All-or-nothing writing: files and folders that are whole or not there, whenever the process dies or the power goes.

What is new is written beside its place, brought to the disk, and moved there in one rename; then the folder's list of
names is brought to the disk, too. `StagedFiles` and `write_new_folder` are for commands, several of which may write to
one folder at once: their temporary names are each process's own. `write_text`, `write_folder` and `remove_folder` are
for a folder that one process has for itself, as a run has its own: their temporary names tell `settle` what a crash has
left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from data_utils.errors import InputError, StoppedError
from data_utils.fingerprints import damage, write_list
from data_utils.locks import locked

PARTIAL, RETIRED = ".partial", ".old"
"""Endings of what is being written, and of what was replaced and is about to go."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""A disk or a quota that is full, a file that may grow no further, a disk that fails or is read-only."""


class StagedFiles:
    """A set of files that appear together when the `with` block ends well, and leave no trace when it does not.

    Folders that had to be made on the way are removed again on failure, unless someone else has put files there.
    """

    def __init__(self) -> None:
        self._moves: list[tuple[Path, Path]] = []
        self._made: list[Path] = []
        self._locks = contextlib.ExitStack()

    def __enter__(self) -> StagedFiles:
        return self

    def path(self, final: Path) -> Path:
        """The temporary path, in the same folder, under which to write what will become `final`.

        Raises:
            InputError: the folder cannot be made or written to, or `final` is itself a folder.
        """
        self._make_folder(final.parent)
        if final.is_dir():
            raise InputError(f"{final}: cannot be written: it is a folder")
        if not os.access(final.parent, os.W_OK):
            raise InputError(f"{final.parent}: the folder is not writable")
        partial = _own_partial(final)
        self._moves.append((partial, final))
        return partial

    def lock(self, folder: Path) -> None:
        """Keep other processes that do the same out of a folder until the files are in place; waits for them."""
        self._locks.enter_context(locked(folder))

    def _make_folder(self, folder: Path) -> None:
        missing = [p for p in (folder, *folder.parents) if not os.path.exists(p)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise InputError(f"{folder}: the folder cannot be made: {getattr(error, 'strerror', error)}") from None
        self._made += missing

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._locks, refused_by_disk(self._moves[-1][1] if self._moves else None):
            try:
                if error is not None:
                    raise error
                _put_in_place(self._moves)
                for folder in self._made:
                    fsync(folder.parent)
            except BaseException:
                with contextlib.suppress(OSError):  # the first error says more: a disk that has gone read-only
                    self._withdraw()
                raise

    def _withdraw(self) -> None:
        """Remove what was written and has not been moved into place."""
        for partial, _ in self._moves:
            partial.unlink(missing_ok=True)
        for folder in sorted(self._made, key=lambda made: len(made.parts), reverse=True):  # innermost first
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


@contextlib.contextmanager
def refused_by_disk(what: object) -> Iterator[None]:
    """Turn a full, failing or read-only disk in the block into a `StoppedError` that says what cannot be written."""
    try:
        yield
    except OSError as error:
        if what is None or error.errno not in DISK_ERRORS:
            raise
        raise StoppedError(f"{what} cannot be written: {os.strerror(error.errno)}") from error


@contextlib.contextmanager
def replacing(final: Path, partial: Path | None = None) -> Iterator[Path]:
    """Yield a path to write a file to, and put that file in `final`'s place; nothing is left of one that fails.

    `partial` is the path; without it, one of this process's own.
    """
    partial = partial or _own_partial(final)
    try:
        yield partial
        _put_in_place([(partial, final)])
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more: a disk that has gone read-only
            partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Put a text file in place, in one rename; OSError where it cannot be written."""
    with replacing(path, path.with_name(path.name + PARTIAL)) as partial:
        partial.write_text(text, encoding="utf-8")


def write_folder(target: Path, fill: Callable[[Path], None]) -> int:
    """Fill a folder beside `target`, add its manifest, and put it in `target`'s place; returns its size in bytes.

    A folder cannot replace another in one step: a crash between the two renames leaves the one before as `.old`,
    where `settle` finds it. What was written of a folder that fails is removed again.
    """
    partial, retired = target.with_name(target.name + PARTIAL), target.with_name(target.name + RETIRED)
    shutil.rmtree(partial, ignore_errors=True)
    with _gone_on_failure(partial):
        if not target.parent.is_dir():
            target.parent.mkdir()
            fsync(target.parent.parent)
        size = _fill(partial, fill)
        if target.exists():
            remove_folder(retired)
            os.rename(target, retired)
        os.rename(partial, target)
    fsync(target.parent)
    shutil.rmtree(retired, ignore_errors=True)
    return size


def write_new_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder, add its manifest, and put it where nothing is, or an empty folder; nothing else is touched.

    Raises:
        OSError: it cannot be written, or something is at `target`.
    """
    target = Path(os.path.realpath(target))  # `.` has no name, and a link cannot be replaced by a folder
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _own_partial(target)
    with _gone_on_failure(partial):
        _fill(partial, fill)
        os.rename(partial, target)
    fsync(target.parent)


def _fill(folder: Path, fill: Callable[[Path], None]) -> int:
    """Make a folder, fill it, add its manifest, and bring all of it to the disk; returns its size in bytes."""
    folder.mkdir()
    fill(folder)
    listed = write_list(folder)
    for path in [*sorted(folder.rglob("*")), folder]:
        fsync(path)
    return sum(one.bytes for one in listed)


@contextlib.contextmanager
def _gone_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def remove_folder(folder: Path) -> None:
    """Remove a folder so that a crash on the way leaves it whole, or under a name that nobody reads."""
    if folder.exists():
        doomed = folder.with_name(folder.name + PARTIAL)
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def settle(parent: Path, ours: re.Pattern[str]) -> None:
    """Clear up after a crash in `parent`: half-written things go; what was being replaced goes, or comes back.

    Only names that `ours` matches are touched, with the endings that this module gives them.
    """
    for path in sorted(parent.glob("*" + PARTIAL)):
        if ours.fullmatch(path.name.removesuffix(PARTIAL).removesuffix(RETIRED)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for retired in sorted(parent.glob("*" + RETIRED)):
        target = retired.with_name(retired.name.removesuffix(RETIRED))
        if not ours.fullmatch(target.name):
            continue
        if target.exists():
            remove_folder(retired)
        elif damage(retired) is None:
            os.rename(retired, target)


def fsync(path: Path) -> None:
    """Bring a file's content, or a folder's list of names, to the disk; a folder that cannot be is passed over."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # one that may be entered and written to, not listed
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # some network file systems
            raise
    finally:
        os.close(descriptor)


def _own_partial(final: Path) -> Path:
    """A temporary name that no other process uses."""
    return final.with_name(f".{final.name}.{os.getpid()}{PARTIAL}")


def _put_in_place(moves: Sequence[tuple[Path, Path]]) -> None:
    """Bring files to the disk, then move each from its temporary name to its own, in this order."""
    for partial, _ in moves:
        fsync(partial)
    for partial, final in moves:
        os.replace(partial, final)
    for folder in dict.fromkeys(final.parent for _, final in moves):
        fsync(folder)
