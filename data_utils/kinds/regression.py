"""Regression: one number a row, of one text or two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_utils import metrics
from data_utils.errors import InputError
from data_utils.kinds.classification import OneLabel, of_values
from data_utils.kinds.kind import ROW, Column, Kind, Metric, Predictions
from data_utils.strict import shown

if TYPE_CHECKING:
    from data_utils.features import FeatureSet
    from data_utils.task_def import TaskDef

MAX_FLOAT32 = 3.4028234663852886e38
BINS = 10
"""Strata: tenths of the rows by their values."""

CONSTANT_SHARE = 1e-3
"""Predicted numbers count as the same within this share of the labels' range: their last digits differ by batch."""


class Regression(OneLabel, Kind):
    """One number a row."""

    name = "Regression"
    label = Column(ROW, np.float32)
    metrics: ClassVar[Mapping[str, Metric]] = {
        "Pearson": of_values(metrics.pearson),
        "Spearman": of_values(metrics.spearman),
    }
    default_metrics = ("Pearson", "Spearman")
    default_loss = "MseCriterion"

    def default_classes(self, labels: Sequence[str]) -> int:
        """One number."""
        return 1

    def problems(self, task: TaskDef) -> list[str]:
        """A regression has one number."""
        return [f"n_class must be 1 for Regression, got {task.n_class}"] * (task.n_class != 1)

    def label_names(self, task: TaskDef) -> tuple[str, ...]:
        """None: labels are numbers."""
        return ()

    def width(self, task: TaskDef) -> int:
        """One number."""
        return 1

    def read_label(self, task: TaskDef, label: Any, lengths: Sequence[int]) -> Iterable[float]:
        """A finite number."""
        if isinstance(label, bool) or not isinstance(label, (int, float)) or not abs(label) <= MAX_FLOAT32:
            kind = "is not a finite (float32) number"
            raise InputError(f"label {shown(label)} {kind}, and {task.name} is a Regression task")
        return [label]

    def strata(self, features: FeatureSet) -> list[np.ndarray]:
        """Tenths of the rows by their values."""
        classes = np.array_split(np.argsort(features.labels, kind="stable"), BINS)
        return [rows for rows in classes if len(rows)]

    def decide(self, features: FeatureSet, outputs: np.ndarray) -> Predictions:
        """The number of each row."""
        return Predictions(outputs[:, 0])

    def is_constant(self, values: Sequence[Any] | np.ndarray, gold: Sequence[Any] | np.ndarray) -> bool:
        """Whether all numbers are next to the same."""
        return bool(np.ptp(np.asarray(values)) <= CONSTANT_SHARE * np.ptp(np.asarray(gold)))

    def table(self, features: FeatureSet, predicted: Predictions) -> Iterator[Sequence[str]]:
        """The numbers."""
        yield ["uid", "prediction"]
        for uid, value in zip(features.uids, predicted.values, strict=True):
            yield [uid, f"{value:.6g}"]


def finite_number(text: str) -> float | None:
    """The number that a text is, None for anything else and for what float32 cannot hold."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= MAX_FLOAT32 and "_" not in text else None  # Python reads 1_0 as 10


def number_of(task: TaskDef, text: str) -> float:
    """A number as a canonical row has it; `InputError` for anything else."""
    if (value := finite_number(text)) is None:
        raise InputError(f"label {shown(text)} is not a finite number, and {task.name} is a Regression task")
    return value
