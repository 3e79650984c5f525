"""How long rows may be, and whether they depend on their neighbours, is found out when an encoder is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from module.encoder import PACKABLE, Encoder, load_encoder
from module.rows import LONG, SHORT, _packed, _padded, _tokens, _try, check_rows, try_rows

SIZES = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {**SIZES, "intermediate_size": 48, "max_position_embeddings": 66, "pad_token_id": 1, "embedding_size": 16}
DISTILBERT = {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}
AFTER_PADDING = ("data2vec-text", "esm", "ibert", "longformer", "roberta", "roberta-prelayernorm", "xlm-roberta-xl")
INDEPENDENT = (*sorted(PACKABLE), *AFTER_PADDING, "big_bird", "deberta", "deberta-v2", "mobilebert", "modernbert")


def tiny_model(model_type: str, **values: Any) -> transformers.PreTrainedModel:
    own = {"distilbert": DISTILBERT, "longformer": {**SMALL, "attention_window": 4}}.get(model_type, SMALL)
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(model_type, **own | values))


def saved(folder: Path, model_type: str, **values: Any) -> str:
    tiny_model(model_type, **values).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("model_type", INDEPENDENT)
def test_nothing_is_said_of_encoders_whose_rows_are_independent(model_type: str) -> None:
    encoder = Encoder(tiny_model(model_type)).eval()
    packs = encoder.can_pack
    assert check_rows(encoder) == []
    assert encoder.can_pack is packs


@pytest.mark.parametrize("model_type", ["fnet", "convbert", "nystromformer", "yoso"])
def test_encoders_that_mix_padding_in_are_named(model_type: str, tmp_path: Path) -> None:
    (remark,) = load_encoder(saved(tmp_path, model_type), seed=0).remarks
    assert remark.startswith(f"{model_type}: a row's output depends on the padding beside it")
    assert "--batch_size_eval 1" in remark


def test_an_encoder_that_does_not_attend_is_refused(tmp_path: Path) -> None:
    """MRA does without its CUDA kernel what no user would guess: its attention is zeros."""
    with pytest.raises(ValueError, match="the first token of this mra model does not see the end of its row"):
        load_encoder(saved(tmp_path, "mra"), seed=0)


class Altered(nn.Module):
    """A model whose states are altered by `alter`, to be put in place of a layer's output."""

    def __init__(self, inner: nn.Module, alter: Any) -> None:
        super().__init__()
        self.inner, self.alter = inner, alter

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.alter(self.inner(*args, **kwargs))


def test_an_output_drawn_at_random_is_named() -> None:
    model = tiny_model("bert")
    model.embeddings = Altered(model.embeddings, lambda states: states + torch.randn_like(states))
    assert check_rows(Encoder(model).eval()) == [
        "bert: its output is drawn at random, so that no run or prediction can be repeated"
    ]


def test_rows_are_not_packed_where_only_that_makes_a_difference() -> None:
    model = tiny_model("bert")

    def add_the_place_on_the_line(states: Tensor) -> Tensor:  # what an encoder that ignores position ids does
        return states + torch.arange(states.shape[1])[:, None]

    model.embeddings = Altered(model.embeddings, add_the_place_on_the_line)
    encoder = Encoder(model).eval()
    assert encoder.can_pack
    assert check_rows(encoder) == ["bert: rows are not packed, as packed and padded ones give different results"]
    assert not encoder.can_pack


def test_longformers_first_token_sees_the_whole_row() -> None:
    """Its window reaches 2 tokens to each side: through 2 layers the first token would see 4 of 60."""
    encoder = Encoder(tiny_model("longformer")).eval()
    ids = torch.arange(60)[None] + 5
    other = ids.clone()
    other[:, 30:] += 20
    mask = torch.ones_like(ids)
    with torch.no_grad():
        first, second = (encoder(x, attention_mask=mask).pooled for x in (ids, other))
        alone = (encoder.model(x, attention_mask=mask).last_hidden_state[:, 0] for x in (ids, other))
    assert torch.equal(*alone), "the window is wide enough without global attention, so nothing was tested"
    assert not torch.equal(first, second)


def test_longformers_padding_does_not_count() -> None:
    encoder = Encoder(tiny_model("longformer")).eval()
    ids = torch.arange(10)[None] + 5
    padded = torch.cat([ids, torch.ones((1, 23), dtype=torch.long)], dim=1)
    with torch.no_grad():
        alone = encoder(ids, attention_mask=torch.ones_like(ids)).pooled
        beside = encoder(padded, attention_mask=(torch.arange(33) < 10).long()[None]).pooled
    torch.testing.assert_close(beside, alone)


def test_bigbirds_pooler_and_attention_are_the_same_in_each_batch(tmp_path: Path) -> None:
    """Its sparse attention draws from numpy's stream, and is given up for good at the first short batch."""
    model = tiny_model("big_bird", max_position_embeddings=128, block_size=4, num_random_blocks=1)
    model.save_pretrained(tmp_path)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the stream that it would disturb
    encoder = load_encoder(str(tmp_path), seed=0).eval()
    ids = torch.arange(90)[None] + 5
    mask = torch.ones_like(ids)
    with torch.no_grad():
        long = encoder(ids, attention_mask=mask).pooled
        encoder(ids[:, :9], attention_mask=mask[:, :9])
        again = encoder(ids, attention_mask=mask)
        expected = encoder.model(ids, attention_mask=mask).pooler_output
    assert torch.equal(long, again.pooled)
    torch.testing.assert_close(again.pooled, expected)
    assert encoder.config.attention_type == "original_full", "an exported encoder must predict elsewhere as here"
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("model_type", AFTER_PADDING)
def test_the_longest_row_of_types_that_count_after_the_padding_token(model_type: str) -> None:
    """66 positions, of which the first two are no token's."""
    encoder = Encoder(tiny_model(model_type)).eval()
    assert (encoder.position_offset, encoder.max_length) == (2, 64)
    try_rows(encoder, 64)
    with pytest.raises(ValueError, match=r"rows of 65 tokens cannot be encoded, rows of 64 can: --max_seq_len 64 \("):
        try_rows(encoder, 65)


@pytest.mark.parametrize("model_type", sorted(PACKABLE))
def test_the_longest_row_of_types_that_are_not_tried(model_type: str) -> None:
    values = {"max_position_embeddings": 66, "pad_token_id": 1}
    encoder = Encoder(tiny_model(model_type, **values)).eval()
    assert encoder.max_length in (64, 66)
    try_rows(encoder, encoder.max_length)
    with pytest.raises(ValueError, match=f"rows of {encoder.max_length} can: --max_seq_len {encoder.max_length} "):
        try_rows(encoder, encoder.max_length + 1)


def test_trying_leaves_the_random_stream_and_the_mode_alone() -> None:
    encoder = Encoder(tiny_model("bert")).train()
    before = torch.get_rng_state()
    try_rows(encoder, 20)
    with pytest.raises(ValueError, match="rows of 90 tokens cannot be encoded"):
        try_rows(encoder, 90)
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_window_that_is_too_narrow_for_the_rows() -> None:
    model = tiny_model("longformer")
    encoder = Encoder(model)
    encoder._global_first = False
    with pytest.raises(ValueError, match="rows of 60 tokens: the first token of this longformer model does not see"):
        try_rows(encoder, 60)


def test_rows_are_tried_where_the_encoder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` stands in for a GPU; most models can do nothing there, so what they would be given is looked at."""
    found: list[set[str]] = []

    def note(self: Encoder, ids: Tensor, **more: Tensor) -> None:
        found.append({tensor.device.type for tensor in (ids, *more.values())})
        raise RuntimeError

    encoder = Encoder(tiny_model("deberta").to("meta")).eval()
    monkeypatch.setattr(Encoder, "forward", note)
    short, long = _tokens(encoder, SHORT), _tokens(encoder, LONG)
    assert _try(encoder, SHORT) == (None, "RuntimeError: ")
    for other in (_padded, _packed):
        with pytest.raises(RuntimeError):
            other(encoder, short, long)
    assert found == [{"meta"}] * 3
