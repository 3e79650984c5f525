"""Predict with a model that `train.py` has trained: rows of features, or of a file of texts.

    python predict.py --checkpoint runs/rte-pats --data_dir data/canonical_data/bert-base-uncased --split test
    python predict.py --checkpoint runs/reviews --texts new.txt --output predictions.tsv

Writes `uid`, `prediction` and what belongs to it, such as the probability of each label, tab-separated, to standard
output or to `--output`. A file of texts (`-`: standard input) has one row a line, with a tab between its texts; a row's
uid is the number of its line. Of a dev split the scores are told, too. Quotes are ordinary characters in all files.
Exit codes: 0 done, 2 the input is wrong, 1 anything else.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.atomic import StagedFiles
from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, entry_point, raise_all
from data_utils.features import FeatureSet, load_features
from data_utils.mt_dnn_flags import PREDICT
from data_utils.row_checks import TextCheck
from data_utils.task_def import TaskDef
from mt_dnn.config import LoopConfig
from mt_dnn.data import check_fits_encoder, shortened
from mt_dnn.predict import TrainedModel, check_uids, scores_in_words, write_predictions


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags; `InputError` for unknown ones, and for rows from two sources or from none."""
    parser = Parser(description="Predict with a model that train.py has trained.", allow_abbrev=False, mt_dnn=PREDICT)
    parser.add_argument("--checkpoint", required=True, type=path_text, help="the --output_dir of a run, or its best/")
    parser.add_argument("--task", help="which of the model's tasks (default: the only one)")
    parser.add_argument("--data_dir", type=path_text, help="folder of features; needs --split")
    parser.add_argument("--split", help="such as test, dev, matched_dev")
    parser.add_argument("--texts", type=path_text, help="file with a row a line, - for standard input")
    parser.add_argument("--output", type=path_text, help="file to write (default, and -: standard output)")
    parser.add_argument("--batch_size_eval", type=int, default=64, help="rows a forward pass (default: 64)")
    parser.add_argument("--max_seq_len", type=int, default=512, help="rows are cut to so many tokens (default: 512)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    args = parser.parse_args(argv)
    if (args.texts is None) == (args.data_dir is None) or (args.data_dir is None) != (args.split is None):
        raise InputError("expected either --texts, or --data_dir and --split")
    small = {"batch_size_eval": 1, "max_seq_len": 8}
    values = {name: getattr(args, name) for name in small}
    raise_all([f"--{n} must be at least {small[n]}, got {value}" for n, value in values.items() if value < small[n]])
    return args


def features_of(args: argparse.Namespace, trained: TrainedModel, task: TaskDef) -> FeatureSet:
    """The rows to predict; `InputError` where they cannot be read, or are not for this model."""
    if args.texts is not None:
        check = TextCheck()
        features = trained.read_texts(args.texts, task, args.max_seq_len, check)
        print("".join(f"warning: {warning}\n" for warning in check.warnings()), end="", file=sys.stderr)
        return features
    if args.split not in task.split_names:
        raise InputError(f"--split {args.split}: {task.name} has {', '.join(task.split_names)}")
    features = load_features(args.data_dir, task, args.split)
    longest = min(args.max_seq_len, trained.model.encoder.max_length)
    name = str(trained.folder)
    check_fits_encoder(
        [features],
        trained.model.encoder,
        trained.tokenizer,
        data_dir=args.data_dir,
        init_checkpoint=name,
        max_seq_len=longest,
    )
    return features


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    args = parse_args(argv)
    trained = TrainedModel.load(args.checkpoint)
    task = trained.task(args.task)
    for remark in trained.model.encoder.remarks:
        print(f"note: {remark}", file=sys.stderr)
    features = features_of(args, trained, task)
    check_uids(features)
    if cut := shortened(features, args.max_seq_len):
        print(f"{cut:,} of {len(features):,} rows are shortened to {args.max_seq_len} tokens", file=sys.stderr)
    loop = LoopConfig(device=args.device, bf16=args.bf16, batch_size_eval=args.batch_size_eval)
    predicted = trained.predict(features, loop, min(args.max_seq_len, trained.model.encoder.max_length))
    if args.output in (None, "-"):
        with contextlib.suppress(AttributeError):  # a stream that is something else, as in notebooks
            sys.stdout.reconfigure(encoding="utf-8")  # as files are, so that uids stay whole
        write_predictions(sys.stdout, features, predicted)
    else:
        with StagedFiles() as staged, staged.path(Path(args.output)).open("w", encoding="utf-8", newline="") as file:
            write_predictions(file, features, predicted)
        print(f"written: {args.output}, {len(predicted.values):,} predictions")
    if features.split in task.dev_splits:
        print(scores_in_words(features, predicted), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
