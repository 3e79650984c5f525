"""Files and folders that are whole or not there, whenever the power goes.

What is new is written beside its place, brought to the disk, and moved there in one rename. A folder's `manifest.json`,
written last, has every file's size and SHA-256, so that what was damaged later is found, too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from data_utils.atomic import sha256_of
from data_utils.errors import StoppedError

MANIFEST = "manifest.json"
PARTIAL, RETIRED = ".partial", ".old"
"""Endings of what is being written, and of what was replaced and is about to go."""


@contextlib.contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn a failure to write in the block (a full disk, a read-only folder) into a `StoppedError` that says so."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise StoppedError(
            f"{what} cannot be written: {reason}. What was saved before stands: "
            "make room, or make the folder writable, and go on with --resume"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Put a file in place, in one rename."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8")
    fsync(partial)
    os.replace(partial, path)
    fsync(path.parent)


def to_json(value: Any) -> str:
    """JSON text as all of a run's files have it; ValueError for numbers that are not finite."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_folder(target: Path, fill: Callable[[Path], None]) -> int:
    """Fill a folder beside `target`, add its manifest, and put it in `target`'s place; returns its size in bytes.

    A folder cannot replace another in one step: a crash between the two renames leaves the one before as `.old`,
    where `settle` finds it. What was written of a folder that fails is removed again.
    """
    partial, retired = target.with_name(target.name + PARTIAL), target.with_name(target.name + RETIRED)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if not target.parent.is_dir():
            target.parent.mkdir()
            fsync(target.parent.parent)
        partial.mkdir()
        fill(partial)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        manifest = {path.relative_to(partial).as_posix(): _fingerprint(path) for path in files}
        (partial / MANIFEST).write_text(to_json(manifest), encoding="utf-8")
        for path in [*files, partial / MANIFEST, *(p for p in partial.rglob("*") if p.is_dir()), partial]:
            fsync(path)
        if target.exists():
            remove_folder(retired)
            os.rename(target, retired)
        os.rename(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    fsync(target.parent)
    shutil.rmtree(retired, ignore_errors=True)
    return sum(entry["bytes"] for entry in manifest.values())


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


def damage(folder: Path, required: Collection[str] = ()) -> str | None:
    """Why a folder cannot be used, or None if all of its files are there and as they were written.

    A manifest that names a file outside the folder, by its path or through a link, is refused, and one that lacks a
    `required` file.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if not isinstance(manifest, dict):
            return f"{MANIFEST} lists no files"
        if missing := [name for name in required if name not in manifest]:
            return f"{MANIFEST} lacks {', '.join(missing)}"
        for name, expected in manifest.items():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                return f"{MANIFEST} names a file outside the folder: {name!r}"
            if not (folder / name).is_file():
                return f"{name} is not there"
            if _fingerprint(folder / name) != expected:
                return f"{name} is not what was written"
    except OSError as error:
        return f"{Path(error.filename or MANIFEST).name}: {error.strerror}"
    except (ValueError, RuntimeError) as error:  # RuntimeError: nested too deeply; links in a circle
        return f"{MANIFEST}: {error}"
    return None


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def fsync(path: Path) -> None:
    """Bring a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # some network file systems
            raise
    finally:
        os.close(descriptor)
