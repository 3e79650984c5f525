"""The record of a run's evaluations, and `results.json` made from it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_utils.task_def import TaskDef
from mt_dnn.evaluate import mean_score


@dataclass
class History:
    """All evaluations so far.

    Attributes:
        evaluations: `{"epoch", "step", "mean", "tasks": {name: {"score", "metrics"}}}`, in order. `epoch` counts
            passes over the data: 2 after the second, 1.5 in the middle of it.
        since_best: evaluations since the mean was last raised.
    """

    evaluations: list[dict[str, Any]] = field(default_factory=list)
    since_best: int = 0

    def add(self, epoch: float, step: int, tasks: dict[str, dict[str, Any]]) -> bool:
        """Record an evaluation; returns whether its mean is the best so far (an equal one is not)."""
        mean = mean_score(tasks)
        improved = mean > max((e["mean"] for e in self.evaluations), default=-math.inf)
        self.evaluations.append({"epoch": epoch, "step": step, "mean": mean, "tasks": tasks})
        self.since_best = 0 if improved else self.since_best + 1
        return improved

    def of_task(self, task: TaskDef) -> dict[str, Any]:
        """A task's part of `results.json`: its own best evaluation, its last one, and all of them."""
        history = [{"epoch": e["epoch"], "step": e["step"], **e["tasks"][task.name]} for e in self.evaluations]
        best = max(history, key=lambda entry: entry["score"])  # the first of equals
        return {"primary_metric": task.primary_metric, "best": best, "last": history[-1], "history": history}

    def average(self) -> dict[str, float]:
        """Mean over tasks, at the evaluation where it is best (the one `best/` holds) and at the last."""
        means = [e["mean"] for e in self.evaluations]
        return {"best": max(means), "last": means[-1]}


def write_results(path: Path, history: History, tested: Sequence[TaskDef], about: dict[str, Any]) -> dict[str, Any]:
    """Write `results.json` in one piece and return what it holds. Scores are in points out of 100."""
    results = {
        "tasks": {task.name: history.of_task(task) for task in tested},
        "average": history.average(),
        **about,
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return results


def summary(results: dict[str, Any]) -> str:
    """A few lines for the end of a run: last and best score of each task."""
    rows = [("task", "metric", "last", "best", "epoch")]
    for name, task in results["tasks"].items():
        scores = (f"{task[which]['score']:.2f}" for which in ("last", "best"))
        rows.append((name, task["primary_metric"], *scores, f"{round(task['best']['epoch'], 2):g}"))
    if len(results["tasks"]) > 1:
        rows.append(("mean", "", *(f"{results['average'][which]:.2f}" for which in ("last", "best")), ""))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [row[i].rjust(widths[i]) for i in (2, 3, 4)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
