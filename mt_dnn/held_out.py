"""What a trained model does on splits that chose nothing: scores, how sure they are, and what they hide."""

from __future__ import annotations

from typing import Any

from data_utils.bootstrap import score_interval
from mt_dnn.data import TaskData
from mt_dnn.evaluate import Evaluator
from mt_dnn.seeding import stream_seed


def score_test(evaluator: Evaluator, data: TaskData, seed: int) -> dict[str, Any]:
    """Score one task's test splits, the same on all processes.

    Returns:
        `score`, `metrics` and `constant` as of dev splits, see `Evaluator.score`; `interval`, 95 % over the rows, in
        points; `rows` and what `Kind.by_class` gives, by split.

    Raises:
        StoppedError: a row's output is not finite.
    """
    task, kind = data.task, data.task.kind
    scores, predicted = evaluator.score(task, data.test)
    pairs = [(predicted[split], kind.gold(features)) for split, features in data.test.items()]
    splits = {
        split: {"rows": len(kind.uids(features)), **kind.by_class(features, predicted[split])}
        for split, features in data.test.items()
    }
    interval = score_interval(task, pairs, stream_seed(seed, "interval", task.name))
    return evaluator.ranks.share({**scores, "interval": list(interval), "splits": splits})
