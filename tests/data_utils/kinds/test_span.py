"""Span: SQuAD's JSON to windows, windows to one answer a question, and its metrics by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import predict
import prepro_std
import train
from data_utils.answers import best_agreements, exact, word_f1
from data_utils.canonical import Answer, Row, format_row
from data_utils.errors import InputError
from data_utils.features import FeatureSet, load_features
from data_utils.kinds import KINDS, span
from data_utils.squad_json import iter_questions
from data_utils.task_def import DataFormat, TaskDef, load_task_defs
from data_utils.tokenization import EncodedRow
from data_utils.windows import Window, answer_place
from module.losses import span_cross_entropy
from mt_dnn.batching import Collator
from mt_dnn.model import build_model
from mt_dnn.predict import TrainedModel
from mt_dnn.sections import LoopConfig
from mt_dnn.subset import share_of
from tests.tiny_models import write_tiny_bert

TASKS = "qa: {data_format: MRC, task_type: Span, n_class: 2, split_names: [train, dev], unanswerable: true}\n"
PASSAGE = (
    "Élan Vital, the  oldest café, opened in 1895 on a hill. "
    + "It closed and opened again. " * 4
    + "It ended in 1999."
)
QUESTIONS = [("first", "When did it open?", "1895"), ("last", "When did it end?", "1999"), ("none", "Who was it?", "")]


def entry(uid: str, question: str, answer: str) -> dict[str, Any]:
    answers = [{"text": answer, "answer_start": PASSAGE.index(answer)}] if answer else []
    return {"id": uid, "question": question, "answers": answers, "is_impossible": not answer}


def write(path: Path, *entries: dict[str, Any]) -> Path:
    document = {"version": "v2.0", "data": [{"paragraphs": [{"context": PASSAGE, "qas": list(entries)}]}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The questions as train and dev in windows of 40 tokens, and the tiny encoder."""
    root = tmp_path_factory.mktemp("qa")
    write_tiny_bert(root / "tiny-bert-model")
    (root / "tasks.yml").write_text(TASKS)
    for split in ("train", "dev"):
        write(root / f"qa_{split}.json", *(entry(*question) for question in QUESTIONS))
    flags = ["--model", str(root / "tiny-bert-model"), "--root_dir", str(root), "--task_def", str(root / "tasks.yml")]
    assert prepro_std.main([*flags, "--max_seq_len", "40", "--workers", "1"]) == 0
    return root


@pytest.fixture(scope="module")
def features(prepared: Path) -> FeatureSet:
    return load_features(prepared / "tiny-bert-model", load_task_defs(str(prepared / "tasks.yml"))["qa"], "dev")


def pointing(features: FeatureSet) -> np.ndarray:
    """Outputs of a model that is right about every window."""
    outputs = np.zeros((len(features.token_ids), 2), dtype=np.float32)
    for side, name in enumerate(("start_position", "end_position")):
        outputs[features.offsets[:-1] + features.numbers(name), side] = 9
    return outputs


def test_windows_hold_the_whole_passage_and_the_question(features: FeatureSet) -> None:
    assert len(features) > 2 * len(QUESTIONS)
    assert features.lengths.max() == 40
    seen = np.zeros(len(PASSAGE), dtype=bool)
    for start, stop in zip(features.numbers("char_start"), features.numbers("char_stop"), strict=True):
        seen[max(start, 0) : max(stop, 0)] = True
    assert {PASSAGE[i] for i in np.flatnonzero(~seen)} == {" "}
    (question,) = {
        tuple(features.token_ids[a : a + 5]) for a in features.offsets[:-1][np.array(features.uids) == "last"]
    }
    assert len(question) == 5


def test_windows_overlap_by_half(features: FeatureSet) -> None:
    """So that an answer which one of them cuts through is whole in another."""
    parts = np.split(features.numbers("char_start"), features.offsets[1:-1])
    first, second = (places[places >= 0] for places in parts[:2])
    assert features.uids[0] == features.uids[1] and len(first) == 24
    assert second[:12].tolist() == first[12:].tolist()


def test_the_answer_is_marked_where_a_window_has_it_whole(features: FeatureSet) -> None:
    answers = {"first": "1895", "last": "1999"}
    found = set()
    for row, uid in enumerate(features.uids):
        start, end = features.numbers("start_position")[row], features.numbers("end_position")[row]
        a = features.offsets[row]
        if end:
            text = PASSAGE[features.numbers("char_start")[a + start] : features.numbers("char_stop")[a + end]]
            assert text == answers[uid]
            found.add(uid)
    assert found == set(answers)


def test_one_answer_a_question_cut_out_of_the_passage(features: FeatureSet) -> None:
    kind = KINDS["Span"]
    predicted = kind.decide(features, pointing(features))
    assert kind.uids(features) == ["first", "last", "none"]
    assert list(predicted.values) == ["1895", "1999", ""]
    assert kind.gold(features) == [["1895"], ["1999"], []]
    assert [metric(predicted, kind.gold(features)) for metric in kind.metrics.values()] == [1, 1]
    assert list(kind.table(features, predicted))[3][:2] == ["none", ""]


def test_where_all_questions_have_an_answer_none_is_left_without(features: FeatureSet) -> None:
    """However high pointing at [CLS] scores: windows without the answer are trained to do that."""
    answerable = replace(features, task=replace(features.task, unanswerable=False))
    outputs = pointing(features)
    outputs[features.offsets[:-1]] = 99
    assert list(KINDS["Span"].decide(features, outputs).values) == ["", "", ""]
    values = KINDS["Span"].decide(answerable, outputs).values
    assert list(values[:2]) == ["1895", "1999"] and values[2]
    assert KINDS["Span"].majority(answerable, answerable) is None


def test_questions_without_an_answer_must_be_meant(tmp_path: Path) -> None:
    path = write(tmp_path / "qa_train.json", *(entry(*question) for question in QUESTIONS))
    with pytest.raises(InputError) as caught:
        list(iter_questions(path, unanswerable=False))
    assert str(caught.value).endswith(
        "qas[2]: is_impossible is true; for a task with such questions write `unanswerable: true` into its definition"
    )
    with pytest.raises(InputError, match="unanswerable would have no effect: a Ranking task has no questions"):
        TaskDef.from_dict("x", {"data_format": "MRC", "task_type": "Ranking", "unanswerable": True})


def test_a_share_takes_whole_questions_of_both_sorts(features: FeatureSet) -> None:
    share = share_of(features, 0.4, seed=1)
    kept = KINDS["Span"].uids(share)
    assert len(kept) == 2 and "none" in kept
    assert {uid: list(share.uids).count(uid) for uid in kept} == {uid: list(features.uids).count(uid) for uid in kept}


def test_an_answer_is_short_in_the_passage_and_in_order(features: FeatureSet) -> None:
    outputs = np.full((len(features.token_ids), 2), -1, dtype=np.float32)
    a = features.offsets[0]
    outputs[a + 1] = 99  # of the question
    inside = a + np.flatnonzero(features.numbers("char_start")[a : features.offsets[1]] >= 0)
    outputs[inside[4], 0], outputs[inside[2], 1], outputs[inside[5], 1] = 9, 9, 8  # the better end is before the start
    (first, *_) = KINDS["Span"].decide(features, outputs).values
    begin, end = features.numbers("char_start")[inside[4]], features.numbers("char_stop")[inside[5]]
    assert first == PASSAGE[begin:end]


def test_an_answer_has_thirty_tokens_at_most(make_features: Callable[..., FeatureSet]) -> None:
    """Whatever ends behind them: here a token that scores more."""
    window = replace(make_features([np.arange(40)]), columns={"char_start": np.arange(40) - 1})
    outputs = np.full((40, 2), -1, dtype=np.float32)
    outputs[1, 0], outputs[30, 1], outputs[31, 1] = 9, 8, 9
    assert [found.tolist() for found in span._best_pieces(window, outputs)] == [[17], [1], [30]]


PLACES = {
    "one token": ((0, 3), (2, 2)),
    "two tokens": ((4, 12), (3, 4)),
    "part of a token": ((5, 6), (3, 3)),
    "what begins before the window": ((-3, 3), (0, 0)),
    "what ends behind it": ((8, 20), (0, 0)),
    "a space": ((3, 4), (0, 0)),
}


@pytest.mark.parametrize(("characters", "tokens"), PLACES.values(), ids=PLACES)
def test_a_window_has_an_answer_where_it_has_all_its_tokens(
    characters: tuple[int, int], tokens: tuple[int, int]
) -> None:
    """[CLS], a question of one token, "tea", "and", "milk", [SEP]: the window is of a longer passage."""
    sequence = EncodedRow([2, 7, 10, 11, 12, 3], [0] * 6, ())
    window = Window(sequence, np.array([-1, -1, 0, 4, 8, -1]), np.array([-1, -1, 3, 7, 12, -1]))
    assert answer_place(window, *characters) == tokens


@pytest.mark.parametrize(
    ("predicted", "gold", "em", "f1"),
    [
        ("The Eiffel-Tower!", ["eiffeltower"], 1, 1),
        ("a big red dog", ["red dog", "cat"], 0, 0.8),  # 2 of 3 words, and 2 of 2
        ("the the", [], 1, 1),
        ("dog", [], 0, 0),
        ("", ["dog"], 0, 0),
        ("dog dog", ["dog"], 0, 2 / 3),
        ("dog", ["the", "dog"], 1, 1),
        ("", ["the", "dog"], 0, 0),  # an answer without a word that counts is none
    ],
)
def test_metrics_by_hand(predicted: str, gold: list[str], em: float, f1: float) -> None:
    assert best_agreements(exact, [predicted], [gold]) == [em]
    assert best_agreements(word_f1, [predicted], [gold]) == pytest.approx([f1])


def test_the_loss_by_hand_leaves_padding_out() -> None:
    logits = torch.tensor([[[0.0, 0.0], [np.log(3.0), 0.0], [50.0, 50.0]]])
    inside = torch.tensor([[True, True, False]])
    found = span_cross_entropy(logits, {"start": torch.tensor([1]), "end": torch.tensor([0]), "inside": inside})
    assert found.tolist() == pytest.approx([(np.log(4 / 3) + np.log(2)) / 2])


@pytest.mark.parametrize("packing", [False, True])
def test_packed_and_padded_windows_have_the_loss_of_each_alone(
    prepared: Path, features: FeatureSet, *, packing: bool
) -> None:
    model = build_model(str(prepared / "tiny-bert-model"), [features.task], dropout_p=0.0, seed=0).eval()
    rows = np.flatnonzero(features.lengths != 40)
    rows = np.concatenate([rows, [0, 1]])  # of several lengths

    def losses(chosen: np.ndarray, *, packing: bool) -> torch.Tensor:
        batch = Collator.for_encoder(model.encoder, packing=packing, max_length=40)(features, chosen)
        with torch.no_grad():
            return span_cross_entropy(model("qa", batch.inputs), batch.targets)

    alone = torch.cat([losses(np.array([row]), packing=False) for row in rows])
    torch.testing.assert_close(losses(rows, packing=packing), alone, rtol=1e-4, atol=1e-5)
    assert len(set(features.lengths[rows])) > 1


BAD = {
    "wrong place": ({"answers": [{"text": "1895", "answer_start": 3}]}, "is not at answer_start 3"),
    "no answer": ({"answers": []}, "there is no answer; expected at least one"),
    "both": ({"is_impossible": True}, "is_impossible is true, and answers has '1895'"),
    "no question": ({"question": " "}, "question must be a text, got ' '"),
    "no id": ({"id": None}, "id must be a name or a whole number"),
    "bytes": ({"answers": [{"text": "1895", "answer_start": "7"}]}, "answer_start must be a whole number"),
    "repeated": ({"id": "zero"}, "the id 'zero' stands already in data[0].paragraphs[0].qas[0]; ids must differ"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_questions_are_told_with_their_place(tmp_path: Path, case: str) -> None:
    change, problem = BAD[case]
    path = write(tmp_path / "qa_train.json", entry("zero", *QUESTIONS[0][1:]), entry(*QUESTIONS[0]) | change)
    with pytest.raises(InputError) as caught:
        list(iter_questions(path))
    assert str(caught.value).startswith(f"{path}: data[0].paragraphs[0].qas[1]: ")
    assert problem in str(caught.value)


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "qa_train.json"
    path.write_text('{"data": 3}')
    with pytest.raises(InputError, match="not SQuAD's JSON: expected an object with a list 'data'"):
        list(iter_questions(path))


def test_rows_with_answers_are_not_written_as_lines_that_lose_them() -> None:
    with pytest.raises(InputError, match="rows of the format MRC are JSON"):
        format_row(Row("q", (), PASSAGE, ("When?",), answers=(Answer("1895", 43),)), DataFormat.MRC)


def test_prepare_train_go_on_and_predict(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = prepared / "tiny-bert-model", tmp_path / "run"
    flags = ["--task_def", str(prepared / "tasks.yml"), "--data_dir", str(data), "--train_datasets", "qa"]
    flags += ["--init_checkpoint", str(prepared / "tiny-bert-model"), "--output_dir", str(run), "--no-tensorboard"]
    assert train.main([*flags, "--max_seq_len", "32"]) == 2
    assert "rows of a Span task are not cut: make them again, prepro_std.py --max_seq_len 32" in capsys.readouterr().err
    flags += ["--epochs", "2", "--max_seq_len", "40", "--dev_predictions"]
    assert train.main(flags) == 0
    before = (run / "dev_predictions.json").read_bytes()
    shutil.rmtree(max((run / "checkpoints").iterdir()))  # as if the run had been killed in its second epoch
    (run / "results.json").unlink()
    assert train.main([*flags, "--resume"]) == 0
    assert (run / "dev_predictions.json").read_bytes() == before
    record = json.loads((run / "dev_predictions.json").read_bytes())["qa"]["dev"]
    assert record["uids"] == ["first", "last", "none"]
    assert all(len(values) == 3 for values in record["predictions"].values())
    output = tmp_path / "out.tsv"
    split = ["--data_dir", str(data), "--split", "dev", "--max_seq_len", "40", "--output", str(output)]
    assert predict.main(["--checkpoint", str(run), *split]) == 0
    assert [line.split("\t")[0] for line in output.read_text().splitlines()] == ["uid", "first", "last", "none"]


def test_the_threshold_is_the_best_of_all(features: FeatureSet) -> None:
    """Held against trying every one; random gains with equal margins among them."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        margins = rng.integers(-4, 5, size=int(rng.integers(1, 9))).astype(np.float32)
        gains = rng.integers(-1, 2, size=len(margins)).astype(float)

        def total(threshold: float, margins: np.ndarray = margins, gains: np.ndarray = gains) -> float:
            return float(gains[margins > threshold].sum())

        tried = [*(margins - 0.5), *(margins + 0.5), 0.0]
        found = span._best_threshold(margins, gains)
        assert total(found) == max(map(total, tried))
        assert found == 0 or total(0.0) < total(found)


def test_the_model_goes_with_the_threshold_that_is_best_on_dev(features: FeatureSet) -> None:
    """Answers that all score below [CLS], the right ones least so."""
    outputs = pointing(features)
    first = features.offsets[:-1][np.isin(features.uids, ["first", "last"])]
    outputs[first] += 12  # [CLS] is above the answers of these two
    kind, task = features.task.kind, features.task
    assert set(kind.decide(features, outputs).values) == {""}
    tuned = kind.tuned(task, [(features, outputs)])
    assert tuned.null_threshold < 0 and task.null_threshold == 0
    answered = kind.decide(replace(features, task=tuned), outputs)
    assert dict(zip(kind.uids(features), answered.values, strict=True)) == {"first": "1895", "last": "1999", "none": ""}
    always = replace(task, unanswerable=False)
    assert kind.tuned(always, [(features, outputs)]) == always


def test_a_run_tunes_on_dev_and_uses_it_from_then_on(prepared: Path, tmp_path: Path) -> None:
    """best/ has the threshold; test splits and predictions take it, dev scores do not."""
    shutil.copytree(prepared / "tiny-bert-model", tmp_path / "data")
    shutil.copy(tmp_path / "data" / "qa_dev.json", tmp_path / "data" / "qa_test.json")
    (tmp_path / "data" / "manifest.json").unlink()
    (tmp_path / "tasks.yml").write_text(TASKS.replace("[train, dev]", "[train, dev, test]"))
    flags = ["--data_dir", str(tmp_path / "data"), "--task_def", str(tmp_path / "tasks.yml"), "--epochs", "1"]
    flags += ["--init_checkpoint", str(prepared / "tiny-bert-model"), "--train_datasets", "qa", "--no-tensorboard"]
    assert train.main([*flags, "--test_splits", "test", "--output_dir", str(tmp_path / "run")]) == 0
    threshold = json.loads((tmp_path / "run/best/tasks.json").read_text())["qa"].get("null_threshold", 0.0)
    scores = json.loads((tmp_path / "run/results.json").read_text())["tasks"]["qa"]
    features = load_features(tmp_path / "data", load_task_defs(tmp_path / "tasks.yml")["qa"], "test")
    model = TrainedModel.load(str(tmp_path / "run"))
    assert model.tasks["qa"].null_threshold == threshold
    predicted = model.predict(replace(features, task=model.tasks["qa"]), LoopConfig(), 512)
    assert (
        100 * features.task.kind.metrics["EmF1"](predicted, features.task.kind.gold(features))
        == scores["test"]["score"]
    )
    assert scores["test"]["score"] >= scores["last"]["score"]
