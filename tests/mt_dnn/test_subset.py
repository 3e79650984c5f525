"""Shares of the training rows: stratified, nested, and the same rows wherever they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import train
from data_utils.features import FeatureSet
from mt_dnn.subset import share_of
from tests.conftest import Workshop

MakeFeatures = Callable[..., FeatureSet]


@pytest.fixture
def features(make_features: MakeFeatures) -> FeatureSet:
    """200 rows of growing length, three quarters of them of class 0."""
    rows = [np.arange(i % 9 + 2) + i for i in range(200)]
    return make_features(rows, [int(i % 4 == 0) for i in range(200)])


def test_the_whole_is_the_split_itself(features: FeatureSet) -> None:
    assert share_of(features, 1.0, 1) is features


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.33, 0.5, 0.9])
def test_every_class_gives_its_share(features: FeatureSet, fraction: float) -> None:
    counts = np.bincount(share_of(features, fraction, 1).labels)
    assert counts.sum() == round(200 * fraction)
    assert abs(counts[0] - 150 * fraction) < 1 and abs(counts[1] - 50 * fraction) < 1 and counts.min() > 0


def test_no_class_is_lost(features: FeatureSet) -> None:
    assert np.bincount(share_of(features, 1e-6, 1).labels).tolist() == [1, 1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_larger_shares_contain_smaller_ones(features: FeatureSet, seed: int) -> None:
    nested = [set(share_of(features, fraction, seed).uids) for fraction in np.linspace(0.05, 1, 40)]
    assert all(small <= large for small, large in zip(nested, nested[1:], strict=False))
    assert len(nested[-1]) == 200


def test_the_seed_decides_which(features: FeatureSet) -> None:
    one, again, other = (set(share_of(features, 0.3, seed).uids) for seed in (1, 1, 2))
    assert one == again != other


def test_values_are_spread_over_their_range(make_features: MakeFeatures) -> None:
    rows = [np.arange(3)] * 100
    values = [float(i * 37 % 100) for i in range(100)]
    chosen = share_of(make_features(rows, values), 0.2, 1).labels
    assert np.bincount((chosen // 10).astype(int)).tolist() == [2] * 10


def test_rows_keep_what_is_theirs(features: FeatureSet) -> None:
    rows = np.array([3, 4, 150])
    chosen = features.select(rows)
    assert list(chosen.uids) == ["3", "4", "150"] and chosen.offsets[0] == 0
    for place, row in enumerate(rows):
        mine, theirs = (slice(f.offsets[i], f.offsets[i + 1]) for f, i in ((chosen, place), (features, row)))
        assert np.array_equal(chosen.token_ids[mine], features.token_ids[theirs])
        assert np.array_equal(chosen.type_ids[mine], features.type_ids[theirs])
        assert chosen.labels[place] == features.labels[row]
    assert chosen.offsets.dtype == features.offsets.dtype and chosen.labels.dtype == features.labels.dtype


def test_a_class_without_rows_is_no_stratum(features: FeatureSet) -> None:
    wide = replace(features, task=replace(features.task, n_class=5, labels=()))
    assert len(share_of(wide, 0.1, 1)) == 20


def test_a_run_on_a_share(workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "cola,stsb", "--epochs", "1", "--train_fraction", "0.5", "--data_seed", "3"]
    assert train.main(workshop.flags(tmp_path, *flags)) == 0
    start = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert {name: task["train_rows"] for name, task in start["tasks"].items()} == {"cola": 12, "stsb": 12}
    assert start["tasks"]["cola"]["dev_rows"] == {"dev": 12}, "dev sets stay whole"
