"""One measurement, in a process of its own: `python -m scripts.gpu.measure NAME OUTPUT FOLDER [--rehearse]`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from scripts.gpu.records import Writer

FUNCTIONS = {
    "kernels": ("correctness", "measure"),
    "steps": ("steps", "measure"),
    "speed": ("training", "measure_speed"),
    "pats": ("training", "measure_pats"),
    "memory": ("training", "measure_memory"),
    "resume": ("resume", "measure"),
    "suite": ("suite", "measure"),
}
"""Where each measurement is: module and function; imported late, as what one needs may not be installed."""


def run(name: str, output: Path, folder: Path, *, tiny: bool) -> None:
    """Run the measurement `name` and write its records to `NAME.jsonl` in `output`; a failure is one, too.

    What it makes to measure lies in `folder`, which the later ones share.
    """
    write = Writer(output / f"{name}.jsonl", name)
    module, function = FUNCTIONS[name]
    try:
        getattr(importlib.import_module(f"scripts.gpu.{module}"), function)(write, folder, tiny=tiny)
    except ModuleNotFoundError as error:
        write(name, status="skipped", note=f"{error.name} is not installed")
    except Exception as error:  # the other measurements go on
        write(name, status="FAILED", note=f"{type(error).__name__}: {error}"[:500])


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), tiny="--rehearse" in sys.argv[4:])
