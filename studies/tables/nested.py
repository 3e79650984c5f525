"""What a run's best epoch is worth on rows that did not choose it.

The best of ten epochs, chosen on the dev rows that it is then scored on, rewards whatever makes epochs scatter. Here
the epoch is chosen on a random half of the dev rows and scored on the other half, both ways, over many halves. The
score rests on half of the rows, so it is compared with scores of its own kind alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.metrics import FROM_PREDICTIONS
from studies.study import Outcome

HALVES = 200
SEED = 1  # of the halves: the same rows for all runs
FILE = "dev_predictions.json"
"""What train.py leaves with `--dev_predictions`, see `mt_dnn.record.dev_predictions`."""

Split = Mapping[str, Any]
"""Labels, and predictions by step."""


def nested_score(outcome: Outcome, task: str) -> float:
    """A task's score in points, its epoch chosen on the other half of the dev rows; mean over the halves.

    Raises:
        InputError: the run has no predictions of its dev rows, or they are damaged; the metric needs more than them.
    """
    path = outcome.folder / FILE
    metric = outcome.results["tasks"][task]["primary_metric"]
    if metric not in FROM_PREDICTIONS:
        raise InputError(f"--which nested: {metric} cannot be computed from predictions alone")
    try:
        splits = list(json.loads(path.read_bytes())[task].values())
        return _over_halves(splits, metric)
    except OSError:
        raise InputError(
            f"--which nested: {path} is not there; runs leave it with --dev_predictions, as recipes have it"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({error!r})") from None


def _over_halves(splits: Sequence[Split], metric: str) -> float:
    labels = [np.array(split["labels"]) for split in splits]
    predicted = [np.array(list(split["predictions"].values())) for split in splits]  # (evaluations, rows) each
    generator = np.random.default_rng(SEED)
    found = []
    for _ in range(HALVES):
        orders = [generator.permutation(len(one)) for one in labels]
        first = [order[: len(order) // 2] for order in orders]
        second = [order[len(order) // 2 :] for order in orders]
        scores = [_scores(labels, predicted, rows, metric) for rows in (first, second)]
        found += [scores[1][scores[0].argmax()], scores[0][scores[1].argmax()]]
    return 100 * float(np.mean(found))


def _scores(
    labels: Sequence[np.ndarray], predicted: Sequence[np.ndarray], rows: Sequence[np.ndarray], metric: str
) -> np.ndarray:
    """The metric of each evaluation over some rows of each split, mean over splits; (evaluations,)."""
    score = FROM_PREDICTIONS[metric]
    by_split = [
        [score(one[chosen], truth[chosen]) for one in evaluations]
        for truth, evaluations, chosen in zip(labels, predicted, rows, strict=True)
    ]
    return np.mean(by_split, axis=0)
