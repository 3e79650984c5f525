"""Scores on dev splits: predictions of one task's head, metrics, and the mean over tasks that selects `best/`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch

from data_utils.features import FeatureSet
from data_utils.metrics import compute_metrics
from data_utils.task_def import TaskType
from mt_dnn.batching import Collator
from mt_dnn.data import TaskData
from mt_dnn.model import MTDNN


class Predictions(NamedTuple):
    """A split's outputs in the order of its rows: `values` (rows,), and `scores` (rows, n_class) probabilities."""

    values: np.ndarray
    scores: np.ndarray | None


@torch.no_grad()
def predict(
    model: MTDNN,
    features: FeatureSet,
    collator: Collator,
    *,
    batch_size: int,
    device: torch.device,
    autocast: AbstractContextManager[Any],
) -> Predictions:
    """Predict every row of a split once. Leaves the model in evaluation mode; draws no random numbers."""
    model.eval()
    head = model.heads[features.task.name]
    order = np.argsort(features.lengths, kind="stable")  # rows of like length together: little padding
    logits = []
    for start in range(0, len(order), batch_size):
        batch = collator(features, order[start : start + batch_size]).to(device)
        with autocast:
            logits.append(model(features.task.name, batch.inputs).float())
    in_order = torch.empty_like(joined := torch.cat(logits))
    in_order[torch.from_numpy(order).to(device)] = joined
    values = head.predict(in_order).cpu().numpy()
    if features.task.task_type is not TaskType.Classification:
        return Predictions(values, None)
    return Predictions(values, in_order.softmax(-1).cpu().numpy())


def evaluate_task(model: MTDNN, data: TaskData, collator: Collator, **how: Any) -> dict[str, Any]:
    """Metrics of one task over its dev splits.

    Returns:
        `score`: the mean of the primary metric over the dev splits (MNLI: matched and mismatched), in points;
        `metrics`: all metrics, as `ACC` for one dev split and `matched_dev/ACC` for several.
    """
    metrics, primary = {}, []
    for split, features in data.dev.items():
        predicted = predict(model, features, collator, **how)
        values = compute_metrics(data.task, predicted.values, predicted.scores, features.labels)
        primary.append(values[data.task.primary_metric])
        metrics |= {name if len(data.dev) == 1 else f"{split}/{name}": value for name, value in values.items()}
    return {"score": sum(primary) / len(primary), "metrics": metrics}


def mean_score(evaluation: Mapping[str, dict[str, Any]]) -> float:
    """The mean of the tasks' scores."""
    return sum(task["score"] for task in evaluation.values()) / len(evaluation)
