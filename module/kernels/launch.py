"""From a bucket of tensors and a step's gradients to launches of the kernels."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .blocks import COUNTER
from .descend import TINY, descend_kernel
from .mode import WARM_UP, interpreted
from .noise import noise_kernel
from .sage import sage_kernel
from .sensitivity import sensitivity_kernel, sums_kernel
from .tables import Shape, Tables

if TYPE_CHECKING:
    from ..optim.buckets import Bucket, Gradients

BLOCK = 4096
WARPS = 8
INTERPRETED_BLOCK = 2**17  # the interpreter's time goes by operations, not by elements
SENSITIVITY_PASS_BYTES = 12  # an element that the second pass reads again: parameter, gradient, sensitivity
L2_SHARE = 0.6  # of the L2 cache that a window may fill; the rest is for what streams through
MOST_PARTIALS = 8192  # that each program of the second pass adds up by itself; beyond, a kernel does it once
KEPT_TABLES = 32  # lists of tensors whose tables are kept: one for each set of parameters that had gradients

TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


class Kernels:
    """Runs the kernels for one optimizer and keeps their tables from step to step.

    A step is one launch for plain parameters and for SAGE, and two for each window of perturbed ones: a window is as
    many tensors as the L2 cache holds between the pass that averages sensitivities and the pass that needs their mean.
    Nothing is read back, and nothing but addresses is sent.
    """

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[Shape, torch.device], Tables] = OrderedDict()

    def descend(
        self, rule: str, bucket: Bucket, gradients: Gradients, group: dict[str, Any], averages: tuple[str, str]
    ) -> None:
        """Do a plain step of `rule`: "adamax" or "adamw"."""
        tables, types = self._enter(bucket, gradients, averages)
        _descend(tables, types, rule, gradients, group, first=0, programs=tables.programs)

    def descend_with_noise(
        self,
        rule: str,
        bucket: Bucket,
        gradients: Gradients,
        group: dict[str, Any],
        averages: tuple[str, str],
        peak: float | Tensor | None = None,
    ) -> None:
        """Do a step of PATS on `rule`; with `peak`, a learning rate, the noise is scaled by rate / `peak`."""
        tables, types = self._enter(bucket, gradients, (*averages, "sensitivity"))
        if bucket.sharding is None and tables.most_partials <= MOST_PARTIALS:
            for window in tables.windows:
                _average_sensitivity(tables, types, gradients, group, *window)
                _descend(tables, types, rule, gradients, group, *window, noise=group["noise_form"], peak=peak)
            return
        everything = (0, tables.programs)
        _average_sensitivity(tables, types, gradients, group, *everything)
        sums = torch.zeros(tables.tensors, device=tables.partials.device)
        sums_kernel[(tables.tensors,)](tables.spans, tables.partials, sums, tables.tensors)
        if bucket.sharding is not None:
            bucket.sharding.sum_over_shards(sums)
        _descend(tables, types, rule, gradients, group, *everything, noise=group["noise_form"], peak=peak, sums=sums)

    def descend_with_pull(
        self, rule: str, bucket: Bucket, gradients: Gradients, group: dict[str, Any], averages: tuple[str, str]
    ) -> None:
        """Do a step of RecAdam on `rule`."""
        tables, types = self._enter(bucket, gradients, (*averages, "pretrained"))
        everything = (0, tables.programs)
        _descend(tables, types, rule, gradients, group, *everything, anneal=group["anneal_fun"])

    def descend_by_sensitivity(
        self, rule: str, bucket: Bucket, gradients: Gradients, group: dict[str, Any], averages: tuple[str, str]
    ) -> None:
        """Do a step of SAGE: `rule` is "sage_adamax" or "sage_adamw"."""
        adapts = bool(group["perturb"])
        tables, types = self._enter(bucket, gradients, (*averages, "sensitivity") if adapts else averages)
        if not tables.programs:
            return
        beta0 = group["sensitivity_beta"]
        sage_kernel[(tables.programs,)](
            tables.blocks,
            tables.spans,
            tables.addresses,
            0,
            tables.tensors,
            *_base_arguments(gradients, group),
            1 - beta0,
            _log(beta0),
            group["eps"] ** 2,
            **types,
            RULE=rule,
            ADAPTS=adapts,
            **_flags(gradients),
            LR_ON_DEVICE=isinstance(group["lr"], Tensor),
            BLOCK=tables.block,
            num_warps=WARPS,
        )

    def _enter(self, bucket: Bucket, gradients: Gradients, averages: tuple[str, ...]) -> tuple[Tables, dict[str, Any]]:
        """Count the step; return the tables, with this step's addresses, and the storage types for the kernels."""
        if gradients.found_inf is None:
            torch._foreach_add_(bucket.counters, 1.0)
        else:
            torch._foreach_add_(bucket.counters, (gradients.found_inf == 0).to(torch.float32))
        copies = bucket.params if "master_param" in bucket.state else []
        params = bucket.state.get("master_param", bucket.params)
        grads, starts = gradients.tensors, bucket.starts
        shape = Shape(
            starts=tuple(starts),
            ends=tuple(start + param.numel() for start, param in zip(starts, params, strict=True)),
            positions=tuple(bucket.positions),
            sizes=tuple(bucket.sizes),
            averages=len(averages),
        )
        tables = self._tables_for(shape, params[0].device)
        elementwise = [params, grads, copies, *(bucket.state[name] for name in averages)]
        rows = [_addresses(tensors, starts) if tensors else [0] * len(params) for tensors in elementwise]
        edges = (*shape.starts, *shape.ends)
        aligned = all(number % 16 == 0 for row in (edges, *rows) for number in row)
        rows.insert(COUNTER.value, [counter.data_ptr() for counter in bucket.counters])
        tables.write_addresses(rows)
        types = {
            "param_dtype": TYPES[params[0].dtype],
            "grad_dtype": TYPES[grads[0].dtype],
            "average_dtype": TYPES[bucket.state["exp_avg"][0].dtype],
            "alignment": 16 if aligned else 2,
        }
        return tables, types | {"copy_dtype": TYPES[copies[0].dtype] if copies else None}

    def _tables_for(self, shape: Shape, device: torch.device) -> Tables:
        """Return the tables for these tensors, new ones the first time."""
        key = (shape, device)
        if key in self._tables:
            self._tables.move_to_end(key)
            return self._tables[key]
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(WARM_UP)
        block = INTERPRETED_BLOCK if interpreted() else BLOCK
        tables = self._tables[key] = Tables(shape, block=block, window=_window(device), device=device)
        for old in [old for old, kept in self._tables.items() if not kept.captured][:-KEPT_TABLES]:
            del self._tables[old]
        return tables


def triton_noise(like: Tensor, p: float, *, seed: int, step: int, position: int) -> Tensor:
    """Return the noise that the kernels add: float32, zero where z = 0; `position` is the tensor's first element's.

    For tests and inspection: the optimizers' kernels draw it on the fly.
    """
    out = torch.empty(like.shape, dtype=torch.float32, device=like.device)
    block = INTERPRETED_BLOCK if interpreted() else BLOCK
    if not out.numel():
        return out
    with torch.cuda.device_of(out):  # type: ignore[no-untyped-call]
        noise_kernel[(triton.cdiv(out.numel(), block),)](out, out.numel(), seed, step, position, p, BLOCK=block)
    return out


def _average_sensitivity(
    tables: Tables, types: dict[str, Any], gradients: Gradients, group: dict[str, Any], first: int, programs: int
) -> None:
    """PATS's first pass over the programs from `first` on."""
    if not programs:
        return
    sensitivity_kernel[(programs,)](
        tables.blocks,
        tables.spans,
        tables.addresses,
        tables.partials,
        first,
        tables.tensors,
        *_scaling(gradients),
        1 - group["sensitivity_beta"],
        **{name: value for name, value in types.items() if name != "copy_dtype"},
        SIGNED=group["sensitivity"] == "signed",
        **_flags(gradients),
        BLOCK=tables.block,
        num_warps=WARPS,
    )


def _descend(
    tables: Tables,
    types: dict[str, Any],
    rule: str,
    gradients: Gradients,
    group: dict[str, Any],
    first: int,
    programs: int,
    noise: str = "none",
    peak: float | Tensor | None = None,
    sums: Tensor | None = None,
    anneal: str = "none",
) -> None:
    """The base step over the programs from `first` on, with PATS's `noise` or RecAdam's `anneal` if not "none"."""
    if not programs:
        return
    noisy: tuple[Any, ...] = (0.0, 0.0, 0.0, 0.0, 0, 1.0)
    pulling = (0.0, 0.0, 0.0)
    signed = False
    if anneal != "none":
        pulling = (float(group["anneal_k"]), float(group["anneal_t0"]), float(group["pretrain_cof"]))
    if noise != "none":
        scale = math.sqrt(group["noise_lambda"]) if noise == "variance" else group["noise_lambda"]
        signed = group["sensitivity"] == "signed"
        reading = (group["noise_gamma"], max(group["noise_eps"], TINY.value))  # less is no float32
        noisy = (scale, *reading, group["noise_p"], group["seed"], 1.0 if peak is None else peak)
    descend_kernel[(programs,)](
        tables.blocks,
        tables.spans if sums is None else tables.spans_of_sums,
        tables.addresses,
        tables.partials if sums is None else sums,
        first,
        tables.tensors,
        *_base_arguments(gradients, group),
        *noisy,
        *pulling,
        **types,
        RULE=rule,
        NOISE=noise,
        SIGNED=signed,
        FOLLOWS_RATE=peak is not None,
        PEAK_ON_DEVICE=isinstance(peak, Tensor),
        ANNEAL=anneal,
        **_flags(gradients),
        LR_ON_DEVICE=isinstance(group["lr"], Tensor),
        BLOCK=tables.block,
        num_warps=WARPS,
    )


def _base_arguments(gradients: Gradients, group: dict[str, Any]) -> tuple[Any, ...]:
    """What every step needs: gradient factor, whether to skip, rate, averages' weights, eps, decay."""
    beta1, beta2 = group["betas"]
    # 1 - β is taken here: in float32, 1 - 0.999 would be off by 5e-5.
    betas = (1 - beta1, beta2, 1 - beta2, _log(beta1), _log(beta2))
    lr = group["lr"] if isinstance(group["lr"], Tensor) else float(group["lr"])
    return (*_scaling(gradients), lr, *betas, float(group["eps"]), float(group["weight_decay"]))


def _flags(gradients: Gradients) -> dict[str, bool]:
    return {"FACTOR_ON_DEVICE": isinstance(gradients.factor, Tensor), "MAY_SKIP": gradients.found_inf is not None}


def _scaling(gradients: Gradients) -> tuple[float | Tensor, float | Tensor]:
    """The factor and `found_inf` as kernels take them: 1 and 0 where there are none."""
    factor, found_inf = gradients.factor, gradients.found_inf
    number = factor if isinstance(factor, Tensor) else 1.0 if factor is None else float(factor)
    return number, 0.0 if found_inf is None else found_inf


def _log(beta: float) -> float:
    return math.log(beta) if beta > 0 else -math.inf


def _addresses(tensors: list[Tensor], starts: list[int]) -> list[int]:
    """Where each whole tensor's first element is, or would be."""
    return [tensor.data_ptr() - start * tensor.element_size() for tensor, start in zip(tensors, starts, strict=True)]


def _window(device: torch.device) -> int:
    """Elements that the L2 cache holds from PATS's first pass to its second."""
    cache = torch.cuda.get_device_properties(device).L2_cache_size if device.type == "cuda" else 2**20
    return int(L2_SHARE * cache) // SENSITIVITY_PASS_BYTES
