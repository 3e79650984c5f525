"""Scores on dev and test splits: predictions of one task's head, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_utils.errors import StoppedError
from data_utils.features import FeatureSet
from data_utils.kinds.kind import SEQUENCE, TOKEN, Predictions
from data_utils.scoring import compute_metrics
from data_utils.task_def import TaskDef
from mt_dnn.batching import Collator
from mt_dnn.data import TaskData
from mt_dnn.distributed import Ranks
from mt_dnn.model import MTDNN
from mt_dnn.precision import Precision


class Scored(NamedTuple):
    """A task's scores, what was predicted by split, and a call that tunes the task on these rows, see `Kind.tuned`."""

    scores: dict[str, Any]
    predicted: dict[str, Predictions]
    tune: Callable[[], TaskDef]


@dataclass(frozen=True)
class Evaluator:
    """Scores a model on splits, its batches shared out over all processes.

    Attributes:
        batch_size: rows a forward pass.
        before_pass: called before every forward pass: the moment for a signal to end the evaluation.
    """

    model: MTDNN
    collator: Collator
    precision: Precision
    ranks: Ranks
    batch_size: int
    before_pass: Callable[[], None]

    def score(self, task: TaskDef, splits: Mapping[str, FeatureSet]) -> Scored:
        """Predict splits of one task and score them, the same on all processes.

        Returns:
            The predictions by split, and the scores: `score`, the mean of the primary metric over the splits
            (MNLI: matched and mismatched), in points; `metrics`: all metrics, as `ACC` for one split and
            `matched_dev/ACC` for several; `constant`: see `Kind.is_constant`.

        Raises:
            StoppedError: a row's output is not finite.
        """
        metrics: dict[str, float] = {}
        found: dict[str, Predictions] = {}
        primary, constant, kind = [], True, task.kind
        outputs = {split: self.checked_outputs(features) for split, features in splits.items()}
        for split, features in splits.items():
            predicted, gold = kind.decide(features, outputs[split]), kind.gold(features)
            found[split] = predicted
            values = compute_metrics(task, predicted, gold)
            primary.append(values[task.primary_metric])
            constant &= kind.is_constant(predicted.values, gold)
            metrics |= {name if len(splits) == 1 else f"{split}/{name}": value for name, value in values.items()}
        # Another processor may round a metric differently, and then choose another best model.
        score = sum(primary) / len(primary)
        scores = self.ranks.broadcast({"score": score, "metrics": metrics, "constant": constant})
        return Scored(scores, found, partial(kind.tuned, task, [(splits[split], outputs[split]) for split in splits]))

    @torch.no_grad()
    def predict(self, features: FeatureSet) -> Predictions:
        """Predict every row of a split once. Leaves the model in evaluation mode; draws no random numbers.

        Raises:
            StoppedError: a row's output is not finite.
        """
        return features.task.kind.decide(features, self.checked_outputs(features))

    def checked_outputs(self, features: FeatureSet) -> np.ndarray:
        """What `outputs` gives, in NumPy; `StoppedError` where a row's output is not finite."""
        outputs = self.outputs(features).cpu().numpy()
        self._check(features, outputs)
        return outputs

    @torch.no_grad()
    def outputs(self, features: FeatureSet) -> Tensor:
        """The head's outputs for every sequence or every token of a split, as its kind says: (places, width).

        Tokens that are cut off have zeros.
        """
        self.model.eval()
        device, task, kind = self.precision.device, features.task, features.task.kind
        batches = batches_by_length(features, self.batch_size)
        places = len(features.lengths) if kind.level == SEQUENCE else len(features.token_ids)
        outputs = torch.zeros((places, kind.width(task)), device=device)
        for turn in range(0, len(batches), self.ranks.size):
            self.before_pass()
            mine = turn + self.ranks.rank
            # Past the end a process repeats the last batch, as a sharded model needs all of them, and drops it.
            batch = self.collator(features, batches[min(mine, len(batches) - 1)])
            with self.precision.autocast:
                logits = self.model(task.name, batch.to(device).inputs).float()
            if mine < len(batches):
                where = batch.layout.sequences
                if kind.level == TOKEN:
                    where, lengths = batch.layout.source, torch.from_numpy(batch.layout.lengths).to(device)
                    logits = logits[torch.arange(logits.shape[1], device=device) < lengths[:, None]]
                outputs[torch.from_numpy(where).to(device)] = logits
        return self.ranks.sum_(outputs)  # each was written by one process and is zero on the others

    @staticmethod
    def _check(features: FeatureSet, outputs: np.ndarray) -> None:
        if np.isfinite(outputs).all():
            return
        bad = np.flatnonzero(~np.isfinite(outputs).all(-1))
        if features.task.kind.level == TOKEN:
            bad = np.searchsorted(features.offsets, bad, side="right") - 1  # to sequences
        rows = np.unique(np.searchsorted(features.starts, bad, side="right") - 1)
        uids = list(dict.fromkeys(features.uids[row] for row in rows))  # rows of one question share theirs
        shown = ", ".join(uids[:10]) + (", ..." if len(uids) > 10 else "")
        raise StoppedError(
            f"evaluation of {features.task.name}, split {features.split}: the outputs of {len(rows):,} of "
            f"{len(features):,} rows are not finite (uids: {shown}), so there is no score. "
            "The last checkpoint stands; try a lower --learning_rate"
        )


def batches_by_length(features: FeatureSet, size: int) -> list[np.ndarray]:
    """All rows in batches of `size`, rows of like length together: little padding."""
    order = np.argsort(features.longest, kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def majority_score(data: TaskData) -> float | None:
    """The score of who knows nothing but the training labels, in points; None where that means nothing."""
    task, kind = data.task, data.task.kind
    scores = []
    for features in data.dev.values():
        guess = kind.majority(data.train, features)
        if guess is None:
            return None
        scores.append(compute_metrics(task, guess, kind.gold(features))[task.primary_metric])
    return sum(scores) / len(scores)
