"""What a sweep shows: the grid of runs, what running ones say, and the time that is left."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import pytest

from data_utils.cli import duration
from studies.study import Outcome, Status
from studies.sweeps.board import Board, Running, State, last_event
from studies.sweeps.live import Grid, View, make_view
from tests.studies.fake_study import done, run

RTE = [run("minilm/rte", label, seed) for seed in (1, 2) for label in ("adamax", "pats")]
MRPC = run("minilm/mrpc", "pats", 1)


def board(*states: State) -> Board:
    return Board(2, dict(zip([*RTE, MRPC], states, strict=False)))


def running(folder: Path, seconds: float = 0.0) -> Running:
    return Running("cuda:1", time.monotonic() - seconds, folder, "10")


def test_counts_are_in_words() -> None:
    states = (State.DONE, State.COLLAPSED, State.FAILED, State.RUNNING, State.WAITING)
    assert board(*states).counts() == "2 done (1 collapsed), 1 failed, 1 running, 1 waiting"


def test_the_time_left_is_known_once_each_recipe_has_a_finished_run(tmp_path: Path) -> None:
    now = board(State.WAITING, State.RUNNING, State.WAITING, State.FAILED, State.WAITING)
    now.running[RTE[1]] = running(tmp_path, seconds=40)
    now.seconds["minilm/rte"] = {"sage": [90.0, 110.0]}
    assert now.seconds_left() is None
    now.seconds["minilm/mrpc"] = {"pats": [20.0]}
    assert now.seconds_left() == pytest.approx((100 + 60 + 100 + 20) / 2, abs=1)
    now.seconds["minilm/rte"]["adamax"] = [40.0]  # the two of this method that wait; the other has only the recipe's
    assert now.seconds_left() == pytest.approx((40 + 40 + 40 + 20) / 2, abs=1)


def test_outcomes_become_states() -> None:
    now = board(*[State.RUNNING] * 4)
    finished = done("minilm/rte", "adamax", 1, rte=60.0)
    assert now.settle(finished) is State.DONE
    assert now.settle(done("minilm/rte", "pats", 1, collapsed=True, rte=50.0)) is State.COLLAPSED
    assert now.settle(Outcome(RTE[2], Path("x"), Status.FAILED, 1, "no")) is State.FAILED
    assert list(now.states.values()) == [State.DONE, State.COLLAPSED, State.FAILED, State.RUNNING]


EVENTS = [
    ({"event": "train", "step": 50, "epoch": 1, "loss": {"rte": 0.5, "cola": 0.3}}, "epoch 1/10  loss 0.4000"),
    ({"event": "eval", "step": 50, "epoch": 1.5, "mean": 61.239, "tasks": {}}, "epoch 1.5/10  dev 61.24"),
    ({"event": "start", "step": 0}, "starting"),
]


@pytest.mark.parametrize(("event", "text"), EVENTS)
def test_a_run_tells_how_far_it_is(event: dict[str, object], text: str, tmp_path: Path) -> None:
    sensitivity = {"event": "sensitivity", "step": 50, "tensors": "x" * 1000}
    lines = [json.dumps(one) for one in ({"event": "start", "step": 0}, event, sensitivity)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"event": "tr', encoding="utf-8")
    assert running(tmp_path).progress() == text


def test_a_run_without_a_file_is_starting(tmp_path: Path) -> None:
    assert last_event(tmp_path / "metrics.jsonl") is None
    assert running(tmp_path).progress() == "starting"


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.4, "5 s"), (65, "1 min 05 s"), (3600, "1 h 00 min"), (90_061, "25 h 01 min")]
)
def test_durations_are_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_have_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    view, now = View(), board(State.FAILED, *[State.WAITING] * 3)
    with view.showing(now):
        now.states[RTE[1]] = State.RUNNING
        now.running[RTE[1]] = running(tmp_path)
        view.started(RTE[1])
        finished = done("minilm/rte", "pats", 1, rte=61.5)
        now.settle(finished)
        view.ended(finished)
    assert capsys.readouterr().out.splitlines() == [
        "4 runs: 0 done, 1 failed, 3 waiting; 2 at a time",
        "[1/4] start     minilm/rte pats seed 1  on cuda:1",
        "[2/4] done      minilm/rte pats seed 1  rte 61.50",
    ]


def test_output_that_nobody_reads_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    View().say("hello")


def test_the_grid_has_a_symbol_for_every_run(tmp_path: Path) -> None:
    rich = pytest.importorskip("rich.console", reason="the grid needs rich")
    view = Grid()
    view.board = board(State.DONE, State.COLLAPSED, State.FAILED, State.RUNNING, State.WAITING)
    view.board.running[RTE[3]] = running(tmp_path, seconds=65)
    console = rich.Console(width=100, record=True, file=io.StringIO())
    console.print(view.render())
    lines = [" ".join(line.replace("│", " ").split()) for line in console.export_text().splitlines()]
    assert "minilm/rte ✓✗ ▁▶" in lines
    assert "minilm/mrpc ·" in lines
    assert "minilm/rte pats seed 2 cuda:1 1 min 05 s starting" in lines
    assert "2 done (1 collapsed), 1 failed, 1 running, 1 waiting" in lines


def test_a_grid_that_is_too_wide_becomes_a_long_one() -> None:
    rich = pytest.importorskip("rich.console", reason="the grid needs rich")
    values = ("5e-07", "8e-07", "1e-06", "2e-06", "3e-06")
    runs = [run("minilm/rte", f"pats@pats_lambda={value}", seed) for value in values for seed in range(1, 11)]
    view = Grid()
    view.board = Board(1)
    view.board.states = dict.fromkeys(runs, State.DONE) | {runs[-1]: State.FAILED}
    console = rich.Console(width=80, record=True, file=io.StringIO())
    console.print(view.render())
    lines = [" ".join(line.replace("│", " ").split()) for line in console.export_text().splitlines()]
    assert f"minilm/rte pats@pats_lambda=5e-07 {'✓' * 10}" in lines
    assert f"minilm/rte pats@pats_lambda=3e-06 {'✓' * 9}✗" in lines


class Terminal(io.StringIO):
    """What claims to be a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_grid_and_everything_else_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the grid needs rich")
    assert type(make_view()) is View  # under pytest, standard output is a file
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_view()) is View
    monkeypatch.setenv("TERM", "xterm-256color")
    assert type(make_view()) is Grid
    monkeypatch.setattr(Terminal, "encoding", "ascii")
    assert type(make_view()) is View
    monkeypatch.setattr(Terminal, "encoding", "utf-8")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert type(make_view()) is View


def test_the_grid_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="the grid needs rich")
    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    view, now = Grid(), board(*[State.WAITING] * 4)
    with view.showing(now):
        failed = Outcome(RTE[0], Path("x"), Status.FAILED, 1, "error: [no] such file")
        now.settle(failed)
        view.ended(failed)
    assert "FAILED    minilm/rte adamax seed 1  error: [no] such file" in screen.getvalue()
    assert "1 failed, 3 waiting" in screen.getvalue()
