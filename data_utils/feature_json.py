"""Features as JSON lines, as MT-DNN writes and reads them: read and checked into flat arrays.

A line is `uid`, `label` (what the task's kind says), `token_id`, `type_id`, `attention_mask` (all ones: rows are not
padded). MT-DNN's older files lack the mask, call it `mask`, or have numbers for uids; they load too. A ranking's row
has lists of the last three, one an option. Our own files also have `texts`: for each text of a sequence where it begins
and ends among the tokens, and how many tokens it had before it was cut; without them a row cannot be cut any more.
Further keys are the kind's own; others, such as MT-DNN's `softlabel`, are counted and not used.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_utils.canonical import Problems, read_lines
from data_utils.errors import InputError, raise_all
from data_utils.feature_cache import offsets_of, pack_strings
from data_utils.strict import encodable, parse_json, shown
from data_utils.task_def import TaskDef

REQUIRED_KEYS = ("uid", "label", "token_id", "type_id")
MASK_KEYS = ("attention_mask", "mask")
KNOWN_KEYS = frozenset((*REQUIRED_KEYS, *MASK_KEYS, "texts"))
MAX_TOKEN_ID = 2**31 - 1
NO_TEXT = [-1, 0, 0]


class _Sequence(NamedTuple):
    """One sequence of a row: token ids, type ids and the places of its texts (six numbers)."""

    token_ids: list[int]
    type_ids: list[int]
    texts: list[int]


def read_json_lines(path: Path, task: TaskDef) -> dict[str, np.ndarray]:
    """Parse and check a features file; the arrays of `FeatureSet`, with text as UTF-8 bytes and offsets.

    Its `unused` is there as the bytes of its JSON.

    Raises:
        InputError: with file and line for up to ten bad lines and a count of the others.
    """
    kind, problems, unused = task.kind, Problems(path), Counter[str]()
    tokens, types, places = array("i"), array("B"), array("i")
    uids: list[str] = []
    labels: list[float] = []
    lengths: list[int] = []
    sizes: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in kind.columns}
    known = KNOWN_KEYS | kind.columns.keys()
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = _object(line)
            sequences = _sequences(row) if kind.nested else [_sequence(row)]
            own = [len(sequence.token_ids) for sequence in sequences]
            label, more = kind.read_label(task, row["label"], own), kind.read_columns(task, row, own)
        except InputError as error:
            problems.add(number, str(error))
            continue
        for sequence in sequences:
            tokens.extend(sequence.token_ids)
            types.extend(sequence.type_ids)
            places.extend(sequence.texts)
        uids.append(str(row["uid"]))
        labels.extend(label)
        lengths.extend(own)
        sizes.append(len(own))
        for name, values in more.items():
            columns[name].extend(values)
        unused.update(row.keys() - known)
    raise_all(problems.messages())
    arrays = {
        **pack_strings("uids", uids),
        "labels": np.array(labels, dtype=kind.label.dtype),
        "token_ids": np.frombuffer(tokens, dtype=np.int32),
        "type_ids": np.frombuffer(types, dtype=np.uint8),
        "offsets": offsets_of(lengths),
        "texts": np.frombuffer(places, dtype=np.int32).reshape(-1, 2, 3),
        "unused": np.frombuffer(json.dumps(unused).encode(), dtype=np.uint8),
    }
    if kind.nested:
        arrays["groups"] = offsets_of(sizes)
    for name, column in kind.columns.items():
        is_text = column.dtype is np.str_
        arrays |= pack_strings(name, columns[name]) if is_text else {name: np.array(columns[name], dtype=column.dtype)}
    return arrays


def _object(line: str) -> dict[str, Any]:
    """A row's JSON, its keys and its uid checked."""
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
    return row


def _sequences(row: dict[str, Any]) -> list[_Sequence]:
    """The sequences of a row that has several, one an option."""
    keys = ["token_id", "type_id", *(key for key in (*MASK_KEYS, "texts") if key in row)]
    for key in keys:
        if not isinstance(row[key], list) or not row[key] or len(row[key]) != len(row["token_id"]):
            raise InputError(f"{key} must be a list with one list an option, got {shown(row[key])}")
    return [_sequence({key: row[key][option] for key in keys}) for option in range(len(row["token_id"]))]


def _sequence(row: dict[str, Any]) -> _Sequence:
    tokens = _ids(row, "token_id", MAX_TOKEN_ID)
    types = _ids(row, "type_id", 255)
    for key, values in _with_mask(row, types):
        if not isinstance(values, list) or len(values) != len(tokens):
            found = len(values) if isinstance(values, list) else type(values).__name__
            raise InputError(f"{key} has {found} entries for {len(tokens)} tokens")
        if key in MASK_KEYS and values != [1] * len(tokens):
            raise InputError(f"{key} must be all ones: padded features do not load here; make them without padding")
    return _Sequence(tokens, types, _texts(row, len(tokens)))


def _texts(row: dict[str, Any], tokens: int) -> list[int]:
    """The places of a sequence's texts, six numbers."""
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
