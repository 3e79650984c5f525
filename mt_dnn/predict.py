"""A trained model at work: what a run has exported (`best/`) predicts the rows of features, or of a file of texts."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from transformers import PreTrainedTokenizerBase

from data_utils.canonical import Problems, read_lines
from data_utils.errors import InputError, raise_all
from data_utils.features import FeatureSet
from data_utils.metrics import compute_metrics
from data_utils.model_folder import exported_model
from data_utils.task_def import DataFormat, TaskDef, TaskType, listed
from data_utils.tokenization import EncoderSettings, RowEncoder
from mt_dnn.batching import Collator, pick_packing
from mt_dnn.config import LoopConfig
from mt_dnn.data import check_added_tokens, own_tokenizer, try_length
from mt_dnn.distributed import ALONE
from mt_dnn.evaluate import Evaluator, Predictions
from mt_dnn.model import HEADS_FILE, MTDNN, TASKS_FILE, build_model
from mt_dnn.precision import Precision, pick_device
from mt_dnn.record.durable import damage

TEXTS = {DataFormat.PremiseOnly: 1, DataFormat.PremiseAndOneHypothesis: 2}
"""How many texts a row of each format has."""


@dataclass(frozen=True)
class TrainedModel:
    """An exported model with all that predicting takes.

    Attributes:
        folder: where it lies.
        tasks: by name; a head each.
        tokenizer: None where the encoder came without one.
    """

    folder: Path
    model: MTDNN
    tasks: Mapping[str, TaskDef]
    tokenizer: PreTrainedTokenizerBase | None

    @classmethod
    def load(cls, checkpoint: str) -> TrainedModel:
        """Load a run's best model, given its `--output_dir` or the `best/` in it.

        Raises:
            InputError: no such model, or it is damaged.
        """
        folder = Path(exported_model(checkpoint))
        if not (folder / TASKS_FILE).is_file():
            raise InputError(
                f"--checkpoint {checkpoint}: no exported model; expected the --output_dir of a train.py run"
            )
        if reason := damage(folder, required=(HEADS_FILE, TASKS_FILE)):
            raise InputError(f"--checkpoint {checkpoint}: the model in {folder} is damaged ({reason})")
        raw = json.loads((folder / TASKS_FILE).read_bytes())
        tasks = {name: TaskDef.from_dict(name, definition) for name, definition in raw.items()}
        model = build_model(str(folder), list(tasks.values()), dropout_p=0.0, seed=0)
        return cls(folder, model, tasks, own_tokenizer(str(folder)))

    def task(self, name: str | None) -> TaskDef:
        """The task of this name, or the only one; InputError where it has no such head, or several to choose from."""
        known = listed(list(self.tasks))
        if name is None:
            if len(self.tasks) > 1:
                raise InputError(f"--task is required: {self.folder} has heads for {known}")
            (name,) = self.tasks
        if name not in self.tasks:
            raise InputError(f"--task {name}: {self.folder} has heads for {known}")
        return self.tasks[name]

    def read_texts(self, path: Path, task: TaskDef, max_seq_len: int) -> FeatureSet:
        """Features of a file with one row a line, its two texts apart by a tab where the task has two.

        A row's uid is the number of its line, from 1; labels are zeros. Rows are cut to `max_seq_len` tokens, or to
        what the encoder takes.

        Raises:
            InputError: lines with another number of texts, a file that cannot be read, a model without a tokenizer.
        """
        if self.tokenizer is None:
            raise InputError(f"--texts needs a tokenizer, and {self.folder} has none; make features, see --data_dir")
        rows, problems = [], Problems(path)
        for number, line in enumerate(read_lines(path), start=1):
            texts = line.split("\t")
            if len(texts) != TEXTS[task.data_format] or not any(texts):
                problems.add(
                    number, f"{len(texts)} texts, expected {TEXTS[task.data_format]} (tabs stand between texts)"
                )
            rows.append(texts)
        raise_all(problems.messages())
        longest = min(max_seq_len, self.model.encoder.max_length)
        encoded = RowEncoder(EncoderSettings.of(self.tokenizer, longest)).encode(*map(list, zip(*rows, strict=False)))
        features = FeatureSet(
            task=task,
            split="",
            uids=[str(number) for number in range(1, len(rows) + 1)],
            labels=np.zeros(len(rows), dtype=np.float32 if task.task_type is TaskType.Regression else np.int64),
            token_ids=np.concatenate([row.token_ids for row in encoded]).astype(np.int32),
            type_ids=np.concatenate([row.type_ids for row in encoded]).astype(np.uint8),
            offsets=np.concatenate([[0], np.cumsum([len(row.token_ids) for row in encoded])]).astype(np.int64),
            texts=np.array([[*row.texts, (-1, 0, 0)][:2] for row in encoded], dtype=np.int32),
            sha256="",
        )
        check_added_tokens(features, self.model.encoder, self.tokenizer, str(self.folder))
        try_length(self.model.encoder, int(features.lengths.max()), str(self.folder))
        return features

    def predict(self, features: FeatureSet, loop: LoopConfig, max_seq_len: int) -> Predictions:
        """Predict every row; of `loop` device, precision and `batch_size_eval` count.

        Raises:
            InputError: a device that is not there.
            StoppedError: outputs that are not finite.
        """
        device = pick_device(loop, ALONE)
        encoder = self.model.to(device).encoder
        collator = Collator.for_encoder(
            encoder, packing=pick_packing("auto", encoder), max_length=max_seq_len, tokenizer=self.tokenizer
        )
        precision = Precision(device, fp16=loop.fp16, bf16=loop.bf16)
        return Evaluator(self.model, collator, precision, ALONE, loop.batch_size_eval, heed=lambda: None).predict(
            features
        )


def write_predictions(file: TextIO, features: FeatureSet, predicted: Predictions) -> None:
    """Tab-separated, with a header: `uid`, `prediction`, then the probability of each label by its name."""
    names = features.task.label_names
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerow(["uid", "prediction", *names])
    for i, (uid, value) in enumerate(zip(features.uids, predicted.values.tolist(), strict=True)):
        if predicted.scores is None:
            writer.writerow([uid, f"{value:.6g}"])
        else:
            writer.writerow([uid, names[value], *(f"{p:.6f}" for p in predicted.scores[i])])


def scores_in_words(features: FeatureSet, predicted: Predictions) -> str:
    """The metrics of a split that has labels, in points: `rte dev: ACC 71.12`."""
    found = compute_metrics(features.task, predicted.values, predicted.scores, features.labels)
    values: Sequence[str] = [f"{metric} {value:.2f}" for metric, value in found.items()]
    return f"{features.task.name} {features.split}: {', '.join(values)}"
