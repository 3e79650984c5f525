"""Ranking: from rows of options to scores, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_utils.canonical import Row, row_parser
from data_utils.errors import InputError
from data_utils.features import FeatureSet, features_in_memory, load_features
from data_utils.kinds.kind import Feature, Predictions
from data_utils.scoring import compute_metrics
from data_utils.task_def import DataFormat, TaskDef, TaskType
from data_utils.tokenization import EncodedRow
from mt_dnn.batching import Collator
from mt_dnn.subset import share_of


def task(**more: Any) -> TaskDef:
    layout = DataFormat.PremiseAndMultiHypothesis
    return TaskDef(name="rank", data_format=layout, task_type=TaskType.Ranking, metric_meta=("ACC", "MRR"), **more)


RANK = task()


def features_of(*rows: tuple[float, ...]) -> FeatureSet:
    """A row by its options' relevances; option k is a sequence of k + 3 tokens."""
    made = []
    for number, relevances in enumerate(rows):
        options = [EncodedRow([2, *range(10, 11 + k), 3], [0] * (k + 3), ()) for k in range(len(relevances))]
        more = {"olabel": list(relevances), "ruid": [f"o{k}" for k in range(len(relevances))]}
        made.append(Feature(f"r{number}", relevances.index(max(relevances)), options, more))
    return features_in_memory(RANK, made)


MIXED = features_of((0, 1), (1,), (0, 2, 1))
OUTPUTS = np.array([[1.0], [0.0], [-5.0], [0.5], [0.25], [0.0]], dtype=np.float32)


def test_the_best_option_of_each_row_however_many_it_has() -> None:
    predicted = RANK.kind.decide(MIXED, OUTPUTS)
    assert predicted.values.tolist() == [0, 0, 0]
    thirds = np.exp([0.5, 0.25, 0.0])
    expected = [[np.e / (1 + np.e), 1 / (1 + np.e), 0], [1, 0, 0], thirds / thirds.sum()]
    np.testing.assert_allclose(predicted.scores, expected, rtol=1e-6)
    # Ranks of the best options: 2 of 2, 1 of 1, 2 of 3.
    scores = compute_metrics(RANK, predicted, RANK.kind.gold(MIXED))
    assert scores == pytest.approx({"ACC": 100 / 3, "MRR": 100 * (1 / 2 + 1 + 1 / 2) / 3})


TIES = {
    "of a right and a wrong one": ([0.5, 0.5], [0, 1], 1 / 1.5),
    "of right ones": ([0.5, 0.5], [1, 1], 1),
    "of two right ones and a wrong one": ([0.2, 0.2, 0.2], [1, 0, 1], 1 / (4 / 3)),  # ranks 1, 1 and 2 of three orders
    "behind a better one": ([0.6, 0.2, 0.2], [0, 0, 1], 1 / 2.5),
    "of wrong ones": ([0.3, 0.3, 0.4], [0, 0, 1], 1),
    "a less relevant one first": ([0.6, 0.4], [1, 2], 1 / 2),
}


@pytest.mark.parametrize(("scores", "relevances", "expected"), TIES.values(), ids=TIES)
def test_reciprocal_ranks_of_options_with_one_score(
    scores: list[float], relevances: list[float], expected: float
) -> None:
    predicted = Predictions([int(np.argmax(scores))], np.array([scores]))
    assert RANK.kind.metrics["MRR"](predicted, [relevances]) == pytest.approx(expected)


def test_options_far_behind_still_have_an_order() -> None:
    """In float32 exp(-150) is zero: the second and the third option would tie."""
    predicted = RANK.kind.decide(features_of((0, 1, 0)), np.array([[200.0], [50.0], [20.0]], dtype=np.float32))
    assert RANK.kind.metrics["MRR"](predicted, [[0, 1, 0]]) == pytest.approx(1 / 2)


def test_any_of_the_most_relevant_options_is_right() -> None:
    assert RANK.kind.metrics["ACC"](Predictions([1, 0, 2]), [[1, 1], [2, 3], [0, 0, 5]]) == pytest.approx(2 / 3)


def test_rows_without_a_best_option_are_told_of() -> None:
    (told,) = RANK.kind.remarks(features_of((0.0, 0.0), (0.0, 1.0), (2.0, 2.0, 2.0), (0.0,)))
    assert told.startswith("of 2 of 4 rows all options have one label: any choice counts as right")
    assert RANK.kind.remarks(features_of((0.0, 1.0), (0.0,))) == []


def test_the_place_that_is_most_often_right_is_the_majority() -> None:
    train = features_of((0, 0, 1), (0, 0, 2), (1, 0))
    guess = RANK.kind.majority(train, MIXED)
    assert guess.values.tolist() == [1, 0, 2], "the last option where a row has fewer"
    assert compute_metrics(RANK, guess, RANK.kind.gold(MIXED)) == pytest.approx(
        {"ACC": 100 * 2 / 3, "MRR": 100 * (1 + 1 + 1 / 2.5) / 3}
    )


def test_collapsed_models_choose_one_place_though_the_best_option_moves() -> None:
    assert RANK.kind.is_constant([0, 0], [[1, 0], [0, 1]])
    assert not RANK.kind.is_constant([0, 0], [[1, 0], [1, 0]])
    assert not RANK.kind.is_constant([0, 1], [[1, 0], [1, 0]])


@pytest.mark.parametrize("packing", [False, True])
def test_a_batch_says_which_sequences_are_a_rows_options(packing: bool) -> None:
    collate = Collator(pad_token_id=0, uses_type_ids=False, packing=packing, position_offset=0, max_length=64)
    batch = collate(MIXED, np.array([2, 0]))
    assert batch.targets["options"].tolist() == [[0, 1, 2], [3, 4, -1]]
    assert batch.targets["label"].tolist() == [1, 1]
    assert collate.units(MIXED, np.array([2, 0])) == 2
    if not packing:
        assert batch.inputs["attention_mask"].sum(1).tolist() == [3, 4, 5, 3, 4]


def test_a_share_of_the_rows_has_all_places_and_whole_rows() -> None:
    split = features_of(*[(1, 0), (0, 1, 0)] * 10)
    share = share_of(split, 0.2, seed=1)
    assert sorted(share.labels.tolist()) == [0, 0, 1, 1]
    assert share.sizes.tolist() == [2 if label == 0 else 3 for label in share.labels]
    assert [len(row) for row in RANK.kind.gold(share)] == share.sizes.tolist()
    assert [share.columns["ruid"][i] for i in share.starts[:-1]] == ["o0"] * 4


def test_the_table_has_options_by_name_from_the_best_to_the_worst() -> None:
    outputs = np.log(np.array([[0.25], [0.75], [1], [0.5], [0.2], [0.3]], dtype=np.float32))
    assert list(RANK.kind.table(MIXED, RANK.kind.decide(MIXED, outputs))) == [
        ["uid", "prediction", "options", "probabilities"],
        ["r0", "o1", "o1,o0", "0.750000,0.250000"],
        ["r1", "o0", "o0", "1.000000"],
        ["r2", "o0", "o0,o2,o1", "0.500000,0.300000,0.200000"],
    ]


class OneToken:
    """Stands for a `RowEncoder`."""

    def encode(self, premises: list[str], hypotheses: list[str]) -> list[EncodedRow]:
        return [EncodedRow([2, len(a), len(b), 3], [0, 0, 1, 1], ()) for a, b in zip(premises, hypotheses, strict=True)]


@pytest.mark.parametrize(
    ("definition", "line", "label", "olabel"),
    [
        (RANK, "u\ta,b,c\t0.5,3,1\tp\tx\tyy\tzzz", 1, [0.5, 3.0, 1.0]),
        (RANK, "u\ta,b,c\t2,2,1\tp\tx\tyy\tzzz", 0, [2.0, 2.0, 1.0]),
        (RANK, "u\ta,b,c\t\tp\tx\tyy\tzzz", 0, [0.0, 0.0, 0.0]),
        (RANK, "u\ta\t-1\tp\tx", 0, [-1.0]),
        (task(labels=("wrong", "right")), "u\ta,b\twrong,right\tp\tx\tyy", 1, [0, 1]),
    ],
)
def test_canonical_rows_become_a_sequence_an_option(
    definition: TaskDef, line: str, label: int, olabel: list[float]
) -> None:
    row: Row = row_parser(definition, labelled=False)(line)
    (made,) = definition.kind.features(definition, [row], OneToken())  # type: ignore[arg-type]
    assert (made.label, made.more["olabel"], made.more["ruid"]) == (label, olabel, list(row.option_uids))
    assert [sequence.token_ids for sequence in made.sequences] == [[2, 1, k + 1, 3] for k in range(len(olabel))]


MT_DNN = {
    "uid": "7",
    "label": 1,
    "ruid": ["4", "9"],
    "olabel": [0.0, 1.0],
    "token_id": [[101, 5, 102, 6, 102], [101, 5, 102, 102]],
    "type_id": [[0, 0, 0, 1, 1], [0, 0, 0, 1]],
}


def load(folder: Path, **changes: Any) -> FeatureSet:
    row = {key: value for key, value in (MT_DNN | changes).items() if value is not None}
    (folder / "rank_train.json").write_text(json.dumps(row) + "\n")
    return load_features(folder, RANK, "train")


@pytest.mark.parametrize("more", [{}, {"attention_mask": [[1] * 5, [1] * 4]}, {"uid": 7}])
def test_features_of_mt_dnn_load(tmp_path: Path, more: dict[str, Any]) -> None:
    features = load(tmp_path, **more)
    assert (list(features.uids), features.labels.tolist(), features.sizes.tolist()) == (["7"], [1], [2])
    assert (RANK.kind.gold(features), list(features.columns["ruid"])) == ([[0.0, 1.0]], ["4", "9"])
    assert features.lengths.tolist() == [5, 4]
    assert not features.unused


def test_features_without_names_and_relevances_have_places_and_the_label(tmp_path: Path) -> None:
    features = load(tmp_path, ruid=None, olabel=None)
    assert (RANK.kind.gold(features), list(features.columns["ruid"])) == ([[0.0, 1.0]], ["0", "1"])


BAD = {
    "a label that is no place": ({"label": 2}, "label 2 is not the place of an option; there are 2, from 0"),
    "a label that the relevances contradict": ({"label": 0}, "label 0 is not the place of the largest olabel"),
    "a number beyond all floats": ({"olabel": [0, 10**400]}, "olabel must hold finite numbers"),
    "a number beyond float32": ({"olabel": [0, 1e39]}, "olabel must hold finite numbers"),
    "too few relevances": ({"olabel": [1]}, r"olabel must be a list with one entry an option \(2\)"),
    "a name that tears a table": ({"ruid": ["a\tb", "c"]}, "ruid .* holds a comma, a tab or a line end"),
    "one sequence": ({"token_id": [1, 2], "type_id": [0, 0]}, "token_id must be a list"),
    "no option": ({"token_id": [], "type_id": []}, "token_id must be a list with one list an option"),
    "type ids of one option": ({"type_id": [[0] * 5]}, "type_id must be a list with one list an option"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_damaged_features_are_one_message(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"rank_train.json:1: .*{message}"):
        load(tmp_path, **changes)


@pytest.mark.parametrize("label", ["1e39", "nan", "1_0", "x"])
def test_relevances_are_numbers_that_features_can_hold(label: str) -> None:
    with pytest.raises(InputError, match="is not a finite number, and rank ranks its options by numbers"):
        RANK.kind.check_label(RANK, label)
