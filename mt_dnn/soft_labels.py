"""Soft labels, a row a line: what a teacher's head gives, written by `predict.py --soft_labels`.

    {"uid": "r1", "logits": [-1.25, 0.5], "labels": ["negative", "positive"]}

`logits` are the head's outputs before the softmax, in the order of `labels`; of a regression the one number, and no
labels. Where a row has several outputs they are a list of such lists: of a ranking's row one an option, of a tagging's
one a word, of a window of a passage one a token. A uid is that of the features, of the `--id` column, or the row's
number, as in what `prepro_std.py` makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from data_utils.errors import InputError
from data_utils.features import FeatureSet
from data_utils.kinds.kind import SEQUENCE, TOKEN
from data_utils.task_def import TaskDef


def soft_label_lines(task: TaskDef, uids: Sequence[str], logits: Iterable[np.ndarray]) -> Iterator[str]:
    """The lines, with their ends, of rows and what each got, float32, which nine digits hold exactly.

    `logits` are (width,) a row, or (outputs, width) where rows have several outputs.
    """
    labels = json.dumps(list(task.label_names), ensure_ascii=False)
    for uid, values in zip(uids, logits, strict=True):
        numbers = _digits(values.tolist())
        yield f'{{"uid": {json.dumps(uid, ensure_ascii=False)}, "logits": {numbers}, "labels": {labels}}}\n'


def _digits(values: float | list[float] | list[list[float]]) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_digits, values))}]"
    return repr(float(f"{values:.9g}"))


def one_output_a_row(task: TaskDef) -> bool:
    """Whether a row has one output, whose numbers stand in a line as they are."""
    return task.kind.level == SEQUENCE and not task.kind.nested


def by_row(features: FeatureSet, outputs: np.ndarray) -> Iterator[np.ndarray]:
    """The outputs of all sequences or tokens, as `soft_label_lines` takes them."""
    if one_output_a_row(features.task):
        yield from outputs
        return
    learned = features.task.kind.distilled(features)
    for start, stop in zip(features.output_starts[:-1], features.output_starts[1:], strict=True):
        yield outputs[start:stop][learned[start:stop]]


def check_uncut(features: FeatureSet, longest: int) -> None:
    """Raise `InputError` where a row's tokens are cut off, for which a teacher has no outputs."""
    if features.task.kind.level == TOKEN and int(features.lengths.max()) > longest:
        raise InputError(
            f"--soft_labels: rows of {features.stem} are longer than {longest} tokens, and words that are cut off have "
            f"no soft labels; make the features with prepro_std.py --max_seq_len {longest}"
        )
