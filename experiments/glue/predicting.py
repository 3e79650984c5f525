"""Predictions of a trained run, made by `predict.py` as a program of its own, and read from the table it writes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.canonical import read_lines
from data_utils.errors import InputError, SignalledError, StoppedError

PREDICT = Path(__file__).resolve().parents[2] / "predict.py"


def add_predict_flags(parser: argparse.ArgumentParser) -> None:
    """Give a command those flags of predict.py that are about speed and place."""
    parser.add_argument("--batch_size_eval", help="predict.py's: rows a forward pass")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="predict.py's")
    parser.add_argument("--bf16", action="store_true", help="predict.py's: bfloat16 autocast")


def predict_flags(args: argparse.Namespace) -> list[str]:
    """What of these flags was given."""
    given = {name: getattr(args, name) for name in ("batch_size_eval", "device")}
    flags = [part for name, value in given.items() if value is not None for part in (f"--{name}", value)]
    return flags + ["--bf16"] * args.bf16


def predict(flags: Sequence[str]) -> None:
    """Run predict.py, and pass on its remarks.

    Raises:
        InputError: it found its input wrong.
        StoppedError: it ended early for another reason.
    """
    command = [sys.executable, str(PREDICT), *flags]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        print(done.stderr, end="", file=sys.stderr)
        return
    kinds = {InputError.exit_code: InputError, SignalledError.exit_code: SignalledError}
    said = done.stderr.strip().removeprefix("error: ").removeprefix("stopped: ")
    raise kinds.get(done.returncode, StoppedError)(f"predict.py {' '.join(flags)}\n{said or done.returncode}")


def read_predictions(path: Path) -> dict[str, str]:
    """What predict.py predicted, by uid, in its order; `InputError` for a file that is not its."""
    lines = read_lines(path)
    header = next(lines).split("\t")
    if header[:2] != ["uid", "prediction"]:
        raise InputError(f"{path}: not a table of predictions; remove it, and it is made anew")
    rows = [line.split("\t") for line in lines]
    if any(len(row) != len(header) for row in rows):
        raise InputError(f"{path}: a row has not {len(header)} columns; remove it, and it is made anew")
    return {row[0]: row[1] for row in rows}
