"""Classification: one class a row, of one text or two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_utils import metrics
from data_utils.errors import InputError
from data_utils.kinds.kind import (
    ROW,
    Column,
    Counted,
    Feature,
    Kind,
    Layout,
    Metric,
    Predictions,
    ScoresNeededError,
    softmax,
)
from data_utils.strict import listed, shown

if TYPE_CHECKING:
    from data_utils.canonical import Row
    from data_utils.features import FeatureSet
    from data_utils.task_def import TaskDef
    from data_utils.tokenization import RowEncoder


def of_values(metric: metrics.Score) -> Metric:
    """A metric of values alone."""
    return lambda predicted, gold: metric(np.asarray(predicted.values), np.asarray(gold))


def counted(count: Callable[[np.ndarray, np.ndarray], np.ndarray], score: Callable[[np.ndarray], float]) -> Counted:
    """A metric of values alone that rows add up to."""
    return Counted(lambda predicted, gold: count(np.asarray(predicted.values), np.asarray(gold)), score)


def _auc(predicted: Predictions, gold: np.ndarray) -> float:
    if predicted.scores is None:
        raise ScoresNeededError("AUC needs the probabilities of the classes")
    return metrics.auc(predicted.scores, gold)


class OneLabel:
    """What classification and regression share: rows of one text or two, with one label."""

    formats: ClassVar[tuple[str, ...]] = ("PremiseOnly", "PremiseAndOneHypothesis")

    def features(self, task: TaskDef, rows: Sequence[Row], encoder: RowEncoder) -> Iterator[Feature]:
        """Rows as features; a row without a label gets the task's dummy one."""
        pairs = task.data_format == "PremiseAndOneHypothesis"
        hypotheses = [row.hypotheses[0] for row in rows] if pairs else None
        encoded = encoder.encode([row.premise for row in rows], hypotheses)
        ids = {label: task.label_id(label or task.dummy_label) for label in {row.labels[0] for row in rows}}
        for row, sequence in zip(rows, encoded, strict=True):
            yield Feature(row.uid, ids[row.labels[0]], (sequence,))

    def check_label(self, task: TaskDef, label: str) -> None:
        """Raise `InputError` unless the task has this label."""
        task.label_id(label)

    def targets(self, features: FeatureSet, layout: Layout) -> dict[str, np.ndarray]:
        """`label` (rows,)."""
        return {"label": features.labels[layout.rows]}


class Classification(OneLabel, Kind):
    """One class a row."""

    name = "Classification"
    label = Column(ROW, np.int64)
    metrics: ClassVar[Mapping[str, Metric]] = {
        "ACC": counted(metrics.right_counts, metrics.accuracy_of),
        "F1": counted(metrics.positive_counts, metrics.f1_of),
        "F1MAC": of_values(metrics.f1_macro),
        "F1MIC": of_values(metrics.f1_micro),
        "MCC": counted(metrics.class_counts, metrics.matthews_of),
        "Pearson": of_values(metrics.pearson),
        "Spearman": of_values(metrics.spearman),
        "AUC": _auc,
    }
    default_metrics = ("ACC",)
    default_loss = "CeCriterion"

    def problems(self, task: TaskDef) -> list[str]:
        """A classification has two classes at least."""
        return [f"n_class must be at least 2 for Classification, got {task.n_class}"] * (task.n_class < 2)

    def width(self, task: TaskDef) -> int:
        """A logit a class."""
        return task.n_class

    def notes(self, task: TaskDef) -> list[str]:
        """Whose F1 it is."""
        measured = "F1" in task.metric_meta and task.n_class == 2
        return [f"F1 is that of {shown(task.label_names[1])}, the second of the labels"] * measured

    def read_label(self, task: TaskDef, label: Any, lengths: Sequence[int]) -> Iterable[float]:
        """A class id."""
        return [class_id(task, label)]

    def strata(self, features: FeatureSet) -> list[np.ndarray]:
        """The rows of each class."""
        classes = (np.flatnonzero(features.labels == label) for label in range(features.task.n_class))
        return [rows for rows in classes if len(rows)]

    def decide(self, features: FeatureSet, outputs: np.ndarray) -> Predictions:
        """The most likely class of each row."""
        return Predictions(outputs.argmax(-1), softmax(outputs))

    def by_class(self, features: FeatureSet, predicted: Predictions) -> dict[str, Any]:
        """Precision, recall, F1 and rows of each class, and the confusion matrix: a list a true class."""
        names, labels, values = features.task.label_names, np.asarray(features.labels), np.asarray(predicted.values)
        return {
            "classes": dict(zip(names, metrics.of_classes(values, labels, len(names)), strict=True)),
            "confusion": metrics.confusion(values, labels, len(names)).tolist(),
        }

    def majority(self, train: FeatureSet, features: FeatureSet) -> Predictions:
        """The most frequent training label for every row."""
        label = int(np.bincount(train.labels).argmax())
        certain = np.eye(features.task.n_class, dtype=np.float32)[label]
        return Predictions(np.full(len(features), label), np.tile(certain, (len(features), 1)))

    def table(self, features: FeatureSet, predicted: Predictions) -> Iterator[Sequence[str]]:
        """Label names, and the probability of each."""
        names = features.task.label_names
        yield ["uid", "prediction", *names]
        for i, (uid, value) in enumerate(zip(features.uids, predicted.values, strict=True)):
            shares = () if predicted.scores is None else predicted.scores[i]
            yield [uid, names[value], *(f"{p:.6f}" for p in shares)]


def class_id(task: TaskDef, label: Any) -> int:
    """A class id as features hold it; `InputError` for anything else."""
    if type(label) is not int or not 0 <= label < task.n_class:
        raise InputError(f"label {shown(label)} is not a class id of {task.name}; allowed: 0 to {task.n_class - 1}")
    return label


def class_of(task: TaskDef, text: str) -> int:
    """The id of a class by its name in a canonical row; `InputError` for one that the task does not have."""
    names = task.label_names
    if text not in names:
        raise InputError(f"unknown label {shown(text)}; allowed for {task.name}: {listed(names)}")
    return names.index(text)
