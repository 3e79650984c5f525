"""Ranking: from canonical rows to features and scores, with options of any number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_utils.canonical import Row, read_rows
from data_utils.errors import InputError
from data_utils.feature_lines import json_line
from data_utils.features import FeatureSet, features_in_memory, load_features
from data_utils.kinds.kind import Predictions
from data_utils.scoring import compute_metrics
from data_utils.task_def import DataFormat, TaskDef, TaskType
from data_utils.tokenization import EncoderSettings, RowEncoder, load_tokenizer
from tests.tiny_models import write_tiny_bert

TASK = TaskDef(
    name="rank",
    data_format=DataFormat.PremiseAndMultiHypothesis,
    task_type=TaskType.Ranking,
    metric_meta=("ACC", "MRR"),
)
ROWS = [
    Row("a", ("0", "1"), "it rained", ("so we left", "so we stayed"), ("1", "2")),
    Row("b", ("2", "0.5", "2"), "it rained", ("x", "y", "z"), ("p", "q", "r")),
    Row("c", ("1",), "alone", ("the only one",), ("only",)),
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> RowEncoder:
    folder = write_tiny_bert(tmp_path_factory.mktemp("bert"))
    return RowEncoder(EncoderSettings.of(load_tokenizer(str(folder)), 32))


@pytest.fixture(scope="module")
def features(encoder: RowEncoder) -> FeatureSet:
    return features_in_memory(TASK, list(TASK.kind.features(TASK, ROWS, encoder)))


def test_an_option_is_a_sequence_and_the_best_one_the_label(features: FeatureSet) -> None:
    assert list(features.uids) == ["a", "b", "c"] and features.labels.tolist() == [1, 0, 0]
    assert features.sizes.tolist() == [2, 3, 1] and len(features.lengths) == 6
    assert TASK.kind.gold(features) == [[0, 1], [2, 0.5, 2], [1]]
    assert features.sequences(np.array([2, 0])).tolist() == [5, 0, 1]
    assert features.longest.tolist() == [max(features.lengths[:2]), max(features.lengths[2:5]), features.lengths[5]]


def test_a_file_holds_what_mt_dnn_writes_and_reads(encoder: RowEncoder, tmp_path: Path) -> None:
    made = list(TASK.kind.features(TASK, ROWS, encoder))
    (tmp_path / "rank_train.json").write_text("".join(json_line(one, nested=True) for one in made))
    line = json.loads((tmp_path / "rank_train.json").read_text().splitlines()[1])
    assert line["label"] == 0 and line["olabel"] == [2.0, 0.5, 2.0] and line["ruid"] == ["p", "q", "r"]
    assert [len(line[key]) for key in ("token_id", "type_id", "attention_mask", "texts")] == [3] * 4
    for read in (load_features(tmp_path, TASK, "train"), load_features(tmp_path, TASK, "train")):  # the second: packed
        assert read.groups is not None and read.groups.tolist() == [0, 2, 5, 6]
        assert list(read.columns["ruid"]) == ["1", "2", "p", "q", "r", "only"]
        assert TASK.kind.gold(read) == [[0, 1], [2, 0.5, 2], [1]]


def test_features_without_relevances_and_names_have_those_of_the_label(tmp_path: Path) -> None:
    line = {"uid": "7", "label": 1, "token_id": [[2, 5, 3], [2, 6, 3]], "type_id": [[0, 0, 0], [0, 1, 1]]}
    (tmp_path / "rank_dev.json").write_text(json.dumps(line) + "\n")
    read = load_features(tmp_path, TASK, "dev")
    assert TASK.kind.gold(read) == [[0, 1]] and list(read.columns["ruid"]) == ["0", "1"]


def test_the_highest_score_is_chosen_and_scores_are_shares_of_a_row(features: FeatureSet) -> None:
    outputs = np.array([[0.0], [1.0], [0.0], [3.0], [1.0], [-5.0]], dtype=np.float32)
    predicted = TASK.kind.decide(features, outputs)
    assert list(predicted.values) == [1, 1, 0]
    assert predicted.scores is not None and predicted.scores.sum(-1) == pytest.approx([1, 1, 1])
    assert predicted.scores[0] == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e), 0])
    scores = compute_metrics(TASK, predicted, TASK.kind.gold(features))
    assert scores["ACC"] == pytest.approx(100 * 2 / 3)
    assert scores["MRR"] == pytest.approx(100 * (1 + 1 / 2 + 1) / 3)  # of b's two best options the first stands second
    table = list(TASK.kind.table(features, predicted))
    assert table[2][:3] == ["b", "q", "q,r,p"]


def test_options_that_tie_share_their_ranks(features: FeatureSet) -> None:
    predicted = TASK.kind.decide(features, np.zeros((6, 1), dtype=np.float32))
    scores = compute_metrics(TASK, predicted, TASK.kind.gold(features))
    assert scores["MRR"] == pytest.approx(100 * (1 / 1.5 + 1 / 2 + 1) / 3)


def test_some_rows_keep_what_is_theirs(features: FeatureSet) -> None:
    chosen = features.select(np.array([0, 2]))
    assert chosen.sizes.tolist() == [2, 1] and list(chosen.columns["ruid"]) == ["1", "2", "only"]
    assert chosen.token_ids[-1] == features.token_ids[-1] and TASK.kind.gold(chosen) == [[0, 1], [1]]


def test_the_majority_is_the_place_that_is_right_most_often(features: FeatureSet) -> None:
    guess = TASK.kind.majority(features, features)
    assert guess is not None and list(guess.values) == [0, 0, 0]
    always_last = features.select(np.array([0, 0]))
    guess = TASK.kind.majority(always_last, features)
    assert guess is not None and list(guess.values) == [1, 1, 0]  # a row with one option has no second place


@pytest.mark.parametrize(
    ("values", "gold", "constant"),
    [([1, 1], [[0, 1], [1, 0]], True), ([1, 1], [[0, 1], [0, 1]], False), ([0, 1], [[0, 1], [1, 0]], False)],
)
def test_the_same_place_everywhere_is_a_collapse_unless_it_is_right(
    values: list[int], gold: list[list[int]], constant: bool
) -> None:
    assert TASK.kind.is_constant(np.array(values), gold) is constant


def test_rows_without_labels_are_for_tests_alone(encoder: RowEncoder, tmp_path: Path) -> None:
    path = tmp_path / "rank_test.tsv"
    path.write_text("1\tx,y\t\tit rained\tone\ttwo\n")
    (row,) = read_rows(path, TASK, labelled=False)
    (made,) = TASK.kind.features(TASK, [row], encoder)
    assert made.label == 0 and made.more["olabel"] == [0.0, 0.0]
    with pytest.raises(InputError, match="rank_test.tsv:1: the label is empty"):
        read_rows(path, TASK)


def test_named_relevances_rank_by_their_ids() -> None:
    task = TaskDef(
        name="rank", data_format=TASK.data_format, task_type=TaskType.Ranking, labels=("bad", "fair", "good"), n_class=3
    )
    assert [task.kind._relevance(task, label) for label in ("good", "bad")] == [2, 0]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="unknown label 'best'; allowed for rank: bad, fair, good"):
        task.kind.check_label(task, "best")
    with pytest.raises(InputError, match="label 'high' is not a finite number, and rank ranks its options by numbers"):
        TASK.kind.check_label(TASK, "high")


BAD = {
    "label": ({"label": 2}, "label 2 is not the place of an option; there are 2, from 0"),
    "label type": ({"label": True}, "label True is not the place of an option"),
    "one mask": ({"attention_mask": [[1, 1, 1]]}, "attention_mask must be a list with one list an option"),
    "flat": ({"token_id": [2, 5, 3]}, "type_id must be a list with one list an option"),
    "relevances": ({"olabel": [1]}, "olabel must be a list with one entry an option (2), got [1]"),
    "not finite": ({"olabel": [1, 1e999]}, "olabel must hold finite numbers"),
    "names": ({"ruid": ["a"]}, "ruid must be a list with one entry an option (2)"),
    "no options": ({"token_id": []}, "token_id must be a list with one list an option"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_lines_that_are_no_rows_are_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    line = {"uid": "7", "label": 1, "token_id": [[2, 5, 3], [2, 6, 3]], "type_id": [[0, 0, 0], [0, 1, 1]]}
    (tmp_path / "rank_dev.json").write_text(json.dumps(line | change) + "\n")
    with pytest.raises(InputError) as caught:
        load_features(tmp_path, TASK, "dev")
    assert f"rank_dev.json:1: {message}" in str(caught.value)


def test_mrr_needs_scores(features: FeatureSet) -> None:
    with pytest.raises(ValueError, match="MRR needs the scores of the options"):
        compute_metrics(TASK, Predictions([0, 0, 0]), TASK.kind.gold(features))
