"""`dev_predictions.json`: what a run predicted for each dev row, evaluation by evaluation (`--dev_predictions`).

Scores alone cannot say what the choice of the best epoch on dev is worth: that takes the rows, to choose on some of
them and to score on the others.

    {"cola": {"dev": {"uids": [...], "labels": [...], "predictions": {"268": [...], "536": [...]}}}}

Predictions stand under the number of updates before them; for a classification they are label ids.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mt_dnn.data import TaskData
from mt_dnn.record.durable import write_text, writing
from mt_dnn.record.run_folder import DEV_PREDICTIONS

Splits = Mapping[str, np.ndarray]
"""Predictions by dev split, each (rows,), in the order of its rows."""


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
                "uids": list(features.uids),
                "labels": features.labels.tolist(),
                "predictions": _earlier(before, task, split, kept) | {str(step): predicted[task][split].tolist()},
            }
            for split, features in data[task].dev.items()
        }
        for task in predicted
    }
    with writing(path):
        write_text(path, json.dumps(record, allow_nan=False) + "\n")


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
