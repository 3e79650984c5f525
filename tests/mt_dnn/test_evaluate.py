"""What evaluation says of a model beside its scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_utils.errors import StoppedError
from data_utils.features import FeatureSet
from data_utils.kinds import KINDS
from data_utils.kinds.kind import TOKEN, Kind
from mt_dnn.data import TaskData
from mt_dnn.distributed import ALONE
from mt_dnn.evaluate import Evaluator, majority_score
from tests.data_utils.kinds.test_ranking import MIXED
from tests.data_utils.kinds.test_tagging import SPLIT

RATED = np.array([0.0, 2.5, 5.0], dtype=np.float32)


@pytest.mark.parametrize(
    ("predicted", "labels", "constant"),
    [
        ([1, 1, 1], np.array([0, 1, 1]), True),
        ([1, 1, 0], np.array([0, 1, 1]), False),
        ([1, 1, 1], np.array([1, 1, 1]), True),
        ([7, 8, 7], np.array([0, 5000, 9999]), False),  # classes are no numbers, however many there are
        ([2.5, 2.5000002, 2.4999998], RATED, True),
        ([2.5, 2.6, 2.5], RATED, False),
    ],
    ids=str,
)
def test_a_collapsed_model_is_one_that_says_the_same_of_all_rows(
    predicted: list[float], labels: np.ndarray, constant: bool
) -> None:
    kind = KINDS["Regression" if labels is RATED else "Classification"]
    assert kind.is_constant(np.array(predicted), labels) is constant


def test_the_majority_is_that_of_the_training_rows_scored_on_the_dev_rows(
    make_features: Callable[..., FeatureSet],
) -> None:
    def split(labels: list[float]) -> FeatureSet:
        features = make_features([np.arange(4)] * len(labels), labels)
        task = replace(features.task, n_class=2, labels=("no", "yes"), metric_meta=("ACC", "F1"))
        return replace(features, task=task)

    train, one, other = split([1, 1, 0]), split([1, 0, 1, 0, 0]), split([1])
    data = TaskData(train.task, (train,), {"matched_dev": one, "mismatched_dev": other})
    assert train.task.primary_metric == "F1"
    f1 = 100 * 2 * (2 / 5) * 1 / (2 / 5 + 1)  # of five "yes" two are right, and both that there are are found
    assert majority_score(data) == pytest.approx((f1 + 100) / 2)
    assert majority_score(replace(data, train_files=(split([0, 0, 1]),))) == 0.0
    assert train.task.kind.majority(train, other).scores.tolist() == [[0, 1]]


def test_a_regression_has_no_majority(make_features: Callable[..., FeatureSet]) -> None:
    features = make_features([np.arange(4)] * 2, [0.5, 1.5])
    assert majority_score(TaskData(features.task, (features,), {"dev": features})) is None


@pytest.fixture
def evaluator_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[list[float]]]], Evaluator]:
    """An evaluator whose model gives these outputs, by split."""

    def make(outputs: dict[str, list[list[float]]]) -> Evaluator:
        monkeypatch.setattr(Evaluator, "outputs", lambda self, features: torch.tensor(outputs[features.split]))
        return Evaluator(None, None, None, ALONE, 8, lambda: None)  # type: ignore[arg-type]

    return make


NO, YES = [1.0, 0.0], [0.0, 1.0]


@pytest.mark.parametrize(
    ("one", "other", "constant"),
    [([NO, YES, YES, YES], [YES, YES], False), ([YES] * 4, [NO, YES], False), ([YES] * 4, [YES] * 2, True)],
    ids=["varied, constant", "constant, varied", "constant, constant"],
)
def test_splits_count_alike_and_a_model_has_collapsed_on_all_or_not_at_all(
    make_features: Callable[..., FeatureSet],
    evaluator_of: Callable[..., Evaluator],
    monkeypatch: pytest.MonkeyPatch,
    one: list[list[float]],
    other: list[list[float]],
    constant: bool,
) -> None:
    splits = {
        "matched_dev": replace(make_features([np.arange(4)] * 4, [0, 1, 1, 1]), split="matched_dev"),
        "mismatched_dev": replace(make_features([np.arange(4)] * 2, [1, 0]), split="mismatched_dev"),
    }
    outputs = dict(zip(splits, (one, other), strict=True))
    monkeypatch.setattr(Kind, "tuned", lambda self, task, parts: parts)
    scores, predicted, tune = evaluator_of(outputs).score(splits["matched_dev"].task, splits)
    parts = {
        split: 100 * np.mean([row[label] for row, label in zip(outputs[split], features.labels, strict=True)])
        for split, features in splits.items()
    }
    assert scores["metrics"] == {f"{split}/ACC": pytest.approx(part) for split, part in parts.items()}
    assert scores["score"] == pytest.approx(sum(parts.values()) / 2)
    assert scores["constant"] is constant
    assert predicted["mismatched_dev"].values.tolist() == [row[1] for row in other]
    tuned_on = [(features.split, given.tolist()) for features, given in tune()]
    assert tuned_on == list(outputs.items())


@pytest.mark.parametrize("kind", ["Classification", "Ranking", "SeqenceLabeling"])
def test_the_row_whose_output_is_not_finite_is_named(
    make_features: Callable[..., FeatureSet], evaluator_of: Callable[..., Evaluator], kind: str
) -> None:
    """A row has one output, one an option, or one a token; whichever it is."""
    plain = make_features([np.arange(4)] * 3)
    features = {"Classification": plain, "Ranking": MIXED, "SeqenceLabeling": SPLIT}[kind]
    sizes = features.lengths if features.task.kind.level == TOKEN else features.sizes
    owners = [uid for uid, size in zip(features.uids, sizes, strict=True) for _ in range(size)]
    assert len(set(owners)) == 3
    for place, uid in enumerate(owners):
        outputs = torch.zeros(len(owners), features.task.kind.width(features.task))
        outputs[place, -1] = float("nan")
        evaluator = evaluator_of({features.split: outputs.tolist()})
        with pytest.raises(StoppedError, match=rf"of 1 of 3 rows are not finite \(uids: {uid}\)"):
            evaluator.predict(features)
