"""A split's scores: a task's metrics of predictions, in points out of 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_utils.kinds.kind import Predictions
from data_utils.task_def import TaskDef


def unsupported_metrics(task: TaskDef) -> list[str]:
    """The task's metrics that its kind does not have."""
    return [name for name in task.metric_meta if name not in task.kind.metrics]


def compute_metrics(task: TaskDef, predicted: Predictions, gold: Sequence[Any] | np.ndarray) -> dict[str, float]:
    """All metrics of the task, in the order of its `metric_meta`, in points out of 100.

    Args:
        task: whose `metric_meta` to compute.
        predicted: one prediction a row; see the task's kind.
        gold: what is right, one a row: `kind.gold` of the features.

    Raises:
        ValueError: no rows, another number of predictions than of rows, numbers that are not finite, scores that a
            metric needs and that are not there, or a metric that `unsupported_metrics` lists.
    """
    if len(predicted.values) != len(gold) or not len(gold):
        raise ValueError(f"expected one prediction a label, got {len(predicted.values)} and {len(gold)}")
    for values in (predicted.values, gold):
        if isinstance(values, np.ndarray) and not np.isfinite(values).all():
            raise ValueError(f"task {task.name!r}: predictions or labels are not finite")
    if unsupported := unsupported_metrics(task):
        raise ValueError(f"task {task.name!r}: cannot compute {', '.join(unsupported)}")
    return {name: 100 * task.kind.metrics[name](predicted, gold) for name in task.metric_meta}
