"""Fast dropout: its rate, its expectation, its repeatability, and attention against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from module.dropout import ATTENTION, FastDropout, attention, dropout_factors, use_fast_dropout
from tests.tiny_models import SHAPE


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_factors_are_zero_at_the_rate_and_keep_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    factors = dropout_factors(torch.empty(401, 1003, dtype=dtype), p)
    assert factors.dtype == dtype and factors.shape == (401, 1003)
    assert len(factors.unique()) == 2
    zeros = (factors == 0).double().mean().item()
    assert abs(zeros - p) < 5 * (p * (1 - p) / factors.numel()) ** 0.5 + 2**-16
    kept = factors.max().double().item()
    assert kept == pytest.approx(1 / (1 - p), rel=torch.finfo(dtype).eps + 2e-4)


def test_all_four_elements_of_a_draw_are_independent() -> None:
    torch.manual_seed(1)
    dropped = (dropout_factors(torch.empty(100_000, 4), 0.5) == 0).double()
    assert (dropped.T.corrcoef() - torch.eye(4)).abs().max() < 5 / 100_000**0.5


def test_the_same_stream_gives_the_same_masks_whatever_the_threads() -> None:
    layer, values = FastDropout(0.1), torch.ones(33, 77)
    torch.manual_seed(3)
    stream = torch.get_rng_state()
    first, second = layer(values), layer(values)
    assert not torch.equal(first, second)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        torch.set_rng_state(stream)
        assert torch.equal(layer(values), first) and torch.equal(layer(values), second)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-7])
def test_rates_at_the_ends_are_torch_s(p: float) -> None:
    values = torch.randn(5, 7)
    torch.manual_seed(0)
    expected = nn.Dropout(p)(values)
    torch.manual_seed(0)
    torch.testing.assert_close(FastDropout(p)(values), expected)
    assert torch.equal(FastDropout(0.5).eval()(values), values)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torch_s_with_other_masks(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing dropped but the same arithmetic, output and gradients are those of torch's attention."""
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 9, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    rows = torch.randint(3, (2, 9)).sort().values
    mask = (rows[:, None, :, None] == rows[:, None, None, :]) if masked else None
    layer = nn.Module()
    layer.is_causal = False
    expected, _ = sdpa_attention_forward(layer, *inputs, mask, scaling=0.3)
    monkeypatch.setattr("module.dropout.dropout_factors", lambda like, p: torch.ones_like(like))
    actual, _ = attention(layer, *inputs, mask, dropout=0.1, scaling=0.3)
    torch.testing.assert_close(actual, expected)
    weight = torch.randn_like(expected)
    for mine, other in zip(
        torch.autograd.grad((actual * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_attention_drops_weights_and_not_outputs() -> None:
    """Over many draws the mean is the output without dropout, and single draws differ."""
    torch.manual_seed(0)
    layer = nn.Module()
    layer.is_causal = False
    query, key, value = (torch.randn(1, 1, 6, 4) for _ in range(3))
    plain, _ = attention(layer, query, key, value, None)
    many, _ = attention(layer, *(x.expand(20_000, -1, -1, -1) for x in (query, key, value)), None, dropout=0.25)
    assert many.std(0).min() > 0.01
    torch.testing.assert_close(many.mean(0, keepdim=True), plain, atol=0.03, rtol=0)


def test_a_model_s_layers_and_attention_are_switched_and_padding_is_unseen() -> None:
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=50, **SHAPE))
    use_fast_dropout(model, in_attention=True)
    assert not [layer for layer in model.modules() if type(layer) is nn.Dropout]
    assert model.config._attn_implementation == ATTENTION and "attn" not in str(model.config.to_dict())
    ids, mask = torch.randint(1, 50, (2, 8)), torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    other = torch.where(mask.bool(), ids, 7)
    model.train()
    outputs = []
    for tokens in (ids, other):
        torch.manual_seed(1)
        outputs.append(model(tokens, attention_mask=mask).last_hidden_state[mask.bool()])
    torch.testing.assert_close(outputs[0], outputs[1])


def test_a_default_device_does_not_matter() -> None:
    values = torch.ones(64, 64)
    try:
        torch.set_default_device("meta")
        assert 0 < FastDropout(0.5)(values).count_nonzero() < values.numel()
    finally:
        torch.set_default_device(None)
