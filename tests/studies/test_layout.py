"""How a CPU is divided among runs: tried with processes that only say what they measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from data_utils.errors import InputError
from studies.study import Run, Share, Study
from studies.sweeps import devices, layout
from studies.sweeps.devices import cpu_slots

RUNS = tuple(Run("minilm/rte", "pats", (), seed) for seed in range(1, 9))
GIB = 1 << 30


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Eight runs that are to do, on four cores with much memory."""
    monkeypatch.setattr(devices, "available_cores", lambda: (0, 1, 2, 3))
    monkeypatch.setattr(layout, "available_cores", lambda: (0, 1, 2, 3))
    monkeypatch.setattr(layout, "available_memory", lambda: 100 * GIB)
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    study = Study(tmp_path / "study", RUNS, settings={("minilm/rte", "pats"): {"epochs": 1}})
    study.folder.mkdir()
    study.save()
    return study


def probes(
    monkeypatch: pytest.MonkeyPatch, folder: Path, seconds_by_threads: dict[int, float], memory: int = 8
) -> None:
    """Processes that take so many seconds for 100 rows with so many threads."""
    said = {
        threads: json.dumps({"seconds": seconds, "rows": 100, "rows_in_all": 10**6, "memory": memory})
        for threads, seconds in seconds_by_threads.items()
    }
    script = folder / "probe.py"
    script.write_text(
        f"import os\nprint('ready', flush=True)\ninput()\nprint({said!r}[int(os.environ['OMP_NUM_THREADS'])])\n"
    )
    monkeypatch.setattr(layout, "PROBE", (sys.executable, str(script)))


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [({4: 1.0, 2: 1.5, 1: 3.5}, 2), ({4: 1.0, 2: 2.2, 1: 5.0}, 4), ({4: 1.0, 2: 1.9, 1: 3.0}, 1)],
    ids=["two at a time", "one at a time", "four at a time"],
)
def test_the_fastest_layout_is_taken_and_kept(
    seconds: dict[int, float], threads: int, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes(monkeypatch, tmp_path, seconds)
    told: list[str] = []
    slots = layout.settle(study, RUNS, cpu_slots(), True, told.append)
    assert [slot.threads for slot in slots] == [threads] * (4 // threads)
    assert len(told) == 3
    kept = Study.load(study.folder)
    assert kept.share == Share(threads, 10)
    monkeypatch.setattr(layout, "PROBE", ("false",))  # a restart measures nothing
    again = layout.settle(kept, RUNS[:1], cpu_slots(), True, told.append)
    assert [slot.threads for slot in again] == [threads] * (4 // threads) and len(told) == 3


def test_no_more_runs_than_memory_holds(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes(monkeypatch, tmp_path, {4: 1.0, 2: 1.0, 1: 1.0}, memory=30 * GIB)
    told: list[str] = []
    slots = layout.settle(study, RUNS, cpu_slots(), True, told.append)
    assert len(slots) == 2 and told[-1] == "4 at a time: not tried, they need 150.0 GiB of memory"
    monkeypatch.setattr(layout, "available_memory", lambda: 40 * GIB)  # another machine
    (slot,) = layout.settle(Study.load(study.folder), RUNS, cpu_slots(), True, told.append)
    assert slot.threads == 2


def test_what_cannot_be_tried_goes_by_the_rule_of_thumb(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PROBE", ("false",))
    told: list[str] = []
    (slot,) = layout.settle(study, RUNS, cpu_slots(), True, told.append)
    assert slot.threads == 4 and told == ["1 at a time: could not be tried"]


def test_a_number_that_the_user_gives_is_not_measured_and_kept(study: Study) -> None:
    slots = layout.settle(study, RUNS, cpu_slots(2), False, print)
    assert [slot.threads for slot in slots] == [2, 2]
    kept = Study.load(study.folder)
    assert kept.share == Share(2)
    with pytest.raises(InputError, match="--runs_per_device 4: .* have 2 threads each.* 4 cores"):
        layout.settle(kept, RUNS, cpu_slots(4), False, print)
    (slot,) = layout.settle(kept, RUNS, cpu_slots(1), False, print)
    assert slot.threads == 2


def test_runs_that_began_before_keep_the_threads_of_the_rule(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PROBE", ("would not be found",))
    study.run_folder(RUNS[0]).mkdir(parents=True)
    (slot,) = layout.settle(study, RUNS, cpu_slots(), True, print)
    assert slot.threads == 4


def test_a_damaged_share_is_refused(study: Study) -> None:
    path = study.folder / "study.yml"
    path.write_text(path.read_text().replace("share: null", "share: {threads: 0}"))
    with pytest.raises(InputError, match="share: expected threads from 1"):
        Study.load(study.folder)
