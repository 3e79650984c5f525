"""The queue of a sweep: runs that fail, die or are under way elsewhere, signals, and sweeps side by side."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from data_utils.errors import BusyError, SignalledError
from mt_dnn.record import run_folder
from studies.study import Outcome, Run, Share, Study
from studies.sweeps import workers
from studies.sweeps.devices import Slot, available_cores
from tests.studies.conftest import ALL_DONE, GRID, Sweeper, wait_for


def test_runs_that_fail_are_marked_and_the_sweep_goes_on(sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    sweeper.behave(adamax_1="refuse", pats_1="crash", adamax_2="no results")
    assert sweeper() == 1
    assert sweeper.statuses() == {"adamax_1": "failed", "pats_1": "failed", "adamax_2": "failed", "pats_2": "done"}
    messages = {outcome.run.label + str(outcome.run.seed): outcome.message for outcome in sweeper.study.outcomes()}
    assert messages["adamax1"] == "error: --data_dir x: no features"
    assert messages["pats1"] == "RuntimeError: a bug"
    assert messages["adamax2"] == "train.py ended with exit code 0"
    told = capsys.readouterr().out
    assert "FAILED    minilm/rte adamax seed 1  error: --data_dir x: no features" in told
    assert "1 done, 3 failed" in told and "failed: minilm/rte/pats/seed_1  RuntimeError: a bug" in told


def test_failed_runs_are_tried_again_only_when_asked(sweeper: Sweeper) -> None:
    sweeper.behave(pats_1="crash")
    assert sweeper() == 1
    sweeper.behave()
    assert sweeper() == 1
    assert len(sweeper.calls()) == 3
    assert sweeper(f"{GRID} --retry_failed") == 0
    assert sweeper.statuses() == ALL_DONE
    assert {outcome.run.path.name + outcome.run.label: outcome.attempts for outcome in sweeper.study.outcomes()} == {
        "seed_1adamax": 1,
        "seed_1pats": 2,
        "seed_2adamax": 1,
        "seed_2pats": 1,
    }


def test_runs_that_are_tried_again_have_the_studys_threads(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are compared with runs that had as many."""
    sweeper.behave(pats_1="crash")
    assert sweeper() == 1
    share = sweeper.study.share
    assert share is not None
    dataclasses.replace(sweeper.study, share=Share(share.threads + 1)).save()
    taken: list[int] = []
    of_pool = workers.Workers.__init__

    def noting(self: workers.Workers, study: Study, slots: list[Slot], *rest: Any, **more: Any) -> None:
        taken.extend(slot.threads for slot in slots)
        of_pool(self, study, slots, *rest, **more)

    monkeypatch.setattr(workers.Workers, "__init__", noting)
    sweeper.behave()
    assert sweeper(f"{GRID} --retry_failed") == 0
    assert set(taken) == {share.threads + 1}


def test_a_log_has_all_attempts(sweeper: Sweeper) -> None:
    sweeper.behave(pats_1="crash")
    sweeper()
    sweeper(f"{GRID} --retry_failed")
    log = sweeper.study.log_file(sweeper.study.runs[1]).read_text()
    assert log.count("$ ") == log.count("RuntimeError: a bug") == 2
    assert log.count("--resume") == 2


def test_runs_that_collapse_are_pointed_out(sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    sweeper.behave(pats_2="collapse")
    assert sweeper() == 0
    told = capsys.readouterr().out
    assert (
        "COLLAPSED minilm/rte pats seed 2" in told
        and "collapsed: minilm/rte/pats/seed_2  the same prediction for all rows of rte\n" in told
    )
    assert "4 done (1 collapsed)" in told


def test_a_run_that_was_killed_has_not_failed_and_is_not_tried_again_at_once(
    sweeper: Sweeper, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeper.behave(pats_1="die")
    assert sweeper() == 1
    assert sweeper.statuses() == {**ALL_DONE, "pats_1": "cut"}
    assert sweeper.study.outcome(sweeper.study.runs[1]).attempts == 1
    assert f"to go on: python -m studies.sweep --output_dir {sweeper.study_folder}" in capsys.readouterr().out
    sweeper.behave()
    assert sweeper() == 0


@pytest.mark.parametrize("known", ["by its lock", "by its own words"])
def test_a_run_under_way_elsewhere_is_waited_for(
    known: str, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "ELSEWHERE_SECONDS", 0.5)
    folder = sweeper.study_folder / "runs/minilm/rte/adamax/seed_1"
    folder.mkdir(parents=True)
    lock = (folder / workers.LOCK).open("w")
    if known == "by its lock":
        fcntl.flock(lock, fcntl.LOCK_EX)
    else:
        sweeper.behave(adamax_1="busy")
    ended = workers.View.ended

    def ended_too(view: workers.View, outcome: Outcome) -> None:
        ended(view, outcome)
        if len(sweeper.calls()) == 3:  # the other process goes, and leaves its run as it is
            lock.close()
            sweeper.behave()

    monkeypatch.setattr(workers.View, "ended", ended_too)
    assert sweeper() == 0
    assert sweeper.statuses() == ALL_DONE
    assert [outcome.attempts for outcome in sweeper.study.outcomes()] == [1] * 4
    assert sweeper.calls()[-1]["argv"][-2] == str(folder)
    assert capsys.readouterr().out.count("busy      minilm/rte adamax seed 1") == 1


def test_the_lock_is_that_of_a_real_run(tmp_path: Path) -> None:
    """The sweep does not import its name, as it would have to load torch for it."""
    lock = run_folder.claim_folder(tmp_path, resume=False)
    assert (tmp_path / workers.LOCK).is_file()
    with pytest.raises(BusyError):
        run_folder.claim_folder(tmp_path, resume=True)
    run_folder.release_folder(tmp_path, lock)


def test_a_lock_that_a_killed_run_has_left_keeps_nobody_out(sweeper: Sweeper) -> None:
    folder = sweeper.study_folder / "runs/minilm/rte/adamax/seed_1"
    folder.mkdir(parents=True)
    (folder / workers.LOCK).write_text("process 1 on x")
    assert sweeper() == 0
    assert sweeper.calls()[0]["argv"][-2] == str(folder)


def test_two_sweeps_share_the_work(sweeper: Sweeper) -> None:
    flags = GRID.replace("1-2", "1-6")
    assert sweeper(f"{flags} --only minilm/rte/pats/seed_6") == 0
    both = [sweeper.start("--devices cpu") for _ in range(2)]
    told = [sweep.communicate(timeout=600)[0] for sweep in both]
    assert [sweep.returncode for sweep in both] == [0, 0], told
    assert set(sweeper.statuses().values()) == {"done"}
    folders = [call["argv"][-2] for call in sweeper.calls()]
    assert len(folders) == len(set(folders)) == 12


def test_a_study_that_no_sweep_has_made_has_no_settings(sweeper: Sweeper, capsys: pytest.CaptureFixture[str]) -> None:
    Study(sweeper.study_folder, (Run("minilm/rte", "pats", (), 1),)).save()
    assert sweeper("--devices cpu") == 2
    assert "study.yml: no settings of minilm/rte pats" in capsys.readouterr().err
    assert not (sweeper.study_folder / "logs").exists()


@pytest.mark.skipif(len(available_cores()) < 2, reason="one core: one run at a time")
def test_each_run_has_cores_of_its_own(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert sweeper(f"{GRID} --runs_per_device 2") == 0
    calls = sweeper.calls()
    groups = {tuple(call["cores"]) for call in calls}
    assert len(groups) == 2 and len(set().union(*groups)) == len(available_cores())
    for call in calls:
        assert call["OMP_NUM_THREADS"] == str(len(call["cores"])) and call["CUDA_VISIBLE_DEVICES"] == ""
    for one in calls:  # never two runs on one group at a time
        for other in calls:
            apart = one["ended"] <= other["started"] or other["ended"] <= one["started"]
            assert one is other or one["cores"] != other["cores"] or apart


def wait_for_start(sweeper: Sweeper) -> None:
    wait_for("a run", (sweeper.folder / "started").exists)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_runs_where_they_are_saved(number: signal.Signals, sweeper: Sweeper) -> None:
    sweeper.behave(adamax_1="wait")
    sweep = sweeper.start()
    wait_for_start(sweeper)
    os.killpg(sweep.pid, number)  # as a terminal does: runs must not get it, too
    told, _ = sweep.communicate(timeout=600)
    assert sweep.returncode == SignalledError.exit_code
    assert told.splitlines()[-1] == (
        f"stopped: {number.name}; 0 done, 1 cut, 3 waiting; "
        f"to go on: python -m studies.sweep --output_dir {sweeper.study_folder}"
    )
    assert sweeper.statuses() == {**dict.fromkeys(ALL_DONE, "waiting"), "adamax_1": "cut"}
    assert "stopped: SIGTERM came" in sweeper.study.log_file(sweeper.study.runs[0]).read_text()


def test_a_second_signal_kills(sweeper: Sweeper) -> None:
    sweeper.behave(adamax_1="deaf")
    sweep = sweeper.start()
    wait_for_start(sweeper)
    sweep.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        sweep.wait(timeout=1)
    sweep.send_signal(signal.SIGINT)
    sweep.communicate(timeout=600)
    assert sweep.returncode == SignalledError.exit_code
    assert sweeper.statuses()["adamax_1"] == "cut"


def test_runs_outlive_a_sweep_that_is_killed(sweeper: Sweeper) -> None:
    sweep = sweeper.start(GRID.replace("1-2", "1-50"))
    wait_for_start(sweeper)
    sweep.kill()
    sweep.communicate()
    time.sleep(1)
    ends = len(sweeper.calls())
    assert ends >= 1  # the run under way has gone on to its end
    assert list(sweeper.statuses().values()).count("done") == ends
