"""What a trained model does on splits that chose nothing: scores, how sure they are, and what they hide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from data_utils.bootstrap import score_interval
from data_utils.features import FeatureSet
from data_utils.task_def import TaskDef
from mt_dnn.evaluate import Evaluator
from mt_dnn.seeding import stream_seed


def score_test(evaluator: Evaluator, task: TaskDef, test: Mapping[str, FeatureSet], seed: int) -> dict[str, Any]:
    """Score one task's test splits, the same on all processes.

    Args:
        evaluator: of the trained model.
        task: as it goes with that model.
        test: its splits.
        seed: of the interval.

    Returns:
        `score`, `metrics` and `constant` as of dev splits, see `Evaluator.score`; `interval`, 95 % over the rows, in
        points; `rows` and what `Kind.by_class` gives, by split.

    Raises:
        StoppedError: a row's output is not finite.
    """
    kind = task.kind
    tuned = {split: replace(features, task=task) for split, features in test.items()}
    scores, predicted, _ = evaluator.score(task, tuned)
    pairs = [(predicted[split], kind.gold(features)) for split, features in tuned.items()]
    splits = {
        split: {"rows": len(kind.uids(features)), **kind.by_class(features, predicted[split])}
        for split, features in tuned.items()
    }
    interval = score_interval(task, pairs, stream_seed(seed, "interval", task.name))
    return evaluator.ranks.broadcast({**scores, "interval": list(interval), "splits": splits})
