"""Where the kernels can be tested: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

from module.optim.backends import why_not_triton

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton: its kernels then run on the CPU

_reason = why_not_triton(torch.empty(1, device=DEVICE))
needs_triton = pytest.mark.skipif(_reason is not None, reason=f"the kernels cannot be tested here: {_reason}")


@pytest.fixture(scope="session", autouse=True)
def repaired_interpreter() -> None:
    """Let the interpreter round to bf16 as GPUs do (it cuts the low bits off), and be twice as fast.

    For each call of a device function it patches the whole language anew, and leaves it patched: once will do.
    """
    if _reason is not None or DEVICE == "cuda":
        return
    from triton.runtime import interpreter

    theirs = interpreter._convert_float

    def convert(values: np.ndarray, source: Any, target: Any, rounding: Any) -> np.ndarray:
        kinds = (str(source), str(target))
        if kinds == ("fp32", "bf16"):
            tensor = torch.from_numpy(np.ascontiguousarray(values).view(np.float32))
            return tensor.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        if kinds == ("bf16", "fp32"):
            return (values.astype(np.uint32) << 16).view(np.float32)
        return theirs(values, source, target, rounding)

    interpreter._convert_float = convert
    patched: set[Any] = set()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self not in patched:
            interpreter._patch_lang(self.fn)
            patched.add(self)
        return self.rewrite()(*args, **kwargs)

    interpreter.InterpretedFunction.__call__ = call
