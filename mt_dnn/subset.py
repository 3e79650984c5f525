"""A share of a task's training rows: stratified, and nested, so that a larger share contains every smaller one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_utils.features import FeatureSet
from data_utils.task_def import TaskType
from mt_dnn.seeding import stream_seed

BINS = 10
"""Strata of a regression task: tenths of its rows by their values."""


def share_of(features: FeatureSet, fraction: float, seed: int) -> FeatureSet:
    """The chosen share of a split's rows, in their order.

    All rows stand in one order, in which every beginning has the classes' proportions: a share is a beginning of it.

    Args:
        features: a split.
        fraction: in (0, 1]; 1 returns the split itself. There is at least one row of each class.
        seed: decides on the order.
    """
    if fraction == 1:
        return features
    strata = [
        np.random.default_rng(stream_seed(seed, "share", features.task.name, number)).permutation(rows)
        for number, rows in enumerate(_strata(features))
    ]
    depths = np.concatenate([np.arange(len(rows)) / len(rows) for rows in strata])
    order = np.concatenate(strata)[np.argsort(depths, kind="stable")]
    count = max(len(strata), round(fraction * len(features)))
    return select(features, np.sort(order[:count]))


def _strata(features: FeatureSet) -> list[np.ndarray]:
    """The rows of each class, or of each tenth of the values; none of them empty."""
    if features.task.task_type is TaskType.Classification:
        classes = [np.flatnonzero(features.labels == label) for label in range(features.task.n_class)]
    else:
        classes = np.array_split(np.argsort(features.labels, kind="stable"), BINS)
    return [rows for rows in classes if len(rows)]


def select(features: FeatureSet, rows: np.ndarray) -> FeatureSet:
    """A split of the given rows alone, in their order; `rows` are indices, (n,) int64."""
    pieces = [slice(features.offsets[row], features.offsets[row + 1]) for row in rows]
    return replace(
        features,
        uids=[features.uids[row] for row in rows],
        labels=features.labels[rows],
        token_ids=np.concatenate([features.token_ids[piece] for piece in pieces]),
        type_ids=np.concatenate([features.type_ids[piece] for piece in pieces]),
        offsets=np.concatenate([[0], np.cumsum(features.lengths[rows])]),
        texts=features.texts[rows],
    )
