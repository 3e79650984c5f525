"""Where a model runs, and in which numbers: the device, autocast and float16's loss scaling."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from data_utils.errors import InputError
from mt_dnn.distributed import Ranks
from mt_dnn.sections import LoopConfig


class Precision:
    """Autocast and loss scaling for float32, bfloat16 or float16."""

    def __init__(self, device: torch.device, *, fp16: bool, bf16: bool) -> None:
        self.device = device
        self.dtype = torch.float16 if fp16 else torch.bfloat16 if bf16 else torch.float32
        self.scaler = torch.amp.GradScaler(device.type, enabled=fp16)

    @property
    def autocast(self) -> AbstractContextManager[Any]:
        """The context for forward passes."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)


def precision_remarks(loop: LoopConfig, device: torch.device) -> list[str]:
    """A remark where bfloat16 is asked for on a CPU on which torch multiplies its matrices very slowly; else none.

    Such are x86 CPUs without AVX-512: an update of MiniLM takes 7.3 s there in place of 0.5 s (AMD EPYC, Zen 3).
    """
    is_fast = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # None where torch is built without oneDNN
    slow = loop.bf16 and device.type == "cpu" and is_fast is not None and not is_fast()
    told = "this CPU has no instructions for bf16, so bf16 is many times slower on it than fp32: leave it out"
    return [told] * slow


def other_precision(trained: Mapping[str, Any], loop: LoopConfig) -> list[str]:
    """A remark where a run has scored its rows in other numbers than they are scored in now; else none.

    Args:
        trained: the run's settings by flag name; {} where they are not known.
        loop: what is asked for now, which knows fp32 and bf16.
    """
    before = "fp16" if trained.get("fp16") else "bf16" if trained.get("bf16") else "fp32"
    now = "bf16" if loop.bf16 else "fp32"
    same = {
        "bf16": "--bf16 does the same",
        "fp32": "leave --bf16 out to do the same",
        "fp16": "there is no --fp16 here",
    }
    told = f"the run's own scores were computed in {before}, these in {now}, so they may differ; {same[before]}"
    return [told] * (bool(trained) and before != now)


def pick_device(loop: LoopConfig, ranks: Ranks) -> torch.device:
    """The device to run on; `InputError` for a GPU, a precision or processes that are not to be had."""
    if loop.fsdp and ranks.size == 1:
        raise InputError(
            "--fsdp shares the model out over several processes: start them with torchrun --nproc_per_node N train.py "
            "and the same flags, or leave it out (a run that had it: --no-fsdp)"
        )
    available = torch.cuda.is_available()
    if loop.device == "cuda" and not available:
        raise InputError("--device cuda: torch sees no CUDA device; use --device cpu or auto")
    device = torch.device("cuda", ranks.local_rank) if available and loop.device != "cpu" else torch.device("cpu")
    if device.type == "cpu" and loop.fp16:
        raise InputError("--fp16 needs a CUDA device; a CPU trains in fp32 or with --bf16")
    return device
