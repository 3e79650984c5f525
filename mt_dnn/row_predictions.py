"""Predictions of features, or of a file of texts: all rows at once, any kind of task."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from data_utils.errors import InputError, raise_all
from data_utils.features import FeatureSet, feature_path, load_features
from data_utils.manifest import read_manifest
from data_utils.row_checks import TextCheck
from data_utils.tables.options import STANDARD
from data_utils.tables.writing import overwriting, text_output
from data_utils.task_def import TaskDef, name_problems
from mt_dnn.data import check_fits_encoder, made_short, shortened
from mt_dnn.predict import TrainedModel, check_uids, scores_in_words, write_predictions
from mt_dnn.sections import LoopConfig
from mt_dnn.soft_labels import by_row, check_uncut, soft_label_lines


@dataclass(frozen=True, kw_only=True)
class RowJob:
    """What to predict and where to; the fields are flags of `predict.py`.

    Attributes:
        texts: a file with a row a line, `-` for standard input; None: features.
        data_dir, split: where these are.
        features_of: another task with the same labels, whose rows to take; None: the task's own.
        output: a file, or `-` for standard output.
        soft_labels: whether to write JSON lines of logits in place of predictions, see `mt_dnn.soft_labels`.
        max_seq_len: rows are cut to so many tokens, or to what the encoder takes.
    """

    max_seq_len: int

    texts: str | None = None
    data_dir: str | None = None
    split: str | None = None
    features_of: str | None = None
    output: str = STANDARD
    soft_labels: bool = False


def predict_rows(job: RowJob, trained: TrainedModel, task: TaskDef, loop: LoopConfig) -> int:
    """Predict the rows and write what is found; scores of a dev split go to standard error.

    Returns:
        The number of predictions, or of soft labels.

    Raises:
        InputError: rows that cannot be read, or are not for this model. No file is written then.
        StoppedError: outputs that are not finite.
    """
    if job.data_dir is not None and job.split is not None:
        path = feature_path(job.data_dir, job.features_of or task.name, job.split)
        raise_all(overwriting(job.output, {"the features themselves": path}))
    features = _features(job, trained, task)
    longest = min(job.max_seq_len, trained.model.encoder.max_length)
    if job.soft_labels:
        check_uncut(features, longest)
    else:
        check_uids(features)
    print("".join(f"{note}\n" for note in _cut_notes(job, features, longest)), end="", file=sys.stderr)
    evaluator = trained.evaluator(loop, longest)
    outputs = evaluator.checked_outputs(features)
    predicted = task.kind.decide(features, outputs)
    with text_output(job.output) as file:
        if job.soft_labels:
            file.writelines(soft_label_lines(task, features.uids, by_row(features, outputs)))
        else:
            write_predictions(file, features, predicted)
    if features.split in task.dev_splits:
        print(scores_in_words(features, predicted), file=sys.stderr)
    return len(features.uids) if job.soft_labels else len(predicted.values)


def _cut_notes(job: RowJob, features: FeatureSet, longest: int) -> list[str]:
    """How many rows are cut, a line for when they were made, and one for now, to `longest` tokens."""
    rows = len(features)
    if job.data_dir is None:  # texts: all that is cut is cut now
        made, now = 0, shortened(features, longest)
    else:
        made, now = int(made_short(features).sum()), int((features.longest > longest).sum())
    notes = [f"{now:,} of {rows:,} rows are shortened to {longest} tokens"] * (now > 0)
    if made and job.data_dir is not None:
        manifest = read_manifest(job.data_dir)
        length = f" to {manifest.max_seq_len} tokens" if manifest else ""
        tagless = "; the words that were cut off have no tag, and --texts gives every word one"
        more = tagless if features.task.kind.predicts_cut_words else ""
        notes.insert(0, f"{made:,} of {rows:,} rows were cut{length} when the features were made{more}")
    return notes


def _features(job: RowJob, trained: TrainedModel, task: TaskDef) -> FeatureSet:
    """The rows to predict; `InputError` where they cannot be read, or are not for this model."""
    if job.texts is not None:
        check = TextCheck()
        features = trained.read_texts(job.texts, task, job.max_seq_len, check)
        print("".join(f"warning: {warning}\n" for warning in check.warnings()), end="", file=sys.stderr)
        return features
    if job.data_dir is None or job.split is None:
        raise InputError("expected --data_dir and --split")
    if job.features_of is not None:
        raise_all([f"--features_of: {problem}" for problem in name_problems("name", job.features_of)])
        features = load_features(job.data_dir, task, job.split, origin=job.features_of)
    elif job.split in task.split_names:
        features = load_features(job.data_dir, task, job.split)
    else:
        raise InputError(f"--split {job.split}: {task.name} has {', '.join(task.split_names)}")
    longest = min(job.max_seq_len, trained.model.encoder.max_length)
    check_fits_encoder(
        [features],
        trained.model.encoder,
        trained.tokenizer,
        data_dir=job.data_dir,
        init_checkpoint=str(trained.folder),
        max_seq_len=longest,
    )
    return features
