"""Regression: one number a row, of one text or two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_utils import metrics
from data_utils.errors import InputError
from data_utils.kinds.classification import OneLabel, of_values
from data_utils.kinds.kind import ROW, Column, Kind, Layout, Metric, Predictions
from data_utils.strict import shown

if TYPE_CHECKING:
    from data_utils.features import FeatureSet
    from data_utils.task_def import TaskDef

MAX_FLOAT32 = 3.4028234663852886e38
BINS = 10
"""Strata: tenths of the rows by their values."""

FAR = 10.0
"""A mean of labels further from 0, or a standard deviation so many times off 1, is learned slowly by a new head."""

CONSTANT_SHARE = 1e-3
"""Predicted numbers count as the same within this share of the labels' range: their last digits differ by batch."""


class Regression(OneLabel, Kind):
    """One number a row."""

    name = "Regression"
    label = Column(ROW, np.float32)
    metrics: ClassVar[Mapping[str, Metric]] = {
        "Pearson": of_values(metrics.pearson),
        "Spearman": of_values(metrics.spearman),
        "R2": of_values(metrics.r2),
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

    def notes(self, task: TaskDef) -> list[str]:
        """What labels are trained on as."""
        scale = f"(label - {task.label_mean:.12g}) / {task.label_std:.12g}"
        return [f"labels are trained on as {scale}; predictions are in the labels' own units"] * task.is_scaled

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

    def in_training(self, task: TaskDef, values: np.ndarray) -> np.ndarray:
        """Without the task's `label_mean`, in units of its `label_std`."""
        if not task.is_scaled:
            return values
        scaled: np.ndarray = (values.astype(np.float64) - task.label_mean) / task.label_std
        return scaled.astype(np.float32)

    def targets(self, features: FeatureSet, layout: Layout) -> dict[str, np.ndarray]:
        """`label` (rows,), as `in_training` gives it."""
        return {"label": self.in_training(features.task, features.labels[layout.rows])}

    def remarks(self, features: FeatureSet) -> list[str]:
        """Labels to train on that a new head hardly reaches."""
        labels = self.in_training(features.task, features.labels).astype(np.float64)
        mean, std = labels.mean(), labels.std()
        if not features.split.endswith("train") or (abs(mean) <= FAR and 1 / FAR <= std <= FAR) or std == 0:
            return []
        mean, std = scale_of(features.labels)
        return [
            f"labels have the mean {mean:.12g} and the standard deviation {std:.12g}, which a new head, that begins at "
            f"0, learns slowly: put label_mean: {mean:.12g} and label_std: {std:.12g} into the task file"
        ]

    def decide(self, features: FeatureSet, outputs: np.ndarray) -> Predictions:
        """The number of each row, in the labels' units."""
        task, values = features.task, outputs[:, 0]
        if task.is_scaled:
            values = (values.astype(np.float64) * task.label_std + task.label_mean).astype(np.float32)
        return Predictions(values)

    def is_constant(self, values: Sequence[Any] | np.ndarray, gold: Sequence[Any] | np.ndarray) -> bool:
        """Whether all numbers are next to the same."""
        return bool(np.ptp(np.asarray(values)) <= CONSTANT_SHARE * np.ptp(np.asarray(gold)))

    def table(self, features: FeatureSet, predicted: Predictions) -> Iterator[Sequence[str]]:
        """The numbers."""
        yield ["uid", "prediction"]
        for uid, value in zip(features.uids, predicted.values, strict=True):
            yield [uid, f"{value:.6g}"]


def scale_of(labels: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """What to set as `label_mean` and `label_std`: those of the labels, to a thousandth of the latter or finer.

    (0, 1) where all labels are the same.
    """
    values = np.asarray(labels, dtype=np.float64)
    mean, std = float(values.mean()), float(values.std())
    if not 0 < std < math.inf:
        return 0.0, 1.0
    digits = 3 - math.floor(math.log10(std))
    return round(mean, digits), round(std, digits)


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
