"""Take a trained model out: an ordinary Hugging Face folder for `transformers`, with a model card, and ONNX.

    python export.py --checkpoint runs/reviews --output model/
    python export.py --checkpoint runs/glue --task rte --output rte/ --onnx
    python export.py --checkpoint runs/glue --encoder_only --output encoder/

The folder is loaded again and compared with the run's model before it is put in place; docs/export.md says more. Exit
codes: 0 done, 2 the input is wrong, 3 interrupted, 1 anything else; no folder is left unless all is done.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.cli import Parser, path_text
from data_utils.errors import entry_point, raise_all
from mt_dnn.export.source import checkpoint_problems, known_tasks
from mt_dnn.record.finished import Run, remark_on


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags; `InputError` with all that is wrong with them."""
    parser = Parser(description="Take a trained model out, for transformers and ONNX.", allow_abbrev=False)
    parser.add_argument("--checkpoint", required=True, type=path_text, help="the --output_dir of a run, or its best/")
    parser.add_argument("--task", help="which of the model's tasks (default: the only one)")
    parser.add_argument("--output", required=True, type=path_text, help="folder to write; empty, or not there yet")
    parser.add_argument("--encoder_only", action="store_true", help="the refined encoder alone, for AutoModel")
    parser.add_argument("--onnx", action="store_true", help="add model.onnx (needs onnx, onnxscript, onnxruntime)")
    args = parser.parse_args(argv)
    raise_all(flag_problems(args))
    if args.onnx:
        from mt_dnn.export.onnx_file import check_packages

        check_packages()
    return args


def flag_problems(args: argparse.Namespace) -> list[str]:
    """What is wrong with the flags, a line each."""
    useless = {"--task": args.task is not None, "--onnx": args.onnx} if args.encoder_only else {}
    bad = [f"{flag} contradicts --encoder_only, which writes no head" for flag, given in useless.items() if given]
    bad += checkpoint_problems(args.checkpoint)
    known = known_tasks(args.checkpoint)
    if args.task is None and len(known) > 1 and not args.encoder_only:
        bad.append(f"--task is required: {args.checkpoint} has {', '.join(known)}")
    if args.task is not None and known and args.task not in known:
        bad.append(f"--task {args.task}: {args.checkpoint} has {', '.join(known)}")
    return bad + output_problems(Path(args.output))


def output_problems(output: Path) -> list[str]:
    """Why nothing can be written there."""
    if output.is_dir():
        taken = any(output.iterdir())
        return [f"--output {output}: holds files already; choose an empty or a new folder"] * taken
    if os.path.lexists(output):
        return [f"--output {output}: is a file, not a folder"]
    existing = next(path for path in output.absolute().parents if path.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    return [] if writable else [f"--output {output}: {existing} is no folder that can be written to"]


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    args = parse_args(argv)

    # Seconds to import, for which nobody should wait who has mistyped a flag.
    from mt_dnn.export.write import Export
    from mt_dnn.predict import TrainedModel

    trained, run = TrainedModel.load(args.checkpoint), Run.of(args.checkpoint)
    task = None if args.encoder_only else trained.task(args.task)
    if remark := remark_on(args.checkpoint):
        print(f"note: {remark}", file=sys.stderr)
    export = Export(trained, run, task, Path(os.path.abspath(args.output)), args.onnx)
    for what, difference in export.write().items():
        print(f"{what}, loaded again: largest difference from the run's model {difference:.1e}")
    if trained.tokenizer is None:
        print("note: no tokenizer in it, as the encoder came without one")
    if export.custom:
        print("note: it brings code along, custom_model.py: load it with trust_remote_code=True (README.md says why)")
    print(f"written: {args.output}; README.md in it shows how to load it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
