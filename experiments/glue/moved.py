"""Where the study commands went that lived in this folder until November 2026: `python -m studies.sweep` and others."""

from __future__ import annotations

import sys
from pathlib import Path


def moved(file: str) -> None:
    """Say what the command in a file of this folder is called now, and end with exit code 2."""
    name = Path(file).stem
    print(f"error: experiments.glue.{name} is now studies.{name}: python -m studies.{name} …", file=sys.stderr)
    sys.exit(2)
