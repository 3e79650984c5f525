"""A perturbation of an encoder's word embeddings: what adversarial training moves in place of discrete tokens.

It is added to what the embedding layer of the tokens gives, before positions, segments and normalisation. The model is
called as always, so packed rows, DDP and FSDP need nothing of their own, and every family of encoders works alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

LENGTH = 3
"""Tokens of the row that a model is tried with: no multiple of what models fill rows up to."""


def word_embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The layer that turns token ids into vectors; ValueError where the model names none."""
    try:
        layer = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # what transformers raises for some models
        layer = None
    if not isinstance(layer, nn.Embedding):
        raise ValueError(f"a {model.config.model_type} encoder has no layer of word embeddings to perturb")
    return layer


@contextlib.contextmanager
def perturbed(model: PreTrainedModel, perturbation: Tensor | None) -> Iterator[None]:
    """In this block the model's word embeddings have `perturbation` (lines, length, embedding width) added to them."""
    if perturbation is None:
        yield
        return

    def add(layer: nn.Module, ids: tuple[Any, ...], output: Tensor) -> Tensor:
        places = output.shape[1] - perturbation.shape[1]  # that the model has added: Longformer fills up its windows
        return output + functional.pad(perturbation, (0, 0, 0, max(places, 0)))

    handle = word_embeddings(model).register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def check_perturbable(model: PreTrainedModel) -> None:
    """Raise ValueError unless a perturbation of its word embeddings changes what the model gives."""
    ids, whole = torch.zeros((1, LENGTH), dtype=torch.long), torch.ones((1, LENGTH), dtype=torch.long)
    # All numbers differ: of an equal shift, normalisation would leave nothing.
    moved = torch.arange(1.0, word_embeddings(model).embedding_dim + 1).expand(1, LENGTH, -1)
    module: nn.Module = model
    training = module.training
    module.eval()
    outputs = []
    for perturbation in (None, moved):
        with perturbed(model, perturbation):
            outputs.append(module(ids, attention_mask=whole).last_hidden_state)
    module.train(training)
    if torch.equal(*outputs):
        raise ValueError(f"a {model.config.model_type} encoder does not read its word embeddings from that layer")
