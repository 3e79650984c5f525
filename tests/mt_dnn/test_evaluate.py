"""What evaluation says of a model beside its scores."""

from __future__ import annotations

import numpy as np
import pytest

from mt_dnn.evaluate import is_constant

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
    assert is_constant(np.array(predicted), labels) is constant
