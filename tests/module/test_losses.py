"""The criteria against arithmetic in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from module.losses import LOSSES


def log_softmax(values: Tensor) -> Tensor:
    return values - values.exp().sum(-1, keepdim=True).log()


def test_an_option_competes_with_those_of_its_row() -> None:
    scores = torch.tensor([[0.5], [1.5], [-1.0], [2.0], [0.0]], dtype=torch.float64)
    targets = {"label": torch.tensor([1, 0]), "options": torch.tensor([[0, 1, -1], [2, 3, 4]])}
    expected = torch.stack([-log_softmax(scores[:2, 0])[1], -log_softmax(scores[2:, 0])[0]])
    torch.testing.assert_close(LOSSES["RankCeCriterion"](scores, targets), expected.float())


def test_an_option_that_is_alone_is_certain_and_has_no_gradient() -> None:
    scores = torch.tensor([[3.0]], requires_grad=True)
    loss = LOSSES["RankCeCriterion"](scores, {"label": torch.tensor([0]), "options": torch.tensor([[0, -1]])})
    loss.sum().backward()
    assert loss.item() == 0 and scores.grad is not None and scores.grad.tolist() == [[0.0]]


def test_words_have_a_loss_and_other_tokens_none() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    targets = {"label": torch.tensor([[-100, 2, -100], [0, -100, 3]])}
    losses = LOSSES["SeqCeCriterion"](logits, targets)
    by_hand = log_softmax(logits)
    expected = -(by_hand[0, 1, 2] + by_hand[1, 0, 0] + by_hand[1, 2, 3])
    torch.testing.assert_close(losses.sum(), expected.float())
    losses.sum().backward()
    assert logits.grad is not None and logits.grad[0, 0].abs().sum() == 0 and logits.grad[1, 1].abs().sum() == 0
