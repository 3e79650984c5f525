"""Every optimizer follows its float64 reference: odd shapes, several groups, changing rates, a reload midway."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, SAGEAdamax, SAGEAdamW
from module.optim.noise import noise_key
from tests.reference.adamax import Adamax
from tests.reference.adamw import AdamW
from tests.reference.pats import PATS
from tests.reference.sage import SageAdamax, SageAdamW

STEPS, RELOAD_AT, SEED = 25, 12, 7
BASE = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-8, "weight_decay": 0.0}
# An eps that bounds the noise where sensitivity is all but zero, or rounding there would be all that is compared.
NOISE = {"sensitivity_beta": 0.6, "noise_gamma": 0.3, "noise_p": 0.5, "noise_eps": 1e-3, "seed": SEED}
STD = {**BASE, **NOISE, "noise_lambda": 1e-3, "noise_form": "std"}
VARIANCE = {**BASE, **NOISE, "noise_lambda": 1e-5, "noise_form": "variance"}
SAGE = {**BASE, "eps": 1e-6, "sensitivity_beta": 0.6}

Options = dict[str, Any]
Reference = Adamax | AdamW | PATS | SageAdamax | SageAdamW


def common(o: Options) -> Options:
    beta1, beta2 = o["betas"]
    return {"lr": o["lr"], "beta1": beta1, "beta2": beta2, "eps": o["eps"], "weight_decay": o["weight_decay"]}


def pats(base: type[Adamax | AdamW]) -> Callable[[Options], Reference]:
    def make(o: Options) -> Reference:
        if not o["perturb"]:
            return base(**common(o))
        values = {"beta": o["sensitivity_beta"], "lambda_": o["noise_lambda"], "gamma": o["noise_gamma"]}
        return PATS(base(**common(o)), **values, epsilon=o["noise_eps"], form=o["noise_form"])

    return make


def sage(reference: type[SageAdamax | SageAdamW]) -> Callable[[Options], Reference]:
    return lambda o: reference(**common(o), beta0=o["sensitivity_beta"], adapts=o["perturb"])


CASES: dict[str, tuple[type[Optimizer], Options, Callable[[Options], Reference]]] = {
    "adamax": (AdamaxW, BASE, lambda o: Adamax(**common(o))),
    "pats_adamax-std": (PATSAdamax, STD, pats(Adamax)),
    "pats_adamax-variance": (PATSAdamax, VARIANCE, pats(Adamax)),
    "pats_adamw-std": (PATSAdamW, STD, pats(AdamW)),
    "pats_adamw-variance": (PATSAdamW, VARIANCE, pats(AdamW)),
    "sage_adamax": (SAGEAdamax, SAGE, sage(SageAdamax)),
    "sage_adamw": (SAGEAdamW, SAGE, sage(SageAdamW)),
}
# bf16 keeps 8 bits; reference and optimizer both round to them after each step, so they part only by rounding's luck.
TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-11},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2**-7, "atol": 1e-3},
}


def make_params(dtype: torch.dtype, seed: int) -> list[nn.Parameter]:
    """One element, odd sizes, non-contiguous (transposed, strided), zeros, empty, a scalar."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    tensors = [draw(1), draw(7, 13), draw(1023), draw(13, 7).t(), draw(6, 8)[:, ::2], torch.zeros(5, 4, dtype=dtype)]
    tensors += [torch.empty(0, 3, dtype=dtype), draw(), draw(3), draw(4)]
    return [nn.Parameter(tensor) for tensor in tensors]


NEVER, SOMETIMES = 8, 9  # places in `make_params` of a tensor without gradients, and of one with some


def set_grads(params: list[nn.Parameter], step: int) -> None:
    """Gradients that depend on the place and the step only; one in five elements has none to speak of."""
    for place, param in enumerate(params):
        generator = torch.Generator().manual_seed(1000 * step + place)
        grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        grad[torch.rand(param.shape, generator=generator) < 0.2] = 0.0
        without = place == NEVER or (place == SOMETIMES and step % 3 != 1)
        param.grad = None if without else grad.to(param.dtype)


def given_noise(like: Tensor, p: float, key: int) -> Tensor:
    """Stands in for `keyed_noise`, so that the optimizer and the reference see the same noise."""
    generator = torch.Generator().manual_seed(key % 2**31)
    noise = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    noise[torch.rand(like.shape, generator=generator) >= p] = 0.0
    return noise.to(torch.float64 if like.dtype == torch.float64 else torch.float32)


def reloaded(optimizer: Optimizer, fresh: Optimizer) -> Optimizer:
    """The fresh optimizer with the other's state, by way of a file's bytes."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


class Followed:
    """One parameter's reference, its group's options, and where it should be."""

    def __init__(self, param: nn.Parameter, options: Options, reference: Reference) -> None:
        self.options, self.reference, self.dtype = options, reference, param.dtype
        self.expected = param.detach().double()

    def step(self, grad: Tensor, index: int, rate: float) -> None:
        """One more step at `rate` times the group's learning rate; rounds to the parameter's dtype as it is stored."""
        theta, g, reference = self.expected, grad.double(), self.reference
        if isinstance(reference, PATS):
            reference.base.lr = rate * self.options["lr"]
            key = noise_key(SEED, reference.base.t + 1, index)
            theta = reference.step(theta, g, given_noise(theta, self.options["noise_p"], key))
        else:
            reference.lr = rate * self.options["lr"]
            theta = reference.step(theta, g)
        self.expected = theta.to(self.dtype).double()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_follows_reference(case: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module.optim.pats.keyed_noise", given_noise)
    monkeypatch.setattr("module.optim.base.CPU_BUCKET_ELEMENTS", 300)  # several buckets, one tensor larger than any
    cls, options, reference = CASES[case]
    own = [{"perturb": True, "weight_decay": 0.1}, {"perturb": False, "lr": 0.004}, {"perturb": True, "eps": 1e-3}]
    groups = [{"params": make_params(dtype, seed), **extra} for seed, extra in enumerate(own)]
    params = [param for group in groups for param in group["params"]]
    followed = [
        Followed(param, options | extra, reference(options | extra))
        for group, extra in zip(groups, own, strict=True)
        for param in group["params"]
    ]
    build = partial(cls, **options)
    optimizer = build([dict(group) for group in groups])
    for step in range(1, STEPS + 1):
        set_grads(params, step)
        rate = 1 - step / 40
        for group, extra in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = rate * (options | extra)["lr"]
        for index, (param, one) in enumerate(zip(params, followed, strict=True)):
            if param.grad is not None:
                one.step(param.grad, index, rate)
        optimizer.step()
        if step == RELOAD_AT:
            optimizer = reloaded(optimizer, build([dict(group) for group in groups]))

    for index, (param, one) in enumerate(zip(params, followed, strict=True)):
        actual = param.detach().double()
        torch.testing.assert_close(
            actual, one.expected, **TOLERANCE[dtype], msg=lambda text, i=index: f"tensor {i}: {text}"
        )
    assert torch.equal(params[NEVER], make_params(dtype, 0)[NEVER])
    assert params[NEVER] not in optimizer.state
    assert optimizer.state[params[SOMETIMES]]["step"].item() == len(range(1, STEPS + 1, 3))
