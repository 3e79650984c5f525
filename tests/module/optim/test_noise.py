"""The noise: its distribution, its key, and that it touches nobody else's random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from module.optim import PATSAdamax
from module.optim.noise import keyed_noise, noise_key
from tests.reference.adamax import Adamax
from tests.reference.pats import PATS

SIZE = 200_000
SHARES = [0.05, 0.2, 0.5, 1.0]
LIKE = torch.empty(SIZE)
KEY_OF_1_2_3 = 6520558355739401531


def four_sigma(p: float, n: int) -> float:
    return 4 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("p", SHARES)
def test_values_are_standard_normal_and_the_share_is_p(p: float) -> None:
    noise = keyed_noise(LIKE, p, noise_key(1, 1, 0))
    values = noise[noise != 0]
    assert stats.kstest(values.double().numpy(), "norm").pvalue > 0.01
    assert abs(len(values) / SIZE - p) <= four_sigma(p, SIZE)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5])
def test_positions_are_independent_of_their_neighbours(p: float) -> None:
    z = keyed_noise(LIKE, p, noise_key(1, 2, 0)) != 0
    for lag in (1, 2, 3, 7):
        after_one = z[lag:][z[:-lag]].double().mean().item()  # P(z[i + lag] = 1 given z[i] = 1)
        assert abs(after_one - p) <= four_sigma(p, int(SIZE * p))
    gaps = np.diff(np.flatnonzero(z.numpy()))
    longest = int(8 / p)
    counts = np.bincount(np.minimum(gaps, longest), minlength=longest + 1)[1:]
    shares = p * (1 - p) ** np.arange(longest)
    shares[-1] = (1 - p) ** (longest - 1)
    assert stats.chisquare(counts, len(gaps) * shares).pvalue > 0.01


@pytest.mark.parametrize("p", SHARES)
def test_ends_of_a_tensor_are_like_its_middle(p: float) -> None:
    """Over many short tensors, with the rate of each place: nothing starts or stops early."""
    n = 4000
    hits = sum((keyed_noise(torch.empty(3, 3), p, noise_key(3, i, 0)) != 0).double() for i in range(n)) / n
    assert (hits - p).abs().max() <= four_sigma(p, n)


OTHER = {"step": noise_key(1, 2, 3), "tensor": noise_key(1, 1, 4), "seed": noise_key(2, 1, 3)}


@pytest.mark.parametrize("p", [0.2, 1.0])
@pytest.mark.parametrize("other", OTHER)
def test_other_key_other_noise(other: str, p: float) -> None:
    """Neither the noise, nor its positions, nor the sequence of its values has anything to do with the other's."""
    first, second = keyed_noise(LIKE, p, noise_key(1, 1, 3)), keyed_noise(LIKE, p, OTHER[other])
    assert abs(correlation(first, second)) < 4 / SIZE**0.5
    assert abs(correlation((first != 0).float(), (second != 0).float())) < 4 / SIZE**0.5
    values = [noise[noise != 0] for noise in (first, second)]
    shorter = min(map(len, values))
    assert abs(correlation(values[0][:shorter], values[1][:shorter])) < 4 / shorter**0.5


def correlation(x: Tensor, y: Tensor) -> float:
    """0 where one of them is constant."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    return ((x * y).sum() / (x.norm() * y.norm()).clamp(min=1e-12)).item()


@pytest.mark.parametrize("p", SHARES)
def test_neighbours_are_uncorrelated(p: float) -> None:
    noise = keyed_noise(LIKE, p, noise_key(1, 5, 0))
    for lag in (1, 2, 768):
        assert abs(correlation(noise[lag:], noise[:-lag])) < 4 / SIZE**0.5


def test_values_are_independent_of_positions() -> None:
    noise = keyed_noise(LIKE, 0.2, noise_key(1, 6, 0))
    places = torch.nonzero(noise).flatten()
    assert abs(correlation(noise[places][1:], places.diff().float())) < 4 / len(places) ** 0.5


@pytest.mark.parametrize("p", [0.2, 1.0])
def test_same_key_same_noise_whatever_the_thread_count(p: float) -> None:
    key, threads = noise_key(1, 1, 3), torch.get_num_threads()
    first = keyed_noise(LIKE, p, key)
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(first, keyed_noise(LIKE, p, key))
    finally:
        torch.set_num_threads(threads)


def test_keys_are_the_same_in_every_version_and_process() -> None:
    """A change here would make resumed runs differ from uninterrupted ones."""
    assert noise_key(1, 2, 3) == KEY_OF_1_2_3
    assert 0 <= noise_key(2**63 - 1, 10**9, 10**6) < 2**63
    assert len({noise_key(s, t, i) for s in range(10) for t in range(10) for i in range(10)}) == 1000


def test_global_random_streams_are_untouched() -> None:
    np_state, torch_state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    for p in (0.2, 1.0):
        keyed_noise(torch.empty(100), p, 5)
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert np.array_equal(np_state, np.random.get_state()[1])


@pytest.mark.parametrize("p", [1e-300, 1e-9, 0.2, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("shape", [(), (0, 4), (1,), (3, 5), (4, 6, 2)], ids=str)
def test_any_shape_and_share(shape: tuple[int, ...], p: float) -> None:
    noise = keyed_noise(torch.empty(shape), p, 5)
    assert noise.shape == shape
    assert noise.isfinite().all()
    if p < 1e-6:
        assert not noise.any()
    if p > 0.9:
        assert noise.all()


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
    ids=str,
)
def test_dtype_is_the_arithmetics(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert keyed_noise(torch.empty(10, dtype=dtype), 0.5, 1).dtype == expected


@pytest.mark.parametrize("form", ["std", "variance"])
def test_what_a_step_adds_has_the_stated_deviation_element_by_element(form: str) -> None:
    """(θ with noise - θ without) / σ of the reference: standard normal on the share p, nothing on the rest."""
    generator = torch.Generator().manual_seed(3)
    theta = torch.randn(SIZE, generator=generator, dtype=torch.float64)
    g = torch.randn(SIZE, generator=generator, dtype=torch.float64)
    param = torch.nn.Parameter(theta.clone())
    param.grad = g
    options = {"noise_lambda": 1e-4, "noise_gamma": 0.2, "noise_p": 0.3, "noise_eps": 1e-8, "sensitivity_beta": 0.75}
    PATSAdamax([param], lr=1e-3, noise_form=form, seed=11, **options).step()

    base = Adamax(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0)
    reference = PATS(base, beta=0.75, lambda_=1e-4, gamma=0.2, epsilon=1e-8, form=form)
    added = param.detach() - reference.step(theta, g, torch.zeros_like(theta))
    sigma = reference.sigma()
    assert 0.01 < (sigma == 0).double().mean() < 0.5  # γ spares the most sensitive
    assert added[sigma == 0].abs().max() < 1e-12
    standard = added[sigma > 1e-6] / sigma[sigma > 1e-6]
    hit = standard.abs() > 1e-6
    assert abs(hit.double().mean().item() - 0.3) <= four_sigma(0.3, len(hit))
    assert stats.kstest(standard[hit].numpy(), "norm").pvalue > 0.01


def test_tensors_and_steps_get_noise_of_their_own() -> None:
    """By the parameter's place over all groups and its own count of steps, through the optimizer."""
    params = [torch.nn.Parameter(torch.ones(500)) for _ in range(3)]
    optimizer = PATSAdamax([{"params": params[:2]}, {"params": params[2:]}], lr=0.0, noise_lambda=1e-3, noise_p=1.0)
    added = []
    for _ in range(2):
        before = [param.detach().clone() for param in params]
        for param in params:
            param.grad = torch.ones(500)
        optimizer.step()
        added += [param.detach() - old for param, old in zip(params, before, strict=True)]
    for i, one in enumerate(added):
        assert one.abs().min() > 0
        for other in added[:i]:
            assert abs(correlation(one, other)) < 4 / 500**0.5
