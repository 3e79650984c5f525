"""All-or-nothing writing: files get temporary names first and their real ones together, at the end."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType

from data_utils.errors import InputError


class StagedFiles:
    """A set of files that appear together when the `with` block ends well, and leave no trace when it does not.

    Folders that had to be made on the way are removed again on failure, unless someone else has put files there.
    """

    def __init__(self) -> None:
        self._moves: list[tuple[Path, Path]] = []
        self._made: list[Path] = []

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
        partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
        self._moves.append((partial, final))
        return partial

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
        if kind is None:
            for partial, final in self._moves:
                os.replace(partial, final)
            return
        for partial, _ in self._moves:
            partial.unlink(missing_ok=True)
        for folder in self._made:  # innermost first, as they were listed
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
