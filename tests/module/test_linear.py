"""Linear layers by oneDNN: torch's results and gradients but for rounding, and torch's way where it does not fit."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

import module.linear
from module.encoder import Encoder
from module.linear import FastLinear, linear, onednn_is_faster, use_fast_linear
from module.mixout import Mixout
from tests.tiny_models import SHAPE

needs_onednn = pytest.mark.skipif(
    not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")), reason="torch has no oneDNN here"
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Takes oneDNN whatever the CPU; notes the rows of each forward product."""
    noted: list[torch.Size] = []
    product = module.linear._product

    def noting(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        noted.append(rows.shape)
        return product(rows, weight, bias)

    monkeypatch.setattr(module.linear, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(module.linear, "_product", noting)
    return noted


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


STATES: dict[str, Callable[[], Tensor]] = {
    "rows": lambda: numbers(33, 24),
    "lines of tokens": lambda: numbers(3, 11, 24),
    "one row": lambda: numbers(24),
    "first tokens": lambda: numbers(5, 4, 24)[:, 0],
    "columns": lambda: numbers(24, 9).t(),
    "one row for all": lambda: numbers(1, 24).expand(6, 24),
    "every other number": lambda: numbers(5, 48)[:, ::2],
}


@needs_onednn
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("states", STATES)
def test_results_and_gradients_are_those_of_float64(calls: list[torch.Size], states: str, biased: bool) -> None:
    inputs = [STATES[states](), numbers(40, 24), *([numbers(40)] if biased else [])]
    wide = [tensor.double().requires_grad_() for tensor in inputs]
    given = [tensor.requires_grad_() for tensor in inputs]
    result, expected = linear(*given[:2], given[2] if biased else None), F.linear(*wide)  # type: ignore[arg-type]
    assert calls and result.shape == expected.shape
    torch.testing.assert_close(result, expected.float())
    with torch.no_grad():
        assert torch.equal(linear(*given[:2], given[2] if biased else None), result)  # type: ignore[arg-type]
    for weights in (numbers(*result.shape), torch.ones(())):  # the sum's gradient is one number, expanded
        found = torch.autograd.grad((result * weights).sum(), given, retain_graph=True)
        right = torch.autograd.grad((expected * weights).sum(), wide, retain_graph=True)
        for gradient, one in zip(found, right, strict=True):
            torch.testing.assert_close(gradient, one.float())


@needs_onednn
def test_a_second_derivative_is_refused_not_wrong(calls: list[torch.Size]) -> None:
    states, weight = numbers(3, 4).requires_grad_(), numbers(2, 4).requires_grad_()
    for wanted in (states, weight):
        for power in (1, 2):  # with 1 the gradient that comes in is a constant, of which torch's own check lets pass
            with pytest.raises(RuntimeError, match="create_graph=True: .* cannot be differentiated again"):
                torch.autograd.grad(linear(states, weight, None).pow(power).sum(), wanted, create_graph=True)


@needs_onednn
def test_rows_of_another_width_are_told_as_torch_tells_them(calls: list[torch.Size]) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linear(numbers(3, 5), numbers(2, 4), None)


@needs_onednn
def test_only_products_that_are_asked_for_are_made(calls: list[torch.Size]) -> None:
    states, weight, bias = (tensor.requires_grad_() for tensor in (numbers(5, 4), numbers(2, 4), numbers(2)))
    total = linear(states, weight, bias).sum()
    for wanted, products in {(states,): 1, (states, weight, bias): 2}.items():
        calls.clear()
        torch.autograd.grad(total, wanted, retain_graph=True)
        assert len(calls) == products
    calls.clear()
    linear(states, weight.detach(), bias.detach()).sum().backward()  # frozen
    assert len(calls) == 2 and weight.grad is None and states.grad is not None


def under_autocast(layer: nn.Module) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return layer(numbers(5, 4))


UNFIT: dict[str, Callable[[nn.Module], Tensor]] = {
    "float64": lambda layer: layer.double()(numbers(5, 4).double()),
    "bfloat16": lambda layer: layer.bfloat16()(numbers(5, 4).bfloat16()),
    "no rows": lambda layer: layer(numbers(0, 4)),
    "autocast": under_autocast,
    "traced": lambda layer: torch.jit.trace(layer, numbers(5, 4), check_trace=False)(numbers(5, 4)),
    "exported": lambda layer: torch.export.export(layer, (numbers(5, 4),)).module()(numbers(5, 4)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", UNFIT)
def test_all_else_is_torch_s_own(calls: list[torch.Size], how: str) -> None:
    layer = nn.Linear(4, 3)
    fast = FastLinear(4, 3)
    fast.load_state_dict(layer.state_dict())
    expected = UNFIT[how](layer)
    assert torch.equal(UNFIT[how](fast), expected) and not calls


def tiny_bert() -> BertModel:
    return BertModel(BertConfig(vocab_size=50, max_position_embeddings=16, attn_implementation="sdpa", **SHAPE)).eval()


@needs_onednn
def test_an_encoder_s_layers_go_that_way_and_keep_their_names(calls: list[torch.Size]) -> None:
    plain = tiny_bert()
    names, ids = list(plain.state_dict()), torch.arange(12).view(2, 6)
    expected = plain(ids).last_hidden_state
    encoder = Encoder(plain)
    found = encoder(ids).last_hidden_state
    layers = [layer for layer in plain.modules() if isinstance(layer, nn.Linear)]
    assert len(calls) >= len(layers) > 1 and {type(layer) for layer in layers} == {FastLinear}
    assert list(plain.state_dict()) == names
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    straight = len(calls)
    Mixout(encoder, 0.5)
    encoder.train()(ids)
    assert len(calls) == 2 * straight


def test_where_it_is_not_faster_layers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.linear, "onednn_is_faster", lambda: False)
    layer = nn.Sequential(nn.Linear(2, 2))
    use_fast_linear(layer)
    assert type(layer[0]) is nn.Linear


@needs_onednn
@pytest.mark.parametrize(
    ("vendor", "capability", "faster"),
    [("AuthenticAMD", "AVX512", True), ("AuthenticAMD", "AVX2", False), ("GenuineIntel", "AVX512", False)],
)
def test_amd_s_cpus_with_avx_512_are_meant(
    vendor: str, capability: str, faster: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(module.linear, "CPU_INFO", told)
    assert onednn_is_faster.__wrapped__() == faster
    told.unlink()  # as where there is no /proc
    monkeypatch.setattr(platform, "processor", lambda: f"AMD64 Family 26 Model 2 Stepping 1, {vendor}")
    assert onednn_is_faster.__wrapped__() == faster
