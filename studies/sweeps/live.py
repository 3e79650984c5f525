"""What a sweep shows while it works: a line for everything that happens, or on a terminal the grid of all runs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from data_utils.cli import duration
from studies.study import Outcome, Run, Status
from studies.sweeps.board import ENDED, Board, State

REFRESH_SECONDS = 1.0
MEASURED_WIDTH = 10_000  # of a terminal that has room for everything
LOOKS = {  # symbol and colour
    State.WAITING: ("·", "dim"),
    State.RUNNING: ("▶", "cyan"),
    State.ELSEWHERE: ("◇", "blue"),
    State.CUT: ("‖", "magenta"),
    State.FAILED: ("✗", "bold red"),
    State.COLLAPSED: ("▁", "yellow"),
    State.DONE: ("✓", "green"),
}


class View:
    """Plain lines, one when a run starts, ends or fails. Output that nobody reads ends no sweep."""

    def __init__(self) -> None:
        self.board = Board(1)

    @contextlib.contextmanager
    def showing(self, board: Board) -> Iterator[None]:
        """Show a board while the block runs."""
        self.board = board
        left = sum(state not in ENDED for state in board.states.values())
        self.say(f"{len(board.states)} runs: {board.counts()}; {min(left, board.slots)} at a time")
        yield

    def started(self, run: Run) -> None:
        """A run was started here."""
        self._line("start", run, f"on {self.board.running[run].slot}")

    def elsewhere(self, run: Run) -> None:
        """A run turned out to be under way in another process."""
        self._line("busy", run, "another process is writing to it")

    def ended(self, outcome: Outcome) -> None:
        """A run has ended, here or elsewhere."""
        state = self.board.states[outcome.run]
        if outcome.status is Status.DONE:
            seconds = outcome.results.get("wall_seconds")
            scores = [f"{task} {outcome.score(task):.2f}" for task in outcome.results["tasks"]]
            took = [f"({duration(seconds)})"] if isinstance(seconds, (int, float)) else []
            left = self.board.seconds_left()
            scores += took + ([f"about {duration(left)} left"] if left else [])
            self._line("COLLAPSED" if state is State.COLLAPSED else "done", outcome.run, "  ".join(scores))
        elif outcome.status is Status.FAILED:
            self._line("FAILED", outcome.run, outcome.message)
        else:
            self._line("cut", outcome.run, "the next sweep goes on with it")

    def refresh(self) -> None:
        """Called all the time while runs are under way."""

    def say(self, text: str) -> None:
        """Show a line."""
        with contextlib.suppress(OSError):
            print(text, flush=True)

    def _line(self, what: str, run: Run, text: str) -> None:
        states = self.board.states.values()
        ended = sum(state in ENDED for state in states)
        self.say(f"[{ended}/{len(states)}] {what:<9} {run.recipe} {run.label} seed {run.seed}  {text}")


class Grid(View):
    """The grid of all runs, recipes × methods with a symbol for each seed, and below it those under way."""

    def __init__(self) -> None:
        super().__init__()
        self._live: Any = None
        self._shown = 0.0

    @contextlib.contextmanager
    def showing(self, board: Board) -> Iterator[None]:
        """Show a board while the block runs; its last state stays."""
        from rich.live import Live

        self.board = board
        with Live(self.render(), auto_refresh=False) as self._live:
            yield
            self.refresh(force=True)
        self._live = None

    def refresh(self, force: bool = False) -> None:
        """Draw anew, now and then."""
        if self._live and (force or time.monotonic() - self._shown >= REFRESH_SECONDS):
            self._shown = time.monotonic()
            with contextlib.suppress(OSError):
                self._live.update(self.render(), refresh=True)

    def say(self, text: str) -> None:
        """Show a line above the grid."""
        if self._live:
            with contextlib.suppress(OSError):
                self._live.console.print(text, markup=False, highlight=False)

    def _line(self, what: str, run: Run, text: str) -> None:
        if what == "FAILED":  # the grid shows everything else
            super()._line(what, run, text)
        self.refresh(force=True)

    def render(self) -> Any:
        """The grid as something that rich can print."""
        from rich.console import Group
        from rich.text import Text

        left = self.board.seconds_left()
        footer = self.board.counts() + (f"; about {duration(left)} left" if left else "")
        legend = Text("  ").join(Text(f"{symbol} {state.value}", style) for state, (symbol, style) in LOOKS.items())
        parts = [self._grid(), *([self._under_way()] if self.board.running else []), Text(footer), legend]
        return Group(*parts)

    def _grid(self) -> Any:
        """Recipes × methods; where the terminal is too narrow for that, a line for each of both together."""
        from rich.table import Table
        from rich.text import Text

        seeds: dict[tuple[str, str], Text] = {}
        for run in sorted(self.board.states):
            seeds.setdefault((run.recipe, run.label), Text()).append(*LOOKS[self.board.states[run]])
        recipes, labels = (list(dict.fromkeys(part)) for part in zip(*self._kinds(), strict=True))
        wide = Table("recipe", *labels)
        for recipe in recipes:
            wide.add_row(recipe, *(seeds.get((recipe, label), "") for label in labels))
        long = Table("recipe", "method", "seeds")
        for kind in dict.fromkeys(self._kinds()):
            long.add_row(*kind, seeds[kind])
        return _Fitting(wide, long)

    def _kinds(self) -> list[tuple[str, str]]:
        return [(run.recipe, run.label) for run in self.board.states]

    def _under_way(self) -> Any:
        from rich.table import Table

        table = Table("run", "on", "since", "progress", box=None)
        for run, running in self.board.running.items():
            since = duration(time.monotonic() - running.since)
            table.add_row(f"{run.recipe} {run.label} seed {run.seed}", running.slot, since, running.progress())
        return table


class _Fitting:
    """Of two renderings the first, where the terminal is wide enough for it."""

    def __init__(self, wide: Any, narrow: Any) -> None:
        self.wide = wide
        self.narrow = narrow

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.measure import Measurement

        fits = Measurement.get(console, options.update(width=MEASURED_WIDTH), self.wide).maximum <= options.max_width
        yield self.wide if fits else self.narrow


def make_view() -> View:
    """The grid where standard output is a terminal that can show it and `rich` is there, else plain lines."""
    if not sys.stdout.isatty() or not (sys.stdout.encoding or "").lower().startswith("utf"):
        return View()
    try:
        from rich.console import Console  # optional: requirements-study.txt has it
    except ImportError:
        return View()
    return View() if Console().is_dumb_terminal else Grid()  # a dumb one cannot draw over what it has drawn
