"""A trained model from Python: `load("runs/x").predict(["…"])`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.strict import encodable, listed, shown
from data_utils.tables.examples import one_line
from data_utils.task_def import TaskDef
from mt_dnn.bulk import TEXTS, WINDOW_ROWS, Outputs, TextRunner, check_takes_texts
from mt_dnn.predict import TrainedModel, remarks_on
from mt_dnn.sections import LoopConfig


@dataclass(frozen=True)
class Prediction:
    """What a model says of one text, or of one pair.

    Attributes:
        label: the most likely label; None for a regression.
        probabilities: of all labels by name, in the order of their ids; they sum to 1. Empty for a regression.
        value: the number of a regression; None for a classification.
    """

    label: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None


class Model:
    """A trained model that takes texts; `load` makes one.

    It may be used from one thread at a time.
    """

    def __init__(self, trained: TrainedModel, loop: LoopConfig, max_seq_len: int) -> None:
        self._trained = trained
        self._runner = TextRunner(trained, loop, max_seq_len, pairs=any(map(_is_pair, trained.tasks.values())))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks that it has heads for."""
        return tuple(self._trained.tasks)

    def labels(self, task: str | None = None) -> tuple[str, ...]:
        """The labels of a task (the only one, if None) in the order of their ids; () for a regression."""
        return self._trained.task(task, "task").label_names

    def predict(self, texts: Sequence[str] | Sequence[tuple[str, str]], task: str | None = None) -> list[Prediction]:
        """Predict texts, or pairs of texts for a task of pairs.

        Args:
            texts: any number of them; long ones are cut as in training.
            task: which of the model's tasks; None: the only one.

        Returns:
            One record a text, in their order.

        Raises:
            InputError: not texts, or not of the task's form; a task that the model does not have, or of another kind
                than classification and regression.
            StoppedError: outputs that are not finite.
        """
        chosen = self._trained.task(task, "task")
        check_takes_texts([chosen], "predict")
        rows = _rows(texts, TEXTS[chosen.data_format], f"task {chosen.name!r}")
        return [one for block in self._blocks(rows, chosen) for one in _records(chosen, block)]

    def embed(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> np.ndarray:
        """What heads see of texts, or of pairs: (texts, hidden) float32.

        Raises:
            InputError: not texts.
        """
        given = _listed(texts, "embed", "texts")
        rows = _rows(given, 1 if not given or isinstance(given[0], str) else 2, "embed")
        found = [block.pooled for block in self._blocks(rows, None) if block.pooled is not None]
        return np.concatenate(found) if found else np.zeros((0, self._trained.model.encoder.hidden_size), np.float32)

    def _blocks(self, rows: list[tuple[str, ...]], task: TaskDef | None) -> Iterator[Outputs]:
        tasks = [] if task is None else [task]
        for i in range(0, len(rows), WINDOW_ROWS):
            yield self._runner.run(rows[i : i + WINDOW_ROWS], tasks, pooled=task is None)


def load(
    checkpoint: str | Path,
    *,
    device: str = "auto",
    bf16: bool = False,
    batch_size: int = 64,
    max_seq_len: int | None = None,
) -> Model:
    """Load what `train.py` has trained; what predict.py notes of it is a warning here.

    Args:
        checkpoint: the `--output_dir` of a run, or its `best/`.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        bf16: compute in bfloat16.
        batch_size: texts a forward pass.
        max_seq_len: longer texts are cut to so many tokens; None: as in training, or 512 where nothing says it.

    Raises:
        InputError: no such model, a damaged one, one without a tokenizer, or a value that is not allowed.
    """
    if batch_size < 1 or (max_seq_len is not None and max_seq_len < 8):
        raise InputError(f"batch_size must be at least 1 and max_seq_len 8, got {batch_size} and {max_seq_len}")
    if device not in (allowed := ("auto", "cpu", "cuda")):
        raise InputError(f"device must be one of {listed(allowed)}, got {shown(device)}")
    loop = LoopConfig(device=device, bf16=bf16, batch_size_eval=batch_size)
    trained = TrainedModel.load(str(checkpoint), "checkpoint")
    for remark in remarks_on(trained, str(checkpoint), loop):
        warnings.warn(remark, stacklevel=2)
    return Model(trained, loop, max_seq_len or trained.max_seq_len)


def _is_pair(task: TaskDef) -> bool:
    return TEXTS.get(task.data_format) == 2


def _listed(texts: Any, what: str, expected: str) -> list[Any]:
    """The texts one after the other; `InputError` for what is no list, and for what would give names in their place."""
    named = isinstance(texts, (str, bytes, Mapping, Set)) or hasattr(texts, "columns")
    if named or not isinstance(texts, Iterable):
        cure = '; of a table pass a column, such as table["text"]' if hasattr(texts, "columns") else ""
        raise InputError(f"{what}: expected a list of {expected}, got one {type(texts).__name__}{cure}")
    return list(texts)


def _rows(texts: Any, count: int, what: str) -> list[tuple[str, ...]]:
    """The texts as rows of so many texts each; `InputError` for anything else."""
    expected = "texts" if count == 1 else "pairs of texts"
    rows = []
    for number, text in enumerate(_listed(texts, what, expected)):
        row = (text,) if isinstance(text, str) else tuple(text) if isinstance(text, (tuple, list)) else ()
        if len(row) != count or not all(isinstance(part, str) for part in row):
            raise InputError(f"{what}: expected {expected}, got {shown(text)} at place {number}")
        if not any(part.strip() for part in row):
            raise InputError(f"{what}: the text at place {number} is empty")
        if not all(map(encodable, row)):
            raise InputError(f"{what}: the text at place {number} has half of a surrogate pair, which is no character")
        rows.append(tuple(map(one_line, row)))
    return rows


def _records(task: TaskDef, block: Outputs) -> list[Prediction]:
    predicted, names = block.decided(task), task.label_names
    if predicted.scores is None:
        return [Prediction(value=float(value)) for value in predicted.values]
    return [
        Prediction(names[value], dict(zip(names, shares, strict=True)))
        for value, shares in zip(predicted.values, predicted.scores.tolist(), strict=True)
    ]
