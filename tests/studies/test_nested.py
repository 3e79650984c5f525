"""The best epoch, chosen on some dev rows and scored on others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_utils.errors import InputError
from data_utils.kinds import KINDS
from data_utils.kinds.kind import Counted, Predictions
from studies.tables.comparison import compare
from studies.tables.layouts import markdown
from studies.tables.nested import nested_score
from tests.studies.fake_study import done


def with_predictions(folder: Path, predictions: np.ndarray, labels: np.ndarray, task: str = "rte", seed: int = 1):
    """A run whose evaluations predicted these rows: (evaluations, rows)."""
    folder.mkdir(parents=True, exist_ok=True)
    by_step = {str(step): row.tolist() for step, row in enumerate(predictions, start=1)}
    split = {"uids": [str(i) for i in range(len(labels))], "labels": labels.tolist(), "predictions": by_step}
    (folder / "dev_predictions.json").write_text(json.dumps({task: {"dev": split}}))
    return replace(done(f"minilm/{task}", "pats", seed, **{task: 50.0}), folder=folder)


def test_epochs_that_differ_by_chance_alone_are_worth_what_each_of_them_is(tmp_path: Path) -> None:
    """Ten coins: the best of them looks better than one half, and on other rows it is not."""
    generator = np.random.default_rng(2)
    labels, coins = generator.integers(0, 2, 300), generator.integers(0, 2, (10, 300))
    best = 100 * (coins == labels).mean(axis=1).max()
    assert best > 53
    assert nested_score(with_predictions(tmp_path, coins, labels), "rte") == pytest.approx(50, abs=2)


def test_an_epoch_that_is_better_is_chosen_and_gets_its_score(tmp_path: Path) -> None:
    labels = np.tile([0, 1], 200)
    wrong = np.zeros(400, dtype=int)
    right = np.where(np.arange(400) % 10 == 0, 1 - labels, labels)  # nine of ten
    outcome = with_predictions(tmp_path, np.stack([wrong, right, wrong]), labels)
    assert nested_score(outcome, "rte") == pytest.approx(90, abs=0.2)


def test_the_epoch_is_the_best_of_all_splits_which_count_alike(tmp_path: Path) -> None:
    """As MNLI has two. One epoch has the larger split right and nothing of the other; the second six of ten of each."""
    labels = {"matched": np.tile([0, 1], 200), "mismatched": np.tile([0, 1], 20)}
    splits = {}
    for name, right in labels.items():
        partly = np.where(np.arange(len(right)) % 10 < 6, right, 1 - right)
        all_or_none = right if name == "matched" else 1 - right
        splits[name] = {"labels": right.tolist(), "predictions": {"1": all_or_none.tolist(), "2": partly.tolist()}}
    (tmp_path / "dev_predictions.json").write_text(json.dumps({"mnli": splits}))
    outcome = replace(done("minilm/mnli", "pats", 1, mnli=50.0), folder=tmp_path)
    assert nested_score(outcome, "mnli") == pytest.approx(60, abs=1)


def test_every_run_is_scored_on_the_same_halves(tmp_path: Path) -> None:
    """By chance alone runs that predict the same would differ."""
    generator = np.random.default_rng(6)
    labels, coins = generator.integers(0, 2, 31), generator.integers(0, 2, (4, 31))
    one, other = (with_predictions(tmp_path / str(seed), coins, labels, seed=seed) for seed in (1, 2))
    assert nested_score(one, "rte") == nested_score(other, "rte")


def test_a_regression_is_scored_by_its_own_metric(tmp_path: Path) -> None:
    labels = np.linspace(0, 5, 60)
    outcome = with_predictions(tmp_path, np.stack([labels[::-1], 2 * labels + 1]), labels, task="stsb")
    assert nested_score(outcome, "stsb") == pytest.approx(100)


ANSWERS = {
    "Span": ("EmF1", ["tea", "red tea", "", "the boat"], [["tea"], ["tea", "cat"], [], ["a boat", "boat"]]),
    "SeqenceLabeling": (
        "SeqEval",
        [["B-a", "O"], ["B-a", "I-a"], ["O"], ["B-b"]],
        [["B-a", "O"], ["O"] * 2, ["O"], ["B-a"]],
    ),
    "Ranking": ("ACC", [0, 1, 1, 0], [[1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_all_rows_are_looked_at_once_whatever_the_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A metric over words or entities takes its time: on SQuAD's dev set 400 halves would take minutes a run."""
    metric, predicted, labels = ANSWERS[kind]
    split = {"kind": kind, "labels": labels * 5, "predictions": {"1": predicted * 5, "2": predicted[:1] * 20}}
    if kind == "SeqenceLabeling":
        split["predictions"]["2"] = [["O"] * len(row) for row in split["labels"]]
    (tmp_path / "dev_predictions.json").write_text(json.dumps({"task": {"dev": split}}))
    outcome = replace(done("tiny/task", "pats", 1, task=50.0), folder=tmp_path)
    outcome.results["tasks"]["task"]["primary_metric"] = metric
    counted, looks = KINDS[kind].metrics[metric], []

    def count(rows: Predictions, gold: Any) -> np.ndarray:
        looks.append(len(gold))
        return counted.count(rows, gold)

    plain = {metric: lambda rows, gold: counted(rows, gold)}
    monkeypatch.setattr(type(KINDS[kind]), "metrics", plain)
    expected = nested_score(outcome, "task")
    monkeypatch.setattr(type(KINDS[kind]), "metrics", {metric: Counted(count, counted.score)})
    assert nested_score(outcome, "task") == pytest.approx(expected, abs=1e-9)
    assert 0 < expected < 100 and looks == [20, 20]


def test_the_table_says_how_it_was_scored(tmp_path: Path) -> None:
    labels = np.tile([0, 1], 20)
    outcomes = [with_predictions(tmp_path / str(seed), labels[None], labels, seed=seed) for seed in (1, 2)]
    text = markdown(compare(outcomes, which="nested"), "mine")
    assert "best epoch, chosen and scored on different dev rows" in text and "100.00 ± 0.00" in text
    assert "chosen on one half of the dev rows and scored on the other: means over 200 random halves" in text


def test_runs_without_predictions_and_damaged_ones_are_named(tmp_path: Path) -> None:
    outcome = replace(done("minilm/rte", "pats", 1, rte=50.0), folder=tmp_path)
    with pytest.raises(InputError, match="dev_predictions.json is not there; runs leave it with --dev_predictions"):
        nested_score(outcome, "rte")
    (tmp_path / "dev_predictions.json").write_text('{"rte": {"dev": {"labels": [1]}}}')
    with pytest.raises(InputError, match="dev_predictions.json: cannot be read"):
        nested_score(outcome, "rte")
