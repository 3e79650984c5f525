"""Soft labels for a run's training rows: which files `--distill_from` stands for, and their lines joined to the rows.

The format of a line is that of `mt_dnn.soft_labels`. Lines are joined to rows by uid, in any order; lines of other rows
are passed over. Where several rows share a uid, as the windows of one question do, the first of them gets the first
line of that uid, and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_utils.canonical import Problems, read_lines
from data_utils.errors import InputError, raise_all
from data_utils.features import FeatureSet, SoftLabels, feature_path
from data_utils.fingerprints import Fingerprint
from data_utils.kinds.regression import MAX_FLOAT32
from data_utils.strict import listed, parse_json, shown
from mt_dnn.soft_labels import one_output_a_row

IN_FEATURES = "features"
"""The value of `--distill_from` that stands for the rows' own soft labels, under MT-DNN's key."""

FEATURES_KEY, KEY, ENDING = "softlabel", "logits", ".jsonl"


class _Line(NamedTuple):
    number: int
    logits: np.ndarray


def with_soft_labels(files: Sequence[FeatureSet], distill_from: str, data_dir: str) -> list[FeatureSet]:
    """A run's training files with the soft labels that `distill_from` has for them; at least one has some.

    Args:
        files: all training files of all tasks, whole.
        distill_from: a file of soft labels for the only training file; a folder with one for each, called as the
            features are, `<task>_<split>.jsonl`; or `features`, for what these hold under `softlabel`.
        data_dir: where the features lie.

    Raises:
        InputError: there are none, or of a task's files only some have them; what `joined_to_rows` raises.
    """
    found = {
        (file.task.name, file.stem): joined_to_rows(file, path, key)
        for file, path, key in _sources(files, distill_from, data_dir)
    }
    missing = [
        f"--distill_from {distill_from}: no soft labels for {file.stem}; {file.task.name} has some for its other files"
        for file in files
        if (file.task.name, file.stem) not in found and any(task == file.task.name for task, _ in found)
    ]
    raise_all(missing)
    return [_with(file, found.get((file.task.name, file.stem))) for file in files]


def _with(file: FeatureSet, soft: SoftLabels | None) -> FeatureSet:
    unused = {key: rows for key, rows in file.unused.items() if soft is None or key != FEATURES_KEY}
    return replace(file, soft=soft, unused=unused)


def _sources(files: Sequence[FeatureSet], distill_from: str, data_dir: str) -> Iterator[tuple[FeatureSet, Path, str]]:
    """The training files that there are soft labels for: with the file that has them, and the key of its lines."""
    stems = [file.stem for file in files]
    if distill_from == IN_FEATURES:
        having = [file for file in files if FEATURES_KEY in file.unused]
        if not having:
            raise InputError(f"--distill_from features: no row of {listed(stems)} has the key {FEATURES_KEY}")
        for file in having:
            yield file, feature_path(data_dir, file.origin or file.task.name, file.split), FEATURES_KEY
        return
    path = Path(distill_from)
    if path.is_dir():
        having = [file for file in files if (path / (file.stem + ENDING)).is_file()]
        if not having:
            wanted = listed([stem + ENDING for stem in stems])
            raise InputError(f"--distill_from {path}: the folder has no soft labels; expected {wanted}")
        yield from ((file, path / (file.stem + ENDING), KEY) for file in having)
        return
    if len(files) > 1:
        raise InputError(
            f"--distill_from {path}: one file, and the run trains on {listed(stems)}; give a folder with a file for "
            f"each, such as {stems[0]}{ENDING}"
        )
    yield files[0], path, KEY


def joined_to_rows(features: FeatureSet, path: Path, key: str) -> SoftLabels:
    """The soft labels of all rows, from a file of lines.

    Raises:
        InputError: for up to ten lines, with file, line and what was found: no row of soft labels, other label names or
            another order, a wrong number of outputs or of numbers an output, numbers that are not finite, a uid for the
            second time. A uid that stands for several rows. Rows without a line. Probabilities in place of logits. A
            file that cannot be read.
    """
    rows: dict[str, list[int]] = {}
    for row, uid in enumerate(features.uids):
        rows.setdefault(uid, []).append(row)
    kind = features.task.kind
    if twice := [uid for uid, count in Counter(kind.uids(features)).items() if count > 1]:
        raise InputError(
            f"{path}: {features.stem} has {len(twice):,} uids that stand for several rows, so that their soft labels "
            f"cannot be told apart: {listed(twice)}; give every row its own"
        )
    width, learned = kind.width(features.task), kind.distilled(features)
    logits = np.zeros((len(learned), width), dtype=np.float32)
    seen: dict[str, list[int]] = {}  # the numbers of the lines of each uid
    others, problems = 0, Problems(path)
    for number, line in enumerate(read_lines(path), start=1):
        try:
            entry = _entry(line, key)
            uid = str(entry["uid"])
            if uid not in rows:
                others += 1
                continue
            earlier = seen.setdefault(uid, [])
            if len(earlier) == len(rows[uid]):
                raise InputError(f"uid {shown(uid)} stands in line {earlier[-1]} already")
            row = rows[uid][len(earlier)]
            earlier.append(number)
            place = slice(features.output_starts[row], features.output_starts[row + 1])
            logits[place][learned[place]] = _outputs(features, entry, key, int(learned[place].sum()))
        except InputError as error:
            problems.add(number, str(error))
    raise_all(problems.messages())
    _check_complete(features, path, rows, seen)
    _check_logits(features, path, key, logits[learned])
    logits = kind.in_training(features.task, logits)
    return SoftLabels(logits, str(path), Fingerprint.of(path).sha256, others)


def told(features: FeatureSet, soft: SoftLabels) -> str:
    """A file of soft labels in words: how good they are by the rows' own labels, and how many of its lines are unused.

    Where rows are called by their numbers, only the score shows that a teacher's lines are of another table.
    """
    task, found = features.task, []
    if task.kind.labelled(features):
        predicted = task.kind.decide(features, soft.logits)
        score = 100 * task.kind.metrics[task.primary_metric](predicted, task.kind.gold(features))
        found.append(f"{task.primary_metric} {score:.2f} by the labels of these rows")
    found += [f"lines of other rows, not used: {soft.others:,}"] * (soft.others > 0)
    return soft.source + (f" ({'; '.join(found)})" if found else "")


def _entry(line: str, key: str) -> Mapping[str, Any]:
    """A line's JSON, with a uid and with soft labels under `key`."""
    try:
        entry = parse_json(line)
    except InputError as error:
        raise InputError(f"not a JSON object ({error}); expected a row of soft labels a line") from None
    if not isinstance(entry, dict) or not {"uid", key} <= entry.keys():
        raise InputError(f"expected a JSON object with uid and {key}, got {shown(entry)}")
    if isinstance(entry["uid"], bool) or not isinstance(entry["uid"], (str, int)):
        raise InputError(f"uid must be a name or a whole number, got {shown(entry['uid'])}")
    return entry


def _outputs(features: FeatureSet, entry: Mapping[str, Any], key: str, count: int) -> np.ndarray:
    """What a line says of a row with `count` outputs: (count, width) float32."""
    task = features.task
    ours, theirs = list(task.label_names), entry.get("labels", [])
    if key == KEY and theirs != ours:
        raise InputError(
            f"labels are {shown(theirs)}, and {task.name} has {shown(ours)}: a teacher needs the same ones in the same "
            "order"
        )
    values = entry[key]
    if one_output_a_row(task):
        values = [values if isinstance(values, list) else [values]]
    if not isinstance(values, list) or len(values) != count:
        found = len(values) if isinstance(values, list) else shown(values)
        raise InputError(f"{key} has {found} outputs, and row {shown(entry['uid'])} of {features.stem} has {count}")
    width = task.kind.width(task)
    for output in values:
        if not isinstance(output, list) or len(output) != width:
            found = f"{len(output)} numbers" if isinstance(output, list) else shown(output)
            raise InputError(f"{key} has {found} an output, and {task.name} has {width}")
        if not all(type(value) in (int, float) and abs(value) <= MAX_FLOAT32 for value in output):
            raise InputError(f"{key} must hold finite numbers, got {shown(output)}")
    return np.array(values, dtype=np.float32).reshape(count, width)


def _check_logits(features: FeatureSet, path: Path, key: str, outputs: np.ndarray) -> None:
    """Raise `InputError` where all outputs (outputs, width) are probabilities, as MT-DNN's own predictions are.

    As logits they would say next to nothing: (0.99, 0.01) is 0.73 to 0.27 then.
    """
    if outputs.shape[1] > 1 and outputs.min(initial=0) >= 0 and np.allclose(outputs.sum(axis=1), 1, rtol=0, atol=1e-3):
        raise InputError(
            f"{path}: {key} of {features.stem} looks like probabilities, as no number is below 0 and each output "
            "adds up to 1; expected logits, such as the logarithms of these"
        )


def _check_complete(
    features: FeatureSet, path: Path, rows: Mapping[str, Sequence[int]], seen: Mapping[str, Sequence[int]]
) -> None:
    missing = [uid for uid, own in rows.items() if len(seen.get(uid, ())) < len(own)]
    if missing:
        raise InputError(
            f"{path}: no soft labels for {len(missing):,} of {len(rows):,} uids of {features.stem}: {listed(missing)}; "
            f"predict.py --checkpoint TEACHER --data_dir DIR --split {features.split} --soft_labels writes them all"
        )
