"""What evaluation says of a model beside its scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from data_utils.features import FeatureSet
from data_utils.kinds import KINDS
from mt_dnn.data import TaskData
from mt_dnn.evaluate import majority_score

RATED = np.array([0.0, 2.5, 5.0], dtype=np.float32)


@pytest.mark.parametrize(
    ("predicted", "labels", "constant"),
    [
        ([1, 1, 1], np.array([0, 1, 1]), True),
        ([1, 1, 0], np.array([0, 1, 1]), False),
        ([1, 1, 1], np.array([1, 1, 1]), True),
        ([7, 8, 7], np.array([0, 5000, 9999]), False),  # classes are no numbers, however many there are
        ([2.5, 2.5000002, 2.4999998], RATED, True),
        ([2.5, 2.6, 2.5], RATED, False),
    ],
    ids=str,
)
def test_a_collapsed_model_is_one_that_says_the_same_of_all_rows(
    predicted: list[float], labels: np.ndarray, constant: bool
) -> None:
    kind = KINDS["Regression" if labels is RATED else "Classification"]
    assert kind.is_constant(np.array(predicted), labels) is constant


def test_the_majority_is_that_of_the_training_rows_scored_on_the_dev_rows(
    make_features: Callable[..., FeatureSet],
) -> None:
    def split(labels: list[float]) -> FeatureSet:
        features = make_features([np.arange(4)] * len(labels), labels)
        task = replace(features.task, n_class=2, labels=("no", "yes"), metric_meta=("ACC", "F1"))
        return replace(features, task=task)

    train, one, other = split([1, 1, 0]), split([1, 0, 1, 0, 0]), split([1])
    data = TaskData(train.task, (train,), {"matched_dev": one, "mismatched_dev": other})
    assert train.task.primary_metric == "F1"
    f1 = 100 * 2 * (2 / 5) * 1 / (2 / 5 + 1)  # of five "yes" two are right, and both that there are are found
    assert majority_score(data) == pytest.approx((f1 + 100) / 2)
    assert majority_score(replace(data, train_files=(split([0, 0, 1]),))) == 0.0


def test_a_regression_has_no_majority(make_features: Callable[..., FeatureSet]) -> None:
    features = make_features([np.arange(4)] * 2, [0.5, 1.5])
    assert majority_score(TaskData(features.task, (features,), {"dev": features})) is None
