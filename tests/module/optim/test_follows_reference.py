"""Every optimizer and backend follows its float64 reference: odd shapes, several groups, changing rates, a reload.

The noise is compared, not averaged away: list-wise it is injected, that of the kernels is computed by its reference
too. The kernels run on a GPU where there is one, else in Triton's interpreter.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, RecAdam, RecAdamax, SAGEAdamax, SAGEAdamW
from module.optim.noise import Draws
from tests.reference.adamax import Adamax
from tests.reference.adamw import AdamW
from tests.reference.pats import PATS
from tests.reference.philox import philox_noise
from tests.reference.recadam import RecAdam as ReferenceRecAdam
from tests.reference.sage import SageAdamax, SageAdamW
from tests.triton_marks import DEVICE, needs_triton

SEED = 7
STEPS, INTERPRETED_STEPS, LARGE_STEPS = 21, 11, 5  # the interpreter is slow, and so is the reference of a large matrix
SMALL_BLOCK = 2048  # for the interpreter, whose usual block would be mostly empty here

BACKENDS = ["foreach", pytest.param("triton", marks=needs_triton)]
needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
BASE = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-8, "weight_decay": 0.0}
# An eps that bounds the noise where sensitivity is all but zero, or rounding there would be all that is compared.
NOISE = {"sensitivity_beta": 0.6, "noise_gamma": 0.3, "noise_p": 0.5, "noise_eps": 1e-3, "seed": SEED}
LAMBDA = {"std": 1e-3, "variance": 1e-5}
SAGE = {**BASE, "eps": 1e-6, "sensitivity_beta": 0.6}
RECADAM = {**BASE, "anneal_fun": "sigmoid", "anneal_k": 0.5, "anneal_t0": 8, "pretrain_cof": 60.0}

Options = dict[str, Any]
Reference = Adamax | AdamW | PATS | ReferenceRecAdam | SageAdamax | SageAdamW


def common(o: Options) -> Options:
    beta1, beta2 = o["betas"]
    return {"lr": o["lr"], "beta1": beta1, "beta2": beta2, "eps": o["eps"], "weight_decay": o["weight_decay"]}


def pats(base: type[Adamax | AdamW]) -> Callable[[Options], Reference]:
    def make(o: Options) -> Reference:
        if not o["perturb"]:
            return base(**common(o))
        values = {"beta": o["sensitivity_beta"], "lambda_": o["noise_lambda"], "gamma": o["noise_gamma"]}
        reading = {"sensitivity": o["sensitivity"], "form": o["noise_form"]}
        return PATS(base(**common(o)), **values, **reading, epsilon=o["noise_eps"])

    return make


def sage(reference: type[SageAdamax | SageAdamW]) -> Callable[[Options], Reference]:
    return lambda o: reference(**common(o), beta0=o["sensitivity_beta"], adapts=o["perturb"])


def recadam(base: type[Adamax | AdamW]) -> Callable[[Options], Reference]:
    def make(o: Options) -> Reference:
        if not o.get("recall", True):
            return base(**common(o))
        annealing = {"fun": o["anneal_fun"], "k": o["anneal_k"], "t0": o["anneal_t0"]}
        return ReferenceRecAdam(base(**common(o)), **annealing, gamma=o["pretrain_cof"])

    return make


def reading(sensitivity: str, form: str, schedule: str = "constant") -> Options:
    """PATS in one of the paper's four readings. In Algorithm 1 ε is divided by N: the same bound wants a larger one."""
    eps = {"noise_eps": 1.0} if sensitivity == "signed" else {}
    own = {"sensitivity": sensitivity, "noise_form": form, "noise_schedule": schedule}
    return {**BASE, **NOISE, **eps, **own, "noise_lambda": LAMBDA[form]}


PATS_BASES: dict[str, tuple[type[Optimizer], type[Adamax | AdamW]]] = {
    "pats_adamax": (PATSAdamax, Adamax),
    "pats_adamw": (PATSAdamW, AdamW),
}
READINGS = {
    f"{name}-{sensitivity}-{form}": (cls, reading(sensitivity, form), pats(base))
    for name, (cls, base) in PATS_BASES.items()
    for sensitivity in ("signed", "magnitude")
    for form in ("variance", "std")
}
CASES: dict[str, tuple[type[Optimizer], Options, Callable[[Options], Reference]]] = {
    "adamax": (AdamaxW, BASE, lambda o: Adamax(**common(o))),
    **READINGS,
    "pats_adamax-signed-variance-lr": (PATSAdamax, reading("signed", "variance", "lr"), pats(Adamax)),
    "pats_adamw-magnitude-std-lr": (PATSAdamW, reading("magnitude", "std", "lr"), pats(AdamW)),
    "sage_adamax": (SAGEAdamax, SAGE, sage(SageAdamax)),
    "sage_adamw": (SAGEAdamW, SAGE, sage(SageAdamW)),
    "recadam_adamax": (RecAdamax, RECADAM, recadam(Adamax)),
    "recadam_adamax-linear": (RecAdamax, {**RECADAM, "anneal_fun": "linear"}, recadam(Adamax)),
    "recadam_adamw": (RecAdam, RECADAM, recadam(AdamW)),
}
# bf16 keeps 8 bits; reference and optimizer both round to them after each step, so they part only by rounding's luck.
TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-11},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2**-7, "atol": 2e-3},
}


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def make_params(dtype: torch.dtype, seed: int, backend: str) -> list[nn.Parameter]:
    """One element, odd sizes, zeros, empty, a scalar, several blocks of noise; list-wise also non-contiguous ones."""
    g = torch.Generator().manual_seed(seed)
    tensors = [draw(g, 1), draw(g, 4), draw(g, 3), draw(g, 7, 13), draw(g, 1023), torch.zeros(5, 4), draw(g, 70, 64)]
    tensors += [torch.empty(0, 3), draw(g)]
    if backend == "numba":
        tensors += [draw(g, 1024), draw(g, 3000)]
    if backend == "foreach":
        tensors += [draw(g, 13, 7).t(), draw(g, 6, 8)[:, ::2]]
    return [nn.Parameter(tensor.to(DEVICE if backend == "triton" else "cpu", dtype)) for tensor in tensors]


ALL_ELEMENTS = 20_000
NEVER, SOMETIMES = 1, 2  # places in `make_params` of a tensor without gradients, and of one with some


def set_grads(params: list[nn.Parameter], step: int) -> None:
    """Gradients that depend on the place and the step only; one in five elements has none to speak of."""
    for place, param in enumerate(params):
        generator = torch.Generator().manual_seed(1000 * step + place)
        grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        grad[torch.rand(param.shape, generator=generator) < 0.2] = 0.0
        without = place == NEVER or (place == SOMETIMES and step % 3 != 1)
        param.grad = None if without else grad.to(param)


def given_noise(
    spans: Sequence[tuple[int, int]], p: float, *, seed: int, step: int, dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """Stands in for `keyed_noise`, so that the optimizer and the reference see the same noise."""
    noise = injected(ALL_ELEMENTS, p, 1000 * seed + step)
    return [noise[start : start + size].to(dtype) for start, size in spans]


def given_draws(spans: Sequence[tuple[int, int]], p: float, *, seed: int, step: int, dtype: torch.dtype) -> list[Draws]:
    """Stands in for `keyed_draws`: the same noise, where it is."""
    noises = given_noise(spans, p, seed=seed, step=step, dtype=dtype, device=torch.device("cpu"))
    return [Draws(at := noise.nonzero().flatten(), noise[at]) for noise in noises]


@lru_cache(maxsize=4)  # parameters at different counts of steps take turns
def injected(size: int, p: float, key: int) -> Tensor:
    generator = torch.Generator().manual_seed(key)
    noise = torch.randn(size, generator=generator, dtype=torch.float64)
    noise[torch.rand(size, generator=generator) >= p] = 0.0
    return noise


def noise_of(backend: str, like: Tensor, p: float, step: int, position: int) -> Tensor:
    """What the backend adds to a tensor, before scaling."""
    if backend == "foreach":
        span = (position, like.numel())
        return given_noise([span], p, seed=SEED, step=step, dtype=like.dtype, device=like.device)[0].view(like.shape)
    return philox_noise(like.shape, p, seed=SEED, step=step, position=position)


def reloaded(optimizer: Optimizer, fresh: Optimizer) -> Optimizer:
    """The fresh optimizer with the other's state, by way of a file's bytes."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


class Followed:
    """One parameter's reference, its group's options, and where it should be.

    `rounded` says whether the parameter is rounded to its dtype after each step, or has a master copy that is not.
    """

    def __init__(self, param: nn.Parameter, position: int, options: Options, backend: str) -> None:
        self.reference: Reference = options.pop("reference")(options)
        self.options, self.position, self.backend = options, position, backend
        self.dtype = torch.float64 if options.get("master_weights") else param.dtype
        self.expected = param.detach().double().cpu()

    def step(self, grad: Tensor, rate: float) -> None:
        """One more step at `rate` times the group's learning rate."""
        theta, g, reference = self.expected, grad.double().cpu(), self.reference
        if isinstance(reference, PATS):
            reference.base.lr = rate * self.options["lr"]
            p, step = self.options["noise_p"], reference.base.t + 1
            share = rate if self.options["noise_schedule"] == "lr" else 1.0
            theta = reference.step(theta, g, noise_of(self.backend, theta, p, step, self.position), share)
        else:
            reference.lr = rate * self.options["lr"]
            theta = reference.step(theta, g)
        self.expected = theta.to(self.dtype).double()


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module.optim.pats.keyed_noise", given_noise)
    monkeypatch.setattr("module.optim.pats.keyed_draws", given_draws)


@pytest.fixture
def small_blocks(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several list-wise buckets, and tensors larger than any; many blocks in the kernels, several windows."""
    monkeypatch.setattr("module.optim.buckets.CPU_BUCKET_ELEMENTS", 300)
    if backend == "triton":
        monkeypatch.setattr("module.kernels.launch.INTERPRETED_BLOCK", SMALL_BLOCK)
        monkeypatch.setattr("module.kernels.launch._window", lambda device: 2000)
    if backend == "numba":
        monkeypatch.setattr("module.compiled.launch.ROW", SMALL_BLOCK)


def steps_on(backend: str) -> int:
    return INTERPRETED_STEPS if backend == "triton" and DEVICE == "cpu" else STEPS


def descend(
    case: str, backend: str, groups: list[dict[str, Any]], steps: int, **more: Any
) -> tuple[Optimizer, list[Followed]]:
    """Take so many steps, with a rate that falls, gradients half as large by a factor, and a reload midway."""
    cls, options, reference = CASES[case]
    options = options | more
    own = [{name: value for name, value in group.items() if name != "params"} for group in groups]
    params = [param for group in groups for param in group["params"]]
    positions = np.cumsum([0] + [param.numel() for param in params]).tolist()
    extras = [extra for group, extra in zip(groups, own, strict=True) for _ in group["params"]]
    followed = [
        Followed(param, position, options | extra | {"reference": reference}, backend)
        for param, position, extra in zip(params, positions, extras, strict=False)
    ]
    build = partial(cls, backend=backend, **options)
    optimizer = build([dict(group) for group in groups])
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # as a scheduler notes it
    for step in range(1, steps + 1):
        set_grads(params, step)
        rate = 1 - step / 40
        for group, extra in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = rate * (options | extra)["lr"]
        factor = 0.5 if step % 4 == 0 else None
        for param, one in zip(params, followed, strict=True):
            if param.grad is not None:
                one.step(param.grad * (factor or 1), rate)
        optimizer.step(grad_factor=factor)
        if step == (steps + 1) // 2:
            optimizer = reloaded(optimizer, build([dict(group) for group in groups]))
    return optimizer, followed


def assert_close(actual: Sequence[Tensor], followed: Sequence[Followed], tolerance: dict[str, float]) -> None:
    for index, (tensor, one) in enumerate(zip(actual, followed, strict=True)):
        torch.testing.assert_close(
            tensor.detach().double().cpu(), one.expected, **tolerance, msg=lambda text, i=index: f"tensor {i}: {text}"
        )


OWN = [
    {"perturb": True, "weight_decay": 0.1},
    {"perturb": False, "recall": False, "lr": 0.004},
    {"perturb": True, "eps": 1e-3},
]


# The interpreter is slow: on AdamW, whose step the readings do not touch, two of them are enough for the kernels.
LISTS_ALONE = ("pats_adamw-signed-std", "pats_adamw-magnitude-variance", "pats_adamw-magnitude-std")
ON_BACKENDS: list[Any] = [(case, "foreach") for case in CASES]
ON_BACKENDS += [pytest.param(case, "numba", marks=needs_numba) for case in CASES]
ON_BACKENDS += [pytest.param(case, "triton", marks=needs_triton) for case in CASES if case not in LISTS_ALONE]


@pytest.mark.usefixtures("same_noise", "small_blocks")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("case", "backend"), ON_BACKENDS)
def test_follows_reference(case: str, backend: str, dtype: torch.dtype) -> None:
    if backend == "triton" and dtype == torch.float64:
        pytest.skip("the kernels compute in float32 and refuse float64 parameters")
    if backend == "numba" and dtype != torch.float32:
        pytest.skip("compiled steps are for float32 parameters")
    few = slice(5) if backend == "triton" else slice(None)  # in the second group: the interpreter is slow
    groups = [{"params": make_params(dtype, seed, backend), **extra} for seed, extra in enumerate(OWN)]
    groups[1]["params"], groups[2]["params"] = groups[1]["params"][few], groups[2]["params"][few]
    params = [param for group in groups for param in group["params"]]
    optimizer, followed = descend(case, backend, groups, steps_on(backend))
    assert_close(params, followed, TOLERANCE[dtype])
    assert torch.equal(params[NEVER].cpu(), make_params(dtype, 0, "foreach")[NEVER])
    assert params[NEVER] not in optimizer.state
    assert optimizer.state[params[SOMETIMES]]["step"].item() == len(range(1, steps_on(backend) + 1, 3))


@pytest.mark.usefixtures("same_noise", "small_blocks")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["pats_adamax-signed-variance", "sage_adamw"])
def test_master_weights_follow_as_float32_does(case: str, backend: str) -> None:
    """The bf16 parameter is the rounded master, which takes the small steps that bf16 would lose."""
    params = make_params(torch.bfloat16, 0, backend)
    group = {"params": params, "perturb": True}
    optimizer, followed = descend(case, backend, [group], steps_on(backend), master_weights=True)
    with_state = [(param, one) for param, one in zip(params, followed, strict=True) if param in optimizer.state]
    masters = [optimizer.state[param]["master_param"] for param, _ in with_state]
    assert_close(masters, [one for _, one in with_state], TOLERANCE[torch.float32])
    for (param, _), master in zip(with_state, masters, strict=True):
        assert torch.equal(param, master.to(torch.bfloat16))


@pytest.mark.usefixtures("same_noise", "small_blocks")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["adamax", "pats_adamw-magnitude-std", "pats_adamax-signed-variance", "sage_adamax"])
def test_fast_averages_may_be_stored_in_bf16(case: str, backend: str) -> None:
    params = make_params(torch.float32, 0, backend)
    eps = 100.0 if "signed" in case else 0.1  # 1 / eps, or N / eps, magnifies the rounding
    noise_eps = {"noise_eps": eps} if case.startswith("pats") else {}
    group = {"params": params, "perturb": True, **noise_eps}
    optimizer, followed = descend(case, backend, [group], steps_on(backend), state_dtype="bfloat16")
    # A direction of up to lr 0.01, 25 times, each off by some 2^-8 of itself; SAGE's factors magnify it.
    assert_close(params, followed, {"rtol": 1e-2, "atol": 5e-3 if case == "sage_adamax" else 1e-3})
    narrow = {"exp_avg", "sensitivity"}
    for state in optimizer.state.values():
        for name, value in state.items():
            assert value.dtype == (torch.bfloat16 if name in narrow else torch.float32), name


KERNELS_LARGE = [
    pytest.param(case, "triton", marks=needs_triton) for case in ("pats_adamax-signed-variance", "sage_adamw")
]


COMPILED_LARGE = ("pats_adamax-signed-variance", "sage_adamw", "recadam_adamax")
LARGE = [*((case, "foreach") for case in CASES), *KERNELS_LARGE]
LARGE += [pytest.param(case, "numba", marks=needs_numba) for case in COMPILED_LARGE]


@pytest.mark.usefixtures("same_noise")
@pytest.mark.parametrize(("case", "backend"), LARGE)
def test_follows_reference_on_a_real_matrix(case: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of BERT-base's largest matrices: several blocks of noise, several slices, partial sums of a mean."""
    monkeypatch.setattr(sys.modules[__name__], "ALL_ELEMENTS", 768 * 3072)
    param = nn.Parameter(torch.randn(768, 3072, generator=torch.Generator().manual_seed(1)))
    if backend == "triton":
        param = nn.Parameter(param.detach().to(DEVICE))
    # A larger eps: rounding where a sensitivity is all but zero is magnified by 1 / eps, and here many are.
    eps = 1e-2 * (param.numel() if "signed" in case else 1)
    more = {"noise_eps": eps} if case.startswith("pats") else {"eps": 1e-3} if case.startswith("sage") else {}
    _, followed = descend(case, backend, [{"params": [param], "perturb": True}], LARGE_STEPS, **more)
    assert_close([param], followed, TOLERANCE[torch.float32])
