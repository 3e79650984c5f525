"""`dev_predictions.json`: what a run predicted for each dev row, evaluation by evaluation (`--dev_predictions`).

Scores alone cannot say what the choice of the best epoch on dev is worth: that takes the rows, to choose on some of
them and to score on the others.

    {"cola": {"dev": {"uids": [...], "kind": "Classification", "labels": [...], "predictions": {"268": [...]}}}}

Predictions stand under the number of updates before them; what one is, the task's kind says: for a classification a
label id, for a tagging the tags of a row's words.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.atomic import write_text
from mt_dnn.data import TaskData
from mt_dnn.record.run_folder import DEV_PREDICTIONS
from mt_dnn.record.writing import writing

Splits = Mapping[str, Any]
"""Predictions by dev split, one value a row, in the order of its rows."""


def add_dev_predictions(
    folder: Path, step: int, predicted: Mapping[str, Splits], data: Mapping[str, TaskData], kept: Collection[int]
) -> None:
    """Add one evaluation to a run's file.

    Args:
        folder: the run's.
        step: updates before the evaluation.
        predicted: by task.
        data: the tasks' dev rows.
        kept: steps of the run's earlier evaluations. What the file has beside them a run wrote that was cut, after its
            last checkpoint, and goes.

    Raises:
        StoppedError: it cannot be written.
    """
    path = folder / DEV_PREDICTIONS
    before = _read(path)
    record = {
        task: {
            split: {
                "uids": list(features.task.kind.uids(features)),
                "kind": features.task.kind.name,
                "labels": as_json(features.task.kind.gold(features)),
                "predictions": _earlier(before, task, split, kept) | {str(step): as_json(predicted[task][split])},
            }
            for split, features in data[task].dev.items()
        }
        for task in predicted
    }
    with writing(path):
        write_text(path, json.dumps(record, allow_nan=False) + "\n")


def as_json(values: Sequence[Any] | np.ndarray) -> list[Any]:
    """One value a row as JSON has it."""
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _read(path: Path) -> dict[str, Any]:
    """What is there; {} where there is nothing, or something that cannot be read: it only serves to look at."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _earlier(before: dict[str, Any], task: str, split: str, kept: Collection[int]) -> dict[str, list[Any]]:
    try:
        predictions = before[task][split]["predictions"]
        return {step: values for step, values in predictions.items() if int(step) in kept}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}
