"""Heads against matrix products in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_utils.kinds import KINDS
from data_utils.kinds.kind import TOKEN
from module.encoder import EncoderOutput
from module.heads import HEADS
from module.losses import LOSSES


def encoded(by_sequence: bool = True) -> EncoderOutput:
    generator = torch.Generator().manual_seed(0)
    pooled, states = torch.randn(3, 8, generator=generator), torch.randn(3, 5, 8, generator=generator)
    return EncoderOutput(pooled, states, states.flip(0) if by_sequence else None)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_linear_in_what_its_kind_looks_at(name: str) -> None:
    head, given = HEADS[name](8, 4, 0.5, seed=3).eval(), encoded()
    seen = given.tokens if KINDS[name].level == TOKEN else given.pooled
    weight, bias = (p.detach().double().numpy() for p in (head.linear.weight, head.linear.bias))
    expected = seen.double().numpy() @ weight.T + bias
    np.testing.assert_allclose(head(given).detach(), expected, rtol=1e-5, atol=1e-7)


def test_every_kind_has_a_head_and_its_loss_fits() -> None:
    assert KINDS.keys() == HEADS.keys()
    for name, kind in KINDS.items():
        assert kind.default_loss in HEADS[name].losses
        assert set(HEADS[name].losses) <= LOSSES.keys()


@pytest.mark.parametrize("name", HEADS)
def test_a_start_depends_on_the_seed_alone(name: str) -> None:
    weights = [HEADS[name](8, 4, 0.1, seed).linear.weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_states_of_tokens_must_be_asked_for() -> None:
    with pytest.raises(ValueError, match="token_places"):
        HEADS["SeqenceLabeling"](8, 4, 0.1, 1)(encoded(by_sequence=False))


@pytest.mark.parametrize("name", HEADS)
def test_what_a_head_looks_at_drops_out_in_training(name: str) -> None:
    """With weights of one for one number each: half of them are zero, the others twice as large."""
    head, given = HEADS[name](8, 8, 0.5, seed=3), encoded()
    head.linear.weight.data.copy_(torch.eye(8))
    torch.manual_seed(0)
    seen = given.tokens if KINDS[name].level == TOKEN else given.pooled
    factors = head.train()(given).detach() / seen
    assert set(factors.round(decimals=4).unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("name", HEADS)
def test_a_start_is_berts(name: str) -> None:
    head = HEADS[name](4000, 4, 0.1, seed=1)
    assert head.linear.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert not head.linear.bias.any()
