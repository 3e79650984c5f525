"""A share of a task's training rows: stratified, and nested, so that a larger share contains every smaller one."""

from __future__ import annotations

import numpy as np

from data_utils.features import FeatureSet
from mt_dnn.seeding import stream_seed


def share_of(features: FeatureSet, fraction: float, seed: int) -> FeatureSet:
    """The chosen share of a split's rows, in their order.

    All rows stand in one order, in which every beginning has the proportions of the kind's strata (classes, say): a
    share is a beginning of it.

    Args:
        features: a split.
        fraction: in (0, 1]; 1 returns the split itself. There is at least one row of each stratum.
        seed: decides on the order.
    """
    if fraction == 1:
        return features
    kind = features.task.kind
    strata = [
        np.random.default_rng(stream_seed(seed, "share", features.task.name, number)).permutation(rows)
        for number, rows in enumerate(kind.strata(features))
    ]
    depths = np.concatenate([np.arange(len(rows)) / len(rows) for rows in strata])
    order = np.concatenate(strata)[np.argsort(depths, kind="stable")]
    count = max(len(strata), round(fraction * len(order)))
    return features.select(kind.with_others(features, np.sort(order[:count])))
