"""The interval of a score over the rows of its splits."""

from __future__ import annotations

import numpy as np
import pytest

from data_utils.bootstrap import score_interval
from data_utils.kinds.kind import Predictions
from data_utils.task_def import TaskDef

GOLD = np.tile([0, 1], 30)


def classes(metric: str) -> TaskDef:
    raw = {"data_format": "PremiseOnly", "task_type": "Classification", "metric_meta": [metric]}
    return TaskDef.from_dict("toy", raw)


def test_splits_count_alike_however_many_rows_they_have() -> None:
    """All of the larger is right and nothing of the smaller: whatever is drawn, that is one half."""
    parts = [(Predictions(GOLD), GOLD), (Predictions(1 - GOLD[:6]), GOLD[:6])]
    assert score_interval(classes("ACC"), parts, seed=1) == pytest.approx((50, 50))
    assert score_interval(classes("F1MAC"), parts[:1], seed=1) == pytest.approx((100, 100))


def test_a_row_is_drawn_with_its_probabilities() -> None:
    """In order over all rows they are in order over any of them."""
    positive = np.where(GOLD == 1, 0.6, 0.4) + np.arange(60) / 1000
    predicted = Predictions(GOLD, np.stack([1 - positive, positive], axis=1))
    assert score_interval(classes("AUC"), [(predicted, GOLD)], seed=1) == pytest.approx((100, 100))


def test_an_interval_is_about_its_score_and_repeats() -> None:
    part = (Predictions(np.where(np.arange(60) % 3 == 0, 1 - GOLD, GOLD)), GOLD)
    low, high = score_interval(classes("ACC"), [part], seed=1)
    assert low < 100 * 2 / 3 < high
    assert score_interval(classes("ACC"), [part], seed=1) == (low, high)
