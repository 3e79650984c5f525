"""Features: token ids by row, as JSON lines on disk and as flat arrays in memory.

A line is what MT-DNN writes and reads: `uid`, `label` (class id in the order of the task's labels, or the number of
a regression task), `token_id`, `type_id`, `attention_mask` (all ones: rows are not padded). MT-DNN's older files lack
the mask, call it `mask`, or have numbers for uids; they load too. Our own files also have `texts`: for each text of
the row where it begins and ends among the tokens, and how many tokens it had before it was cut; without them a row
cannot be cut any more. Other keys are not looked at.
"""

from __future__ import annotations

import itertools
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.atomic import sha256_of
from data_utils.canonical import Problems, read_lines
from data_utils.cutting import Text, cut_positions
from data_utils.errors import InputError, raise_all
from data_utils.feature_cache import PackedStrings, read_cache, write_cache
from data_utils.task_names import why_not_trained
from data_utils.manifest import check_features, read_manifest
from data_utils.strict import encodable, parse_json, shown
from data_utils.task_def import MAX_FLOAT32, TaskDef, TaskType

REQUIRED_KEYS = ("uid", "label", "token_id", "type_id")
MASK_KEYS = ("attention_mask", "mask")
MAX_TOKEN_ID = 2**31 - 1
NO_TEXT = [-1, 0, 0]


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """One split of one task.

    Attributes:
        task: its definition.
        split: the split's name.
        uids: the rows' names; a list, or decoded when asked for.
        labels: (rows,) int64 class ids, or float32 values of a regression task.
        token_ids: (tokens,) int32, all rows one after the other.
        type_ids: (tokens,) uint8, likewise.
        offsets: (rows + 1,) int64; row i is `token_ids[offsets[i]:offsets[i + 1]]`.
        texts: (rows, 2, 3) int32: start, stop and uncut length of each text; a start of -1 for one that there is not,
            or whose place is not known.
        sha256: of the features file, in hexadecimal.
    """

    task: TaskDef
    split: str
    uids: Sequence[str]
    labels: np.ndarray
    token_ids: np.ndarray
    type_ids: np.ndarray
    offsets: np.ndarray
    texts: np.ndarray
    sha256: str

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(rows,) int64: tokens of each row, special ones included."""
        return np.diff(self.offsets)

    def positions(self, row: int, room: int, *, left: bool) -> np.ndarray:
        """The tokens of a row, counted over all rows, that stay where it is cut to `room` tokens.

        Raises:
            ValueError: the features do not say where the row's texts lie; see `uncuttable`.
        """
        texts = tuple(Text(*text) for text in self.texts[row].tolist() if text[0] >= 0)
        if not texts:
            raise ValueError(f"{self.task.name} {self.split}: row {self.uids[row]} cannot be cut")
        return self.offsets[row] + cut_positions(texts, int(self.lengths[row]), room, left=left)

    def uncuttable(self, room: int) -> int:
        """How many rows are longer than `room` tokens and do not say where their texts lie."""
        return int(((self.lengths > room) & (self.texts[:, 0, 0] < 0)).sum())


def feature_path(data_dir: str | Path, task_name: str, split: str) -> Path:
    """Where a split's features lie: `<data_dir>/<task>_<split>.json`."""
    return Path(data_dir) / f"{task_name}_{split}.json"


def cache_path(data_dir: str | Path, task_name: str, split: str) -> Path:
    """Where the packed copy of a split's features lies."""
    return Path(data_dir) / f"{task_name}_{split}.cache.safetensors"


def load_features(data_dir: str | Path, task: TaskDef, split: str) -> FeatureSet:
    """Load a split, memory-mapped from the packed cache beside it, which is made on first use where it can be.

    Raises:
        InputError: a missing folder or file; lines that are not features of this task (file, line, what was found);
            a file or label names other than the manifest's; a task type that has no features here.
    """
    if reason := why_not_trained(task.task_type, task.data_format):
        raise InputError(f"task {task.name!r}: {reason}")
    if not os.path.isdir(data_dir):
        raise InputError(f"{data_dir}: no such folder; make features with prepro_std.py first")
    path, packed = feature_path(data_dir, task.name, split), cache_path(data_dir, task.name, split)
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; make it with prepro_std.py --tasks {task.name}")
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    check_features(read_manifest(data_dir), task, split, path, sha256)
    key = {"sha256": sha256, "task_type": task.task_type.value, "n_class": str(task.n_class)}
    tensors = read_cache(packed, key)
    if tensors is None:
        tensors = read_json_lines(path, task)
        if write_cache(packed, tensors, key):
            tensors = read_cache(packed, key) or tensors
    return FeatureSet(
        task=task,
        split=split,
        uids=PackedStrings(tensors["uids"], tensors["uid_offsets"]),
        labels=tensors["labels"],
        token_ids=tensors["token_ids"],
        type_ids=tensors["type_ids"],
        offsets=tensors["offsets"],
        texts=tensors["texts"],
        sha256=sha256,
    )


def read_json_lines(path: Path, task: TaskDef) -> dict[str, np.ndarray]:
    """Parse and check a features file; the arrays of `FeatureSet`, with `uids` as UTF-8 bytes and `uid_offsets`.

    Raises:
        InputError: with file and line for up to ten bad lines and a count of the others.
    """
    problems, tokens, types = Problems(path), array("i"), array("B")
    labels: list[int | float] = []
    uids: list[bytes] = []
    lengths: list[int] = []
    places = array("i")
    for number, line in enumerate(read_lines(path), start=1):
        try:
            uid, label, token_ids, type_ids, texts = _parse_line(line, task)
        except InputError as error:
            problems.add(number, str(error))
            continue
        tokens.extend(token_ids)
        types.extend(type_ids)
        places.extend(texts)
        labels.append(label)
        uids.append(uid)
        lengths.append(len(token_ids))
    raise_all(problems.messages())
    return {
        "uids": np.frombuffer(b"".join(uids), dtype=np.uint8),
        "uid_offsets": _offsets([len(uid) for uid in uids]),
        "labels": np.array(labels, dtype=np.float32 if task.task_type is TaskType.Regression else np.int64),
        "token_ids": np.frombuffer(tokens, dtype=np.int32),
        "type_ids": np.frombuffer(types, dtype=np.uint8),
        "offsets": _offsets(lengths),
        "texts": np.frombuffer(places, dtype=np.int32).reshape(-1, 2, 3),
    }


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _parse_line(line: str, task: TaskDef) -> tuple[bytes, int | float, list[int], list[int], list[int]]:
    try:
        row = parse_json(line)
    except InputError as error:
        raise InputError(f"not a JSON object ({error}); expected one features row a line") from None
    if not isinstance(row, dict):
        raise InputError(f"expected a JSON object, got {type(row).__name__}")
    if missing := [key for key in REQUIRED_KEYS if key not in row]:
        raise InputError(f"lacks {', '.join(missing)}; expected keys: {', '.join(REQUIRED_KEYS)}, attention_mask")
    uid = row["uid"]
    if isinstance(uid, bool) or not isinstance(uid, (str, int)) or uid == "" or not encodable(str(uid)):
        raise InputError(f"uid must be a name or a whole number, got {shown(uid)}")
    tokens = _ids(row, "token_id", MAX_TOKEN_ID)
    types = _ids(row, "type_id", 255)
    for key, values in _with_mask(row, types):
        if not isinstance(values, list) or len(values) != len(tokens):
            found = len(values) if isinstance(values, list) else type(values).__name__
            raise InputError(f"{key} has {found} entries for {len(tokens)} tokens")
        if key in MASK_KEYS and values != [1] * len(tokens):
            raise InputError(f"{key} must be all ones: padded features do not load here; make them without padding")
    return str(uid).encode(), _checked_label(row["label"], task), tokens, types, _texts(row, len(tokens))


def _texts(row: dict[str, Any], tokens: int) -> list[int]:
    """The places of a row's texts, six numbers."""
    if "texts" not in row:
        return NO_TEXT + NO_TEXT
    texts, end = row["texts"], 0
    if not isinstance(texts, list) or not 1 <= len(texts) <= 2:
        raise InputError(f"texts must be a list of one or two places, got {shown(texts)}")
    for text in texts:
        if not isinstance(text, list) or len(text) != 3 or set(map(type, text)) != {int}:
            raise InputError(f"texts must hold start, stop and length of each text, got {shown(text)}")
        start, stop, length = text
        if not (end <= start <= stop <= tokens and stop - start <= length <= MAX_TOKEN_ID):
            raise InputError(f"texts has {shown(text)}, which is no place in a row of {tokens} tokens")
        end = stop
    return [*itertools.chain.from_iterable(texts), *NO_TEXT * (2 - len(texts))]


def _with_mask(row: dict[str, Any], types: list[int]) -> Iterator[tuple[str, Any]]:
    yield "type_id", types
    yield from ((key, row[key]) for key in MASK_KEYS if key in row)


def _ids(row: dict[str, Any], key: str, largest: int) -> list[int]:
    values = row[key]
    if not isinstance(values, list) or not values:
        raise InputError(f"{key} must be a list of at least one number, got {shown(values)}")
    if set(map(type, values)) != {int} or min(values) < 0 or max(values) > largest:
        raise InputError(f"{key} must hold whole numbers from 0 to {largest}, got {shown(values)}")
    return values


def _checked_label(label: Any, task: TaskDef) -> int | float:
    if task.task_type is TaskType.Regression:
        if isinstance(label, bool) or not isinstance(label, (int, float)) or not abs(label) <= MAX_FLOAT32:
            kind = "is not a finite (float32) number"
            raise InputError(f"label {shown(label)} {kind}, and {task.name} is a Regression task")
        return label
    if type(label) is not int or not 0 <= label < task.n_class:
        raise InputError(f"label {shown(label)} is not a class id of {task.name}; allowed: 0 to {task.n_class - 1}")
    return label
