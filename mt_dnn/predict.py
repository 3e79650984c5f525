"""A trained model at work: what a run has exported (`best/`) predicts the rows of features, or of a file of texts."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from transformers import PreTrainedTokenizerBase

from data_utils.errors import InputError
from data_utils.features import FeatureSet, features_in_memory
from data_utils.fingerprints import damage
from data_utils.kinds.kind import Predictions
from data_utils.model_folder import exported_model, run_folder
from data_utils.row_checks import TextCheck
from data_utils.scoring import compute_metrics, unsupported_metrics
from data_utils.strict import listed, shown
from data_utils.task_def import TaskDef
from data_utils.tokenization import EncoderSettings, RowEncoder, check_special_tokens
from mt_dnn.batching import Collator, pick_packing
from mt_dnn.data import check_added_tokens, own_tokenizer, try_length
from mt_dnn.distributed import ALONE
from mt_dnn.evaluate import Evaluator
from mt_dnn.model import HEADS_FILE, MTDNN, TASKS_FILE, build_model, exported_tasks
from mt_dnn.precision import Precision, pick_device, precision_remarks
from mt_dnn.record.finished import longest_row, remark_on
from mt_dnn.record.results import ALIKE
from mt_dnn.sections import LoopConfig
from mt_dnn.texts import read_text_rows

USUAL_LENGTH = 512
"""Tokens of the longest rows, where nobody says it: what `train.py` has if not asked for anything else."""


@dataclass(frozen=True)
class TrainedModel:
    """An exported model with all that predicting takes.

    Attributes:
        folder: where it lies.
        tasks: by name; a head each.
        tokenizer: None where the encoder came without one.
        trained_length: tokens of the longest rows that it was trained and scored with; None where nothing says it, as
            in a copy of `best/` alone.
    """

    folder: Path
    model: MTDNN
    tasks: Mapping[str, TaskDef]
    tokenizer: PreTrainedTokenizerBase | None
    trained_length: int | None

    @classmethod
    def load(cls, checkpoint: str, flag: str = "--checkpoint") -> TrainedModel:
        """Load a run's best model, given its `--output_dir` or the `best/` in it; messages begin with `flag`.

        Raises:
            InputError: no such model, or it is damaged.
        """
        folder = Path(exported_model(checkpoint))
        if not (folder / TASKS_FILE).is_file():
            raise InputError(f"{flag} {checkpoint}: no exported model; expected the --output_dir of a train.py run")
        if reason := damage(folder, required=(HEADS_FILE, TASKS_FILE)):
            raise InputError(f"{flag} {checkpoint}: the model in {folder} is damaged ({reason})")
        tasks = exported_tasks(folder)
        model = build_model(str(folder), list(tasks.values()), dropout_p=0.0, seed=0)
        run = run_folder(checkpoint)
        longest = None if run is None else longest_row(run, model.encoder.max_length)
        return cls(folder, model, tasks, own_tokenizer(str(folder)), longest)

    @property
    def max_seq_len(self) -> int:
        """Tokens that a row is cut to unless another number is asked for."""
        return self.trained_length or USUAL_LENGTH

    def task(self, name: str | None, flag: str = "--task") -> TaskDef:
        """The task of this name, or the only one.

        Raises:
            InputError: there is no such head, or several to choose from; the message begins with `flag`.
        """
        known = listed(list(self.tasks))
        if name is None:
            if len(self.tasks) > 1:
                raise InputError(f"{flag} is required: {self.folder} has heads for {known}")
            (name,) = self.tasks
        if name not in self.tasks:
            raise InputError(f"{flag} {name}: {self.folder} has heads for {known}")
        return self.tasks[name]

    def several_tasks(self, names: str | None) -> list[TaskDef]:
        """The tasks of these names, with commas between them, or the only one; `InputError` as for `task`."""
        if names is None:
            return [self.task(None)]
        return [self.task(name) for name in dict.fromkeys(name.strip() for name in names.split(","))]

    def read_texts(self, source: str, task: TaskDef, max_seq_len: int, check: TextCheck) -> FeatureSet:
        """Features of a file, or of standard input, with one row a line: see `read_text_rows`.

        A row's uid is the number of its line, from 1; labels are zeros. Rows are cut to `max_seq_len` tokens, or to
        what the encoder takes, here or in `predict`. `check` sees them.

        Raises:
            InputError: lines that are not rows, a file that cannot be read, a model without a tokenizer or with one
                that adds no special tokens.
        """
        self.check_tokenizer("--texts")  # before anything is read
        rows = read_text_rows(source, task, check)
        settings = self.settings(max_seq_len, pairs=bool(rows[0].hypotheses))
        longest = settings.max_seq_len
        if task.kind.predicts_cut_words:  # the collator cuts
            settings = dataclasses.replace(settings, max_seq_len=sys.maxsize)
        encoder = RowEncoder(settings)
        made = list(task.kind.features(task, rows, encoder))
        check.see_wordless(one.uid for one in made if all(map(encoder.is_wordless, one.sequences)))
        features = features_in_memory(task, made)
        check_added_tokens(features, self.model.encoder, self.tokenizer, str(self.folder))
        try_length(self.model.encoder, min(longest, int(features.lengths.max())), str(self.folder))
        return features

    def check_tokenizer(self, what: str) -> PreTrainedTokenizerBase:
        """The tokenizer; `InputError` where there is none, and `what` needs one."""
        if self.tokenizer is None:
            raise InputError(f"{what} needs a tokenizer, and {self.folder} has none; make features, see --data_dir")
        return self.tokenizer

    def settings(self, max_seq_len: int, *, pairs: bool) -> EncoderSettings:
        """How texts become tokens, cut to `max_seq_len` or to what the encoder takes.

        Raises:
            InputError: no tokenizer, or one that adds no special tokens; `pairs` says whether between two texts, too.
        """
        longest = min(max_seq_len, self.model.encoder.max_length)
        settings = EncoderSettings.of(self.check_tokenizer("a text"), longest)
        check_special_tokens(settings, str(self.folder), pairs=pairs)
        return settings

    def evaluator(self, loop: LoopConfig, max_seq_len: int) -> Evaluator:
        """Runs the model; of `loop` device, precision and `batch_size_eval` count; `InputError`: no such device."""
        device = pick_device(loop, ALONE)
        encoder = self.model.to(device).encoder
        collator = Collator.for_encoder(
            encoder, packing=pick_packing("auto", encoder), max_length=max_seq_len, tokenizer=self.tokenizer
        )
        precision = Precision(device, fp16=loop.fp16, bf16=loop.bf16)
        return Evaluator(self.model, collator, precision, ALONE, loop.batch_size_eval, before_pass=lambda: None)

    def predict(self, features: FeatureSet, loop: LoopConfig, max_seq_len: int) -> Predictions:
        """Predict every row; see `evaluator`.

        Raises:
            InputError: a device that is not there.
            StoppedError: outputs that are not finite.
        """
        return self.evaluator(loop, max_seq_len).predict(features)


def remarks_on(trained: TrainedModel, checkpoint: str, loop: LoopConfig) -> list[str]:
    """What one should know before a prediction: of the encoder, of a run that has not ended, of slow bfloat16.

    Raises:
        InputError: there is no such device.
    """
    unfinished = filter(None, [remark_on(checkpoint)])
    return [*trained.model.encoder.remarks, *unfinished, *precision_remarks(loop, pick_device(loop, ALONE))]


def check_uids(features: FeatureSet) -> None:
    """Raise `InputError` for a row's name that cannot stand in a line of predictions."""
    for uid in features.uids:
        if set("\t\r\n") & set(uid):
            where = f"{features.task.name} {features.split}"
            raise InputError(f"{where}: the uid {shown(uid)} holds a tab or a line end, which predictions cannot carry")


def write_predictions(file: TextIO, features: FeatureSet, predicted: Predictions) -> None:
    """Tab-separated, with a header: `uid`, `prediction`, and what the task's kind has beside, such as probabilities.

    Quotes are ordinary characters, as in canonical rows, so that uids can be joined; see `check_uids`.
    """
    for line in features.task.kind.table(features, predicted):
        print(*line, sep="\t", file=file)


def scores_in_words(features: FeatureSet, predicted: Predictions) -> str:
    """The metrics of a split that has labels, in points: `rte dev: ACC 71.12`; or why there are none."""
    if lacking := unsupported_metrics(features.task):
        kind = features.task.kind.name
        return f"{features.task.name} {features.split}: not scored, as {kind} has no metric {listed(lacking)}"
    found = compute_metrics(features.task, predicted, features.task.kind.gold(features))
    values: Sequence[str] = [f"{metric} {value:.2f}" for metric, value in found.items()]
    alike = ALIKE * features.task.kind.is_constant(predicted.values, features.task.kind.gold(features))
    return f"{features.task.name} {features.split}: {', '.join(values)}{alike}"
