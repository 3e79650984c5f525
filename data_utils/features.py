"""Features in memory: one split of one task as named flat arrays, loaded from JSON lines or from their packed copy."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_utils.cutting import Text, cut_positions
from data_utils.errors import InputError
from data_utils.feature_cache import LazyStrings, PackedStrings, offsets_of, read_cache, unpack, write_cache
from data_utils.feature_json import NO_TEXT, read_json_lines
from data_utils.fingerprints import Fingerprint
from data_utils.kinds.kind import ROW, SEQUENCE, Column, Feature
from data_utils.manifest import check_features, read_manifest
from data_utils.task_def import TaskDef


class SoftLabels(NamedTuple):
    """What a teacher says of a split's rows, for a student to learn from.

    Attributes:
        logits: (sequences, width) or (tokens, width) float32, as the kind's `level` says: the outputs of the teacher's
            head before the softmax, of a regression in the units that the task trains on; zeros for tokens that are not
            learned from.
        source: the file that they come from.
        sha256: of that file, in hexadecimal.
        others: its lines that are of other rows.
    """

    logits: np.ndarray
    source: str
    sha256: str
    others: int = 0


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """One split of one task. Words such as row and sequence: see `data_utils.kinds.kind`.

    Attributes:
        task: its definition.
        split: the split's name.
        origin: the task whose file the rows come from, where it is another one; see `TaskDef.train_files`.
        uids: the rows' names; a list, or decoded when asked for.
        labels: the kind's `label` column, one value a row or a token.
        token_ids: (tokens,) int32, all sequences one after the other.
        type_ids: (tokens,) uint8, likewise.
        offsets: (sequences + 1,) int64; sequence i is `token_ids[offsets[i]:offsets[i + 1]]`.
        texts: (sequences, 2, 3) int32: start, stop and uncut length of each text; a start of -1 for one that there is
            not, or whose place is not known.
        sha256: of the features file, in hexadecimal.
        groups: (rows + 1,) int64; row i has the sequences `groups[i]` to `groups[i + 1]`. None: one each.
        columns: the kind's further columns; text is a list.
        unused: how many rows of the file have each key that is not used here.
        soft: a teacher's outputs for these rows; None where there is no teacher.
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
    groups: np.ndarray | None = None
    columns: Mapping[str, np.ndarray | Sequence[str]] = field(default_factory=dict)
    unused: Mapping[str, int] = field(default_factory=dict)
    origin: str = ""
    soft: SoftLabels | None = None

    @property
    def stem(self) -> str:
        """The name of their file without its ending, `<task>_<split>`."""
        return f"{self.origin or self.task.name}_{self.split}"

    def __len__(self) -> int:
        return len(self.uids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(sequences,) int64: tokens of each, special ones included."""
        return np.diff(self.offsets)

    @cached_property
    def starts(self) -> np.ndarray:
        """(rows + 1,) int64: each row's first sequence, and at the end how many there are."""
        return np.arange(len(self) + 1) if self.groups is None else self.groups

    @cached_property
    def sizes(self) -> np.ndarray:
        """(rows,) int64: sequences of each row."""
        return np.diff(self.starts)

    @cached_property
    def longest(self) -> np.ndarray:
        """(rows,) int64: tokens of the longest sequence of each row."""
        return self.lengths if self.groups is None else np.maximum.reduceat(self.lengths, self.groups[:-1])

    def numbers(self, name: str) -> np.ndarray:
        """A further column that holds numbers."""
        return np.asarray(self.columns[name])

    def sequences(self, rows: np.ndarray) -> np.ndarray:
        """The sequences of some rows, one row after the other."""
        if self.groups is None:
            return rows
        return ranges(self.groups[rows], self.sizes[rows])

    def positions(self, sequence: int, room: int, *, left: bool) -> np.ndarray:
        """The tokens of a sequence, counted over all of them, that stay where it is cut to `room` tokens.

        Raises:
            ValueError: the features do not say where the sequence's texts lie; see `uncuttable`.
        """
        texts = tuple(Text(*text) for text in self.texts[sequence].tolist() if text[0] >= 0)
        if not texts:
            row = int(np.searchsorted(self.starts, sequence, side="right")) - 1
            raise ValueError(f"{self.task.name} {self.split}: row {self.uids[row]} cannot be cut")
        return self.offsets[sequence] + cut_positions(texts, int(self.lengths[sequence]), room, left=left)

    @cached_property
    def output_starts(self) -> np.ndarray:
        """(rows + 1,) int64: each row's first output (a sequence's or a token's), and at the end how many there are."""
        return self.starts if self.task.kind.level == SEQUENCE else self.offsets[self.starts]

    def uncuttable(self, room: int) -> int:
        """How many sequences are longer than `room` tokens and cannot be cut.

        They do not say where their texts lie, or are of a kind that is not cut.
        """
        unknown = (self.texts[:, 0, 0] < 0) | (not self.task.kind.cuttable)
        return int(((self.lengths > room) & unknown).sum())

    def select(self, rows: np.ndarray) -> FeatureSet:
        """The split of the given rows alone, in their order; `rows` are indices, (n,) int64."""
        sequences = self.sequences(rows)
        tokens = ranges(self.offsets[sequences], self.lengths[sequences])

        def index(column: Column) -> np.ndarray:
            return rows if column.level == ROW else sequences if column.level == SEQUENCE else tokens

        def chosen(values: np.ndarray | Sequence[str], column: Column) -> np.ndarray | list[str]:
            return values[index(column)] if isinstance(values, np.ndarray) else [values[i] for i in index(column)]

        kind, soft = self.task.kind, self.soft
        outputs = sequences if kind.level == SEQUENCE else tokens
        return replace(
            self,
            uids=[self.uids[row] for row in rows],
            labels=self.labels[index(kind.label)],
            token_ids=self.token_ids[tokens],
            type_ids=self.type_ids[tokens],
            offsets=offsets_of(self.lengths[sequences]),
            texts=self.texts[sequences],
            groups=None if self.groups is None else offsets_of(self.sizes[rows]),
            columns={name: chosen(values, kind.columns[name]) for name, values in self.columns.items()},
            soft=None if soft is None else soft._replace(logits=soft.logits[outputs]),
        )


def features_in_memory(task: TaskDef, made: Sequence[Feature], split: str = "") -> FeatureSet:
    """Features that no file holds, at least one."""
    kind = task.kind
    sequences = [sequence for feature in made for sequence in feature.sequences]
    labels: list[float] = []
    columns: dict[str, list[Any]] = {name: [] for name in kind.columns}
    for feature in made:
        lengths = [len(sequence.token_ids) for sequence in feature.sequences]
        labels.extend(kind.read_label(task, feature.label, lengths))
        for name, values in kind.read_columns(task, {"label": feature.label, **feature.more}, lengths).items():
            columns[name].extend(values)
    return FeatureSet(
        task=task,
        split=split,
        uids=[feature.uid for feature in made],
        labels=np.array(labels, dtype=kind.label.dtype),
        token_ids=np.concatenate([sequence.token_ids for sequence in sequences]).astype(np.int32),
        type_ids=np.concatenate([sequence.type_ids for sequence in sequences]).astype(np.uint8),
        offsets=offsets_of([len(sequence.token_ids) for sequence in sequences]),
        texts=np.array([[*sequence.texts, NO_TEXT][:2] for sequence in sequences], dtype=np.int32),
        sha256="",
        groups=offsets_of([len(feature.sequences) for feature in made]) if kind.nested else None,
        columns={
            name: values if kind.columns[name].dtype is np.str_ else np.array(values, dtype=kind.columns[name].dtype)
            for name, values in columns.items()
        },
    )


class JoinedUids(LazyStrings):
    """The rows' names of several files, one after the other; each says which file it is from."""

    def __init__(self, parts: Sequence[FeatureSet]) -> None:
        self._parts = parts
        self._starts = offsets_of([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def at(self, index: int) -> str:
        """The file's name and the row's."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        part = self._parts[number]
        return f"{part.stem}:{part.uids[index - int(self._starts[number])]}"


def joined(parts: Sequence[FeatureSet]) -> FeatureSet:
    """The rows of several files for one head, in their order; a single file's are returned as they are.

    All of them have soft labels, or none has.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    soft = [part.soft.logits for part in parts if part.soft is not None]

    def column(name: str) -> np.ndarray | list[str]:
        if first.task.kind.columns[name].dtype is np.str_:
            return [text for part in parts for text in part.columns[name]]
        return np.concatenate([part.numbers(name) for part in parts])

    return replace(
        first,
        uids=JoinedUids(parts),
        labels=np.concatenate([part.labels for part in parts]),
        token_ids=np.concatenate([part.token_ids for part in parts]),
        type_ids=np.concatenate([part.type_ids for part in parts]),
        offsets=offsets_of(np.concatenate([part.lengths for part in parts])),
        texts=np.concatenate([part.texts for part in parts]),
        sha256="",
        groups=None if first.groups is None else offsets_of(np.concatenate([part.sizes for part in parts])),
        columns={name: column(name) for name in first.columns},
        unused={},
        origin="",
        soft=SoftLabels(np.concatenate(soft), "", "") if soft else None,
    )


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`start` to `start + length` of each pair, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)


def feature_path(data_dir: str | Path, task_name: str, split: str) -> Path:
    """Where a split's features lie: `<data_dir>/<task>_<split>.json`."""
    return Path(data_dir) / f"{task_name}_{split}.json"


def cache_path(data_dir: str | Path, task_name: str, split: str) -> Path:
    """Where the packed copy of a split's features lies."""
    return Path(data_dir) / f"{task_name}_{split}.cache.safetensors"


def load_features(data_dir: str | Path, task: TaskDef, split: str, origin: str = "") -> FeatureSet:
    """Load a split, memory-mapped from the packed cache beside it, which is made on first use where it can be.

    With `origin` it is that task's split, to be read as rows of `task`.

    Raises:
        InputError: a missing folder or file; lines that are not features of this task (file, line, what was found);
            a file or label names other than the manifest's; a kind of task that is not built.
    """
    if task.not_trained:
        raise InputError(f"task {task.name!r}: {task.not_trained}")
    kind = task.kind
    if not os.path.isdir(data_dir):
        raise InputError(f"{data_dir}: no such folder; make features with prepro_std.py first")
    owner = origin or task.name
    path, packed = feature_path(data_dir, owner, split), cache_path(data_dir, owner, split)
    if not os.path.isfile(path):
        inside = [folder for folder in sorted(Path(data_dir).iterdir()) if feature_path(folder, owner, split).is_file()]
        cure = f"it is in --data_dir {inside[0]}" if inside else f"make it with prepro_std.py --tasks {owner}"
        raise InputError(f"{path}: no such file; {cure}")
    try:
        found = Fingerprint.of(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    check_features(read_manifest(data_dir), task, owner, split, path, found)
    key = {"sha256": found.sha256, "task_type": kind.name, "labels": json.dumps([task.n_class, *task.label_names])}
    arrays = read_cache(packed, key, kind)
    if arrays is None:
        arrays = read_json_lines(path, task)
        if write_cache(packed, arrays, key):
            arrays = read_cache(packed, key, kind) or arrays
    return FeatureSet(
        task=task,
        split=split,
        uids=PackedStrings(arrays["uids"], arrays["uids_offsets"]),
        labels=arrays["labels"],
        token_ids=arrays["token_ids"],
        type_ids=arrays["type_ids"],
        offsets=arrays["offsets"],
        texts=arrays["texts"],
        sha256=found.sha256,
        groups=arrays.get("groups"),
        columns={name: unpack(arrays, name, column) for name, column in kind.columns.items()},
        unused=json.loads(arrays["unused"].tobytes()),
        origin=origin,
    )
