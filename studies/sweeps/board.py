"""Where a sweep stands: the state of every run, what the running ones say, and how long the rest will take."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from studies.study import Outcome, Run, Status

TAIL_BYTES = 1 << 16  # more than any event about losses or scores; those about sensitivities can be larger


class State(Enum):
    """Where a run stands, as a sweep sees it."""

    WAITING = "waiting"
    RUNNING = "running"
    ELSEWHERE = "running elsewhere"  # another process is writing to its folder
    CUT = "cut"  # ended by a signal; the next sweep goes on with it
    FAILED = "failed"
    COLLAPSED = "collapsed"  # done, with the same prediction for all rows of a task
    DONE = "done"


ENDED = frozenset({State.CUT, State.FAILED, State.COLLAPSED, State.DONE})


@dataclass(frozen=True)
class Running:
    """A run that is under way: where, since when (`time.monotonic`), its output folder, and its epochs in all."""

    slot: str
    since: float
    folder: Path
    epochs: str

    def progress(self) -> str:
        """How far it is, from the last event that says so."""
        event = last_event(self.folder / "metrics.jsonl")
        if event is None:
            return "starting"
        epoch = f"epoch {round(event.get('epoch', 0), 2):g}/{self.epochs}"
        if event["event"] == "eval":
            return f"{epoch}  dev {event['mean']:.2f}"
        return f"{epoch}  loss {statistics.fmean(event['loss'].values()):.4f}"


@dataclass
class Board:
    """All runs of a sweep.

    Attributes:
        slots: how many runs there can be at a time.
        states: by run.
        running: those under way here.
        seconds: how long finished runs took, by recipe, then by the label of their method.
    """

    slots: int
    states: dict[Run, State] = field(default_factory=dict)
    running: dict[Run, Running] = field(default_factory=dict)
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def settle(self, outcome: Outcome) -> State:
        """Take up what became of a run."""
        state = {Status.WAITING: State.WAITING, Status.CUT: State.CUT, Status.FAILED: State.FAILED}.get(outcome.status)
        if state is None:
            state = State.COLLAPSED if outcome.collapsed else State.DONE
            if isinstance(seconds := outcome.results.get("wall_seconds"), (int, float)):
                if outcome.run in self.running:  # with start-up and end; less than `wall_seconds` if it was resumed
                    seconds = max(seconds, time.monotonic() - self.running[outcome.run].since)
                of_recipe = self.seconds.setdefault(outcome.run.recipe, {})
                of_recipe.setdefault(outcome.run.label, []).append(float(seconds))
        self.states[outcome.run] = state
        self.running.pop(outcome.run, None)
        return state

    def counts(self) -> str:
        """How many runs are in which state, in words."""
        found = Counter(self.states.values())
        collapsed = found[State.COLLAPSED]
        done = f"{found[State.DONE] + collapsed} done" + (f" ({collapsed} collapsed)" if collapsed else "")
        others = (State.FAILED, State.CUT, State.RUNNING, State.ELSEWHERE, State.WAITING)
        return ", ".join([done, *(f"{found[state]} {state.value}" for state in others if found[state])])

    def seconds_left(self) -> float | None:
        """About how long the rest takes, by finished runs; None while some recipe has none.

        By those of the same method where there are some: what is varied, such as the share of data, can matter most.
        """
        left, now = 0.0, time.monotonic()
        means: dict[tuple[str, str], float] = {}  # each once, or the time to tell grows with runs done times runs to do
        for run, state in self.states.items():
            if state in (State.WAITING, State.RUNNING):
                if not (known := self.seconds.get(run.recipe)):
                    return None
                kind = (run.recipe, run.label)
                if kind not in means:
                    took = known.get(run.label) or [seconds for own in known.values() for seconds in own]
                    means[kind] = statistics.fmean(took)
                spent = now - self.running[run].since if run in self.running else 0.0
                left += max(0.0, means[kind] - spent)
        return left / self.slots


def last_event(path: Path) -> dict[str, Any] | None:
    """A run's last event with a loss or a score in `metrics.jsonl`; None while there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:  # half a line, at the beginning of the tail or at its end
            continue
        if isinstance(event, dict) and (event.get("event") == "eval" or event.get("loss")):
            return event
    return None
