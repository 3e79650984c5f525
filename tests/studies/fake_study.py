"""Studies without training: runs as `train.py` and the sweep would leave them, in memory or in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.study import Outcome, Run, Status, Study

METRICS = {"cola": "MCC", "mrpc": "F1", "stsb": "Pearson", "qqp": "F1"}


def run(recipe: str, label: str, seed: int) -> Run:
    """A run by the label that tables have for its method, such as `pats@pats_lambda=1e-06`."""
    method, *varied = label.split("@")
    return Run(recipe, method, tuple(sorted(tuple(flag.split("=")) for flag in varied)), seed)


def results(scores: Mapping[str, float], collapsed: bool = False, gain: float = 1.0) -> dict[str, Any]:
    """A `results.json` with the last epoch's scores in points by task; the best epoch's are higher by `gain`."""
    tasks = {
        task: {
            "primary_metric": METRICS.get(task, "ACC"),
            "best": {"epoch": 7, "score": score + gain, "constant": False},
            "last": {"epoch": 10, "score": score, "constant": collapsed},
        }
        for task, score in scores.items()
    }
    return {"tasks": tasks}


def done(recipe: str, label: str, seed: int, collapsed: bool = False, **scores: float) -> Outcome:
    """A run that is done."""
    return Outcome(run(recipe, label, seed), Path("x"), Status.DONE, 1, results=results(scores, collapsed))


def seeds_done(recipe: str, label: str, scores: list[float]) -> list[Outcome]:
    """Runs of one task that are done, with the seeds 1, 2 and so on."""
    task = recipe.split("/")[1]
    return [done(recipe, label, seed, **{task: score}) for seed, score in enumerate(scores, start=1)]


def write_outcomes(folder: Path, outcomes: list[Outcome]) -> Study:
    """The outcomes as files."""
    study = Study(folder, tuple(outcome.run for outcome in outcomes))
    study.save()
    for outcome in outcomes:
        if outcome.status is not Status.WAITING:
            study.run_folder(outcome.run).mkdir(parents=True)
        if outcome.status is Status.DONE:
            text = json.dumps(dict(outcome.results))
            (study.run_folder(outcome.run) / "results.json").write_text(text, encoding="utf-8")
        if outcome.status is Status.FAILED:
            study.note_attempt(outcome.run, attempts=outcome.attempts, exit_code=1, message=outcome.message)
    return study
