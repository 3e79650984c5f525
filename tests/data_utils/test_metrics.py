"""Metrics against hand-computed values; a number for every degenerate input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics
from scipy import stats

from data_utils.kinds.kind import Predictions
from data_utils.scoring import compute_metrics, unsupported_metrics
from data_utils.task_def import DataFormat, TaskDef, TaskType


def classes(n_class: int, *metrics: str) -> TaskDef:
    return TaskDef(
        name="toy",
        data_format=DataFormat.PremiseOnly,
        task_type=TaskType.Classification,
        n_class=n_class,
        metric_meta=metrics,
    )


def regression(*metrics: str) -> TaskDef:
    return TaskDef(name="toy", data_format=DataFormat.PremiseOnly, task_type=TaskType.Regression, metric_meta=metrics)


def test_two_classes_by_hand() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    predictions = np.array([1, 1, 0, 1, 0, 0, 0, 0])  # 2 true, 1 false positive, 1 missed, 4 true negatives
    scores = compute_metrics(classes(2, "MCC", "ACC", "F1", "F1MAC", "F1MIC"), Predictions(predictions), labels)
    assert list(scores) == ["MCC", "ACC", "F1", "F1MAC", "F1MIC"]
    assert scores["ACC"] == scores["F1MIC"] == pytest.approx(75)
    assert scores["F1"] == pytest.approx(100 * 2 / 3)
    assert scores["F1MAC"] == pytest.approx(100 * (2 / 3 + 8 / 10) / 2)
    assert scores["MCC"] == pytest.approx(100 * (2 * 4 - 1 * 1) / np.sqrt(3 * 3 * 5 * 5))


@pytest.mark.parametrize("n_class", [2, 5])
def test_what_rows_add_up_to_is_what_scikit_learn_finds(n_class: int) -> None:
    """To the last bit, and where one side is constant, too."""
    rng = np.random.default_rng(1)
    metrics = ("MCC", "ACC") + ("F1",) * (n_class == 2)
    for rows in (1, 2, 7, 400):
        for labels, predictions in (
            (rng.integers(n_class, size=rows), rng.integers(n_class, size=rows)),
            (rng.integers(n_class, size=rows), np.ones(rows, int)),
            (np.zeros(rows, int), rng.integers(n_class, size=rows)),
            (np.zeros(rows, int), np.zeros(rows, int)),
        ):
            found = compute_metrics(classes(n_class, *metrics), Predictions(predictions), labels)
            assert found["ACC"] == 100 * sklearn.metrics.accuracy_score(labels, predictions)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that one side is constant
                assert found["MCC"] == 100 * sklearn.metrics.matthews_corrcoef(labels, predictions)
                if n_class == 2:
                    assert found["F1"] == 100 * sklearn.metrics.f1_score(labels, predictions, zero_division=0)


def test_regression_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 26, 200).astype(np.float32) / 5  # many ties, as in STS-B
    predictions = (labels + rng.normal(size=200)).astype(np.float32)
    scores = compute_metrics(regression("Pearson", "Spearman"), Predictions(predictions), labels)
    pearson = stats.pearsonr(predictions.astype(float), labels.astype(float)).statistic
    assert scores["Pearson"] == pytest.approx(100 * pearson, abs=1e-9)
    assert scores["Spearman"] == pytest.approx(100 * stats.spearmanr(predictions, labels).statistic, abs=1e-9)


@pytest.mark.parametrize("values", [[0.3, 0.3, 0.3, 0.3], [1.0, 1.0, 1.0, 1.0 + 1e-15]])
def test_constant_values_correlate_with_nothing_and_warn_nobody(values: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = compute_metrics(
            regression("Pearson", "Spearman"), Predictions(np.array(values)), np.array([1.0, 2.0, 3.0, 0.0])
        )
    assert all(np.isfinite(value) for value in scores.values())
    assert scores == {"Pearson": 0.0, "Spearman": 0.0}, "what rounding alone tells apart is the same"


def test_numbers_that_differ_by_rounding_alone_correlate_with_nothing() -> None:
    """A network that always says 79.16 said these, and others for the same rows in batches of another size."""
    said = np.array([79.156815, 79.156837, 79.15683, 79.156822], dtype=np.float32)
    labels = np.array([100.0, 520.0, 340.0, 210.0], dtype=np.float32)
    assert len(set(said)) == 4
    nothing = compute_metrics(regression("Pearson", "Spearman"), Predictions(said), labels)
    assert nothing == {"Pearson": 0.0, "Spearman": 0.0}
    apart = compute_metrics(regression("Pearson", "Spearman"), Predictions(said + labels / 1e5), labels)
    assert apart["Pearson"] > 95


def test_one_predicted_class_scores_zero_and_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = classes(2, "MCC", "F1", "F1MAC")
        scores = compute_metrics(task, Predictions(np.zeros(4, int)), np.array([0, 1, 1, 0]))
    assert scores["MCC"] == scores["F1"] == 0.0
    assert scores["F1MAC"] == pytest.approx(100 / 3)


def test_auc_of_two_and_of_more_classes() -> None:
    labels = np.array([0, 0, 1, 1])
    positive = np.array([0.1, 0.4, 0.35, 0.8])  # 3 of the 4 pairs are in order
    scores = np.stack([1 - positive, positive], axis=1)
    assert compute_metrics(classes(2, "AUC"), Predictions(labels, scores), labels) == {"AUC": pytest.approx(75)}
    three = np.eye(4)[:, :3] + np.array([0.1, 0.2, 0.3])
    turns = np.array([0, 1, 0, 1])
    absent_class = compute_metrics(classes(3, "AUC"), Predictions(turns, three), turns)
    assert absent_class["AUC"] == pytest.approx(75)  # classes 0 and 1 order 3 of 4 pairs each; nobody has class 2
    assert compute_metrics(classes(2, "AUC"), Predictions(labels, scores), np.zeros(4, int)) == {"AUC": 50.0}


def test_what_cannot_be_computed_is_listed() -> None:
    assert unsupported_metrics(classes(2, "ACC", "SeqEval", "EmF1", "AUC")) == ["SeqEval", "EmF1"]
    assert unsupported_metrics(regression("Pearson", "ACC", "AUC")) == ["ACC", "AUC"]


BAD = {
    "lengths": (classes(2, "ACC"), [0, 1], [0], "one prediction a label, got 2 and 1"),
    "no rows": (classes(2, "ACC"), [], [], "one prediction a label"),
    "not finite": (regression("Pearson"), [np.nan, 1.0], [0.0, 1.0], "not finite"),
    "AUC without scores": (classes(2, "AUC"), [0, 1], [0, 1], "AUC needs the probabilities of the classes"),
    "unsupported": (classes(2, "EmF1"), [0, 1], [0, 1], "cannot compute EmF1"),
}


@pytest.mark.parametrize(("task", "predictions", "labels", "message"), BAD.values(), ids=BAD.keys())
def test_wrong_calls_raise(task: TaskDef, predictions: list[float], labels: list[float], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        compute_metrics(task, Predictions(np.array(predictions)), np.array(labels))
    assert message in str(caught.value)
