"""NoisyTune: its formula, its distribution, its key."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from module.optim import noisytune_
from module.optim.noise import noise_key
from tests.module.optim.toy import equal, toy_params
from tests.reference.noisytune import noisytune


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_follows_reference(dtype: torch.dtype) -> None:
    params, before = toy_params(dtype), toy_params(dtype)
    noisytune_(params, intensity=0.3, seed=4)
    for index, (param, old) in enumerate(zip(params, before, strict=True)):
        if old.numel() == 1:
            assert torch.equal(param, old)
            continue
        generator = torch.Generator().manual_seed(noise_key(4, 0, index))
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        uniform = torch.empty(old.shape, dtype=wide).uniform_(-0.5, 0.5, generator=generator)
        expected = noisytune(old.detach().double(), uniform.double(), lambda_=0.3).to(dtype)
        torch.testing.assert_close(param.detach(), expected)


def test_noise_is_uniform_and_scaled_by_each_tensors_deviation() -> None:
    for scale in (0.01, 5.0):
        old = torch.randn(50_000, generator=torch.Generator().manual_seed(1)) * scale
        new = old.clone()
        noisytune_([new], intensity=0.15)
        share = ((new - old) / (0.15 * old.std()) + 0.5).double()
        assert stats.kstest(share.numpy(), "uniform").pvalue > 0.01


def test_counts_and_spares_tensors_without_spread() -> None:
    tensors = [torch.ones(1), torch.ones(()), torch.empty(0), torch.full((4,), 3.0), torch.arange(4.0)]
    before = [tensor.clone() for tensor in tensors]
    assert noisytune_(iter(tensors)) == 2  # the constant one is perturbed by nothing
    assert equal(tensors[:4], before[:4])
    assert not torch.equal(tensors[4], before[4])


def test_keyed_by_seed_and_leaves_the_global_stream_alone() -> None:
    state = torch.random.get_rng_state()
    first, same, other = toy_params(), toy_params(), toy_params()
    for params, seed in ((first, 1), (same, 1), (other, 2)):
        assert noisytune_(params, seed=seed) == 4
    assert equal(first, same)
    assert not equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_intensity_zero_changes_nothing() -> None:
    params = toy_params()
    noisytune_(params, intensity=0.0)
    assert equal(params, toy_params())


@pytest.mark.parametrize("intensity", [-0.1, float("nan"), float("inf")])
def test_bad_intensity(intensity: float) -> None:
    with pytest.raises(ValueError, match="Invalid intensity value"):
        noisytune_(toy_params(), intensity=intensity)
