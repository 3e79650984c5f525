"""Losses against their definitions in float64, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from module.losses import LOSSES, UNSCORED


def log_softmax(scores: list[float]) -> np.ndarray:
    values = np.array(scores, dtype=np.float64)
    return values - values.max() - np.log(np.exp(values - values.max()).sum())


def test_cross_entropy() -> None:
    logits = [[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]]
    loss = LOSSES["CeCriterion"](torch.tensor(logits), {"label": torch.tensor([2, 0])})
    np.testing.assert_allclose(loss, [-log_softmax(logits[0])[2], -log_softmax(logits[1])[0]], rtol=1e-6)


def test_mean_squared_error() -> None:
    loss = LOSSES["MseCriterion"](torch.tensor([[1.5], [-2.0]]), {"label": torch.tensor([1.0, 1.0])})
    assert loss.tolist() == [0.25, 9.0]


def test_ranking_is_over_the_options_of_each_row() -> None:
    scores = torch.tensor([[1.0], [2.0], [-3.0], [0.5], [0.25], [7.0]], requires_grad=True)
    targets = {"options": torch.tensor([[0, 1, 2], [3, 4, -1], [5, -1, -1]]), "label": torch.tensor([1, 1, 0])}
    loss = LOSSES["RankCeCriterion"](scores, targets)
    expected = [-log_softmax([1, 2, -3])[1], -log_softmax([0.5, 0.25])[1], 0.0]
    np.testing.assert_allclose(loss.detach(), expected, rtol=1e-6)
    loss.sum().backward()
    shares = np.concatenate([np.exp(log_softmax(own)) for own in ([1, 2, -3], [0.5, 0.25], [7])])
    np.testing.assert_allclose(scores.grad[:, 0], shares - [0, 1, 0, 0, 1, 1], rtol=1e-5, atol=1e-7)


def test_tagging_has_a_loss_a_word() -> None:
    logits = torch.tensor([[[1.0, 2.0], [5.0, 5.0]], [[0.0, -1.0], [float("1e4"), 0.0]]], requires_grad=True)
    loss = LOSSES["SeqCeCriterion"](logits, {"label": torch.tensor([[0, UNSCORED], [1, UNSCORED]])})
    np.testing.assert_allclose(loss.detach(), [-log_softmax([1, 2])[0], 0, -log_softmax([0, -1])[1], 0], rtol=1e-6)
    loss.sum().backward()
    assert not logits.grad[:, 1].any(), "tokens that are no words learn nothing"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1.0, -2.0]], dtype=dtype)
    assert LOSSES["CeCriterion"](logits, {"label": torch.tensor([0])}).dtype == torch.float32
