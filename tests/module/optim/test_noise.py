"""The noise: its distribution, its key, and that it touches nobody else's random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from module.optim import PATSAdamax
from module.optim.noise import BLOCK, _bernoulli_positions, _block, keyed_noise, noise_key
from tests.module.optim.test_follows_reference import needs_numba
from tests.reference.adamax import Adamax
from tests.reference.pats import PATS
from tests.reference.philox import philox, philox_noise
from tests.triton_marks import DEVICE, needs_triton

CPU = torch.device("cpu")

SIZE = 200_000
SHARES = [0.05, 0.2, 0.5, 1.0]
BACKENDS = ["foreach", pytest.param("triton", marks=needs_triton)]
KEY_OF_1_2_3 = 6520558355739401531


def draw(backend: str, p: float, *, seed: int = 1, step: int = 1, position: int = 0, size: int = SIZE) -> Tensor:
    """The noise of one tensor."""
    if backend == "foreach":
        return keyed_noise([(position, size)], p, seed=seed, step=step, dtype=torch.float32, device=CPU)[0]
    from module.kernels.launch import triton_noise

    return triton_noise(torch.empty(size, device=DEVICE), p, seed=seed, step=step, position=position).cpu()


def four_sigma(p: float, n: int) -> float:
    return 4 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("p", SHARES)
def test_values_are_standard_normal_and_the_share_is_p(p: float, backend: str) -> None:
    noise = draw(backend, p)
    values = noise[noise != 0]
    assert stats.kstest(values.double().numpy(), "norm").pvalue > 0.01
    assert abs(len(values) / SIZE - p) <= four_sigma(p, SIZE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("p", [0.05, 0.2, 0.5])
def test_positions_are_independent_of_their_neighbours(p: float, backend: str) -> None:
    z = draw(backend, p, step=2) != 0
    for lag in (1, 2, 3, 7, 1024):
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
    hits = sum((draw("foreach", p, position=9 * i, size=9) != 0).double() for i in range(n)) / n
    assert (hits - p).abs().max() <= four_sigma(p, n)


@pytest.mark.parametrize("p", SHARES)
def test_ends_of_a_block_are_like_its_middle(p: float) -> None:
    """Over many blocks, at the places about their borders, which one span covers."""
    n = 2000
    hits = sum((draw("foreach", p, step=i, position=BLOCK - 4, size=8) != 0).double() for i in range(n)) / n
    assert (hits - p).abs().max() <= four_sigma(p, n)


@pytest.mark.parametrize("p", [0.2, 1.0])
def test_an_elements_noise_does_not_depend_on_the_span(p: float) -> None:
    """Cut anywhere, in any order, with gaps: always the numbers of these positions."""
    whole = draw("foreach", p)
    spans = [(0, 10), (10, 70_000), (70_010, 0), (70_010, 100), (BLOCK, 5), (3, BLOCK), (199_999, 1), (5, 0)]
    drawn = keyed_noise(spans, p, seed=1, step=1, dtype=torch.float32, device=CPU)
    for (start, size), noise in zip(spans, drawn, strict=True):
        assert torch.equal(noise, whole[start : start + size])


def test_draws_that_do_not_reach_the_end_of_a_block_go_on_where_they_stopped() -> None:
    """It happens once in a billion blocks: here each gap is 1, so that a fifth of the block is drawn at a time."""

    class NoGaps:
        def random(self, count: int, dtype: type[np.floating]) -> np.ndarray:
            return np.zeros(count, dtype)

    positions = _bernoulli_positions(NoGaps(), 0.2)  # type: ignore[arg-type]
    assert np.array_equal(positions, np.arange(BLOCK))


OTHER = {"step": {"step": 2}, "tensor": {"position": 2**33}, "seed": {"seed": 2}, "far seed": {"seed": 1 + 2**32}}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("p", [0.2, 1.0])
@pytest.mark.parametrize("other", OTHER)
def test_other_key_other_noise(other: str, p: float, backend: str) -> None:
    """Neither the noise, nor its positions, nor the sequence of its values has anything to do with the other's."""
    first, second = draw(backend, p), draw(backend, p, **OTHER[other])
    assert abs(correlation(first, second)) < 4 / SIZE**0.5
    assert abs(correlation((first != 0).float(), (second != 0).float())) < 4 / SIZE**0.5
    values = [noise[noise != 0] for noise in (first, second)]
    shorter = min(map(len, values))
    assert abs(correlation(values[0][:shorter], values[1][:shorter])) < 4 / shorter**0.5


def correlation(x: Tensor, y: Tensor) -> float:
    """0 where one of them is constant."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    return ((x * y).sum() / (x.norm() * y.norm()).clamp(min=1e-12)).item()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("p", SHARES)
def test_neighbours_are_uncorrelated(p: float, backend: str) -> None:
    """At any distance that matters, the kernels' pairs among them, in value and in size."""
    noise = draw(backend, p, step=5)
    for lag in (1, 2, 768, 1024):
        assert abs(correlation(noise[lag:], noise[:-lag])) < 4 / SIZE**0.5
        assert abs(correlation(noise[lag:].abs(), noise[:-lag].abs())) < 4 / SIZE**0.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_are_independent_of_positions(backend: str) -> None:
    noise = draw(backend, 0.2, step=6)
    places = torch.nonzero(noise).flatten()
    assert abs(correlation(noise[places][1:], places.diff().float())) < 4 / len(places) ** 0.5


@pytest.mark.parametrize("p", [0.2, 1.0])
def test_same_key_same_noise_whatever_the_thread_count(p: float) -> None:
    threads = torch.get_num_threads()
    first = draw("foreach", p, step=8)
    _block.cache_clear()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(first, draw("foreach", p, step=8))
    finally:
        torch.set_num_threads(threads)


def test_keys_are_the_same_in_every_version_and_process() -> None:
    """A change here would make resumed runs differ from uninterrupted ones."""
    assert noise_key(1, 2, 3) == KEY_OF_1_2_3
    assert 0 <= noise_key(2**63 - 1, 10**9, 10**6) < 2**63
    assert len({noise_key(s, t, i) for s in range(10) for t in range(10) for i in range(10)}) == 1000


@needs_triton
@pytest.mark.parametrize("p", [0.2, 1.0])
def test_kernels_draw_what_the_reference_draws(p: float) -> None:
    """Philox as its authors published it: zero counter and key give their known answer; the rest by the reference."""
    zeros = [np.zeros(1, np.uint64)] * 4
    assert [int(word[0]) for word in philox(zeros, 0)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    key = {"seed": 2**62 + 12345, "step": 70_000, "position": 2**34 + 7}
    expected = philox_noise((5000,), p, **key)
    torch.testing.assert_close(draw("triton", p, size=5000, **key).double(), expected, rtol=0, atol=5e-6)


@needs_triton
def test_kernels_noise_does_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    large = draw("triton", 0.2, size=9000)
    monkeypatch.setattr("module.kernels.launch.INTERPRETED_BLOCK", 2048)
    monkeypatch.setattr("module.kernels.launch.BLOCK", 2048)
    assert torch.equal(draw("triton", 0.2, size=9000), large)


def test_global_random_streams_are_untouched() -> None:
    np_state, torch_state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    for p in (0.2, 1.0):
        draw("foreach", p, step=9)
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert np.array_equal(np_state, np.random.get_state()[1])


@pytest.mark.parametrize("p", [1e-300, 1e-9, 0.2, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("size", [0, 1, 15, 48])
def test_any_size_and_share(size: int, p: float) -> None:
    noise = draw("foreach", p, step=5, size=size)
    assert noise.shape == (size,)
    assert noise.isfinite().all()
    if p < 1e-6:
        assert not noise.any()
    if p > 0.9:
        assert noise.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtype_is_as_asked(dtype: torch.dtype) -> None:
    assert keyed_noise([(0, 10)], 0.5, seed=1, step=1, dtype=dtype, device=CPU)[0].dtype == dtype


READINGS = [(sensitivity, form) for sensitivity in ("signed", "magnitude") for form in ("variance", "std")]


def step_with_noise(
    sensitivity: str, form: str, backend: str, noise_gamma: float = 0.2, noise_p: float = 0.3
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of PATS on a large tensor: what it added beyond the base step, the reference's σ, and s = θ ⊙ g."""
    generator = torch.Generator().manual_seed(3)
    theta = torch.randn(SIZE, generator=generator, dtype=torch.float64)
    g = torch.randn(SIZE, generator=generator, dtype=torch.float64) + 0.5 * theta  # more products above 0 than below
    param = torch.nn.Parameter(theta.clone() if backend == "foreach" else theta.float().to(DEVICE))
    param.grad = g.to(param)
    options = {"noise_lambda": 1e-4, "noise_gamma": noise_gamma, "noise_p": noise_p, "noise_eps": 1e-8}
    reading = {"sensitivity": sensitivity, "noise_form": form, "sensitivity_beta": 0.75}
    PATSAdamax([param], lr=1e-3, seed=11, backend=backend, **options, **reading).step()

    base = Adamax(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0)
    reference = PATS(base, beta=0.75, lambda_=1e-4, gamma=noise_gamma, epsilon=1e-8, sensitivity=sensitivity, form=form)
    added = param.detach().double().cpu() - reference.step(theta, g, torch.zeros_like(theta))
    return added, reference.sigma(), theta * g


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sensitivity", "form"), READINGS)
def test_what_a_step_adds_has_the_stated_deviation_element_by_element(
    sensitivity: str, form: str, backend: str
) -> None:
    """(θ with noise - θ without) / σ of the reference: standard normal on the share p, nothing on the rest."""
    added, sigma, _ = step_with_noise(sensitivity, form, backend)
    assert 0.01 < (sigma == 0).double().mean() < 0.8  # γ spares the most sensitive
    rounding = 1e-12 if backend == "foreach" else 1e-6
    assert added[sigma == 0].abs().max() < rounding
    large = sigma > 1e6 * rounding if backend == "foreach" else sigma > 1e-4
    standard = added[large] / sigma[large]
    hit = standard.abs() > (1e-6 if backend == "foreach" else 1e-2)
    assert abs(hit.double().mean().item() - 0.3) <= four_sigma(0.3, len(hit))
    assert stats.kstest(standard[hit].numpy(), "norm").pvalue > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_signed_gives_noise_to_the_sign_of_the_sum_alone_and_less_of_it_with_gamma(backend: str) -> None:
    """Of the elements with the sum's sign, those below s̄/γ: worked out here from the products themselves."""
    shares = []
    for gamma in (0.0, 0.1, 0.3, 1.0):
        added, sigma, s = step_with_noise("signed", "variance", backend, noise_gamma=gamma, noise_p=1.0)
        expected = (s > 0) & (s < s.mean() / gamma if gamma else s > 0)
        moved = added.abs() > (1e-15 if backend == "foreach" else 1e-6)
        assert torch.equal(sigma > 0, expected)
        assert not moved[~expected].any()
        assert moved[expected].double().mean() > 0.99  # rounding hides the least
        shares.append(expected.double().mean().item())
    assert shares[0] > 0.5 and shares[-1] < 0.5 * shares[0]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("backend", [*BACKENDS, pytest.param("numba", marks=needs_numba)])
@pytest.mark.parametrize("noise_eps", [1e-8, 1e-300])
@pytest.mark.parametrize(("sensitivity", "form"), READINGS)
def test_nothing_is_divided_by_zero_and_what_the_loss_does_not_depend_on_gets_no_noise(
    sensitivity: str, form: str, noise_eps: float, backend: str
) -> None:
    """Zeros, products that cancel to a sum of 0, averages that cancel to 0 in the second step, one element."""
    weights = [[0.0] * 8, [1.0, -1.0, 2.0, -2.0], [1.0, 1.0, 2.0], [3.0], [1e-30, 1.0]]
    first = [[0.0] * 8, [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0], [1e-30, 1.0]]
    device = DEVICE if backend == "triton" else CPU
    params = [torch.nn.Parameter(torch.tensor(values, device=device)) for values in weights]
    still = torch.nn.Parameter(torch.ones(5, device=device))  # a bias without gradient
    reading = {"sensitivity": sensitivity, "noise_form": form, "noise_gamma": 0.0, "noise_eps": noise_eps}
    optimizer = PATSAdamax([*params, still], lr=0.0, noise_p=1.0, sensitivity_beta=0.5, backend=backend, **reading)
    for sign in (1.0, -0.5):  # with β = 0.5 the signed average of the second step is zero
        for param, grad in zip(params, first, strict=True):
            param.grad = sign * torch.tensor(grad, device=device)
        optimizer.step()
        summary = optimizer.sensitivity_summary()
        assert all(param.isfinite().all() for param in params)
        assert torch.equal(params[0], torch.zeros_like(params[0])) or sensitivity == "magnitude"
    assert torch.equal(still, torch.ones_like(still))
    if sensitivity == "signed":
        assert torch.equal(params[1].detach().cpu(), torch.tensor(weights[1]))  # the sum is 0 in both steps
    for one in summary.values():
        assert all(np.isfinite([one.mean, one.std, one.share_with_noise, one.mean_noise_scale, *one.noise_quantiles]))


def test_tensors_and_steps_get_noise_of_their_own() -> None:
    """By the parameter's place over all groups and its own count of steps, through the optimizer."""
    params = [torch.nn.Parameter(torch.ones(500)) for _ in range(3)]
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    # Signed products would differ in sign after the first step, and half of the elements get no noise.
    optimizer = PATSAdamax(groups, lr=0.0, noise_lambda=10.0, noise_p=1.0, sensitivity="magnitude")
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
