"""Where runs of a sweep can be: on GPUs, as torch numbers them, and on groups of CPU cores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data_utils.errors import InputError
from studies.sweeps import devices
from studies.sweeps.devices import find_slots

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores and two GPUs with 30 and 80 GiB free."""
    monkeypatch.setattr(devices, "available_cores", lambda: tuple(range(8)))
    monkeypatch.setattr(devices, "_free_gib", lambda: [30, 80])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def visible(devices: str = "auto", runs: str = "auto") -> list[str]:
    return [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in find_slots(devices, runs)]


def test_gpus_take_as_many_runs_as_fit_and_all_of_them_one_first() -> None:
    assert visible() == ["0", "1", "1", "1"]
    assert visible(runs="2") == ["0", "1", "0", "1"]
    assert visible("cuda:1", "1") == ["1"]
    assert visible("cuda:1,cuda:0", "1") == ["1", "0"]
    assert [slot.name for slot in find_slots("cuda:1", "2")] == ["cuda:1", "cuda:1"]


def test_a_small_gpu_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_free_gib", lambda: [7])
    assert visible() == ["0"]


def test_gpus_are_those_that_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-x")
    assert visible(runs="1") == ["5", "GPU-x"]


def test_runs_on_gpus_share_the_cores() -> None:
    assert {slot.environment["OMP_NUM_THREADS"] for slot in find_slots()} == {"2"}
    assert {slot.cores for slot in find_slots()} == {()}


def test_a_cpu_is_divided_into_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = find_slots("cpu")
    assert [slot.cores for slot in groups] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert [slot.name for slot in groups] == ["cpu 0-3", "cpu 4-7"]
    assert groups[0].environment == {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "4"}
    assert [len(slot.cores) for slot in find_slots("cpu", "3")] == [2, 3, 3]
    monkeypatch.setattr(devices, "available_cores", lambda: (1, 5, 9))
    assert [slot.name for slot in find_slots("cpu")] == ["cpu 1,5,9"]
    monkeypatch.setattr(devices, "_free_gib", list)
    assert [slot.cores for slot in find_slots()] == [(1, 5, 9)]


def test_threads_that_the_user_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert find_slots("cpu")[0].environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("asked", "runs", "message"),
    [
        ("cuda:2", "1", "--devices cuda:2: no such GPU; torch sees: cuda:0, cuda:1"),
        ("cuda", "1", "--devices: expected auto, cpu, or GPUs such as cuda:0,cuda:1, got 'cuda'"),
        ("cpu,cuda:0", "1", "--devices: expected"),
        ("cpu", "9", "--runs_per_device 9: there are 8 CPU cores"),
        ("cpu", "-1", "--runs_per_device: expected auto or a whole number from 1, got '-1'"),
    ],
)
def test_what_is_not_there_is_refused(asked: str, runs: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        find_slots(asked, runs)
    assert message in str(error.value)


def test_the_probe_is_valid_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices._free_gib() == []


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no groups of sessions")
def test_a_run_gives_way_to_other_sessions_as_its_sweep_does() -> None:
    program = (
        "import os, pathlib; from studies.sweeps.devices import Slot; nice = os.nice(7);"
        "runs = [Slot('here').start(['sleep', '60']) for _ in range(2)];"
        "groups = [pathlib.Path(f'/proc/{run.pid}/autogroup').read_text() for run in runs];"
        "[run.kill() for run in runs]; assert all(group.endswith(f' nice {nice}\\n') for group in groups), groups"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
