"""Regression: what labels are trained on as, by hand, and what is said where a new head would hardly reach them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import r2_score

from data_utils.errors import InputError
from data_utils.features import FeatureSet, features_in_memory
from data_utils.kinds.kind import Feature
from data_utils.kinds.regression import scale_of
from data_utils.metrics import r2
from data_utils.task_def import DataFormat, TaskDef, TaskType
from data_utils.tokenization import EncodedRow
from mt_dnn.batching import Collator


def task(**more: float) -> TaskDef:
    return TaskDef(name="price", data_format=DataFormat.PremiseOnly, task_type=TaskType.Regression, **more)


def features(definition: TaskDef, labels: Sequence[float], split: str = "train") -> FeatureSet:
    rows = [Feature(f"u{i}", label, (EncodedRow([2, 5, 3], [0, 0, 0], ()),)) for i, label in enumerate(labels)]
    return features_in_memory(definition, rows, split)


def test_labels_are_trained_on_around_zero_and_predicted_as_they_are() -> None:
    made = features(task(label_mean=300, label_std=100), [100, 300, 500])
    collator = Collator(pad_token_id=0, uses_type_ids=True, packing=False, position_offset=0, max_length=8)
    assert collator(made, np.arange(3)).targets["label"].tolist() == [-2, 0, 2]
    predicted = made.task.kind.decide(made, np.array([[-2], [0], [0.5]], dtype=np.float32))
    assert predicted.values.tolist() == [100, 300, 350]
    assert made.task.kind.gold(made).tolist() == [100, 300, 500]


def test_labels_without_a_scale_stay_to_the_bit() -> None:
    made, outputs = features(task(), [0.1, 1e8]), np.array([[0.1], [-0.0]], dtype=np.float32)
    assert made.task.kind.in_training(made.task, made.labels) is made.labels
    assert made.task.kind.decide(made, outputs).values.tobytes() == outputs.tobytes()
    assert not task(label_mean=0, label_std=1).is_scaled and "label_std" not in task(label_std=1).to_dict()


@pytest.mark.parametrize(
    ("labels", "scale"),
    [
        ([100, 300, 500], (300.0, 163.3)),
        ([0, 1], (0.5, 0.5)),
        ([1.7e9, 1.7e9 + 20], (1.7e9 + 10, 10.0)),
        ([0.001, 0.002], (0.0015, 0.0005)),
        ([3, 3], (0.0, 1.0)),
    ],
)
def test_a_scale_is_that_of_the_labels_in_few_digits(labels: list[float], scale: tuple[float, float]) -> None:
    assert scale_of(labels) == scale


def test_labels_that_a_new_head_hardly_reaches_are_noted() -> None:
    labels, kind = [100, 300, 500], task().kind
    (line,) = kind.remarks(features(task(), labels))
    assert line.endswith("put label_mean: 300 and label_std: 163.3 into the task file")
    assert not kind.remarks(features(task(label_mean=300, label_std=163.3), labels))
    assert not kind.remarks(features(task(), labels, split="dev"))
    assert kind.remarks(features(task(), [0.001, 0.002])) and not kind.remarks(features(task(), [0, 2.5, 5]))
    assert not kind.remarks(features(task(), [3, 3]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"label_std": 0}, "label_std must be > 0 and finite, got 0"),
        ({"label_mean": float("nan")}, "label_mean must be finite, got nan"),
        (
            {"label_mean": 1, "task_type": "Classification"},
            "label_mean and label_std would have no effect: labels of Classification are no numbers",
        ),
    ],
)
def test_scales_that_cannot_be(more: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TaskDef.from_dict("price", {"data_format": "PremiseOnly", "task_type": "Regression"} | more)


def test_r2_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    labels = rng.normal(300, 100, 50).astype(np.float32)
    for predictions in (labels + rng.normal(0, 30, 50).astype(np.float32), labels - 500):
        assert r2(predictions, labels) == pytest.approx(r2_score(labels, predictions))
    assert r2(np.ones(3), np.full(3, 2.0)) == 0
