"""Divergences against sums over probabilities, by kind of task, and their gradients against differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from module.divergences import DIVERGENCES
from module.heads import HEADS
from module.losses import UNSCORED
from tests.reference.divergences import divergence

SEED = torch.Generator().manual_seed(0)
LOGITS, TARGETS = (3 * torch.randn(6, 4, generator=SEED, dtype=torch.float64) for _ in range(2))
CONSTANT_ODDS = {"NsKlCriterion", "NsSymKlCriterion"}


def by_hand(name: str, logits: Tensor, target_logits: Tensor) -> list[float]:
    return [divergence(name, p, q) for p, q in zip(logits.tolist(), target_logits.tolist(), strict=True)]


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergence_is_its_formula(name: str) -> None:
    found = DIVERGENCES[name](LOGITS, TARGETS)
    assert found.tolist() == pytest.approx(by_hand(name, LOGITS, TARGETS), rel=1e-9)
    assert (found > 0).all()
    assert DIVERGENCES[name](LOGITS, LOGITS).abs().max() < 1e-12


@pytest.mark.parametrize("name", sorted(DIVERGENCES.keys() - CONSTANT_ODDS))
def test_gradient_is_that_of_the_value_in_both_outputs(name: str) -> None:
    given = [values.clone().requires_grad_() for values in (LOGITS, TARGETS)]
    assert torch.autograd.gradcheck(DIVERGENCES[name], given)


def test_log_odds_are_constants() -> None:
    p = LOGITS.clone().requires_grad_()
    DIVERGENCES["NsKlCriterion"](p, TARGETS).sum().backward()
    weights = DIVERGENCES["NsKlCriterion"](LOGITS, TARGETS)
    probabilities = LOGITS.softmax(-1)
    odds = [-(1 / (values.softmax(-1) + 1e-6) - 1 + 1e-6).log() for values in (LOGITS, TARGETS)]
    expected = probabilities * (2 * (odds[0] - odds[1]) - weights[:, None])
    torch.testing.assert_close(p.grad, expected)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_what_cannot_be_chosen_counts_nothing(name: str) -> None:
    """Three rows of two, four and one option: the ranking's padding changes neither values nor gradients."""
    scores, others = (values.flatten()[:7, None].clone().requires_grad_() for values in (LOGITS, TARGETS))
    targets = {"options": torch.tensor([[0, 1, -1, -1], [2, 3, 4, 5], [6, -1, -1, -1]])}
    found = HEADS["Ranking"].divergence(name, scores, others, targets)
    parts = [(scores[a:b, 0], others[a:b, 0]) for a, b in ((0, 2), (2, 6), (6, 7))]
    expected = torch.stack([DIVERGENCES[name](*part) for part in parts])
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad(found.sum(), (scores, others), materialize_grads=True),
        torch.autograd.grad(expected.sum(), (scores, others), materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_each_word_is_a_unit() -> None:
    logits, others = LOGITS.view(2, 3, 4), TARGETS.view(2, 3, 4)
    targets = {"label": torch.tensor([[UNSCORED, 2, 0], [1, UNSCORED, UNSCORED]])}
    found = HEADS["SeqenceLabeling"].divergence("SymKlCriterion", logits, others, targets)
    expected = by_hand("SymKlCriterion", LOGITS, TARGETS)
    assert found.tolist() == pytest.approx([0, expected[1], expected[2], expected[3], 0, 0])


def test_a_span_is_the_mean_of_its_two_ends() -> None:
    logits, others = (values[:, :2].reshape(2, 3, 2) for values in (LOGITS, TARGETS))
    targets = {"inside": torch.tensor([[True, True, True], [True, True, False]])}
    found = HEADS["Span"].divergence("JSCriterion", logits, others, targets)
    for row, length in enumerate((3, 2)):
        ends = [
            by_hand("JSCriterion", logits[row : row + 1, :length, i], others[row : row + 1, :length, i]) for i in (0, 1)
        ]
        assert found[row].item() == pytest.approx((ends[0][0] + ends[1][0]) / 2)


def test_a_regression_has_squared_differences_alone() -> None:
    assert HEADS["Regression"].divergences == ("MseCriterion",)
    found = HEADS["Regression"].divergence("MseCriterion", LOGITS[:, :1], TARGETS[:, :1], {})
    torch.testing.assert_close(found, (LOGITS - TARGETS)[:, 0] ** 2)


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_divergences_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits, others = LOGITS.to(dtype), TARGETS.to(dtype)
    found = HEADS["Classification"].divergence(name, logits, others, {})
    assert found.dtype is torch.float32
    torch.testing.assert_close(
        found.double(), DIVERGENCES[name](logits.double(), others.double()), rtol=1e-4, atol=1e-6
    )
