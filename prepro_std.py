r"""Turn canonical TSV files, or a table of your own, into features: token ids for one model's tokenizer.

    python prepro_std.py --model NAME_OR_DIR --root_dir data/canonical_data \
        --task_def experiments/glue/glue_task_def.yml
    python prepro_std.py --model NAME_OR_DIR --root_dir data/reviews \
        --table reviews.csv --text review --label stars --task reviews

Writes `<root_dir>/<last part of the model's name>/<task>_<split>.json` and a `manifest.json`, all or nothing, and
prints a line per task and split. Of a table (CSV, TSV, JSON lines, Parquet) it makes the task's definition and
canonical rows, too, and says what it found and how to go on. Exit codes: 0 done, 2 the input is wrong, 3 interrupted,
1 anything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, entry_point
from data_utils.hub import model_source
from data_utils.model_folder import encoder_source
from data_utils.mt_dnn_flags import PREPRO_STD
from data_utils.prepare import PreparationConfig, prepare
from data_utils.tables.convert import TableConfig, next_commands, prepare_table
from data_utils.tables.flags import add_table_flags, no_table, table_config


def parse_args(argv: Sequence[str] | None) -> PreparationConfig | TableConfig:
    """Read the flags.

    Raises:
        InputError: an unknown flag, a value that is missing or out of range, or a folder that does not exist.
    """
    description = "Turn canonical TSV files, or a table of your own, into features for one model's tokenizer."
    parser = Parser(description=description, allow_abbrev=False, mt_dnn=PREPRO_STD)
    parser.add_argument("--model", type=path_text, required=True, help="hub name or local folder of the model")
    parser.add_argument(
        "--root_dir", type=path_text, required=True, help="folder of the canonical <task>_<split>.tsv files"
    )
    parser.add_argument("--task_def", type=path_text, help="task definition file (YAML); or give --table")
    parser.add_argument("--tasks", help="comma-separated; default: every defined task that has a file")
    parser.add_argument("--max_seq_len", type=int, default=512, help="cut rows to this many tokens (default: 512)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="tokenising processes (default: one a core)"
    )
    add_table_flags(parser)
    args = parser.parse_args(argv)
    if args.table is not None:
        return table_config(args)
    no_table(args)
    if args.task_def is None:
        raise InputError(f"either --task_def or --table is required\n(all flags: {parser.prog} --help)")
    return PreparationConfig(**vars(args))


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run with the given flags (the command line's if None); returns the exit code."""
    config = parse_args(argv)
    then: list[str] = []
    unscored = ""
    if isinstance(config, TableConfig):
        made = prepare_table(config)
        out_dir, then, unscored = made.data_dir, next_commands(config, made), made.unscored
    else:
        out_dir = prepare(config)
    print(f"features and manifest: {out_dir}")
    from module.preview import preview  # brings torch, for which nobody wants to wait before an error

    if remark := preview(model_source(encoder_source(config.model), "--model"), config.max_seq_len):
        print(f"note: {remark}", file=sys.stderr)
    if unscored:
        print(f"note: --test_splits is left out below, as {unscored}")
    if then:
        print("\nGo on with:", *then, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
