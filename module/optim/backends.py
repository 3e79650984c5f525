"""What a step is computed with: lists of tensors everywhere, or one pass of Triton kernels where they can run."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..kernels.mode import interpreted
from .sharding import is_sharded, local, shards_are_spans

if TYPE_CHECKING:
    from ..kernels.launch import Kernels

BACKENDS = ("auto", "foreach", "triton")

LOWEST_CAPABILITY = (8, 0)  # what Triton supports
KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def why_not_triton(param: Tensor) -> str | None:
    """Return why the kernels cannot update this parameter, None if they can."""
    if (reason := _why_not_device(param.device)) is not None:
        return reason
    if param.dtype not in KERNEL_DTYPES:
        return f"the parameter is {param.dtype}, and the kernels compute in float32"
    if param.numel() >= 2**31:
        return f"the parameter has {param.numel():,} elements, and the kernels count to 2**31 - 1"
    if is_sharded(param):
        if not shards_are_spans(param):
            return f"the parameter's shards are not contiguous, with placements {param.placements}"  # type: ignore[attr-defined]
    if not local(param).is_contiguous():
        return "the parameter is not contiguous"
    return None


@functools.cache
def _why_not_device(device: torch.device) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if device.type == "cpu" and interpreted():
        return None
    if device.type != "cuda":
        return f"the parameter is on {device.type}, not cuda"
    capability = torch.cuda.get_device_capability(device)
    if capability < LOWEST_CAPABILITY:
        return "the GPU's compute capability is {}.{}, and Triton needs {}.{}".format(*capability, *LOWEST_CAPABILITY)
    return None


def pick_backend(requested: str, param: Tensor, *, capturable: bool) -> str:
    """Return "foreach" or "triton" for this parameter.

    Raises:
        RuntimeError: `backend="triton"` or `capturable=True` was requested and the kernels cannot be used.
    """
    if requested == "foreach" and not capturable:
        return requested
    if requested == "auto" and not capturable and param.device.type == "cpu":  # never the interpreter unasked
        return "foreach"
    reason = why_not_triton(param)
    if reason is None and requested != "foreach":
        return "triton"
    if requested == "auto" and not capturable:
        return "foreach"
    option = "capturable=True" if capturable else "backend='triton'"
    raise RuntimeError(f"{option} needs the Triton kernels, but {reason or 'backend is foreach'}")


def load_kernels() -> Kernels:
    """Import the kernels, which imports Triton, and return a fresh launcher."""
    from ..kernels.launch import Kernels

    return Kernels()
