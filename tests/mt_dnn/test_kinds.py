"""Kinds of task on one encoder: from canonical rows to training, resume, prediction and the study tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

import predict
import prepro_std
import train
from data_utils.canonical import Row
from data_utils.errors import InputError
from data_utils.features import FeatureSet, load_features
from data_utils.kinds import KINDS
from data_utils.kinds.classification import OneLabel
from data_utils.kinds.kind import ROW, Column, Feature, Kind, Metric, Predictions
from data_utils.task_def import TaskDef, load_task_defs
from data_utils.tokenization import RowEncoder
from module.heads import HEADS, ClassificationHead
from module.losses import LOSSES, Targets
from mt_dnn.batching import Collator
from mt_dnn.distributed import ALONE
from mt_dnn.evaluate import Evaluator
from mt_dnn.model import build_model
from mt_dnn.precision import Precision
from mt_dnn.record.run_folder import DEV_PREDICTIONS
from studies import sensitivity
from studies.tables.nested import nested_score
from tests.crash import train_until
from tests.studies.fake_study import done
from tests.tiny_models import write_tiny_bert

TASKS = """
mood: {data_format: PremiseOnly, task_type: Classification, split_names: [train, dev]}
mark: {data_format: PremiseOnly, task_type: Regression, n_class: 1, metric_meta: [Pearson], split_names: [train, dev]}
names:
  data_format: Seqence
  task_type: SeqenceLabeling
  labels: [O, B-PER, I-PER]
  metric_meta: [SeqEval, ACC]
choice: {data_format: PremiseAndMultiHypothesis, task_type: Ranking, metric_meta: [ACC, MRR], split_names: [train, dev]}
asked: {data_format: MRC, task_type: Span, split_names: [train, dev]}
"""
FLAGS = ["--train_datasets", "mood,mark,names,choice,asked", "--epochs", "2", "--batch_size", "4", "--no-tensorboard"]
FLAGS += ["--optim", "pats_adamax", "--learning_rate", "1e-3", "--dev_predictions", "--log_per_updates", "1"]


@dataclass(frozen=True)
class Room:
    """Features of all kinds, and what a run needs beside them."""

    data_dir: Path
    task_def: Path
    encoder: Path

    def flags(self, output_dir: Path, *more: str) -> list[str]:
        places = ["--data_dir", str(self.data_dir), "--task_def", str(self.task_def)]
        return [*places, "--init_checkpoint", str(self.encoder), "--output_dir", str(output_dir), *FLAGS, *more]

    def features(self, name: str, split: str = "train") -> FeatureSet:
        return load_features(self.data_dir, self.task(name), split)

    def task(self, name: str) -> TaskDef:
        return load_task_defs(self.task_def)[name]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    root = tmp_path_factory.mktemp("kinds")
    (root / "tasks.yml").write_text(TASKS)
    for split, count in (("train", 14), ("dev", 6), ("test", 3)):
        people = ["Kim" if i % 3 else "Lee" for i in range(count)]
        words = [[name, "Smith", *["drinks", "tea"][: i % 3]] for i, name in enumerate(people)]
        tags = [["B-PER", "I-PER", *["O", "O"][: i % 3]] for i in range(count)]
        rows = zip(words, tags, strict=True)
        lines = [f"{i}\t{t if split != 'test' else ''}\t{json.dumps(w)}\n" for i, (w, t) in enumerate(rows)]
        (root / f"names_{split}.tsv").write_text("".join(lines))
        if split == "test":
            continue
        for name in ("mood", "mark"):
            lines = [f"{i}\t{i % 2}\t{person} is fine\n" for i, person in enumerate(people)]
            (root / f"{name}_{split}.tsv").write_text("".join(lines))
        paragraphs = [
            {
                "context": f"It is {person} Smith.",
                "qas": [{"id": str(i), "question": "Who is it?", "answers": [{"text": person, "answer_start": 6}]}],
            }
            for i, person in enumerate(people)
        ]
        (root / f"asked_{split}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
        options = [["tea", "milk", "beer"][: 2 + i % 2] for i in range(count)]
        choices = [
            f"{i}\t{','.join('abc'[: len(o)])}\t{','.join('1' if k == i % 2 else '0' for k in range(len(o)))}\t{w[0]} "
            f"drinks\t{chr(9).join(o)}\n"
            for i, (w, o) in enumerate(zip(words, options, strict=True))
        ]
        (root / f"choice_{split}.tsv").write_text("".join(choices))
    encoder = write_tiny_bert(root / "tiny-bert")
    flags = ["--model", str(encoder), "--root_dir", str(root), "--task_def", str(root / "tasks.yml"), "--workers", "1"]
    assert prepro_std.main(flags) == 0
    return Room(root / "tiny-bert", root / "tasks.yml", encoder)


@pytest.fixture(scope="module")
def run(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    assert train.main(room.flags(folder)) == 0
    return folder


def test_all_kinds_have_scores_metrics_and_a_majority(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())["tasks"]
    metrics = {
        "mood": {"ACC"},
        "mark": {"Pearson"},
        "names": {"SeqEval", "ACC"},
        "choice": {"ACC", "MRR"},
        "asked": {"EmF1", "EM"},
    }
    assert {name: set(task["last"]["metrics"]) for name, task in results.items()} == metrics
    assert results["choice"]["primary_metric"] == "MRR"
    assert results["names"]["majority_score"] == 0.0 and results["choice"]["majority_score"] > 0


def test_a_run_of_all_kinds_resumes_to_the_bit(room: Room, run: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    train_until(28, room.flags(cut))  # in the second epoch, between two checkpoints
    assert train.main([*room.flags(cut), "--resume"]) == 0
    assert (cut / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert (cut / DEV_PREDICTIONS).read_bytes() == (run / DEV_PREDICTIONS).read_bytes()
    one, other = (load_file(sorted((f / "checkpoints").iterdir())[-1] / "model.safetensors") for f in (cut, run))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["names", "choice", "asked"])
def test_packed_rows_equal_padded_rows(room: Room, name: str) -> None:
    task, features = room.task(name), room.features(name)
    model = build_model(str(room.encoder), [task], dropout_p=0.0, seed=1).eval()
    losses = []
    for packing in (True, False):
        batch = Collator.for_encoder(model.encoder, packing=packing, max_length=64)(features, np.arange(9))
        with torch.no_grad():
            losses.append(LOSSES[task.loss](model(name, batch.inputs), batch.targets))
    torch.testing.assert_close(losses[0].sum(), losses[1].sum())
    assert losses[0].sum() > 0


@pytest.mark.parametrize("name", ["names", "choice"])
def test_an_updates_loss_is_the_mean_over_words_or_rows_however_it_is_cut(room: Room, name: str) -> None:
    """Halves with different numbers of words: means of means would be another number."""
    task, features = room.task(name), room.features(name)
    model = build_model(str(room.encoder), [task], dropout_p=0.0, seed=1).eval()
    collator = Collator.for_encoder(model.encoder, packing=True, max_length=64)

    def loss(rows: np.ndarray, units: int) -> Tensor:
        batch = collator(features, rows)
        return LOSSES[task.loss](model(name, batch.inputs), batch.targets).sum() / units

    rows = np.array([0, 3, 1, 2, 5, 8])  # two words, two words, then three and four
    units = collator.units(features, rows)
    assert units == (len(rows) if name == "choice" else int((features.select(rows).labels >= 0).sum()))
    torch.testing.assert_close(loss(rows[:2], units) + loss(rows[2:], units), loss(rows, units))


def test_words_that_are_cut_at_training_time_count_as_outside(room: Room) -> None:
    task, features = room.task("names"), room.features("names", "dev")
    model = build_model(str(room.encoder), [task], dropout_p=0.0, seed=1).eval()
    collator = Collator.for_encoder(model.encoder, packing=False, max_length=4)
    assert collator.units(features, np.arange(len(features))) < int((features.labels >= 0).sum())
    evaluator = Evaluator(
        model, collator, Precision(torch.device("cpu"), fp16=False, bf16=False), ALONE, 4, lambda: None
    )
    predicted = evaluator.predict(features)
    assert [len(tags) for tags in predicted.values] == [len(tags) for tags in task.kind.gold(features)]
    assert all(tags[-1] == "O" for tags in predicted.values if len(tags) > 2)


def test_predictions_have_the_form_of_their_kind(room: Room, run: Path, tmp_path: Path) -> None:
    def predicted(*flags: str) -> list[list[str]]:
        assert predict.main(["--checkpoint", str(run), *flags, "--output", str(tmp_path / "out.tsv")]) == 0
        return [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]

    data = ["--data_dir", str(room.data_dir), "--split"]
    head, *rows = predicted("--task", "names", *data, "test")
    assert head == ["uid", "prediction"] and [len(row[1].split(" ")) for row in rows] == [2, 3, 4]
    head, *rows = predicted("--task", "choice", *data, "dev")
    assert head == ["uid", "prediction", "options", "probabilities"]
    assert rows[1][1] == rows[1][2].split(",")[0] and sorted(rows[1][2].split(",")) == ["a", "b", "c"]
    (tmp_path / "texts").write_text("Kim Smith left\nLee sat\n")
    assert [len(row[1].split(" ")) for row in predicted("--task", "names", "--texts", str(tmp_path / "texts"))[1:]] == [
        3,
        2,
    ]
    (tmp_path / "texts").write_text("Kim drinks\ttea\tbeer\nLee\tmilk\n")
    rows = predicted("--task", "choice", "--texts", str(tmp_path / "texts"))[1:]
    assert [set(row[2].split(",")) for row in rows] == [{"0", "1"}, {"0"}]  # as of features without names
    head, *rows = predicted("--task", "asked", *data, "dev")
    assert head == ["uid", "prediction", "score"] and all(row[1] in "It is Kim Smith. It is Lee Smith." for row in rows)
    passages = [f"It is {'Kim' if i % 3 else 'Lee'} Smith.\tWho is it?\n" for i in range(6)]
    (tmp_path / "texts").write_text("".join(passages))
    asked = predicted("--task", "asked", "--texts", str(tmp_path / "texts"))
    assert [row[1:] for row in asked] == [row[1:] for row in [head, *rows]]
    (tmp_path / "texts").write_text("\u200b\tWho is it?\n")
    assert predicted("--task", "asked", "--texts", str(tmp_path / "texts"))[1] == ["1", "", "-inf"]


def test_a_line_with_too_few_texts_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts").write_text("Kim drinks\n")
    for task, expected in (("choice", "a text and its options"), ("asked", "a passage and a question")):
        assert predict.main(["--checkpoint", str(run), "--task", task, "--texts", str(tmp_path / "texts")]) == 2
        assert f"texts:1: 1 text, expected {expected}" in capsys.readouterr().err


def test_the_best_epoch_is_scored_on_rows_that_did_not_choose_it(run: Path) -> None:
    outcome = replace(done("tiny/names", "pats", 1, names=50.0), folder=run)
    outcome.results["tasks"]["names"]["primary_metric"] = "SeqEval"
    assert 0 <= nested_score(outcome, "names") <= 100
    outcome.results["tasks"]["choice"] = {"primary_metric": "MRR"}
    with pytest.raises(
        InputError, match="MRR needs the scores of the options.*; leave choice out: --tasks has the others"
    ):
        nested_score(outcome, "choice")


def test_sensitivities_are_measured_over_all_kinds(run: Path) -> None:
    assert sensitivity.main(["--checkpoint", str(run), "--which", "last"]) == 0
    assert json.loads((run / "sensitivity.json").read_text())


class ManyLabels(OneLabel, Kind):
    """A kind that only this test has: any number of classes a row, `0+2` in a canonical row."""

    name, label = "ManyLabels", Column(ROW, np.int64)  # the classes as bits
    metrics: ClassVar[Mapping[str, Metric]] = {"ACC": lambda p, gold: float(np.mean(np.asarray(p.values) == gold))}
    default_metrics, default_loss = ("ACC",), "BitsCriterion"

    def width(self, task: TaskDef) -> int:
        return task.n_class

    def check_label(self, task: TaskDef, label: str) -> None:
        self._bits(label)

    @staticmethod
    def _bits(label: str) -> int:
        return sum(1 << int(one) for one in label.split("+") if one)

    def features(self, task: TaskDef, rows: Sequence[Row], encoder: RowEncoder) -> Iterator[Feature]:
        for row, sequence in zip(rows, encoder.encode([row.premise for row in rows]), strict=True):
            yield Feature(row.uid, self._bits(row.labels[0]), (sequence,))

    def read_label(self, task: TaskDef, label: Any, lengths: Sequence[int]) -> Iterable[float]:
        return [label]

    def decide(self, features: FeatureSet, outputs: np.ndarray) -> Predictions:
        return Predictions(((outputs > 0) << np.arange(outputs.shape[1])).sum(-1))

    def table(self, features: FeatureSet, predicted: Predictions) -> Iterator[Sequence[str]]:
        yield from ([uid, bin(value)] for uid, value in zip(features.uids, predicted.values, strict=True))


class ManyLabelsHead(ClassificationHead):
    losses = ("BitsCriterion",)


def bits_loss(logits: Tensor, targets: Targets) -> Tensor:
    bits = (targets["label"][:, None] >> torch.arange(logits.shape[1])) & 1
    return functional.binary_cross_entropy_with_logits(logits.float(), bits.float(), reduction="none").mean(-1)


def test_a_further_kind_is_a_class_a_half_and_a_line_in_each_table(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "ManyLabels", ManyLabels())
    monkeypatch.setitem(HEADS, "ManyLabels", ManyLabelsHead)
    monkeypatch.setitem(LOSSES, "BitsCriterion", bits_loss)
    (tmp_path / "tasks.yml").write_text(
        "topics: {data_format: PremiseOnly, task_type: ManyLabels, n_class: 3, split_names: [train, dev]}\n"
    )
    for split in ("train", "dev"):
        rows = [f"{i}\t{('0', '0+2', '')[i % 3]}\ttopic {i % 3}\n" for i in range(9)]
        (tmp_path / f"topics_{split}.tsv").write_text("".join(row for row in rows if "\t\t" not in row))
    place = ["--task_def", str(tmp_path / "tasks.yml")]
    assert prepro_std.main(["--model", str(room.encoder), "--root_dir", str(tmp_path), *place, "--workers", "1"]) == 0
    flags = ["--data_dir", str(tmp_path / "tiny-bert"), *place, "--init_checkpoint", str(room.encoder), "--epochs", "1"]
    flags += ["--train_datasets", "topics", "--output_dir", str(tmp_path / "run"), "--no-tensorboard"]
    assert train.main(flags) == 0
    assert json.loads((tmp_path / "run/results.json").read_text())["tasks"]["topics"]["last"]["metrics"].keys() == {
        "ACC"
    }
