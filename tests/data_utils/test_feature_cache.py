"""The packed cache: what is damaged in any bit is made again, and what is written is on the disk."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_utils import feature_cache
from data_utils.feature_cache import NAMES, read_cache, write_cache
from data_utils.kinds import KINDS

KIND = KINDS["Classification"]
KEY = {"sha256": "0" * 64, "task_type": "Classification", "n_class": "2"}
TENSORS = {
    "uids": np.frombuffer(b"abc", np.uint8),
    "uids_offsets": np.array([0, 1, 3]),
    "labels": np.array([1, 0]),
    "token_ids": np.array([2, 5, 3, 9], np.int32),
    "type_ids": np.array([0, 0, 1, 0], np.uint8),
    "offsets": np.array([0, 3, 4]),
    "texts": np.array([[[1, 2, 5], [-1, 0, 0]], [[0, 1, 1], [1, 1, 0]]], np.int32),
    "unused": np.frombuffer(b"{}", np.uint8),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.cache.safetensors"
    assert write_cache(path, TENSORS, KEY)
    read = read_cache(path, KEY, KIND)
    assert read is not None and read.keys() == set(NAMES)
    for name, array in TENSORS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_change_of_any_bit_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.cache.safetensors"
    write_cache(path, TENSORS, KEY)
    whole = path.read_bytes()
    unseen = []
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        if (read := read_cache(path, KEY, KIND)) is not None:
            same = all(np.array_equal(read[name], TENSORS[name]) for name in NAMES)
            unseen += [] if same else [place]
    assert not unseen


def test_a_copy_without_a_hash_is_of_an_older_version(tmp_path: Path) -> None:
    path = tmp_path / "x.cache.safetensors"
    feature_cache.save_file(TENSORS, path, metadata={"format": "1", **KEY})
    assert read_cache(path, KEY, KIND) is None


HEADERS: list[Any] = [None, [], 3, "x", {}, {"__metadata__": None}, {"__metadata__": []}, {"__metadata__": "content"}]


@pytest.mark.parametrize("header", [*map(json.dumps, HEADERS), "[" * 100_000, "{", "\xff"], ids=lambda h: ascii(h[:30]))
def test_odd_headers(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.cache.safetensors"
    data = header.encode("latin-1")
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    assert read_cache(path, KEY, KIND) is None


@pytest.mark.parametrize(
    "entry", [None, {}, {"data_offsets": [0, 8**30], "dtype": "U8", "shape": [8**30]}, {"dtype": []}]
)
def test_odd_entries(tmp_path: Path, entry: Any) -> None:
    path = tmp_path / "x.cache.safetensors"
    metadata = {"format": feature_cache.FORMAT, "content": feature_cache.content_hash(TENSORS), **KEY}
    data = json.dumps({"__metadata__": metadata, **dict.fromkeys(NAMES, entry)}).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    assert read_cache(path, KEY, KIND) is None


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    path = tmp_path / "x.cache.safetensors"
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(f"fsync, {path.exists()}"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("replace"), replace(*names)))
    assert write_cache(path, TENSORS, KEY)
    assert done == ["fsync, False", "replace", "fsync, True"]  # the last one is the folder's


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """Safetensors reports that by an exception of its own, which is no OSError."""
    assert not write_cache(tmp_path / "none" / "x.cache.safetensors", TENSORS, KEY)
