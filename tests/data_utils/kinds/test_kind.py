"""What all kinds of task share."""

from __future__ import annotations

import numpy as np
import pytest

from data_utils.kinds.kind import softmax


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_large_outputs_are_numbers(dtype: type[np.floating]) -> None:
    outputs = np.array([[1000, 999, -np.inf], [-1000, -1000, -1000]], dtype=dtype)
    share = np.e / (1 + np.e)
    np.testing.assert_allclose(softmax(outputs), [[share, 1 - share, 0], [1 / 3] * 3], rtol=1e-6)
