"""Which files, how large, with which SHA-256: how whatever is written here says what it was, and how it is checked.

A checkpoint and an exported model are folders with a `manifest.json` over all of their files,
`{name: {"bytes": 12, "sha256": "…"}}`. The features' `manifest.json` says more (`data_utils.manifest`) and has the same
two values for each of its files. A checkpoint has them for the beginning of a log that grows outside of it
(`mt_dnn.record.growing_file`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from data_utils.strict import to_json

MANIFEST = "manifest.json"
BLOCK = 2**20


class Fingerprint(NamedTuple):
    """A file's size in bytes, and their SHA-256 in hexadecimal; of a file that grows, its beginning's."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """Read a file; OSError where it cannot be read."""
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
        return cls(size, digest.hexdigest())

    @classmethod
    def parse(cls, value: Any) -> Fingerprint:
        """From what JSON made of `_asdict()`; ValueError for anything else."""
        if not isinstance(value, dict) or value.keys() != set(cls._fields):
            raise ValueError(f"no size and SHA-256 of a file: {value!r}")
        found = cls(**value)
        if type(found.bytes) is not int or found.bytes < 0 or not isinstance(found.sha256, str):
            raise ValueError(f"no size and SHA-256 of a file: {value!r}")
        return found


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    return Fingerprint.of(path).sha256


def write_list(folder: Path) -> list[Fingerprint]:
    """Write a folder's `manifest.json` over all other files that are in it; returns what it lists."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    listed = {path.relative_to(folder).as_posix(): Fingerprint.of(path) for path in files}
    text = to_json({name: one._asdict() for name, one in listed.items()})
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return list(listed.values())


def damage(folder: Path, required: Collection[str] = (), *, contents: bool = True) -> str | None:
    """Why a folder cannot be used, or None if all of its files are there and as they were written.

    A manifest that names a file outside the folder, by its path or through a link, is refused, and one that lacks a
    `required` file. Without `contents` only names and sizes are compared: quick, and blind to flipped bits.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if not isinstance(manifest, dict):
            return f"{MANIFEST} lists no files"
        if missing := [name for name in required if name not in manifest]:
            return f"{MANIFEST} lacks {', '.join(missing)}"
        for name, listed in manifest.items():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                return f"{MANIFEST} names a file outside the folder: {name!r}"
            if not (folder / name).is_file():
                return f"{name} is not there"
            if not _is_as_listed(folder / name, listed, contents):
                return f"{name} is not what was written"
    except OSError as error:
        return f"{Path(error.filename or MANIFEST).name}: {error.strerror}"
    except (ValueError, RuntimeError) as error:  # RuntimeError: nested too deeply; links in a circle
        return f"{MANIFEST}: {error}"
    return None


def _is_as_listed(path: Path, listed: Any, contents: bool) -> bool:
    if contents:
        return Fingerprint.of(path)._asdict() == listed
    return isinstance(listed, dict) and listed.get("bytes") == path.stat().st_size
