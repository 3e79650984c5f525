"""What a step is computed with: lists of tensors everywhere, or kernels where they can run, of Triton or of Numba."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..kernels.mode import interpreted
from .sharding import is_sharded, local, shards_are_spans

if TYPE_CHECKING:
    from ..compiled.launch import Compiled
    from ..kernels.launch import Kernels

    Launcher = Kernels | Compiled

BACKENDS = ("auto", "foreach", "triton", "numba")

LOWEST_NUMBA = (0, 68)
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
    return _why_not_memory(local(param))


def _why_not_memory(tensor: Tensor) -> str | None:
    """Return why kernels, which go by addresses, cannot reach a tensor's elements, None if they can."""
    if not tensor.is_contiguous():
        return "the parameter is not contiguous"
    if tensor.numel() and tensor.data_ptr() == 0:  # it wraps others, as quantized weights do
        return f"the parameter is a {type(tensor).__name__}, which has no memory of its own"
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


def why_not_numba(param: Tensor, state_dtype: str = "float32") -> str | None:
    """Return why the compiled functions cannot update this parameter, None if they can.

    `state_dtype` is what the group's fast averages are stored in.
    """
    if param.device.type != "cpu":
        return f"the parameter is on {param.device.type}, not cpu"
    if param.dtype != torch.float32:
        return f"the parameter is {param.dtype}, not torch.float32"
    if state_dtype != "float32":
        return f"state_dtype is {state_dtype}, not float32"
    if is_sharded(param) and not shards_are_spans(param):
        return f"the parameter's shards are not contiguous, with placements {param.placements}"  # type: ignore[attr-defined]
    return _why_not_memory(local(param)) or _why_no_numba()


@functools.cache
def _why_no_numba() -> str | None:
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed"
    version = importlib.metadata.version("numba")
    if tuple(int(part) for part in version.split(".")[:2]) < LOWEST_NUMBA:
        return "Numba is {}, and must be {}.{} or newer".format(version, *LOWEST_NUMBA)
    try:
        from ..compiled import launch  # noqa: F401
    except ImportError as error:  # it refuses a NumPy that is newer than it knows
        return f"Numba cannot be used: {error}"
    return None


def pick_backend(requested: str, param: Tensor, *, capturable: bool, state_dtype: str = "float32") -> str:
    """Return "foreach", "triton" or "numba" for this parameter.

    Raises:
        RuntimeError: a backend of kernels or `capturable=True` was requested and the kernels cannot be used.
    """
    if capturable:
        reason = why_not_triton(param) if requested in ("auto", "triton") else f"backend is {requested}"
        if reason is not None:
            raise RuntimeError(f"capturable=True needs the Triton kernels, but {reason}")
        return "triton"
    if requested == "foreach":
        return requested
    if requested == "auto":
        if param.device.type == "cpu":  # never Triton's interpreter unasked
            return "numba" if why_not_numba(param, state_dtype) is None else "foreach"
        return "triton" if why_not_triton(param) is None else "foreach"
    reason = why_not_triton(param) if requested == "triton" else why_not_numba(param, state_dtype)
    if reason is not None:
        kernels = "the Triton kernels" if requested == "triton" else "what Numba compiles"
        raise RuntimeError(f"backend={requested!r} needs {kernels}, but {reason}")
    return requested


def described(backend: str) -> str:
    """Return a backend's name with its library's version; torch's, for lists, goes without saying."""
    return backend if backend == "foreach" else f"{backend} {importlib.metadata.version(backend)}"


def load_kernels(backend: str) -> Launcher:
    """Import what Triton or Numba compiles, and return a fresh launcher."""
    if backend == "numba":
        from ..compiled.launch import Compiled

        return Compiled()
    from ..kernels.launch import Kernels

    return Kernels()
