"""How far a score could be off because of which rows happen to be in a split: a bootstrap over its rows.

Efron and Tibshirani (1993), chapter 13: rows are drawn with replacement, as many as there are, and the score is
computed anew, again and again; the interval runs from the 2.5th to the 97.5th percentile of these scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_utils.kinds.kind import Counted, Metric, Predictions
from data_utils.task_def import TaskDef

DRAWS = 1000
PERCENTILES = (2.5, 97.5)


def score_interval(
    task: TaskDef, parts: Sequence[tuple[Predictions, Sequence[Any] | np.ndarray]], seed: int
) -> tuple[float, float]:
    """A 95 % interval of a task's score, the mean of its primary metric over some splits, in points.

    It says what other rows would do, not what another seed of the training would.

    Args:
        task: whose primary metric to compute.
        parts: of each split what was predicted and what is right, one a row; see the task's kind.
        seed: of the draws; the same one gives the same interval.
    """
    rng = np.random.default_rng(seed)
    metric = task.kind.metrics[task.primary_metric]
    of_rows = [(_metric_of(metric, predicted, gold), len(gold)) for predicted, gold in parts]
    scores = [np.mean([score(rng.integers(rows, size=rows)) for score, rows in of_rows]) for _ in range(DRAWS)]
    low, high = 100 * np.percentile(scores, PERCENTILES)
    return float(low), float(high)


def _metric_of(
    metric: Metric, predicted: Predictions, gold: Sequence[Any] | np.ndarray
) -> Callable[[np.ndarray], float]:
    """The metric as a function of some rows' indices; where it is a sum over rows, each is looked at once."""
    if isinstance(metric, Counted):
        counts, counted = metric.count(predicted, gold), metric
        return lambda rows: counted.of_counts(counts[rows])

    def of_rows(rows: np.ndarray) -> float:
        scores = None if predicted.scores is None else predicted.scores[rows]
        return metric(Predictions(_taken(predicted.values, rows), scores), _taken(gold, rows))

    return of_rows


def _taken(values: Sequence[Any] | np.ndarray, rows: np.ndarray) -> Sequence[Any] | np.ndarray:
    return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
