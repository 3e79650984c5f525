"""Tagging: words and their tags, from canonical rows to entities, by hand and against seqeval."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_utils.canonical import row_parser
from data_utils.errors import InputError
from data_utils.features import FeatureSet, features_in_memory, load_features
from data_utils.kinds.kind import UNSCORED, Feature, Predictions
from data_utils.metrics import entities, entity_counts, entity_f1, of_entities
from data_utils.scoring import compute_metrics
from data_utils.task_def import DataFormat, TaskDef, TaskType
from data_utils.tokenization import EncodedRow, EncoderSettings, RowEncoder, Text, load_tokenizer
from mt_dnn.batching import Collator
from mt_dnn.subset import share_of
from tests.tiny_models import write_tiny_bert, write_tiny_roberta

TAGS = ("O", "B-a", "I-a", "B-b", "I-b")


def task(labels: tuple[str, ...] = TAGS) -> TaskDef:
    metrics = ("SeqEval", "ACC")
    return TaskDef(
        name="tag",
        data_format=DataFormat.Seqence,
        task_type=TaskType.SeqenceLabeling,
        labels=labels,
        metric_meta=metrics,
    )


TAG = task()
MT_DNN = task(("O", "B-a", "I-a", "X", "CLS", "SEP"))


@pytest.fixture(scope="module")
def encoder_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An encoder of words by the tiny model's name and the longest length."""
    root = tmp_path_factory.mktemp("tiny")
    folders = {"bert": write_tiny_bert(root / "bert"), "roberta": write_tiny_roberta(root / "roberta")}
    tokenizers = {name: load_tokenizer(str(folder)) for name, folder in folders.items()}
    return lambda name, longest=64: RowEncoder(EncoderSettings.of(tokenizers[name], longest))


ENTITIES = {
    "one": ("O B-a I-a O", {("a", 1, 3)}),
    "to the end": ("B-a I-a", {("a", 0, 2)}),
    "side by side": ("B-a B-a I-a", {("a", 0, 1), ("a", 1, 3)}),
    "begun by I": ("I-a I-a O", set()),
    "of another kind inside": ("B-a I-b I-b", {("a", 0, 1)}),
    "of another kind beside": ("B-a B-b", {("a", 0, 1), ("b", 1, 2)}),
    "torn": ("B-a O I-a", {("a", 0, 1)}),
    "a kind with a dash": ("B-creative-work I-creative-work", {("creative-work", 0, 2)}),
    "a kind that begins like another": ("B-a I-a-b", {("a", 0, 1)}),
    "none": ("O O", set()),
    "no word": ("", set()),
}


@pytest.mark.parametrize(("tags", "expected"), ENTITIES.values(), ids=ENTITIES)
def test_entities(tags: str, expected: set[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == expected


def test_entity_f1_counts_over_all_rows() -> None:
    gold = ["B-a I-a O B-b".split(), "B-a O".split(), ["O"]]
    ours = ["B-a I-a O B-a".split(), "O B-a".split(), ["B-b"]]
    assert entity_f1(entity_counts(ours, gold).sum(0)) == pytest.approx(2 * 1 / (4 + 3))
    assert entity_f1(entity_counts([["O"]], [["O"]]).sum(0)) == 0


def test_entity_f1_is_seqevals() -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    iob2 = pytest.importorskip("seqeval.scheme").IOB2
    draw = random.Random(0)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in ("a", "b", "b-c"))]
    for _ in range(500):
        gold = [draw.choices(tags, k=draw.randint(1, 9)) for _ in range(draw.randint(1, 4))]
        ours = [[tag if draw.random() < 0.6 else draw.choice(tags) for tag in row] for row in gold]
        gold.append(["B-a"])  # seqeval warns where there is no entity
        ours.append(["B-a"])
        expected = seqeval.f1_score(gold, ours, mode="strict", scheme=iob2)
        assert entity_f1(entity_counts(ours, gold).sum(0)) == pytest.approx(expected), (gold, ours)


def test_entities_of_each_kind_by_hand() -> None:
    """Of `a` three are found, two are there, and one is right; `b` is only found, `c` only there."""
    gold = ["B-a O B-a B-c".split()]
    ours = ["B-a B-a O B-b".split(), ["B-a"]]
    assert of_entities(ours, [*gold, ["O"]]) == {
        "a": {"precision": pytest.approx(1 / 3), "recall": 1 / 2, "f1": pytest.approx(2 / 5), "number": 2},
        "b": {"precision": 0, "recall": 0, "f1": 0, "number": 0},
        "c": {"precision": 0, "recall": 0, "f1": 0, "number": 1},
    }


def one(definition: TaskDef, words: list[str], tags: list[str], encoder: RowEncoder) -> Feature:
    row = row_parser(definition, labelled=False)("\t".join(["u", json.dumps(tags) if tags else "", json.dumps(words)]))
    (made,) = definition.kind.features(definition, [row], encoder)
    return made


def test_the_first_piece_of_a_word_has_its_tag(encoder_of) -> None:
    words, tags = ["the", "xyz", "sailor"], ["O", "B-a", "I-a"]
    assert one(TAG, words, tags, encoder_of("bert")).label == [UNSCORED, 0, 1, UNSCORED, UNSCORED, 2, UNSCORED]
    assert one(MT_DNN, words, tags, encoder_of("bert")).label == [4, 0, 1, 3, 3, 2, 5], "MT-DNN's CLS, X and SEP"


@pytest.mark.parametrize("model", ["bert", "roberta"])
@pytest.mark.parametrize(
    "words",
    [["\u200b"], ["the", "\u200b", "the"], ["", "the"], ["the", "", ""], [" ", "a b", "é猫"], ["<mask>", "[SEP]"]],
)
def test_every_word_has_one_tag_whatever_it_is(encoder_of, model: str, words: list[str]) -> None:
    tags = ["B-a", "I-a", "B-b"][: len(words)]
    made = one(TAG, words, tags, encoder_of(model))
    (sequence,) = made.sequences
    scored = [TAGS[tag] for tag in made.label if tag != UNSCORED]
    assert scored == tags
    assert len(made.label) == len(sequence.token_ids)
    assert made.label[0] == made.label[-1] == UNSCORED


def test_byte_level_words_are_those_of_a_running_text(encoder_of) -> None:
    encoder = encoder_of("roberta")
    (sequence, words), *_ = encoder.encode_words([["the", "sailor", "sails"]])
    assert sequence.token_ids == encoder.encode(["the sailor sails"])[0].token_ids
    assert [word for word in words if word >= 0] == [0, 1, 2]


@pytest.mark.parametrize(("definition", "first", "last"), [(TAG, UNSCORED, UNSCORED), (MT_DNN, 4, 5)])
def test_rows_are_cut_with_their_tags(encoder_of, definition: TaskDef, first: int, last: int) -> None:
    words, tags = ["the", "sailor", "the", "the", "sailor", "the"], ["O", "B-a", "I-a", "O", "B-a", "O"]
    made = one(definition, words, tags, encoder_of("bert", 6))
    kept = [i for i in made.label if i not in (UNSCORED, 3, 4, 5)]
    assert len(made.label) == len(made.sequences[0].token_ids) == 6
    assert (made.label[0], made.label[-1]) == (first, last)
    whole = one(definition, words, tags, encoder_of("bert")).label
    assert made.label[1:-1] == whole[1:5]
    assert len(kept) < len(words)


def test_tags_without_entities_are_scored_by_words_unless_asked_for() -> None:
    """Parts of speech: SeqEval would be 0 after every epoch, and the first one the best."""
    form = {"data_format": DataFormat.Seqence, "task_type": TaskType.SeqenceLabeling}
    assert TaskDef(name="pos", labels=("NOUN", "VERB"), **form).metric_meta == ("ACC",)
    assert TaskDef(name="ner", labels=("O", "B-PER", "I-PER"), **form).metric_meta == ("SeqEval",)
    assert TaskDef(name="pos", labels=("NOUN", "VERB"), metric_meta=("SeqEval",), **form).metric_meta == ("SeqEval",)


def test_rows_without_labels_have_some_tag_a_word(encoder_of) -> None:
    made = one(TAG, ["the", "sailor"], [], encoder_of("bert"))
    assert len([tag for tag in made.label if tag == 0]) == 2


def in_memory(*rows: list[int], definition: TaskDef = TAG) -> FeatureSet:
    made = []
    for number, label in enumerate(rows):
        length = len(label)
        sequence = EncodedRow([2, *range(10, 8 + length), 3], [0] * length, (Text(1, length - 1, length - 2),))
        made.append(Feature(f"u{number}", label, (sequence,)))
    return features_in_memory(definition, made)


U = UNSCORED
SPLIT = in_memory([U, 1, U, 2, 0, U], [U, 0, U], [U, 3, 4, 4, U])


def test_predictions_are_tags_of_words() -> None:
    outputs = np.full((14, 5), 0.1, dtype=np.float32)
    for token, tag in {1: 1, 2: 4, 3: 2, 4: 3, 7: 0, 10: 3, 11: 2, 12: 4}.items():
        outputs[token, tag] = 2
    predicted = TAG.kind.decide(SPLIT, outputs)
    assert predicted.values == [["B-a", "I-a", "B-b"], ["O"], ["B-b", "I-a", "I-b"]]
    gold = TAG.kind.gold(SPLIT)
    assert gold == [["B-a", "I-a", "O"], ["O"], ["B-b", "I-b", "I-b"]]
    # Ours: a 0-2, b 2-3, b 0-1; right: a 0-2, b 0-3. Words: 5 of 7.
    assert compute_metrics(TAG, predicted, gold) == pytest.approx({"SeqEval": 100 * 2 / 5, "ACC": 100 * 5 / 7})
    assert list(TAG.kind.table(SPLIT, predicted))[:2] == [["uid", "prediction"], ["u0", "B-a I-a B-b"]]


def test_words_that_are_cut_off_are_outside_and_no_word_is_x() -> None:
    features = in_memory([4, 1, 3, 2, 0, 5], definition=MT_DNN)
    outputs = np.zeros((6, 6), dtype=np.float32)
    outputs[1] = [0, 1, 0, 9, 9, 9]
    assert MT_DNN.kind.decide(features, outputs).values == [["B-a", "O", "O"]]


def test_without_a_tag_for_outside_words_that_are_cut_off_are_wrong() -> None:
    form = {"data_format": "Seqence", "task_type": "SeqenceLabeling"}
    parts = TaskDef.from_dict("pos", {**form, "labels": ["N", "V", "D"]})
    features = in_memory([U, 2, 1, 0, 0, U], definition=parts)
    outputs = np.zeros((6, 3), dtype=np.float32)
    outputs[1:3, 2] = 5.0
    predicted = parts.kind.decide(features, outputs)
    assert predicted.values == [["D", "D", "<cut>", "<cut>"]]
    assert compute_metrics(parts, predicted, parts.kind.gold(features)) == {"ACC": 25.0}


@pytest.mark.parametrize(
    ("labels", "tags", "told"),
    [
        (["O", "B-a", "I-a"], [1, 2, 0, 1], []),
        (["O", "B-a", "I-a"], [2, 2, 0, 2], ["entities that begin with I-, as in IOB1: 2;"]),
        (["O", "B-a", "I-b"], [1, 2, 0, 0], ["entities that begin with I-, as in IOB1: 1;"]),
        (["O", "B-a", "E-a", "S-a"], [1, 2, 0, 3], ["SeqEval knows B- and I- alone, so E-a, S-a count as outside"]),
    ],
    ids=["BIO", "IOB1", "another kind", "BIOES"],
)
def test_tags_of_another_scheme_are_told_of(labels: list[str], tags: list[int], told: list[str]) -> None:
    form = {"data_format": "Seqence", "task_type": "SeqenceLabeling", "labels": labels}
    features = in_memory([U, *tags, U], definition=TaskDef.from_dict("t", form))
    found = features.task.kind.remarks(features)
    assert len(found) == len(told) and all(line.startswith(words) for line, words in zip(found, told, strict=True))


def test_the_majority_is_the_most_frequent_tag_of_words() -> None:
    guess = TAG.kind.majority(in_memory([U, 4, U, U, U], [U, 4, 0, U]), SPLIT)
    assert guess.values == [["I-b"] * 3, ["I-b"], ["I-b"] * 3]
    assert TAG.kind.is_constant(guess.values, TAG.kind.gold(SPLIT))
    assert not TAG.kind.is_constant(TAG.kind.gold(SPLIT), TAG.kind.gold(SPLIT))


def test_a_share_of_the_rows_has_each_rare_tag_and_whole_rows() -> None:
    split = in_memory(*[[U, 0, 0, U]] * 16, *[[U, 0, 1, 2, U]] * 4)
    share = share_of(split, 0.25, seed=1)
    assert sorted(map(len, TAG.kind.gold(share))) == [2, 2, 2, 2, 3]
    assert share.labels.tolist().count(1) == 1


def test_rows_are_told_apart_by_tags_however_few_tokens_are_no_words() -> None:
    """Either tag stands for forty words, and 32 tokens for none."""
    split = in_memory(*[[U, 0, 0, 0, 0, 0, U]] * 8, *[[U, 1, 1, 1, 1, 1, U]] * 8)
    assert [rows.tolist() for rows in TAG.kind.strata(split)] == [list(range(8)), list(range(8, 16))]


@pytest.mark.parametrize("packing", [False, True])
def test_a_batch_counts_words_and_cuts_tags_with_their_tokens(packing: bool) -> None:
    collate = Collator(pad_token_id=0, uses_type_ids=False, packing=packing, position_offset=0, max_length=4)
    rows = np.array([1, 0, 2])
    batch = collate(SPLIT, rows)
    assert batch.targets["label"].tolist() == [[U, 0, U, U], [U, 1, U, U], [U, 3, 4, U]]
    assert collate.units(SPLIT, rows) == 4
    ids = batch.inputs["input_ids"].flatten()[batch.inputs["token_places"]]
    lengths = (3, 4, 4)
    kept = [row[:n] for row, n in zip(ids.tolist(), lengths, strict=True)]
    assert kept == [[2, 10, 3], [2, 10, 11, 3], [2, 10, 11, 3]]


def test_a_batch_without_words_has_a_mean() -> None:
    collate = Collator(pad_token_id=0, uses_type_ids=False, packing=False, position_offset=0, max_length=9)
    assert collate.units(in_memory([U, U, U]), np.array([0])) == 1


def load(folder: Path, definition: TaskDef, row: dict[str, Any]) -> FeatureSet:
    (folder / "tag_train.json").write_text(json.dumps(row) + "\n")
    return load_features(folder, definition, "train")


JSON = {"uid": 3, "label": [4, 1, 3, 2, 0, 5], "token_id": [101, 7, 8, 9, 10, 102], "type_id": [0] * 6}


def test_features_of_mt_dnn_load(tmp_path: Path) -> None:
    """Without a mask, with tags of its own for what is no word."""
    features = load(tmp_path, MT_DNN, JSON)
    assert features.labels.tolist() == [U, 1, U, 2, 0, U]
    assert MT_DNN.kind.gold(features) == [["B-a", "I-a", "O"]]


BAD = {
    "too few": ([0, 0], r"label must be a list with one tag id a token \(6\)"),
    "a name": (["O"] * 6, "label must be a list with one tag id"),
    "true": ([True] * 6, "label must be a list with one tag id"),
    "one number": (1, "label must be a list with one tag id"),
    "no tag": ([0, 0, 6, 0, 0, 0], "label 6 is not a tag id of tag; allowed: 0 to 5, -100"),
    "below zero": ([0, 0, -1, 0, 0, 0], "label -1 is not a tag id"),
}


@pytest.mark.parametrize(("label", "message"), BAD.values(), ids=BAD)
def test_damaged_features_are_one_message(tmp_path: Path, label: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"tag_train.json:1: {message}"):
        load(tmp_path, MT_DNN, JSON | {"label": label})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("u\t['O']\t['a', 'b']", "1 labels for 2 tokens"),
        ("u\t['X']\t['a']", "the label X is no word's; allowed for tag: O, B-a, I-a"),
        ("u\t['B-c']\t['a']", "unknown label 'B-c'"),
        ("u\t[]\t[]", "the row has no text"),
        ("u\tO\ta", "is not a list of strings"),
    ],
)
def test_rows_that_are_refused(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        row_parser(MT_DNN)(line)


def test_tags_need_names() -> None:
    with pytest.raises(InputError, match="labels must name two tags at least"):
        task(("O", "X", "CLS"))


def test_predictions_without_a_row_of_words_have_an_accuracy() -> None:
    assert TAG.kind.metrics["ACC"](Predictions([[]]), [[]]) == 0
