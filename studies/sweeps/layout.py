"""How a CPU is divided among the runs of a study: few runs with many threads, or many with few, by measuring.

Sums over threads are rounded in another order when their number changes, so that a run that was cut would not come to
the same bits with another number. Hence a study's runs have one number of threads for good. Its first sweep chooses it
and `study.yml` keeps it; how many runs there are at a time may change with the machine.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_utils.errors import InputError
from studies.study import Run, Share, Study, changing
from studies.suite import ROOT
from studies.sweeps.devices import Slot, available_cores, cpu_slots

PROBE = (sys.executable, "-m", "studies.sweeps.probe")
UPDATES = 12
"""Timed updates of each process of a layout."""
WORTH_MEASURING = 6
"""Runs to do, at least: trying a layout takes about as long as a short run does."""
SPARE = 1.25
"""Memory that is set aside for a run, by the peak of a probe: checkpoints, evaluations and longer rows need some."""


@dataclass(frozen=True)
class Trial:
    """A layout and what a run takes in it.

    Attributes:
        share: what each run has.
        runs: how many there are at a time.
        start_up: seconds until everything is loaded.
        training: seconds that all updates of a run take.
    """

    share: Share
    runs: int
    start_up: float
    training: float

    def seconds_for(self, runs: int) -> float:
        """About how long so many runs take."""
        return math.ceil(runs / self.runs) * (self.start_up + self.training)

    def words(self) -> str:
        """Such as `2 at a time, 1 thread each: 400 runs an hour`."""
        rate = 3600 * self.runs / (self.start_up + self.training)
        return f"{self.runs} at a time, {self.share.words()}: {rate:.4g} runs an hour, evaluations left out"


def settle(
    study: Study, runs: Sequence[Run], slots: list[Slot], measure: bool, say: Callable[[str], None]
) -> list[Slot]:
    """The places for a study's runs, with the number of threads that it has, or has from now on.

    Args:
        study: whose runs they are; its file gets the number if it has none.
        runs: those that are to do.
        slots: what `find_slots` gives. GPUs stay as they are.
        measure: whether nobody has said how many runs there shall be at a time.
        say: told of what is measured.

    Raises:
        InputError: as many runs as `slots` at a time, and the study's threads, are more than the cores.
    """
    if not runs or not slots or not slots[0].cores:
        return slots
    share = study.share
    if share is None:
        begun = any(study.run_folder(run).exists() for run in study.runs)  # by the rule of thumb, some time ago
        worth = measure and not begun and len(runs) >= WORTH_MEASURING and "OMP_NUM_THREADS" not in os.environ
        share = (choose(study, runs, say) if worth else None) or Share(min(slot.threads for slot in slots))
        with changing(study.folder) as current:
            share = current.share or share  # another sweep may have been faster
            replace(current, share=share).save()
    cores = len(available_cores())
    if measure:
        wanted = available_memory() // share.memory if share.memory else len(slots)  # the rule of thumb's
        return cpu_slots(max(1, min(wanted, cores // share.threads)), share.threads)
    if len(slots) * share.threads > max(cores, share.threads):
        raise InputError(
            f"--runs_per_device {len(slots)}: the runs of {study.folder} have {share.words()}, for the same bits after "
            f"a resume, and there are {cores} cores; auto starts as many as fit"
        )
    return cpu_slots(len(slots), share.threads)


def choose(study: Study, runs: Sequence[Run], say: Callable[[str], None]) -> Share | None:
    """The best layout for what is to do, by trying them on the first run; None where none can be tried."""
    cores, best, memory = len(available_cores()), None, 0
    for threads in halvings(cores):
        count = cores // threads
        if count > len(runs):
            break
        if count * memory > available_memory():
            say(f"{count} at a time: not tried, they need {count * memory / 2**30:.1f} GiB of memory")
            break
        found = try_layout(study.flags(runs[0]), cpu_slots(count, threads))
        if found is None:
            say(f"{count} at a time: could not be tried")
            break
        say(found.words())
        memory = found.share.memory
        if best is None or found.seconds_for(len(runs)) < best.seconds_for(len(runs)):
            best = found
    return None if best is None else best.share


def halvings(cores: int) -> list[int]:
    """Numbers of threads to try: all cores, half of them, and so on to 1."""
    return [cores >> shift for shift in range(cores.bit_length())]


def try_layout(flags: Sequence[str], slots: Sequence[Slot], updates: int = UPDATES) -> Trial | None:
    """Time a run's beginning in all slots at once; None where one of them ends with an error."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        began = time.perf_counter()
        probes = []
        for number, slot in enumerate(slots):
            command = [*PROBE, str(updates), *flags, "--output_dir", str(Path(folder) / str(number))]
            probes.append(stack.enter_context(_probing(command, slot)))
        if [_line(probe) for probe in probes] != ["ready"] * len(probes):
            return None
        start_up = time.perf_counter() - began
        try:
            for probe in probes:
                assert probe.stdin is not None
                probe.stdin.write("\n")
                probe.stdin.flush()
            said = [json.loads(_line(probe)) for probe in probes]
        except (BrokenPipeError, ValueError):  # one of them has died
            return None
    speed = sum(one["rows"] / one["seconds"] for one in said) / len(said)
    share = Share(slots[0].threads, int(SPARE * max(one["memory"] for one in said)))
    return Trial(share, len(slots), start_up, said[0]["rows_in_all"] / speed)


@contextlib.contextmanager
def _probing(command: Sequence[str], slot: Slot) -> Iterator[subprocess.Popen[str]]:
    """A probe in a slot; it has ended when the block has, whatever happened in it."""
    pipe = subprocess.PIPE
    process = slot.start(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    except BrokenPipeError:  # it died before it was told to go
        pass


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def available_memory() -> int:
    """Bytes that processes can still get, within the limits of a container; a great number where nobody says."""
    found = [1 << 62]
    with contextlib.suppress(OSError, StopIteration):
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
        found.append(int(line.split()[1]) << 10)
    with contextlib.suppress(OSError, ValueError):  # `max` is no number: no limit
        limit, used = (int(Path("/sys/fs/cgroup", f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(0, limit - used))
    return min(found)
