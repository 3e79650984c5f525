"""What the steps that Numba compiles promise beside the mathematics: noise, threads, forks, fallbacks, a cache."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from module.optim import AdamaxW, PATSAdamax, PATSAdamW, RecAdam, RecAdamax, SAGEAdamax, SAGEAdamW, backends
from module.optim.backends import pick_backend, why_not_numba
from tests.module.optim.toy import equal, take_steps, toy_params
from tests.reference.philox import philox_noise
from tests.triton_marks import DEVICE, needs_triton

pytest.importorskip("numba", reason="Numba is not installed")

ROOT = Path(__file__).parents[3]
KEY = {"seed": 2**62 + 12345, "step": 70_000, "position": 2**34 + 7}
NOISY = {"noise_lambda": 1e-3, "noise_p": 0.5}
PULLED = {"anneal_t0": 2.0, "pretrain_cof": 20.0}
CLASSES = [AdamaxW, PATSAdamax, PATSAdamW, SAGEAdamax, SAGEAdamW, RecAdam, RecAdamax]


def options(cls: type[Optimizer]) -> dict[str, Any]:
    own = NOISY if cls in (PATSAdamax, PATSAdamW) else PULLED if cls in (RecAdam, RecAdamax) else {}
    return {"lr": 1e-2, "weight_decay": 0.1, "backend": "numba", **own}


# Noise


@pytest.mark.parametrize("p", [0.2, 1.0])
@pytest.mark.parametrize("size", [1, 63, 1024, 1025, 5000, 70_000])
def test_noise_is_philoxs_as_the_kernels_draw_it(size: int, p: float) -> None:
    from module.compiled.launch import compiled_noise

    drawn = compiled_noise(torch.empty(size), p, **KEY)
    torch.testing.assert_close(drawn.double(), philox_noise((size,), p, **KEY), rtol=0, atol=1e-6)


@needs_triton
@pytest.mark.parametrize("p", [0.2, 1.0])
def test_noise_is_that_of_the_triton_kernels(p: float) -> None:
    """The same elements, and values within the rounding of Triton's sine and cosine of a float32 angle."""
    from module.compiled.launch import compiled_noise
    from module.kernels.launch import triton_noise

    ours, theirs = compiled_noise(torch.empty(5000), p, **KEY), triton_noise(torch.empty(5000, device=DEVICE), p, **KEY)
    assert torch.equal(ours != 0, theirs.cpu() != 0)
    torch.testing.assert_close(ours, theirs.cpu(), rtol=0, atol=5e-6)


def test_logarithm_is_exact_to_a_few_units_in_the_last_place() -> None:
    from module.compiled.kernels import log

    x = np.concatenate([np.geomspace(1e-7, 1, 3000), 1 - np.geomspace(6e-8, 0.5, 3000)]).astype(np.float32)
    worst = max(abs(log(one) / math.log(one) - 1) for one in x if one != 1)
    assert worst < 2e-7 and log(np.float32(1)) == 0


# Threads


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("cls", CLASSES)
def test_results_do_not_depend_on_the_number_of_threads(cls: type[Optimizer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module.compiled.workers.LEAST", 100)
    monkeypatch.setattr("module.compiled.launch.ROW", 2048)
    ends = []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        params = [*toy_params(), nn.Parameter(torch.linspace(-1, 1, 20_000))]
        take_steps(cls(params, **options(cls)), 1, 3)
        ends.append(params)
    assert equal(ends[0], ends[1]) and equal(ends[0], ends[2])


@pytest.mark.usefixtures("threads")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_fork_of_a_process_that_had_threads_goes_on_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module.compiled.workers.LEAST", 100)
    monkeypatch.setattr("module.compiled.launch.ROW", 2048)
    torch.set_num_threads(2)
    params = [nn.Parameter(torch.linspace(-1, 1, 20_000))]
    optimizer = PATSAdamax(params, **options(PATSAdamax))
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def child() -> None:
        optimizer.step()
        queue.put(params[0].detach().double().sum().item())

    process = context.Process(target=child)
    process.start()
    process.join(60)
    try:
        assert process.exitcode == 0
    finally:
        process.kill()
    optimizer.step()
    assert queue.get() == params[0].detach().double().sum().item()


# Where it does not serve

REASONS = [
    (torch.ones(3, dtype=torch.float64), {}, "the parameter is torch.float64, not torch.float32"),
    (torch.ones(3, dtype=torch.bfloat16), {}, "the parameter is torch.bfloat16, not torch.float32"),
    (torch.ones(3, 4).T, {}, "the parameter is not contiguous"),
    (torch.ones(3), {"state_dtype": "bfloat16"}, "state_dtype is bfloat16, not float32"),
    (torch.ones(3, device="meta"), {}, "the parameter is on meta, not cpu"),
]


@pytest.mark.parametrize(("param", "how", "reason"), REASONS, ids=lambda value: str(value)[:30])
def test_what_it_does_not_serve_goes_by_lists_or_is_refused(param: Tensor, how: dict[str, str], reason: str) -> None:
    assert pick_backend("auto", param, capturable=False, **how) == "foreach"
    with pytest.raises(RuntimeError, match=f"backend='numba' needs what Numba compiles, but {reason}"):
        pick_backend("numba", param, capturable=False, **how)


def test_a_group_may_be_part_compiled_and_part_lists() -> None:
    """Each parameter ends where the backend that serves it would have brought it; noise is keyed by place."""
    torch.manual_seed(0)
    values = [torch.randn(40), torch.randn(8, 5).T, torch.randn(30, dtype=torch.float64)]
    ends = {}
    for backend in ("auto", "foreach"):
        params = [nn.Parameter(value.clone(memory_format=torch.preserve_format)) for value in values]
        take_steps(PATSAdamax(params, lr=1e-2, backend=backend, **NOISY), 1, 3)
        ends[backend] = params
    assert equal(ends["auto"][1:], ends["foreach"][1:])
    assert not torch.equal(ends["auto"][0], ends["foreach"][0])
    assert PATSAdamax(params).backends() == ["foreach", f"numba {backends.importlib.metadata.version('numba')}"]


@pytest.fixture
def fresh_reasons(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    backends._why_no_numba.cache_clear()
    yield monkeypatch
    backends._why_no_numba.cache_clear()


def test_without_numba_auto_takes_lists(fresh_reasons: pytest.MonkeyPatch) -> None:
    fresh_reasons.setattr("importlib.util.find_spec", lambda name: None)
    assert pick_backend("auto", torch.ones(3), capturable=False) == "foreach"
    with pytest.raises(RuntimeError, match="but Numba is not installed"):
        pick_backend("numba", torch.ones(3), capturable=False)


def test_an_old_numba_is_not_used(fresh_reasons: pytest.MonkeyPatch) -> None:
    fresh_reasons.setattr("importlib.metadata.version", lambda name: "0.60.0rc1")
    assert why_not_numba(torch.ones(3)) == "Numba is 0.60.0rc1, and must be 0.68 or newer"


@pytest.mark.parametrize("refusal", ["an import error", "the switch for debugging"])
def test_a_numba_that_does_not_work_here_is_not_used(refusal: str, tmp_path: Path) -> None:
    """In a process of its own, where nothing is imported yet."""
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    if refusal == "an import error":
        (tmp_path / "numba").mkdir()
        (tmp_path / "numba/__init__.py").write_text("raise ImportError('Numba needs NumPy 2.5 or less')")
        said = "Numba cannot be used: Numba needs NumPy 2.5 or less"
    else:
        environment["NUMBA_DISABLE_JIT"] = "1"
        said = "Numba cannot be used: NUMBA_DISABLE_JIT is set"
    program = "import torch; from module.optim.backends import why_not_numba; print(why_not_numba(torch.ones(3)))"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == said, done.stderr


def test_numba_is_imported_by_the_first_step_that_needs_it() -> None:
    program = (
        "import sys, torch; from module.optim import PATSAdamax; p = torch.nn.Parameter(torch.ones(3));"
        "p.grad = torch.ones(3); PATSAdamax([p], backend='foreach').step(); assert 'numba' not in sys.modules;"
        "PATSAdamax([p]).step(); assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_what_one_package_has_compiled_another_of_the_same_files_does_not_load(tmp_path: Path) -> None:
    """As in a clone that is also installed in place: what is kept names its package, and not both can be imported."""
    shutil.copytree(ROOT / "module", tmp_path / "files", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("module", "pats"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).symlink_to(tmp_path / "files")
        program = (
            f"import torch; from {name}.optim import AdamaxW; p = torch.nn.Parameter(torch.ones(3));"
            "p.grad = torch.ones(3); AdamaxW([p], backend='numba').step(); assert (p != 1).all()"
        )
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path / name, check=True)
    kept = {path.name.split("-")[0] for path in (tmp_path / "files/compiled/__pycache__").glob("*.nbi")}
    assert {"kernels.module.compiled.plain_steps", "kernels.pats.compiled.plain_steps"} <= kept


def test_folders_that_cannot_be_written_to_are_no_hindrance(tmp_path: Path) -> None:
    """Neither beside the code nor at home: then every process compiles for itself."""
    shutil.copytree(ROOT / "module", tmp_path / "module", ignore=shutil.ignore_patterns("__pycache__"))
    folder, nowhere = tmp_path / "module/compiled", tmp_path / "nowhere"
    nowhere.write_text("a file, so that no folder can be made in it")
    (folder / "__pycache__").write_text("the same")
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    program = (
        "import torch; from module.optim import AdamaxW; p = torch.nn.Parameter(torch.ones(3)); p.grad = torch.ones(3);"
        "AdamaxW([p], backend='numba').step(); assert (p != 1).all()"
    )
    environment = {**os.environ, "HOME": f"{nowhere}/home", "XDG_CACHE_HOME": f"{nowhere}/cache"}
    environment.pop("NUMBA_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)


def test_a_disk_that_takes_nothing_is_no_hindrance(tmp_path: Path) -> None:
    """What cannot be kept is compiled again in the next process; a training run has more to say about a full disk."""
    shutil.copytree(ROOT / "module", tmp_path / "module", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "import torch; from module.optim import PATSAdamax; p = torch.nn.Parameter(torch.ones(3)); "
        "p.grad = torch.ones(3); PATSAdamax([p], backend='numba').step(); assert (p != 1).all()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    subprocess.run([sys.executable, "-B", "-c", program], cwd=tmp_path, env=environment, check=True)
    assert not list((tmp_path / "module/compiled/__pycache__").glob("*.nb?"))


# State


def test_autograd_learns_that_parameters_have_changed() -> None:
    param = nn.Parameter(torch.ones(3))
    loss = (param * param).sum()
    param.grad = torch.ones(3)
    AdamaxW([param], backend="numba").step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("cls", CLASSES)
def test_numba_and_lists_may_take_turns(cls: type[Optimizer]) -> None:
    """They keep the same state; without noise they part by rounding alone."""
    params, others = toy_params(), toy_params()
    how = options(cls) | ({"noise_lambda": 0.0} if "noise_lambda" in options(cls) else {})
    optimizer, lists = cls(params, **how), cls(others, **(how | {"backend": "foreach"}))
    for first, backend in ((1, "foreach"), (3, "numba"), (5, "foreach")):
        optimizer.param_groups[0]["backend"] = backend
        take_steps(optimizer, first, first + 1)
        take_steps(lists, first, first + 1)
    torch.testing.assert_close(params, others, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(optimizer.state_dict()["state"], lists.state_dict()["state"], rtol=1e-5, atol=1e-7)


def test_averages_that_lists_kept_transposed_are_taken_up_in_order() -> None:
    """The compiled step goes by addresses: it must not take a column for a row."""
    values = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    ends = {}
    for layout in ("transposed at first", "in order"):
        param = nn.Parameter(values.T.contiguous().T if layout == "transposed at first" else values.clone())
        optimizer = PATSAdamax([param], lr=1e-2, noise_lambda=0.0)
        take_steps(optimizer, 1, 2)
        param.data = param.data.contiguous()
        take_steps(optimizer, 3, 4)
        ends[layout] = param.detach()
    torch.testing.assert_close(*ends.values(), rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(not hasattr(torch.Tensor, "grad_dtype"), reason="this torch has no gradients of another dtype")
def test_gradients_of_another_dtype_are_widened() -> None:
    ends = []
    for backend in ("numba", "foreach"):
        param = nn.Parameter(torch.linspace(-1, 1, 3000))
        param.grad_dtype = torch.bfloat16
        optimizer = AdamaxW([param], lr=1e-2, backend=backend)
        for step in (1, 2):
            param.grad = torch.linspace(step, -1, 3000).bfloat16()
            optimizer.step()
        ends.append(param.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)
