"""What predict.py does once its flags are read: load the model, predict, and say what was written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from data_utils.model_folder import run_folder
from data_utils.tables.examples import ColumnMap
from data_utils.tables.options import STANDARD, options_of
from mt_dnn.bulk import TextRunner
from mt_dnn.memory import told_when_full
from mt_dnn.precision import other_precision
from mt_dnn.predict import TrainedModel, remarks_on
from mt_dnn.record.finished import settings_of
from mt_dnn.row_predictions import RowJob, predict_rows
from mt_dnn.sections import LoopConfig
from mt_dnn.table_output import TableJob, check_job
from mt_dnn.table_predictions import predict_table


def run(args: argparse.Namespace) -> None:
    """Predict as the flags of predict.py say.

    Raises:
        InputError: the model, its tasks or the rows do not fit what is asked.
        StoppedError: outputs that are not finite, or a disk that is full.
    """
    trained = TrainedModel.load(args.checkpoint)
    args.max_seq_len = args.max_seq_len or trained.max_seq_len
    loop = LoopConfig(device=args.device, bf16=args.bf16, batch_size_eval=args.batch_size_eval)
    on_scores = _remarks_on_scores(args, trained, loop)
    _note(remarks_on(trained, args.checkpoint, loop))
    with told_when_full("lower --batch_size_eval or --max_seq_len"):
        count = (_predict_rows if args.table is None else _predict_table)(args, trained, loop)
    _note(on_scores)
    if args.output != STANDARD:
        print(f"written: {args.output}, {count:,} predictions")


def _note(remarks: Sequence[str]) -> None:
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)


def _remarks_on_scores(args: argparse.Namespace, trained: TrainedModel, loop: LoopConfig) -> list[str]:
    """What one should know before scores are compared with the run's own; none where no rows are scored."""
    folder = run_folder(args.checkpoint)
    if args.table is not None:
        scored = args.label is not None
    else:
        scored = args.data_dir is not None and args.split in trained.task(args.task).dev_splits
    return other_precision(settings_of(folder), loop) if folder is not None and scored else []


def _predict_rows(args: argparse.Namespace, trained: TrainedModel, loop: LoopConfig) -> int:
    """Predict texts or rows of features; returns their number."""
    names = ("texts", "data_dir", "split", "features_of", "output", "soft_labels", "max_seq_len")
    job = RowJob(**{name: getattr(args, name) for name in names})
    return predict_rows(job, trained, trained.task(args.task), loop)


def _predict_table(args: argparse.Namespace, trained: TrainedModel, loop: LoopConfig) -> int:
    """Predict a table; returns the number of rows."""
    columns = ColumnMap(text=args.text, text2=args.text2, label=args.label, id=args.id)
    job = TableJob(
        table=args.table,
        columns=columns,
        options=options_of(args),
        output=args.output,
        embed=args.embed,
        soft_labels=args.soft_labels,
    )
    tasks = [] if job.embed else trained.several_tasks(args.task)
    check_job(job, tasks)
    runner = TextRunner(trained, loop, args.max_seq_len, pairs=columns.text2 is not None)
    return predict_table(job, tasks, runner, trained.model.encoder.hidden_size)
