"""GLUE's metrics, in points out of 100, with a number for every input that can occur in training.

Early in training a model often predicts one class or one value for all rows. Correlations are undefined there;
this module reports 0.0 (no correlation found), without a warning, so that curves and averages stay numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn import metrics

from data_utils.task_def import TaskDef, TaskType


def _accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(predictions == labels))


def _f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1, as MT-DNN and GLUE measure MRPC and QQP."""
    return float(metrics.f1_score(labels, predictions, pos_label=1, average="binary", zero_division=0))


def _f1_macro(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(metrics.f1_score(labels, predictions, average="macro", zero_division=0))


def _f1_micro(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(metrics.f1_score(labels, predictions, average="micro", zero_division=0))


def _matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    if _constant(predictions) or _constant(labels):
        return 0.0
    return float(metrics.matthews_corrcoef(labels, predictions))


def _pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    if _constant(predictions) or _constant(labels):
        return 0.0
    x, y = predictions.astype(np.float64), labels.astype(np.float64)
    # Shifted and scaled first: values that differ in their last digits only would underflow when squared.
    x, y = (x - x.mean()) / np.ptp(x), (y - y.mean()) / np.ptp(y)
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    if _constant(predictions) or _constant(labels):
        return 0.0
    return _pearson(stats.rankdata(predictions), stats.rankdata(labels))


def _constant(values: np.ndarray) -> bool:
    return bool(np.all(values == values[0]))


def _auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: of class 1 for two classes, else the mean over the classes, one against the rest.

    A class that no row has, or that all rows have, cannot be ranked and is left out; 0.5 (chance) if none is left.
    """
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = [metrics.roc_auc_score(labels == c, scores[:, c]) for c in classes if not _constant(labels == c)]
    return float(np.mean(areas)) if areas else 0.5


FROM_PREDICTIONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "ACC": _accuracy,
    "F1": _f1,
    "F1MAC": _f1_macro,
    "F1MIC": _f1_micro,
    "MCC": _matthews,
    "Pearson": _pearson,
    "Spearman": _spearman,
}
FOR_REGRESSION = ("Pearson", "Spearman")


def unsupported_metrics(task: TaskDef) -> list[str]:
    """The task's metrics that cannot be computed here: SeqEval and EmF1, and class metrics of a regression task."""
    if task.task_type is TaskType.Regression:
        return [name for name in task.metric_meta if name not in FOR_REGRESSION]
    return [name for name in task.metric_meta if name not in FROM_PREDICTIONS and name != "AUC"]


def compute_metrics(
    task: TaskDef, predictions: np.ndarray, scores: np.ndarray | None, labels: np.ndarray
) -> dict[str, float]:
    """All metrics of the task, in the order of its `metric_meta`, in points out of 100.

    Args:
        task: whose `metric_meta` to compute.
        predictions: (rows,) class ids, or predicted values of a regression task.
        scores: (rows, n_class) probabilities; only AUC needs them, None is fine for the others.
        labels: (rows,) class ids or values.

    Raises:
        ValueError: no rows, shapes that do not fit each other, values that are not finite, AUC without scores, or a
            metric that `unsupported_metrics` lists.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if labels.ndim != 1 or predictions.shape != labels.shape or not len(labels):
        raise ValueError(f"expected one prediction a label, got shapes {predictions.shape} and {labels.shape}")
    if not (np.isfinite(predictions).all() and np.isfinite(labels).all()):
        raise ValueError(f"task {task.name!r}: predictions or labels are not finite")
    if unsupported := unsupported_metrics(task):
        raise ValueError(f"task {task.name!r}: cannot compute {', '.join(unsupported)}")
    results = {}
    for name in task.metric_meta:
        if name != "AUC":
            results[name] = 100 * FROM_PREDICTIONS[name](predictions, labels)
        elif scores is None or scores.shape != (len(labels), task.n_class):
            found = None if scores is None else scores.shape
            raise ValueError(f"AUC needs scores of shape {(len(labels), task.n_class)}, got {found}")
        else:
            results[name] = 100 * _auc(scores, labels)
    return results
