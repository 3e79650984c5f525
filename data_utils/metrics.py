"""Metrics as shares of 1 or correlations, with a number for every input that can occur in training.

Early in training a model often predicts one class or one value for all rows. Correlations are undefined there;
this module reports 0.0 (no correlation found), without a warning, so that curves and averages stay numbers.

scikit-learn and SciPy are imported where they are used: with what they bring, pandas above all, they take a third of a
program's start, and most runs need neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

ROUNDINGS = 8
"""Steps of a number's own precision that predictions for one and the same row lie apart at most, by batch size."""

Score = Callable[[np.ndarray, np.ndarray], float]
"""Predictions and labels, (rows,) each."""


def right_counts(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(rows, 2): whether a row has the right class, and one for the row."""
    return np.stack([predictions == labels, np.ones(len(labels))], axis=1).astype(np.float64)


def accuracy_of(sums: np.ndarray) -> float:
    """Share of rows with the right class, from sums of `right_counts`."""
    return float(sums[0] / sums[1])


def positive_counts(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(rows, 3): whether a row is of class 1 and found so, whether it is found so, whether it is."""
    found, there = predictions == 1, labels == 1
    return np.stack([found & there, found, there], axis=1).astype(np.float64)


def f1_of(sums: np.ndarray) -> float:
    """F1 of class 1, as MT-DNN and GLUE measure MRPC and QQP, from sums of `positive_counts`; 0 where there is none."""
    right, found, there = sums
    return float(2 * right / (found + there)) if found + there else 0.0


def r2(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Coefficient of determination: 1 less the squared error's share of the labels' variance; 0 where that is 0.

    Below 0 for what is further from the labels than their mean is.
    """
    wanted = labels.astype(np.float64)
    variance = np.square(wanted - wanted.mean()).sum()
    return float(1 - np.square(predictions - wanted).sum() / variance) if variance else 0.0


def f1_macro(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 of each class, and of these the mean."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def f1_micro(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 over all classes together, which is the accuracy where each row has one class."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="micro", zero_division=0))


def class_counts(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(rows, 2 classes + 1): the classes of labels and of predictions as zeros and a one, and whether they agree.

    Classes are whatever the rows hold: ids, or names, as GLUE's diagnostic set has them.
    """
    classes = np.unique(np.concatenate([labels, predictions]))
    hits = [labels[:, None] == classes, predictions[:, None] == classes, (predictions == labels)[:, None]]
    return np.concatenate(hits, axis=1).astype(np.float64)


def matthews_of(sums: np.ndarray) -> float:
    """Matthews correlation (Gorodkin 2004 for more than two classes), from sums of `class_counts`.

    0 where one side is constant.
    """
    there, found = np.split(sums[:-1], 2)
    rows, right = there.sum(), sums[-1]
    spread = (rows**2 - there @ there) * (rows**2 - found @ found)
    return float((right * rows - there @ found) / np.sqrt(spread)) if spread else 0.0


def matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Matthews correlation; 0 where one side is constant."""
    return matthews_of(class_counts(predictions, labels).sum(0))


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Pearson correlation; 0 where one side is constant, predictions up to rounding: that depends on batch sizes."""
    if _rounding_alone(predictions) or _constant(labels):
        return 0.0
    x, y = predictions.astype(np.float64), labels.astype(np.float64)
    # Shifted and scaled first: values that differ in their last digits only would underflow when squared.
    x, y = (x - x.mean()) / np.ptp(x), (y - y.mean()) / np.ptp(y)
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Spearman's rank correlation; 0 where one side is constant, as for `pearson`."""
    if _rounding_alone(predictions) or _constant(labels):
        return 0.0
    from scipy.stats import rankdata

    return pearson(rankdata(predictions), rankdata(labels))


def _constant(values: np.ndarray) -> bool:
    return bool(np.all(values == values[0]))


def _rounding_alone(values: np.ndarray) -> bool:
    """Whether nothing but the rounding of their arithmetic tells values apart."""
    if not np.issubdtype(values.dtype, np.floating):
        return _constant(values)
    return bool(np.ptp(values) <= ROUNDINGS * np.finfo(values.dtype).eps * np.abs(values).max())


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: of class 1 for two classes, else the mean over the classes, one against the rest.

    A class that no row has, or that all rows have, cannot be ranked and is left out; 0.5 (chance) if none is left.
    """
    from sklearn.metrics import roc_auc_score

    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = [roc_auc_score(labels == c, scores[:, c]) for c in classes if not _constant(labels == c)]
    return float(np.mean(areas)) if areas else 0.5


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The entities of a row of BIO tags, strictly: kind, first word, and the word after the last.

    An entity begins with B-; an I- of another kind, or without a B- before it, belongs to none. What seqeval finds with
    `mode="strict", scheme=IOB2`, which tests hold this to.
    """
    found, start, kind = set(), -1, ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if start >= 0 and not (prefix == "I" and name == kind):
            found.add((kind, start, place))
            start = -1
        if prefix == "B":
            start, kind = place, name
    return found


def entity_counts(predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> np.ndarray:
    """(rows, 3): how many entities of a row's BIO tags are right, predicted, and there."""
    pairs = [(entities(one), entities(true)) for one, true in zip(predictions, labels, strict=True)]
    return np.array([[len(found & wanted), len(found), len(wanted)] for found, wanted in pairs], dtype=np.float64)


def entity_f1(counts: np.ndarray) -> float:
    """F1 of entities from the sums of `entity_counts` (micro average); 0 where there is none on either side."""
    right, ours, theirs = counts.tolist()
    return 2 * right / (ours + theirs) if ours + theirs else 0.0


def of_classes(predictions: np.ndarray, labels: np.ndarray, n_class: int) -> list[dict[str, float]]:
    """Precision, recall, F1 (0 where there is nothing to count) and rows of each class."""
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(labels, predictions, labels=range(n_class), zero_division=0)
    return [_shares(p, r, f, n) for p, r, f, n in zip(*found, strict=True)]


def confusion(predictions: np.ndarray, labels: np.ndarray, n_class: int) -> np.ndarray:
    """(n_class, n_class) int: how many rows of the class that the line stands for were taken for that of the column."""
    from sklearn.metrics import confusion_matrix

    counts: np.ndarray = confusion_matrix(labels, predictions, labels=range(n_class))
    return counts


def of_entities(predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of the entities of each kind, by name."""
    right, ours, theirs = Counter[str](), Counter[str](), Counter[str]()
    for predicted, true in zip(predictions, labels, strict=True):
        found, wanted = entities(predicted), entities(true)
        for counter, members in ((right, found & wanted), (ours, found), (theirs, wanted)):
            counter.update(kind for kind, _, _ in members)
    return {
        kind: _shares(
            right[kind] / max(1, ours[kind]),
            right[kind] / max(1, theirs[kind]),
            2 * right[kind] / (ours[kind] + theirs[kind]),
            theirs[kind],
        )
        for kind in sorted(ours | theirs)
    }


def _shares(precision: float, recall: float, f1: float, number: int) -> dict[str, float]:
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "number": int(number)}
