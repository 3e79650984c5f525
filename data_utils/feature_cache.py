"""The packed copy of a features file: flat arrays in one safetensors file, memory-mapped when read.

A copy is good for one content of the JSON file only: its SHA-256 is in the header, beside one over the arrays
themselves. A copy that does not match, is of another format or is damaged in any bit counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import struct
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from data_utils.atomic import replacing
from data_utils.kinds.kind import ROW, SEQUENCE, TOKEN, Column, Kind

FORMAT = "5"
"""5: columns of all kinds; 4: with the keys that are not read; 3: with the places of texts; 2: with the arrays' own
hash; 1: without."""

DTYPES: dict[str, type[np.generic]] = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32}
NAMES = ("uids", "uids_offsets", "labels", "token_ids", "type_ids", "offsets", "texts", "unused")
"""The arrays of all kinds; a kind's own come on top."""


class LazyStrings(Sequence[str]):
    """A list of strings, each made when it is asked for by `at`."""

    @abstractmethod
    def at(self, index: int) -> str:
        """The string of this number, 0 or more."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One string, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self.at(i) for i in range(*index.indices(len(self)))]
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.at(i)


class PackedStrings(LazyStrings):
    """A list of strings held as UTF-8 bytes, each decoded when it is asked for.

    Args:
        buffer: (bytes,) uint8, all strings one after the other.
        offsets: (strings + 1,) int64; string i is `buffer[offsets[i]:offsets[i + 1]]`.
    """

    def __init__(self, buffer: np.ndarray, offsets: np.ndarray) -> None:
        self._buffer, self._offsets = buffer, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def at(self, index: int) -> str:
        """Decode one."""
        return self._buffer[self._offsets[index] : self._offsets[index + 1]].tobytes().decode()


def offsets_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where each of so many begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def pack_strings(name: str, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """A column of text as two arrays: its UTF-8 bytes, and where each text begins."""
    encoded = [text.encode() for text in texts]
    return {
        name: np.frombuffer(b"".join(encoded), dtype=np.uint8),
        f"{name}_offsets": offsets_of([len(text) for text in encoded]),
    }


def unpack(arrays: Mapping[str, np.ndarray], name: str, column: Column) -> np.ndarray | PackedStrings:
    """A column from the arrays that hold it."""
    return PackedStrings(arrays[name], arrays[f"{name}_offsets"]) if column.dtype is np.str_ else arrays[name]


def write_cache(path: Path, tensors: Mapping[str, np.ndarray], key: Mapping[str, str]) -> bool:
    """Write the copy, all of it or nothing; False where the folder cannot be written to."""
    try:
        with replacing(path) as partial:
            save_file(dict(tensors), partial, metadata={"format": FORMAT, **key, "content": content_hash(tensors)})
    except (OSError, SafetensorError):  # safetensors reports a full or read-only disk in its own way
        return False
    return True


def read_cache(path: Path, key: Mapping[str, str], kind: Kind) -> dict[str, np.ndarray] | None:
    """Memory-map the copy; None where it is absent, damaged, or of other content than `key` says."""
    try:
        with path.open("rb") as file:
            (header_size,) = struct.unpack("<Q", file.read(8))
            if header_size > 1 << 20:
                return None
            header = json.loads(file.read(header_size))
        content = header["__metadata__"].pop("content")
        if header["__metadata__"] != {"format": FORMAT, **key}:
            return None
        names = header.keys() - {"__metadata__"}
        tensors = {name: _map_tensor(path, header[name], 8 + header_size) for name in names}
        return tensors if content == content_hash(tensors) and _fit_together(tensors, kind) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, struct.error):
        return None  # whatever else a damaged header holds: the copy is made again


def content_hash(tensors: Mapping[str, np.ndarray]) -> str:
    """The hexadecimal SHA-256 over all arrays: their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _map_tensor(path: Path, entry: Mapping[str, Any], data_start: int) -> np.ndarray:
    """One array of a safetensors file; numpy raises ValueError where the file is too short for it."""
    first, last = entry["data_offsets"]
    dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
    if last - first != dtype.itemsize * int(np.prod(shape)):
        raise ValueError(f"{path}: sizes do not agree")
    return np.memmap(path, dtype=dtype, mode="r", offset=data_start + first, shape=shape)


def _fit_together(tensors: Mapping[str, np.ndarray], kind: Kind) -> bool:
    """Whether the arrays are those of a kind, each as long as the others say."""
    text = {name for name, column in kind.columns.items() if column.dtype is np.str_}
    wanted = {*NAMES, *kind.columns, *(f"{name}_offsets" for name in text), *(["groups"] if kind.nested else [])}
    if tensors.keys() != wanted:
        return False
    rows, offsets = len(tensors["uids_offsets"]) - 1, tensors["offsets"]
    sequences, tokens = len(offsets) - 1, len(tensors["token_ids"])
    counts = {ROW: rows, SEQUENCE: sequences, TOKEN: tokens}
    whole = [("offsets", tokens, 1), ("uids_offsets", len(tensors["uids"]), 1)]  # starts, where they end, least step
    whole += [("groups", sequences, 1)] if kind.nested else []
    whole += [(f"{name}_offsets", len(tensors[name]), 0) for name in text]
    return (
        all(_are_offsets(tensors[name], end, step) for name, end, step in whole)
        and (rows == len(tensors["groups"]) - 1 if kind.nested else rows == sequences)
        and len(tensors["labels"]) == counts[kind.label.level]
        and all(
            len(tensors[f"{name}_offsets"]) - 1 == counts[column.level]
            if name in text
            else len(tensors[name]) == counts[column.level]
            for name, column in kind.columns.items()
        )
        and tensors["texts"].shape == (sequences, 2, 3)
        and len(tensors["type_ids"]) == tokens
    )


def _are_offsets(offsets: np.ndarray, end: int, step: int) -> bool:
    return bool(offsets[0] == 0 and offsets[-1] == end and (np.diff(offsets) >= step).all())
