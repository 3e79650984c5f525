"""Predict with a model that `train.py` has trained: a table, a file of texts, or rows of features.

    python predict.py --checkpoint runs/reviews --table new.csv --text review --id id --output predictions.csv
    python predict.py --checkpoint runs/reviews --texts new.txt --output predictions.tsv
    python predict.py --checkpoint runs/rte-pats --data_dir data/canonical_data/bert-base-uncased --split test

Of a table (CSV, TSV, JSON lines, Parquet) of any length it writes each row's id, the prediction, and the probability of
each label, in the format that the output's name says; `--label` scores it. `--texts` and `--data_dir` are for all kinds
of task, and write a tab-separated table in which quotes are ordinary characters; of a dev split the scores are told,
too. A file of texts has one row a line, with a tab between its texts; a row's uid is the number of its line.
Exit codes: 0 done, 2 the input is wrong, 3 interrupted, 1 anything else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, entry_point, raise_all
from data_utils.mt_dnn_flags import PREDICT
from data_utils.tables.options import ENDINGS, STANDARD, add_option_flags
from data_utils.tables.writing import other_ending, overwriting

TABLE_ONLY = ("text", "text2", "id", "label", "embed", "table_format", "encoding", "delimiter", "quotes")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags; `InputError` for unknown ones, and for rows from two sources or from none."""
    parser = Parser(description="Predict with a model that train.py has trained.", allow_abbrev=False, mt_dnn=PREDICT)
    parser.add_argument("--checkpoint", required=True, type=path_text, help="the --output_dir of a run, or its best/")
    parser.add_argument("--task", help="which of the model's tasks (default: the only one); of a table a,b,... at once")
    parser.add_argument("--table", type=path_text, help="CSV, TSV, JSON lines or Parquet, - for standard input")
    parser.add_argument("--text", help="the table's column of the text")
    parser.add_argument("--text2", help="the table's column of the second text, for pairs")
    parser.add_argument("--id", help="the table's column of the rows' names (default: rows are numbered)")
    parser.add_argument("--label", help="the table's column of labels: the predictions are scored, too")
    parser.add_argument("--embed", action="store_true", help="write the pooled vector of each row of the table instead")
    parser.add_argument("--texts", type=path_text, help="file with a row a line, no table; - for standard input")
    parser.add_argument("--data_dir", type=path_text, help="folder of features; needs --split")
    parser.add_argument("--split", help="such as test, dev, matched_dev")
    parser.add_argument(
        "--features_of", metavar="TASK", help="another task with the same labels, whose rows to take, as ax for mnli"
    )
    parser.add_argument("--soft_labels", action="store_true", help="write JSON lines of uid and logits, to distil from")
    parser.add_argument(
        "--output", type=path_text, default=STANDARD, help="file to write (default, -: standard output)"
    )
    parser.add_argument("--batch_size_eval", type=int, default=64, help="rows a forward pass (default: 64)")
    parser.add_argument(
        "--max_seq_len", type=int, help="rows are cut to so many tokens (default: as in training, 512 if unknown)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    add_option_flags(parser)
    args = parser.parse_args(argv)
    sources = [source for source in (args.table, args.texts, args.data_dir) if source is not None]
    if len(sources) != 1 or (args.data_dir is None) != (args.split is None):
        raise InputError("expected either --texts, or --data_dir and --split, or --table and --text")
    if args.data_dir is None and args.features_of is not None:
        raise InputError("--features_of would have no effect: it needs --data_dir")
    small = {"batch_size_eval": 1, "max_seq_len": 8}
    given = {name: value for name in small if (value := getattr(args, name)) is not None}
    bad = [
        f"--{name} must be at least {small[name]}, got {value}" for name, value in given.items() if value < small[name]
    ]
    if args.table is None:
        bad += [f"--{name} goes with --table, which is not given" for name in TABLE_ONLY if getattr(args, name)]
    elif args.text is None:
        bad.append("--text is required with --table: the column of the text")
    bad += _table_as_texts(args.texts)
    if args.table is None or (args.soft_labels and not args.embed):
        bad += other_ending(args.output, "jsonl" if args.soft_labels else "tsv")
    bad += overwriting(args.output, {"the table itself": args.table, "the texts themselves": args.texts})
    bad += ["--task would have no effect: vectors are of no task"] * (args.embed and args.task is not None)
    raise_all(bad)
    return args


def _table_as_texts(texts: str | None) -> list[str]:
    """A line where the name of a file of texts says that it is a table, whose lines would be taken as texts."""
    told = (
        f"--texts {texts}: the name says that it is a table, and here each line would be a text: "
        f"--table {texts} --text COLUMN reads it; if its lines are texts as they stand, call it .txt"
    )
    tables = ENDINGS.keys() - {".tsv"}  # pairs of texts have a tab between them
    return [told] * (texts is not None and Path(texts).suffix.lower() in tables)


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    args = parse_args(argv)
    from mt_dnn.predict_command import run  # seconds to import, for which nobody should wait who has mistyped a flag

    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
