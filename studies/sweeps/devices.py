"""Where the runs of a sweep can be: shares of GPUs, or groups of CPU cores, one run at a time in each."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_utils.errors import InputError
from data_utils.strict import shown

GIB_A_RUN = 24
"""Free memory of a GPU for each run that shares it: room for RoBERTa-large, 32 rows of 128 tokens, in fp32."""
CORES_A_RUN = 4
"""CPU cores in a group. GIB_A_RUN and this are rules of thumb; `layout` measures where it pays."""
AUTO = "auto"

_PROBE = """
import torch
for index in range(torch.cuda.device_count()):
    print(torch.cuda.mem_get_info(index)[0] >> 30)
"""


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time.

    Attributes:
        name: as people read it.
        environment: variables of a run there.
        cores: the CPU cores that a run is kept on; () for any.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()

    @property
    def threads(self) -> int:
        """How many threads a run there computes with; of a list for nested regions the first, which is torch's."""
        return int(self.environment["OMP_NUM_THREADS"].split(",")[0])

    def start(self, command: Sequence[str], **how: Any) -> subprocess.Popen[Any]:
        """Start a process there, out of the reach of a terminal's Ctrl-C; `how` as for `subprocess.Popen`."""
        process = subprocess.Popen(command, env=os.environ | dict(self.environment), start_new_session=True, **how)
        if self.cores and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, self.cores)  # before Python has started: its threads inherit it
        keep_nice(process.pid)
        return process


def keep_nice(pid: int) -> None:
    """Let a process that leads a session of its own give way to others as much as this one does.

    Where Linux shares out time among sessions first (`autogroup`, as most distributions have it), a session begins
    without the niceness of its parent, and that of its processes counts among themselves alone.
    """
    if not (niceness := os.nice(0)):
        return
    for _ in range(20):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
        except BlockingIOError:  # the kernel takes one such wish in a tenth of a second
            time.sleep(0.12)
        except OSError:  # no such thing here, or the process has ended
            return
        else:
            return


def find_slots(devices: str = AUTO, runs_per_device: str = AUTO) -> list[Slot]:
    """The places for runs on this machine.

    Args:
        devices: `auto` (all GPUs, else the CPU), `cpu`, or GPUs such as `cuda:0,cuda:1`, numbered as torch does.
        runs_per_device: how many share a GPU, or the CPU; `auto`: as many as `GIB_A_RUN` and `CORES_A_RUN` allow, at
            least one.

    Raises:
        InputError: neither of these, or a GPU that is not there.
    """
    if runs_per_device != AUTO and not re.fullmatch("[1-9][0-9]{0,3}", runs_per_device):
        raise InputError(f"--runs_per_device: expected {AUTO} or a whole number from 1, got {shown(runs_per_device)}")
    runs = None if runs_per_device == AUTO else int(runs_per_device)
    if devices == "cpu":
        return cpu_slots(runs)
    asked = devices.split(",")
    if devices != AUTO and not all(re.fullmatch("cuda:[0-9]{1,4}", one) for one in asked):
        raise InputError(f"--devices: expected {AUTO}, cpu, or GPUs such as cuda:0,cuda:1, got {shown(devices)}")
    free = _free_gib()
    if devices == AUTO:
        return _gpu_slots(range(len(free)), free, runs) if free else cpu_slots(runs)
    indices = list(dict.fromkeys(int(one.removeprefix("cuda:")) for one in asked))
    if missing := [index for index in indices if index >= len(free)]:
        there = ", ".join(f"cuda:{index}" for index in range(len(free))) or "none"
        raise InputError(f"--devices cuda:{missing[0]}: no such GPU; torch sees: {there}")
    return _gpu_slots(indices, free, runs)


def _free_gib() -> list[int]:
    """Free memory of each GPU that torch sees, in GiB; asked in a process of its own, as asking takes some of it."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise InputError(f"the GPUs cannot be looked at ({reason}); --devices cpu does without them")
    return [int(line) for line in done.stdout.split()]


def _gpu_slots(indices: Sequence[int], free: Sequence[int], runs: int | None) -> list[Slot]:
    """Slots of the given GPUs, in rounds, so that the first runs spread over all of them."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    shares = {index: runs or max(1, free[index] // GIB_A_RUN) for index in indices}
    threads = max(1, len(available_cores()) // sum(shares.values()))
    return [
        Slot(
            f"cuda:{index}",
            {"CUDA_VISIBLE_DEVICES": visible[index] if visible else str(index)} | _threads(threads),
        )
        for share in range(max(shares.values()))
        for index in indices
        if share < shares[index]
    ]


def cpu_slots(runs: int | None = None, threads: int | None = None) -> list[Slot]:
    """Groups of neighbouring cores; no GPU can be seen from them.

    Args:
        runs: how many groups; None: one for `CORES_A_RUN` cores.
        threads: of each run; None: as many as its group has cores, or what OMP_NUM_THREADS says.
    """
    cores = available_cores()
    if runs is None:
        runs = max(1, len(cores) // CORES_A_RUN)
    if runs > len(cores):
        raise InputError(f"--runs_per_device {runs}: there are {len(cores)} CPU cores, and a run needs one")
    groups = [cores[i * len(cores) // runs : (i + 1) * len(cores) // runs] for i in range(runs)]
    return [
        Slot(
            f"cpu {_ranges(group)}",
            {"CUDA_VISIBLE_DEVICES": ""} | ({"OMP_NUM_THREADS": str(threads)} if threads else _threads(len(group))),
            group,
        )
        for group in groups
    ]


def available_cores() -> tuple[int, ...]:
    """The CPU cores that this process may use; `taskset` and batch systems narrow them."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _threads(count: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(count)}


def _ranges(cores: Sequence[int]) -> str:
    """Core numbers as `0-3`, or `0,2,5` where they are no neighbours."""
    together = len(cores) > 1 and cores[-1] - cores[0] == len(cores) - 1
    return f"{cores[0]}-{cores[-1]}" if together else ",".join(map(str, cores))
