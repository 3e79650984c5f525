"""Scores on dev splits: predictions of one task's head, metrics, and the mean over tasks that selects `best/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_utils.errors import StoppedError
from data_utils.features import FeatureSet
from data_utils.metrics import compute_metrics
from data_utils.task_def import TaskType
from mt_dnn.batching import Collator
from mt_dnn.data import TaskData
from mt_dnn.distributed import Ranks
from mt_dnn.model import MTDNN
from mt_dnn.precision import Precision

CONSTANT_SHARE = 1e-3


class Predictions(NamedTuple):
    """A split's outputs in the order of its rows: `values` (rows,), and `scores` (rows, n_class) probabilities."""

    values: np.ndarray
    scores: np.ndarray | None


class Scored(NamedTuple):
    """A task's scores, and its predictions by dev split, each (rows,)."""

    scores: dict[str, Any]
    predicted: dict[str, np.ndarray]


@dataclass(frozen=True)
class Evaluator:
    """Scores a model on dev splits, its batches shared out over all processes.

    Attributes:
        batch_size: rows a forward pass.
        heed: called before every forward pass: the moment for a signal to end the evaluation.
    """

    model: MTDNN
    collator: Collator
    precision: Precision
    ranks: Ranks
    batch_size: int
    heed: Callable[[], None]

    def score(self, data: TaskData) -> Scored:
        """Predict one task's dev splits and score them, the same on all processes.

        Returns:
            The predictions by split, and the scores: `score`, the mean of the primary metric over the dev splits
            (MNLI: matched and mismatched), in points; `metrics`: all metrics, as `ACC` for one dev split and
            `matched_dev/ACC` for several; `constant`: see `is_constant`.

        Raises:
            StoppedError: a row's output is not finite.
        """
        metrics, primary, constant, found = {}, [], True, {}
        for split, features in data.dev.items():
            predicted = self.predict(features)
            found[split] = predicted.values
            values = compute_metrics(data.task, predicted.values, predicted.scores, features.labels)
            primary.append(values[data.task.primary_metric])
            constant &= is_constant(predicted.values, features.labels)
            metrics |= {name if len(data.dev) == 1 else f"{split}/{name}": value for name, value in values.items()}
        # Another processor may round a metric differently, and then choose another best model.
        score = sum(primary) / len(primary)
        return Scored(self.ranks.share({"score": score, "metrics": metrics, "constant": constant}), found)

    @torch.no_grad()
    def predict(self, features: FeatureSet) -> Predictions:
        """Predict every row of a split once. Leaves the model in evaluation mode; draws no random numbers.

        Raises:
            StoppedError: a row's output is not finite.
        """
        self.model.eval()
        device, task = self.precision.device, features.task
        order = np.argsort(features.lengths, kind="stable")  # rows of like length together: little padding
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        logits = torch.zeros((len(features), task.n_class), device=device)
        for turn in range(0, len(batches), self.ranks.size):
            self.heed()
            mine = turn + self.ranks.rank
            # Past the end a process repeats the last batch, as a sharded model needs all of them, and drops it.
            rows = batches[min(mine, len(batches) - 1)]
            with self.precision.autocast:
                outputs = self.model(task.name, self.collator(features, rows).to(device).inputs).float()
            if mine < len(batches):
                logits[torch.from_numpy(rows).to(device)] = outputs
        self.ranks.sum_(logits)  # each row was written by one process and is nought on the others
        self._check(features, logits)
        values = self.model.heads[task.name].predict(logits).cpu().numpy()
        if task.task_type is not TaskType.Classification:
            return Predictions(values, None)
        return Predictions(values, logits.softmax(-1).cpu().numpy())

    @staticmethod
    def _check(features: FeatureSet, logits: Tensor) -> None:
        bad = (~logits.isfinite()).any(-1).nonzero().flatten().tolist()
        if bad:
            shown = ", ".join(features.uids[i] for i in bad[:10]) + (", ..." if len(bad) > 10 else "")
            raise StoppedError(
                f"evaluation of {features.task.name}, split {features.split}: the outputs of {len(bad):,} of "
                f"{len(features):,} rows are not finite (uids: {shown}), so there is no score. "
                "The last checkpoint stands; try a lower --learning_rate"
            )


def is_constant(predicted: np.ndarray, labels: np.ndarray) -> bool:
    """Whether all rows got the same prediction, as they do from a model that has collapsed.

    Predicted numbers count as the same within a thousandth of the labels' range: their last digits differ by batch.
    """
    tolerance = CONSTANT_SHARE * np.ptp(labels) if labels.dtype.kind == "f" else 0
    return bool(np.ptp(predicted) <= tolerance)


def majority_score(data: TaskData) -> float | None:
    """The score of giving every dev row the most frequent training label, in points; None for a regression."""
    if data.task.task_type is not TaskType.Classification:
        return None
    label = int(np.bincount(data.train.labels).argmax())
    certain = np.eye(data.task.n_class)[label]
    scores = [
        compute_metrics(data.task, np.full(rows, label), np.tile(certain, (rows, 1)), features.labels)
        for features in data.dev.values()
        for rows in [len(features)]
    ]
    return sum(one[data.task.primary_metric] for one in scores) / len(scores)
