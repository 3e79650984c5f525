"""What a run's best epoch is worth on rows that did not choose it.

The best of ten epochs, chosen on the dev rows that it is then scored on, rewards whatever makes epochs scatter. Here
the epoch is chosen on a random half of the dev rows and scored on the other half, both ways, over many halves. The
score rests on half of the rows, so it is compared with scores of its own kind alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.kinds import KINDS
from data_utils.kinds.kind import Counted, Metric, Predictions, ScoresNeededError
from studies.study import Outcome

HALVES = 200
SEED = 1  # of the halves: the same rows for all runs
FILE = "dev_predictions.json"
"""What train.py leaves with `--dev_predictions`, see `mt_dnn.record.dev_predictions`."""

Split = Mapping[str, Any]
"""Labels, and predictions by step."""

Scorer = Callable[[np.ndarray], float]
"""The metric of some rows, by their places."""


def nested_score(outcome: Outcome, task: str) -> float:
    """A task's score in points, its epoch chosen on the other half of the dev rows; mean over the halves.

    Raises:
        InputError: the run has no predictions of its dev rows, or they are damaged; the metric needs more than them.
    """
    path = outcome.folder / FILE
    metric = outcome.results["tasks"][task]["primary_metric"]
    try:
        splits = list(json.loads(path.read_bytes())[task].values())
        known = KINDS[splits[0].get("kind", "Classification")].metrics  # old files have no other kinds' rows
        return _over_halves(splits, known[metric])
    except OSError:
        raise InputError(
            f"--which nested: {path} is not there; runs leave it with --dev_predictions, as recipes have it"
        ) from None
    except ScoresNeededError as error:
        raise InputError(
            f"--which nested: {error}, and {path} has predictions alone; leave {task} out: --tasks has the others"
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({error!r})") from None


def _over_halves(splits: Sequence[Split], metric: Metric) -> float:
    labels = [_rows(split["labels"]) for split in splits]
    by_split = [
        [_scorer(metric, _rows(values), truth) for values in split["predictions"].values()]  # by evaluation
        for split, truth in zip(splits, labels, strict=True)
    ]
    generator = np.random.default_rng(SEED)
    found = []
    for _ in range(HALVES):
        orders = [generator.permutation(len(one)) for one in labels]
        first = [order[: len(order) // 2] for order in orders]
        second = [order[len(order) // 2 :] for order in orders]
        scores = [_scores(by_split, rows) for rows in (first, second)]
        found += [scores[1][scores[0].argmax()], scores[0][scores[1].argmax()]]
    return 100 * float(np.mean(found))


def _rows(values: Sequence[Any]) -> np.ndarray:
    """One value a row, to be indexed: numbers, or lists as they are."""
    if not any(isinstance(value, list) for value in values):
        return np.array(values)
    rows = np.empty(len(values), dtype=object)
    rows[:] = values
    return rows


def _scorer(metric: Metric, predicted: np.ndarray, truth: np.ndarray) -> Scorer:
    """The metric of one evaluation. Where rows can be counted, all of them are, once: halves are hundreds."""
    if isinstance(metric, Counted):
        counts = metric.count(Predictions(predicted), truth)
        return lambda chosen: metric.of_counts(counts[chosen])
    return lambda chosen: metric(Predictions(predicted[chosen]), truth[chosen])


def _scores(by_split: Sequence[Sequence[Scorer]], rows: Sequence[np.ndarray]) -> np.ndarray:
    """The metric of each evaluation over some rows of each split, mean over splits; (evaluations,)."""
    found = [[score(chosen) for score in scorers] for scorers, chosen in zip(by_split, rows, strict=True)]
    return np.mean(found, axis=0)
