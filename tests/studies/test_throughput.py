"""Runs an hour, from when runs began and ended; and what a board does to tell how long the rest takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import pytest

from studies.study import Outcome, Run, Status
from studies.sweeps import board
from studies.sweeps.board import Board, State
from studies.throughput import throughput


def done(seed: int, began: float, ended: float, trained: float, attempts: int = 1) -> Outcome:
    run = Run("minilm/rte", "pats", (), seed)
    return Outcome(run, Path("x"), Status.DONE, attempts, results={"wall_seconds": trained}, span=(began, ended))


def test_pauses_do_not_count_and_runs_side_by_side_share_their_time() -> None:
    found = throughput([done(1, 100, 120, 15), done(2, 110, 130, 15), done(3, 1000, 1030, 10.5)])
    assert found is not None
    assert (found.runs, found.seconds) == (3, 60)
    assert found.start_up == pytest.approx(1 - 40.5 / 70)
    assert found.words().startswith("180 runs an hour (3 in ") and found.words().endswith("42 % of a run")


def test_only_runs_that_were_seen_whole_count() -> None:
    known = done(1, 100, 120, 15)
    unseen = Outcome(known.run, Path("x"), Status.DONE, 1, results={"wall_seconds": 3.0})
    assert throughput([unseen, done(2, 100, 400, 15, attempts=2)]) is None
    assert throughput([known], since=101) is None
    found = throughput([known, unseen])
    assert found is not None and found.runs == 1


def test_what_is_left_is_told_in_steps_that_grow_with_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many runs, half of them done: twice as many numbers to add, not four times."""
    added = 0

    def fmean(values: Iterable[float]) -> float:
        nonlocal added
        numbers = list(values)
        added += len(numbers)
        return statistics.fmean(numbers)

    monkeypatch.setattr(board, "statistics", type("counted", (), {"fmean": staticmethod(fmean)}))
    counts = []
    for seeds in (20, 40):
        added = 0
        runs = [Run("minilm/rte", "pats", (), seed) for seed in range(seeds)]
        states = {run: State.DONE if run.seed % 2 else State.WAITING for run in runs}
        seconds = {"minilm/rte": {"pats": [2.0] * (seeds // 2)}}
        assert Board(1, states, seconds=seconds).seconds_left() == seeds
        counts.append(added)
    assert counts == [10, 20]
