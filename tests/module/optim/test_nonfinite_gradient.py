"""One element of a gradient that is not finite costs PATS that element, as it costs the base step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from module.optim import AdamaxW, PATSAdamax
from tests.module.optim.test_follows_reference import needs_numba
from tests.triton_marks import DEVICE, needs_triton

READINGS = [("signed", "variance"), ("magnitude", "std")]
BACKENDS = [
    "foreach",
    pytest.param("triton", marks=needs_triton),
    pytest.param("numba", marks=needs_numba),
]
SHAPE = (40, 30)
BAD = (3, 7)


def steps(make: Any, bad: float | None, **options: Any) -> Tensor:
    """The parameter after three steps of which the second has one bad element in its gradient."""
    generator = torch.Generator().manual_seed(1)
    device = "cpu" if options["backend"] == "numba" else DEVICE
    param = nn.Parameter(torch.randn(SHAPE, generator=generator).to(device))
    optimizer = make([param], lr=1e-3, **options)
    for step in range(3):
        param.grad = torch.randn(SHAPE, generator=generator).to(device)
        if step == 1 and bad is not None:
            param.grad[BAD] = bad
        optimizer.step()
    return param.detach().cpu()


@pytest.mark.parametrize(("sensitivity", "form"), READINGS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_bad_element_stays_one(backend: str, bad: float, sensitivity: str, form: str) -> None:
    noise = {"noise_lambda": 1e-2, "noise_p": 1.0, "sensitivity": sensitivity, "noise_form": form, "seed": 80}
    hit, base = steps(PATSAdamax, bad, backend=backend, **noise), steps(AdamaxW, bad, backend=backend)
    assert (~base.isfinite()).sum() == 1
    assert torch.equal(hit.isfinite(), base.isfinite())
    healthy = steps(PATSAdamax, None, backend=backend, **noise)
    assert not torch.equal(hit, healthy) and healthy.isfinite().all()
