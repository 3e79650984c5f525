"""Tagging: words to pieces and back, entity F1, and what MT-DNN's files hold."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from data_utils.canonical import Row, read_rows
from data_utils.errors import InputError
from data_utils.feature_lines import json_line
from data_utils.features import FeatureSet, features_in_memory, load_features
from data_utils.kinds.kind import UNSCORED
from data_utils.metrics import entities, entity_f1
from data_utils.scoring import compute_metrics
from data_utils.task_def import DataFormat, TaskDef, TaskType
from data_utils.tokenization import EncoderSettings, RowEncoder, load_tokenizer
from tests.tiny_models import write_tiny_bert, write_tiny_roberta

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def task(*more: str) -> TaskDef:
    return TaskDef(
        name="ner",
        data_format=DataFormat.Seqence,
        task_type=TaskType.SeqenceLabeling,
        labels=(*TAGS, *more),
        metric_meta=("SeqEval", "ACC"),
    )


TASK = task()
ROWS = [
    Row("a", ("B-PER", "I-PER", "O"), tokens=("Zoë", "Smithson", "left")),
    Row("b", ("O", "B-LOC"), tokens=("\u200b", "Rome")),
]


@pytest.fixture(scope="module", params=["bert", "roberta"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RowEncoder:
    write = {"bert": write_tiny_bert, "roberta": write_tiny_roberta}[request.param]
    return RowEncoder(EncoderSettings.of(load_tokenizer(str(write(tmp_path_factory.mktemp("model")))), 24))


@pytest.fixture
def features(encoder: RowEncoder) -> FeatureSet:
    return features_in_memory(TASK, list(TASK.kind.features(TASK, ROWS, encoder)))


def test_the_first_piece_of_every_word_has_its_tag(features: FeatureSet) -> None:
    assert TASK.kind.gold(features) == [list(row.labels) for row in ROWS]  # a word without pieces has one, too
    first, second = np.split(features.labels, features.offsets[1:-1])
    assert first[0] == first[-1] == UNSCORED and len(first) > 5
    assert (first != UNSCORED).sum() == 3 and (second != UNSCORED).sum() == 2


def test_words_have_the_pieces_that_they_have_in_the_text(encoder: RowEncoder) -> None:
    words = ("we", "gave", "Kim", "tea")
    ((row, places),) = encoder.encode_words([words])
    (whole,) = encoder.encode([" ".join(words)])
    assert row.token_ids == whole.token_ids and row.texts == whole.texts
    assert [place for place in places if place >= 0] == [0, 1, 2, 3]


def test_a_long_row_is_cut_as_texts_are_and_keeps_its_last_token(encoder: RowEncoder) -> None:
    words = tuple(f"word{i}" for i in range(30))
    ((row, places),) = encoder.encode_words([words])
    assert len(row.token_ids) == len(places) == 24 and row.shortened
    assert row.token_ids[-1] == encoder.encode(["x"])[0].token_ids[-1] and places[-1] == -1
    kept = [place for place in places if place >= 0]
    assert kept == list(range(len(kept))) and len(kept) < 30


def test_labels_of_a_file_are_those_of_mt_dnn_where_the_task_has_them(encoder: RowEncoder, tmp_path: Path) -> None:
    theirs = task("X", "CLS", "SEP")
    for one in (TASK, theirs):
        made = list(one.kind.features(one, ROWS, encoder))
        (tmp_path / "ner_train.json").write_text("".join(json_line(feature, nested=False) for feature in made))
        line = json.loads((tmp_path / "ner_train.json").read_text().splitlines()[0])
        special = {line["label"][0], line["label"][-1], *line["label"][1:-1]} - {0, 1, 2}
        assert special == ({UNSCORED} if one is TASK else {5, 6, 7})
        assert line["label"][0] == (UNSCORED if one is TASK else 6) and len(line["label"]) == len(line["token_id"])
        assert one.kind.gold(load_features(tmp_path, one, "train")) == [list(row.labels) for row in ROWS]


def test_mt_dnns_own_line_loads(tmp_path: Path) -> None:
    line = {"uid": 0, "label": [6, 1, 5, 2, 7], "token_id": [2, 9, 8, 7, 3], "type_id": [0] * 5}
    (tmp_path / "ner_dev.json").write_text(json.dumps(line) + "\n")
    assert task("X", "CLS", "SEP").kind.gold(load_features(tmp_path, task("X", "CLS", "SEP"), "dev")) == [
        ["B-PER", "I-PER"]
    ]


def test_the_likeliest_tag_counts_and_never_one_that_is_no_words(encoder: RowEncoder) -> None:
    theirs = task("X", "CLS", "SEP")
    features = features_in_memory(theirs, list(theirs.kind.features(theirs, ROWS, encoder)))
    outputs = np.zeros((len(features.token_ids), 8), dtype=np.float32)
    outputs[:, 5], outputs[:, 3] = 9, 1
    predicted = theirs.kind.decide(features, outputs)
    assert predicted.values == [["B-LOC"] * 3, ["B-LOC"] * 2]
    assert theirs.kind.is_constant(predicted.values, theirs.kind.gold(features))
    assert [line[-1] for line in theirs.kind.table(features, predicted)][1:] == ["B-LOC B-LOC B-LOC", "B-LOC B-LOC"]


def test_a_word_without_an_output_is_outside(features: FeatureSet) -> None:
    outputs = np.zeros((len(features.token_ids), 5), dtype=np.float32)
    assert TASK.kind.decide(features, outputs).values == [["O"] * 3, ["O"] * 2]


def test_scores_of_a_perfect_and_of_a_majority_prediction(features: FeatureSet) -> None:
    outputs = np.zeros((len(features.token_ids), 5), dtype=np.float32)
    words = features.labels != UNSCORED
    outputs[words, features.labels[words]] = 1
    gold = TASK.kind.gold(features)
    assert compute_metrics(TASK, TASK.kind.decide(features, outputs), gold) == {"SeqEval": 100.0, "ACC": 100.0}
    guess = TASK.kind.majority(features, features)
    assert guess is not None and guess.values == [["O"] * 3, ["O"] * 2]
    assert compute_metrics(TASK, guess, gold) == {"SeqEval": 0.0, "ACC": pytest.approx(40)}


def test_strata_go_by_the_rarest_tag(features: FeatureSet) -> None:
    groups = TASK.kind.strata(features)
    assert sorted(int(row) for rows in groups for row in rows) == [0, 1] and len(groups) == 2


def test_rows_without_tags_are_for_tests_alone(encoder: RowEncoder, tmp_path: Path) -> None:
    path = tmp_path / "ner_test.tsv"
    path.write_text('1\t\t["we", "left"]\n')
    (row,) = read_rows(path, TASK, labelled=False)
    assert row.labels == ("", "")
    (made,) = TASK.kind.features(TASK, [row], encoder)
    assert [label for label in made.label if label != UNSCORED] == [0, 0]
    with pytest.raises(InputError, match="ner_test.tsv:1: the label is empty"):
        read_rows(path, TASK)


BAD = {
    "too few": ([0, 1], "label must be a list with one tag id a token (3), got [0, 1]"),
    "a number": (1, "label must be a list with one tag id a token (3), got 1"),
    "truth": ([0, True, 0], "label must be a list with one tag id a token (3)"),
    "no tag": ([-100, 5, -100], "label 5 is not a tag id of ner; allowed: 0 to 4, -100"),
    "negative": ([-100, -1, -100], "label -1 is not a tag id of ner"),
}


@pytest.mark.parametrize(("label", "message"), BAD.values(), ids=BAD)
def test_labels_that_are_none_are_named(label: object, message: str, tmp_path: Path) -> None:
    line = {"uid": "7", "label": label, "token_id": [2, 5, 3], "type_id": [0, 0, 0]}
    (tmp_path / "ner_dev.json").write_text(json.dumps(line) + "\n")
    with pytest.raises(InputError) as caught:
        load_features(tmp_path, TASK, "dev")
    assert f"ner_dev.json:1: {message}" in str(caught.value)


def test_a_label_that_is_no_words_is_refused_in_canonical_rows() -> None:
    with pytest.raises(InputError, match="the label X is no word's; allowed for ner: O, B-PER"):
        task("X", "CLS", "SEP").kind.check_label(task("X", "CLS", "SEP"), "X")
    with pytest.raises(InputError, match="labels must name two tags at least"):
        TaskDef(name="ner", data_format=DataFormat.Seqence, task_type=TaskType.SeqenceLabeling)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-PER I-PER O", {("PER", 0, 2)}),
        ("B-PER B-PER", {("PER", 0, 1), ("PER", 1, 2)}),
        ("I-PER I-PER", set()),  # no entity begins without B-
        ("B-PER I-LOC I-PER", {("PER", 0, 1)}),
        ("O B-LOC", {("LOC", 1, 2)}),
        ("B-creative-work I-creative-work", {("creative-work", 0, 2)}),
        ("", set()),
    ],
)
def test_entities_by_hand(tags: str, found: set[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == found


def test_entity_f1_by_hand() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC"]]
    assert entity_f1([["B-PER", "I-PER", "O", "O"]], gold) == pytest.approx(2 * 1 / (1 + 2))
    assert entity_f1([["B-PER", "O", "O", "B-LOC"]], gold) == pytest.approx(2 * 1 / (2 + 2))
    assert entity_f1([["O"] * 4], [["O"] * 4]) == 0.0


def test_entity_f1_is_that_of_seqeval() -> None:
    metrics = pytest.importorskip("seqeval.metrics", reason="the cross-check needs seqeval")
    from seqeval.scheme import IOB2

    rng = random.Random(5)
    for _ in range(200):
        rows = [[[rng.choice(TAGS) for _ in range(rng.randint(1, 9))]] for _ in range(4)]
        gold = [row[0] for row in rows]
        ours = [[rng.choice([tag, rng.choice(TAGS)]) for tag in row] for row in gold]
        theirs = metrics.f1_score(gold, ours, mode="strict", scheme=IOB2, zero_division=0)
        assert entity_f1(ours, gold) == pytest.approx(theirs)
