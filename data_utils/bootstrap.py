"""How far a score could be off because of which rows happen to be in a split: a bootstrap over its rows.

Efron and Tibshirani (1993), chapter 13: rows are drawn with replacement, as many as there are, and the score is
computed anew, again and again; the interval runs from the 2.5th to the 97.5th percentile of these scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from data_utils.kinds.kind import Predictions
from data_utils.scoring import compute_metrics
from data_utils.task_def import TaskDef

MOST_DRAWS, LEAST_DRAWS = 1000, 200
ROWS_IN_ALL = 2_000_000
"""Large splits are drawn less often: their metrics take longer, and a percentile of 200 draws is near enough."""

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
    rows = sum(len(gold) for _, gold in parts)
    draws = max(LEAST_DRAWS, min(MOST_DRAWS, ROWS_IN_ALL // rows))
    only = replace(task, metric_meta=(task.primary_metric,))
    scores = [np.mean([_redrawn(only, predicted, gold, rng) for predicted, gold in parts]) for _ in range(draws)]
    low, high = np.percentile(scores, PERCENTILES)
    return float(low), float(high)


def _redrawn(
    task: TaskDef, predicted: Predictions, gold: Sequence[Any] | np.ndarray, rng: np.random.Generator
) -> float:
    """The metric of as many rows as there are, drawn with replacement."""
    rows = rng.integers(len(gold), size=len(gold))
    values = _taken(predicted.values, rows)
    scores = None if predicted.scores is None else predicted.scores[rows]
    return compute_metrics(task, Predictions(values, scores), _taken(gold, rows))[task.primary_metric]


def _taken(values: Sequence[Any] | np.ndarray, rows: np.ndarray) -> Sequence[Any] | np.ndarray:
    return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
