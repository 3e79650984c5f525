"""The record of a run's evaluations, and `results.json` made from it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data_utils.atomic import write_text
from data_utils.cli import columns
from data_utils.errors import InputError
from data_utils.strict import to_json
from data_utils.task_def import TaskDef
from mt_dnn.record.writing import writing

MEAN = "mean"
"""The value of `--best_by` that is no task."""


@dataclass
class History:
    """All evaluations so far.

    Attributes:
        evaluations: `{"epoch", "step", "mean", "tasks": {name: {"score", "metrics", "constant"}}}`, in order. `epoch`
            counts passes over the data: 2 after the second, 1.5 in the middle of it.
        since_best: evaluations since the score that `--best_by` names was last raised.
    """

    evaluations: list[dict[str, Any]] = field(default_factory=list)
    since_best: int = 0

    def add(self, epoch: float, step: int, tasks: dict[str, dict[str, Any]], by: str = MEAN) -> bool:
        """Record an evaluation; returns whether its score `by` is the best so far (an equal one is not)."""
        evaluation = {"epoch": epoch, "step": step, "mean": mean_score(tasks), "tasks": tasks}
        improved = score_by(evaluation, by) > max((score_by(e, by) for e in self.evaluations), default=-math.inf)
        self.evaluations.append(evaluation)
        self.since_best = 0 if improved else self.since_best + 1
        return improved

    def check(self, tasks: Collection[str]) -> None:
        """Raise ValueError unless this can be the record of evaluations of these tasks."""
        steps = [0, *(evaluation["step"] for evaluation in self.evaluations)]
        whole = all(type(step) is int for step in steps)
        if not whole or steps != sorted(set(steps)) or not 0 <= self.since_best <= len(self.evaluations):
            raise ValueError(f"evaluations after the updates {steps[1:]}, the best {self.since_best} ago")
        for evaluation in self.evaluations:
            if evaluation["tasks"].keys() != set(tasks):
                raise ValueError(f"an evaluation of {', '.join(evaluation['tasks'])}")
            scores = [evaluation["epoch"], evaluation["mean"]]
            for task in evaluation["tasks"].values():
                scores += [task["score"], *task["metrics"].values()]
                if type(constant := task.get("constant", False)) is not bool:
                    raise ValueError(f"an evaluation with {constant!r} for whether predictions are constant")
            if not all(type(score) in (int, float) and math.isfinite(score) for score in scores):
                raise ValueError(f"an evaluation with the scores {scores}")

    def of_task(self, task: TaskDef) -> dict[str, Any]:
        """A task's scores: its own best evaluation, its last one, and all of them."""
        history = [{"epoch": e["epoch"], "step": e["step"], **e["tasks"][task.name]} for e in self.evaluations]
        best = max(history, key=lambda entry: entry["score"])  # the first of equals
        return {"primary_metric": task.primary_metric, "best": best, "last": history[-1], "history": history}

    def average(self) -> dict[str, float]:
        """Mean over tasks, at the evaluation where it is best and at the last."""
        means = [e["mean"] for e in self.evaluations]
        return {"best": max(means), "last": means[-1]}

    def best_model(self, by: str) -> dict[str, Any]:
        """The evaluation whose model `best/` holds: the first of those with the best score `by`."""
        best = max(self.evaluations, key=lambda evaluation: score_by(evaluation, by))
        return {"by": by, "score": score_by(best, by), "epoch": best["epoch"], "step": best["step"]}

    def results(
        self,
        tested: Sequence[TaskDef],
        majority: Mapping[str, float | None],
        by: str = MEAN,
        test: Mapping[str, dict[str, Any]] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """The scores of `results.json`, in points out of 100.

        Args:
            tested: the tasks.
            majority: `majority_score` by task.
            by: what `best/` was chosen by.
            test: what `score_test` gives, by task, of those that have test splits.
        """
        tasks = {task.name: {**self.of_task(task), "majority_score": majority[task.name]} for task in tested}
        for name, scores in test.items():
            tasks[name]["test"] = scores
        return {"tasks": tasks, "average": self.average(), "best_model": self.best_model(by)}


ALIKE = " (all rows got the same prediction)"


def _test_lines(results: dict[str, Any]) -> list[str]:
    """A line a task with the score of its test splits, which chose nothing."""
    found = {name: task["test"] for name, task in results["tasks"].items() if "test" in task}
    return [
        f"{'' if i else 'test, model of best/:':22}{name} {results['tasks'][name]['primary_metric']} "
        f"{test['score']:.2f}, 95 % interval over rows {test['interval'][0]:.2f} to {test['interval'][1]:.2f}"
        f"{ALIKE if test.get('constant') else ''}"
        for i, (name, test) in enumerate(found.items())
    ]


def score_by(evaluation: Mapping[str, Any], by: str) -> float:
    """The score that `best/` is chosen by: the mean over tasks, or that of the task called `by`."""
    return float(evaluation["mean"] if by == MEAN else evaluation["tasks"][by]["score"])


def mean_score(evaluation: Mapping[str, dict[str, Any]]) -> float:
    """The mean of the tasks' scores."""
    return sum(task["score"] for task in evaluation.values()) / len(evaluation)


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write `results.json` in one piece."""
    with writing(path):
        write_text(path, to_json(results))


def read_results(path: Path) -> dict[str, Any]:
    """What `write_results` wrote; `InputError` for a file that is something else."""
    try:
        results = json.loads(path.read_bytes())
        summary(results)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not the results of a run ({error!r}); remove it, and --resume writes it anew"
        ) from None
    return results


def summary(results: dict[str, Any]) -> str:
    """A few lines for the end of a run: last and best score of each task, and that of its most frequent label."""
    rows: list[tuple[str, ...]] = [("task", "metric", "last", "best", "epoch", "majority")]
    for name, task in results["tasks"].items():
        scores = (f"{task[which]['score']:.2f}" for which in ("last", "best"))
        majority = task.get("majority_score")
        epoch = f"{round(task['best']['epoch'], 2):g}"
        rows.append((name, task["primary_metric"], *scores, epoch, "" if majority is None else f"{majority:.2f}"))
    if len(results["tasks"]) > 1:
        rows.append(("mean", "", *(f"{results['average'][which]:.2f}" for which in ("last", "best")), "", ""))
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    lines = [line.rstrip() for line in columns(rows, words=2)]
    lines += _test_lines(results)
    if (model := results.get("best_model", {"by": MEAN}))["by"] != MEAN:
        lines.append(f"best/ is the model of epoch {round(model['epoch'], 2):g}, chosen by {model['by']}")
    return "\n".join(lines)
