"""What is added to word embeddings reaches the output in every family of encoders, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from module.encoder import load_encoder
from module.perturbation import check_perturbable, word_embeddings
from tests.tiny_models import FAMILIES, write_tiny_encoder


@pytest.mark.parametrize("length", [4, 5], ids=["a whole window", "more than a window"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_perturbation_is_another_embedding(family: str, length: int, tmp_path: Path) -> None:
    """The difference of two tokens' embeddings, added to one of them, gives the output of the other."""
    encoder = load_encoder(str(write_tiny_encoder(tmp_path / family, family)), seed=0)
    check_perturbable(encoder.model)
    ids, mask = torch.tensor([[5, 7, 9, 8, 6]])[:, :length], torch.ones((1, length), dtype=torch.long)
    other = ids.clone()
    other[0, 2] = 11
    table = word_embeddings(encoder.model).weight
    perturbation = (table[other] - table[ids]).detach().requires_grad_()
    moved = encoder(ids, attention_mask=mask, perturbation=perturbation).pooled
    torch.testing.assert_close(moved, encoder(other, attention_mask=mask).pooled, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(moved.sum(), perturbation)
    assert gradient.abs().sum() > 0
    assert not word_embeddings(encoder.model)._forward_hooks


def test_an_encoder_without_word_embeddings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_encoder(str(write_tiny_encoder(tmp_path, "bert")), seed=0).model
    monkeypatch.setattr(type(model), "get_input_embeddings", lambda self: nn.Identity())
    with pytest.raises(ValueError, match="a bert encoder has no layer of word embeddings to perturb"):
        check_perturbable(model)


def test_an_encoder_that_does_not_read_them_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_encoder(str(write_tiny_encoder(tmp_path, "bert")), seed=0).model
    idle = nn.Embedding(60, 32)
    monkeypatch.setattr(type(model), "get_input_embeddings", lambda self: idle)
    with pytest.raises(ValueError, match="does not read its word embeddings from that layer"):
        check_perturbable(model)
