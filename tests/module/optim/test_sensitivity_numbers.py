"""Means of sensitivities: in which numbers they are summed up, and what becomes of those that are none."""

from __future__ import annotations

import pytest
import torch

from module.optim.sensitivity import mean_sensitivities


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_narrow_averages_have_a_mean_of_float32(dtype: torch.dtype) -> None:
    averages = torch.linspace(-1, 1.5, 1001, dtype=torch.float64).to(dtype)
    (mean,) = mean_sensitivities([averages], [1001], None)
    assert mean.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(mean.double(), averages.double().mean(), rtol=1e-5, atol=0)


def test_means_that_are_not_finite_are_zero_where_that_is_asked_for() -> None:
    averages = [torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("inf")]), torch.ones(4), torch.empty(0)]
    sizes = [len(average) for average in averages]
    assert torch.stack(mean_sensitivities(averages, sizes, None, finite=True)).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert torch.stack(mean_sensitivities(averages, sizes, None)).isfinite().tolist() == [False, False, True, True]
