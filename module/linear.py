"""Linear layers by oneDNN, where that is faster than what torch takes: in float32, on AMD's CPUs with AVX-512.

torch multiplies float32 matrices with Intel's MKL, which there reaches about half of the speed of oneDNN, another part
of torch. Both compute in float32 and add up in different orders, so results differ by rounding. The kind of CPU
decides, not a measurement at the start: a run that is resumed must take the same path again.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def onednn_is_faster() -> bool:
    """Whether this is a CPU on which oneDNN multiplies float32 matrices faster than MKL, and torch has it."""
    has_onednn = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return has_onednn and torch.backends.cpu.get_cpu_capability().startswith("AVX512") and _is_amd()


def _is_amd() -> bool:
    try:
        told = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        told = platform.processor()
    return "AuthenticAMD" in told


def linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear`, the fast way where there is one.

    Args:
        states: (..., in).
        weight: (out, in).
        bias: (out,), or None.

    Returns:
        (..., out). Its gradient cannot be differentiated again: RuntimeError for a backward pass with
        `create_graph=True`.
    """
    if not (onednn_is_faster() and _fits(states, weight)):
        return F.linear(states, weight, bias)
    rows = states.reshape(-1, states.shape[-1])
    if torch.is_grad_enabled():
        parameters = _Parameters.apply(rows.detach(), weight, bias)  # type: ignore[no-untyped-call]
        result: Tensor = _Linear.apply(rows, weight, bias, parameters)  # type: ignore[no-untyped-call]
    else:
        result = _product(rows, weight, bias)
    return result.view(*states.shape[:-1], -1)


def _fits(states: Tensor, weight: Tensor) -> bool:
    """Whether these are plain float32 numbers on a CPU, that match, and nobody records them for another program."""
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call]
    if recorded or torch.is_autocast_enabled("cpu"):
        return False
    plain = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (states, weight))
    return plain and states.numel() > 0 and states.shape[-1] == weight.shape[1]


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """(m, k), (n, k), (n,) -> (m, n), by oneDNN."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(_dense(left), _dense(right), bias, "none", [], "")
    return product


class _Linear(torch.autograd.Function):
    """The layer's result, and the gradient of its rows; `_Parameters` has those of weight and bias.

    The two are apart because autograd does not tell a function which gradients are wanted. Where only those of the rows
    are, as for a perturbation of the embeddings, it leaves `_Parameters` out.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, parameters: Tensor) -> Tensor:
        """(rows, in), (out, in), (out,) -> (rows, out); `parameters` is there to take the gradient on."""
        ctx.save_for_backward(weight)
        return _product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor]:
        """(rows, out) -> the gradient of the rows, and the given one."""
        _refuse_graph()
        (weight,) = ctx.saved_tensors
        return _product(grad, weight.t()) if ctx.needs_input_grad[0] else None, None, None, grad


class _Parameters(torch.autograd.Function):
    """Zeros in the shape of the layer's result, which lead a gradient to weight and bias."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(rows, in), (out, in), (out,) -> (rows, out), and no memory."""
        ctx.save_for_backward(rows)
        return rows.new_zeros(()).expand(len(rows), len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        """(rows, out) -> the gradients of weight and bias."""
        _refuse_graph()
        (rows,) = ctx.saved_tensors
        _, of_weight, of_bias = ctx.needs_input_grad
        return None, _product(grad.t(), rows.t()) if of_weight else None, grad.sum(0) if of_bias else None


def _refuse_graph() -> None:
    """Stop a backward pass that is recorded, to be differentiated: torch's `once_differentiable` lets some through."""
    if torch.is_grad_enabled():
        raise RuntimeError("create_graph=True: the gradients of these linear layers cannot be differentiated again")


def _dense(matrix: Tensor) -> Tensor:
    """The matrix without gaps, by rows or by columns: oneDNN takes both, and no expanded one."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


class FastLinear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return linear(input, self.weight, self.bias)


def use_fast_linear(model: nn.Module) -> None:
    """Make the linear layers of a model `FastLinear` where that is faster; parameters and their names stay."""
    if onednn_is_faster():
        for layer in model.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = FastLinear
