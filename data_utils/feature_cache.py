"""The packed copy of a features file: flat arrays in one safetensors file, memory-mapped when read.

A copy is good for one content of the JSON file only: its SHA-256 is in the header, beside one over the arrays
themselves. A copy that does not match, is of another format or is damaged in any bit counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

FORMAT = (
    "4"  # 4: with the keys that are not read; 3: with the places of texts; 2: with the arrays' own hash; 1: without
)
DTYPES: dict[str, type[np.generic]] = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32}
NAMES = ("uids", "uid_offsets", "labels", "token_ids", "type_ids", "offsets", "texts", "unused")


class PackedStrings(Sequence[str]):
    """A list of strings held as UTF-8 bytes, each decoded when it is asked for.

    Args:
        buffer: (bytes,) uint8, all strings one after the other.
        offsets: (strings + 1,) int64; string i is `buffer[offsets[i]:offsets[i + 1]]`.
    """

    def __init__(self, buffer: np.ndarray, offsets: np.ndarray) -> None:
        self._buffer, self._offsets = buffer, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One string, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._buffer[self._offsets[i] : self._offsets[i + 1]].tobytes().decode()


def write_cache(path: Path, tensors: Mapping[str, np.ndarray], key: Mapping[str, str]) -> bool:
    """Write the copy under a temporary name and move it into place; False where the folder cannot be written to."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(dict(tensors), partial, metadata={"format": FORMAT, **key, "content": content_hash(tensors)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # else a power loss can leave the new name with nothing behind it
        os.replace(partial, path)
    except (OSError, SafetensorError):  # safetensors reports a full or read-only disk in its own way
        partial.unlink(missing_ok=True)
        return False
    return True


def read_cache(path: Path, key: Mapping[str, str]) -> dict[str, np.ndarray] | None:
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
        tensors = {name: _map_tensor(path, header[name], 8 + header_size) for name in NAMES}
        return tensors if content == content_hash(tensors) and _fit_together(tensors) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, struct.error):
        return None  # whatever else a damaged header holds: the copy is made again


def content_hash(tensors: Mapping[str, np.ndarray]) -> str:
    """The hexadecimal SHA-256 over all arrays: their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in NAMES:
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


def _fit_together(tensors: Mapping[str, np.ndarray]) -> bool:
    offsets, uid_offsets = tensors["offsets"], tensors["uid_offsets"]
    return (
        len(offsets) == len(uid_offsets) == len(tensors["labels"]) + 1
        and offsets[0] == uid_offsets[0] == 0
        and tensors["texts"].shape == (len(tensors["labels"]), 2, 3)
        and offsets[-1] == len(tensors["token_ids"]) == len(tensors["type_ids"])
        and uid_offsets[-1] == len(tensors["uids"])
        and bool((np.diff(offsets) > 0).all() and (np.diff(uid_offsets) > 0).all())
    )
