"""Soft labels, a row a line: what a teacher's head gives, for a student to learn from.

    {"uid": "r1", "logits": [-1.25, 0.5], "labels": ["negative", "positive"]}

`logits` are the head's outputs before the softmax, in the order of `labels`; of a regression the one number, and no
labels. A uid is that of the features, of the `--id` column, or the row's number, as in what `prepro_std.py` makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from data_utils.errors import InputError
from data_utils.kinds.kind import SEQUENCE
from data_utils.task_def import TaskDef


def check_soft_labels(task: TaskDef) -> None:
    """Raise `InputError` for a kind of task that has not one output a row."""
    if task.kind.level != SEQUENCE or task.kind.nested:
        raise InputError(f"--soft_labels: {task.name} is a {task.type_name} task; only one label a row can be soft")


def soft_label_lines(task: TaskDef, uids: Sequence[str], logits: np.ndarray) -> Iterator[str]:
    """The lines, with their ends, of rows and their (rows, width) float32 logits, which nine digits hold exactly."""
    labels = json.dumps(list(task.label_names), ensure_ascii=False)
    for uid, values in zip(uids, logits.tolist(), strict=True):
        numbers = ", ".join(repr(float(f"{value:.9g}")) for value in values)
        yield f'{{"uid": {json.dumps(uid, ensure_ascii=False)}, "logits": [{numbers}], "labels": {labels}}}\n'
