"""The processes that `test_sharded.py` starts, and the checks that they run together.

Checks do all their communication before the first assertion: one that fails on one rank leaves the ranks in step, and
the next can run. Any other error ends the rank, and with it the group.
"""

from __future__ import annotations

import copy
import functools
import importlib
import io
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import Placement, _StridedShard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, RecAdamax, SAGEAdamax, SAGEAdamW
from module.optim.sharding import Sharding

COLLECTIVE_TIMEOUT = timedelta(seconds=30)

# A shard of the third is larger than a bucket; the second leaves a rank nothing when its one row is shared out.
SHAPES = ((7, 13), (1, 40), (900, 300), (13,), (1,), (33, 20))
SMALL_SHAPES = ((7, 13), (1, 40), (45, 60), (13,))
STEPS = 5

Placed = Callable[[int, int], tuple[Placement, ...]]
"""Placements of the i-th parameter, which has so many dimensions."""


class Layout(NamedTuple):
    mesh: tuple[int, ...]
    placed: Placed

    @property
    def ranks(self) -> int:
        return math.prod(self.mesh)


LAYOUTS = {
    "rows": Layout((2,), lambda i, dims: (Shard(0),)),
    "columns": Layout((2,), lambda i, dims: (Shard(dims - 1),)),
    "replicated": Layout((2,), lambda i, dims: (Replicate(),)),
    "mixed": Layout((2,), lambda i, dims: [(Shard(0),), (Replicate(),), (Shard(dims - 1),)][i % 3]),
    "rows on a mesh of 1x2": Layout((1, 2), lambda i, dims: (Replicate(), Shard(0))),
    "rows on a mesh of 2x1": Layout((2, 1), lambda i, dims: (Replicate(), Shard(0))),
    "two replicas of rows": Layout((2, 2), lambda i, dims: (Replicate(), Shard(0))),
    "rows of rows": Layout((2, 2), lambda i, dims: (Shard(0), Shard(0))),
    "tiles": Layout((2, 2), lambda i, dims: (Shard(0), Shard(dims - 1))),
}
NOISE = {"noise_p": 0.5, "seed": 3, "weight_decay": 1e-2}
LISTS = {"lr": 1e-2, "backend": "foreach"}  # which take shards of any kind
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "AdamaxW": functools.partial(AdamaxW, **LISTS, weight_decay=1e-2),
    "PATSAdamax": functools.partial(PATSAdamax, **LISTS, noise_lambda=1e-4, **NOISE),
    "PATSAdamax, magnitude": functools.partial(
        PATSAdamax, **LISTS, noise_lambda=1e-4, sensitivity="magnitude", noise_form="std", **NOISE
    ),
    "PATSAdamW": functools.partial(PATSAdamW, **LISTS, noise_lambda=1e-4, **NOISE),
    "SAGEAdamax": functools.partial(SAGEAdamax, **LISTS, weight_decay=1e-2),
    "SAGEAdamW": functools.partial(SAGEAdamW, **LISTS, weight_decay=1e-2),
    "RecAdamax": functools.partial(RecAdamax, **LISTS, anneal_t0=2, pretrain_cof=20.0, weight_decay=1e-2),
}
KERNELS, NUMBA = "Triton kernels", "Numba"  # in the names of the checks that need them
NOISY = [name for name in OPTIMIZERS if name.startswith("PATS")]

FOLDER = Path()
"""Where the processes meet and report."""

CHECKS: dict[str, tuple[int, Callable[[], None]]] = {}
"""Ranks and function of each, in the order that they run in."""


def check(name: str, ranks: int = 2) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(function: Callable[[], None]) -> Callable[[], None]:
        CHECKS[name] = (ranks, function)
        return function

    return register


@functools.cache
def mesh_of(shape: tuple[int, ...]) -> DeviceMesh:
    return init_device_mesh("cpu", shape, mesh_dim_names=("outer", "inner")[-len(shape) :])


@functools.cache
def normals(seed: int, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The same on every rank; not to be written to."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def whole_params(shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[nn.Parameter]:
    return [nn.Parameter(value.clone()) for value in normals(99, shapes)]


def as_sharded(value: Tensor, like: DTensor) -> DTensor:
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def sharded_params(layout: Layout, whole: Sequence[Tensor]) -> list[nn.Parameter]:
    mesh = mesh_of(layout.mesh)
    placed = [layout.placed(i, value.dim()) for i, value in enumerate(whole)]
    return [
        nn.Parameter(distribute_tensor(value.detach().clone(), mesh, placements, src_data_rank=None))
        for value, placements in zip(whole, placed, strict=True)
    ]


def take_steps(optimizer: Optimizer, steps: range, **options: Any) -> None:
    """Do the steps with gradients that depend on their numbers only, sharded as the parameters are."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    shapes = tuple(tuple(param.shape) for param in params)
    for step in steps:
        for param, grad in zip(params, normals(step, shapes), strict=True):
            grad = grad.to(param.dtype)
            param.grad = as_sharded(grad, param) if isinstance(param, DTensor) else grad
        optimizer.step(**options)


def gathered(params: Sequence[Tensor]) -> list[Tensor]:
    return [param.full_tensor() if isinstance(param, DTensor) else param.detach() for param in params]


@functools.cache
def whole_run(name: str, shapes: Sequence[tuple[int, ...]] = SHAPES, steps: int = STEPS) -> list[Tensor]:
    """Where the unsharded parameters arrive."""
    params = whole_params(shapes)
    take_steps(OPTIMIZERS[name](params), range(steps))
    return gathered(params)


def assert_equal(left: Sequence[Tensor], right: Sequence[Tensor]) -> None:
    for i, (a, b) in enumerate(zip(left, right, strict=True)):
        assert torch.equal(a, b), f"tensor {i}, {tuple(a.shape)}: largest difference {(a - b).abs().max()}"


def assert_close(left: Sequence[Tensor], right: Sequence[Tensor], tolerance: float = 1e-6) -> None:
    for i, (a, b) in enumerate(zip(left, right, strict=True)):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, msg=lambda text, i=i: f"tensor {i}: {text}")


def assert_as_whole(name: str, params: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """To the last bit, but for what the mean's order of summation brings: signed sensitivities all but cancel in it."""
    if name in NOISY:
        assert_close(params, expected, 1e-5)
    else:
        assert_equal(params, expected)


def define_layout_checks() -> None:
    for layout_name, layout in LAYOUTS.items():
        for name in OPTIMIZERS:

            def arrives_where_unsharded(name: str = name, layout: Layout = layout) -> None:
                params = sharded_params(layout, whole_params())
                take_steps(OPTIMIZERS[name](params), range(STEPS))
                assert_as_whole(name, gathered(params), whole_run(name))

            check(f"{name}, {layout_name}", layout.ranks)(arrives_where_unsharded)


define_layout_checks()


@check("noise is large enough to matter, and so is the mean over the whole")
def checks_can_tell() -> None:
    params = sharded_params(LAYOUTS["rows"], whole_params())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sharding, "sum_over_shards", lambda self, sums: sums.mul_(2))
        take_steps(OPTIMIZERS["PATSAdamax"](params), range(STEPS))
    locally = gathered(params)
    plain, noisy = whole_run("AdamaxW"), whole_run("PATSAdamax")
    for i in (0, 2, 5):
        assert (plain[i] - noisy[i]).abs().max() > 1e-2
        assert (locally[i] - noisy[i]).abs().max() > 1e-5


def linears() -> nn.Sequential:
    """Rows that do not divide evenly, and a matrix of one row."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(13, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1))


def fully_sharded(model: nn.Sequential, mesh: DeviceMesh | None = None) -> nn.Sequential:
    for module in (model[0], model[2], model):
        fully_shard(module, mesh=mesh or mesh_of((2,)))
    return model


def batches(steps: int = STEPS) -> Iterator[tuple[Tensor, Tensor]]:
    for step in range(steps):
        inputs, targets = normals(1000 + step, ((8, 13), (8, 1)))
        yield inputs, targets


def train(model: nn.Module, optimizer: Optimizer, rank: int = 0, ranks: int = 1) -> None:
    """Train on this rank's rows of each batch."""
    for inputs, targets in batches():
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs[rank::ranks]), targets[rank::ranks]).backward()
        optimizer.step()


@check("DistributedDataParallel: replicas equal, and close to one process with the whole batch")
def ddp() -> None:
    alone, replica = linears(), linears()
    noisy = OPTIMIZERS["PATSAdamax"]
    train(alone, noisy(alone.parameters()))
    model = DistributedDataParallel(replica)
    train(model, noisy(model.parameters()), dist.get_rank(), 2)
    noiseless = linears()
    train(noiseless, OPTIMIZERS["AdamaxW"](noiseless.parameters()))
    mine = [param.detach() for param in replica.parameters()]
    other = [param.clone() for param in mine]
    for param in other:
        dist.broadcast(param, src=1)
    assert_equal(mine, other)
    assert_close(mine, [param.detach() for param in alone.parameters()], 1e-5)
    assert (mine[0] - noiseless[0].weight).abs().max() > 1e-3


def define_fully_shard_checks() -> None:
    for name in OPTIMIZERS:

        def arrives_where_unsharded(name: str = name) -> None:
            alone, model = linears(), fully_sharded(linears())
            take_steps(OPTIMIZERS[name](alone.parameters()), range(STEPS))
            take_steps(OPTIMIZERS[name](model.parameters()), range(STEPS))
            assert_as_whole(name, gathered(list(model.parameters())), list(alone.parameters()))

        check(f"{name}, fully_shard")(arrives_where_unsharded)


define_fully_shard_checks()


@check("fully_shard trains as one process with the whole batch")
def fsdp_trains() -> None:
    alone, model = linears(), fully_sharded(linears())
    train(alone, OPTIMIZERS["PATSAdamax"](alone.parameters()))
    train(model, OPTIMIZERS["PATSAdamax"](model.parameters()), dist.get_rank(), 2)
    assert_close(gathered(list(model.parameters())), [param.detach() for param in alone.parameters()], 1e-5)


@check("fully_shard with two replicas of the shards trains as one process", ranks=4)
def hsdp_trains() -> None:
    alone, model = linears(), fully_sharded(linears(), mesh_of((2, 2)))
    train(alone, OPTIMIZERS["PATSAdamax"](alone.parameters()))
    train(model, OPTIMIZERS["PATSAdamax"](model.parameters()), dist.get_rank(), 4)
    assert_close(gathered(list(model.parameters())), [param.detach() for param in alone.parameters()], 1e-5)


def two_linears() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(13, 8), nn.Tanh(), nn.Linear(8, 4))


def define_tensor_parallel_checks() -> None:
    for name in OPTIMIZERS:

        def arrives_where_unsharded(name: str = name) -> None:
            alone, model, mesh = two_linears(), two_linears(), mesh_of((2, 2))
            parallelize_module(model, mesh["inner"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
            fully_shard(model, mesh=mesh["outer"])
            take_steps(OPTIMIZERS[name](alone.parameters()), range(STEPS))
            take_steps(OPTIMIZERS[name](model.parameters()), range(STEPS))
            params = gathered(list(model.parameters()))
            assert type(model[0].weight.placements[0]) is _StridedShard
            assert_as_whole(name, params, list(alone.parameters()))

        check(f"{name}, fully_shard over tensor parallelism", ranks=4)(arrives_where_unsharded)


define_tensor_parallel_checks()


@check("shards that are no boxes are refused")
def interleaved() -> None:
    value = torch.arange(8.0).view(8, 1)
    mine = value.view(2, 2, 2)[:, dist.get_rank()].reshape(4, 1)
    placed = {"device_mesh": mesh_of((2,)), "placements": [_StridedShard(0, split_factor=2)], "run_check": False}
    param = nn.Parameter(DTensor.from_local(mine, **placed, shape=value.shape, stride=value.stride()))
    param.grad = torch.ones_like(param)
    with pytest.raises(RuntimeError, match="not boxes"):
        AdamaxW([param]).step()


@check("grad_factor may be a DTensor, as the norm of sharded gradients is")
def clipping() -> None:
    alone, params = whole_params(), sharded_params(LAYOUTS["mixed"], whole_params())
    rows, whole = sharded_params(LAYOUTS["rows"], whole_params()), whole_params()
    factors = []
    for some in (rows, whole):
        take_steps(optimizer := AdamaxW(some, lr=1e-2), range(1))
        norm = torch.nn.utils.get_total_norm([param.grad for param in some])
        factors.append((100.0 / norm).clamp(max=1.0))
        take_steps(optimizer, range(1, STEPS), grad_factor=factors[-1])
    take_steps(AdamaxW(alone, lr=1e-2), range(STEPS), grad_factor=0.25)
    take_steps(AdamaxW(params, lr=1e-2), range(STEPS), grad_factor=0.25)
    results = [gathered(some) for some in (rows, whole, params, alone)]
    assert isinstance(factors[0], DTensor) and factors[1] < 0.5
    assert_close(results[0], results[1], 1e-5)
    assert_equal(results[2], results[3])


@check("sensitivity_summary is that of the whole")
def summaries() -> None:
    found = []
    for params in (whole_params(), sharded_params(LAYOUTS["mixed"], whole_params())):
        take_steps(optimizer := OPTIMIZERS["PATSAdamax"](params), range(3))
        found.append(optimizer.sensitivity_summary())
    assert list(found[0]) == list(found[1]) and len(found[0]) == len(SHAPES)
    for alone, together in zip(*(one.values() for one in found), strict=True):
        for name in ("elements", "mean", "std", "share_with_noise", "share_perturbed", "mean_noise_scale"):
            assert getattr(together, name) == pytest.approx(getattr(alone, name), rel=1e-5), name


def reloaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def define_state_checks() -> None:
    for name in OPTIMIZERS:

        def goes_on(name: str = name) -> None:
            uninterrupted, params = (sharded_params(LAYOUTS["mixed"], whole_params()) for _ in range(2))
            take_steps(OPTIMIZERS[name](uninterrupted), range(STEPS))
            first = OPTIMIZERS[name](params)
            take_steps(first, range(3))
            second = OPTIMIZERS[name](params, lr=1.0)
            second.load_state_dict(reloaded(first.state_dict()))
            take_steps(second, range(3, STEPS))
            results = gathered(params), gathered(uninterrupted)
            assert_equal(*results)
            for optimizer in (first, second):
                for param in params:
                    for key, value in optimizer.state[param].items():
                        assert isinstance(value, DTensor) == (key != "step")
                        assert key == "step" or value.placements == param.placements

        def goes_on_from_unsharded(name: str = name) -> None:
            whole = whole_params()
            first = OPTIMIZERS[name](whole)
            take_steps(first, range(3))
            params = sharded_params(LAYOUTS["mixed"], whole)
            second = OPTIMIZERS[name](params)
            second.load_state_dict(first.state_dict())
            take_steps(second, range(3, STEPS))
            assert_as_whole(name, gathered(params), whole_run(name))

        check(f"{name}, sharded state saved and loaded")(goes_on)
        check(f"{name}, sharded from step 3 on")(goes_on_from_unsharded)


define_state_checks()


def define_checkpoint_checks() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        build = functools.partial(OPTIMIZERS["PATSAdamax"], master_weights=True, noise_lambda=1e-2)

        def by_files(dtype: torch.dtype = dtype, build: Callable[..., Optimizer] = build) -> None:
            uninterrupted, model = (fully_sharded(linears().to(dtype)) for _ in range(2))
            take_steps(build(uninterrupted.parameters()), range(STEPS))
            take_steps(first := build(model.parameters()), range(3))
            folder = [tempfile.mkdtemp(dir=FOLDER) if dist.get_rank() == 0 else ""]
            dist.broadcast_object_list(folder)
            dcp.save({"optimizer": get_optimizer_state_dict(model, first)}, checkpoint_id=folder[0])
            before = gathered(list(model.parameters()))
            second = build(model.parameters(), lr=1.0)
            model.zero_grad()
            loaded = {"optimizer": get_optimizer_state_dict(model, second)}  # takes a step without gradients
            untouched = gathered(list(model.parameters()))
            dcp.load(loaded, checkpoint_id=folder[0])
            set_optimizer_state_dict(model, second, loaded["optimizer"])
            take_steps(second, range(3, STEPS))
            results = [gathered(list(one.parameters())) for one in (model, uninterrupted)]
            assert_equal(untouched, before)
            assert_equal(*results)
            assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]
            for param in model.parameters():
                assert param.dtype == dtype
                assert all(value.dtype == torch.float32 for value in second.state[param].values())
                assert ("master_param" in second.state[param]) == (dtype == torch.bfloat16)

        def by_full_state(dtype: torch.dtype = dtype, build: Callable[..., Optimizer] = build) -> None:
            options = StateDictOptions(full_state_dict=True)
            alone = linears().to(dtype)
            take_steps(first := build(alone.parameters()), range(3))
            model = fully_sharded(copy.deepcopy(alone))
            model.zero_grad()
            state = copy.deepcopy(get_optimizer_state_dict(alone, first, options=options))
            second = build(model.parameters())
            set_optimizer_state_dict(model, second, state, options=options)
            for optimizer in (first, second):
                take_steps(optimizer, range(3, STEPS))
            again = get_optimizer_state_dict(model, second, options=options)["state"]
            params = gathered(list(model.parameters()))
            assert_close(params, [param.detach() for param in alone.parameters()], 1e-6)
            for name, param in alone.named_parameters():
                for key, value in first.state[param].items():
                    assert again[name][key].dtype == torch.float32
                    assert_close([again[name][key]], [value])

        check(f"distributed checkpoint by files, {dtype}")(by_files)
        check(f"distributed checkpoint of the full state, {dtype}")(by_full_state)


define_checkpoint_checks()


@contextmanager
def short_blocks() -> Iterator[None]:
    """Let a tensor have several blocks, one of them on two ranks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("module.kernels.launch.INTERPRETED_BLOCK", 2048)
        yield


def define_compiled_checks() -> None:
    for layout_name in ("rows", "replicated", "rows of rows"):
        for name in OPTIMIZERS:

            def arrives_where_unsharded(name: str = name, layout: Layout = LAYOUTS[layout_name]) -> None:
                whole = whole_params()
                params = sharded_params(layout, whole)
                for some in (whole, params):
                    take_steps(OPTIMIZERS[name](some, backend="numba"), range(STEPS))
                assert_as_whole(name, gathered(params), gathered(whole))

            check(f"{name}, {layout_name}, {NUMBA}", LAYOUTS[layout_name].ranks)(arrives_where_unsharded)


define_compiled_checks()


@check(f"shards that are no rows go by lists, by {NUMBA} if asked for they are refused")
def numba_refuses_columns() -> None:
    params = sharded_params(LAYOUTS["columns"], whole_params(((6, 4),)))
    assert PATSAdamax(params).backends() == ["foreach"]
    with pytest.raises(RuntimeError, match=r"what Numba compiles, but the parameter's shards are not contiguous"):
        take_steps(AdamaxW(params, backend="numba"), range(1))


def define_kernel_checks() -> None:
    for name in ("AdamaxW", "PATSAdamax", "PATSAdamW", "SAGEAdamW", "RecAdamax"):

        def arrives_where_unsharded(name: str = name) -> None:
            whole = whole_params(SMALL_SHAPES)
            params = sharded_params(LAYOUTS["rows"], whole)
            with short_blocks():
                for some in (whole, params):
                    take_steps(OPTIMIZERS[name](some, backend="triton"), range(2))
            assert_as_whole(name, gathered(params), gathered(whole))

        check(f"{name}, rows, {KERNELS}")(arrives_where_unsharded)


define_kernel_checks()


@check(f"{KERNELS} draw an element's noise wherever it is")
def kernels_noise() -> None:
    whole = whole_params(SMALL_SHAPES)
    params = sharded_params(LAYOUTS["rows"], whole)
    still = {"lr": 0.0, "weight_decay": 0.0, "backend": "triton"}
    before = [param.detach().clone() for param in whole]
    with short_blocks():
        for some in (whole, params):
            take_steps(OPTIMIZERS["PATSAdamax, magnitude"](some, **still), range(1))
    perturbed = [gathered(some)[2] != before[2] for some in (whole, params)]
    assert torch.equal(*perturbed)
    assert 0.4 < perturbed[0].float().mean() < 0.6  # noise_p, less what is rounded away


@check(f"{KERNELS} refuse shards that are no spans, and say why")
def kernels_refuse_columns() -> None:
    params = sharded_params(LAYOUTS["columns"], whole_params(((6, 4),)))
    with pytest.raises(RuntimeError, match=r"shards are not contiguous.*dim=1"):
        take_steps(AdamaxW(params, backend="triton"), range(1))


@check(f"{KERNELS} refuse shards whose elements do not follow one another in memory")
def kernels_refuse_transposed_shards() -> None:
    (whole,) = sharded_params(LAYOUTS["replicated"], whole_params(((6, 4),)))
    params = [nn.Parameter(whole.detach().t())]
    with pytest.raises(RuntimeError, match="the parameter is not contiguous"):
        take_steps(AdamaxW(params, backend="triton"), range(1))


def run(rank: int, ranks: int, chosen: Sequence[str]) -> None:
    """Be one rank: run the checks, and write a line of JSON for each."""
    store = dist.FileStore(str(FOLDER / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=COLLECTIVE_TIMEOUT)
    with (FOLDER / f"{rank}.jsonl").open("w") as file:
        for name in chosen:
            trouble, in_step = None, True
            try:
                CHECKS[name][1]()
            except AssertionError:
                trouble = traceback.format_exc()
            except BaseException:  # pytest's Failed is no Exception
                trouble, in_step = traceback.format_exc(), False
            print(json.dumps({"check": name, "trouble": trouble}), file=file, flush=True)
            if not in_step:
                os._exit(1)  # at their next collective the others notice, instead of waiting
    dist.destroy_process_group()


def main(ranks: int, seconds: float, chosen: Sequence[str]) -> None:
    """Start the ranks and wait for them, but so long only. Forks have in common what takes seconds to import."""
    importlib.import_module("torch._dynamo")  # as a process's first DTensor does
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=(rank, ranks, chosen)) for rank in range(ranks)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        process.kill()


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    main(**json.loads((FOLDER / "task.json").read_text()))
