"""Which folder is meant where a command takes a model: a run's output folder and its `best/` stand for its encoder."""

from __future__ import annotations

import os
from pathlib import Path

BEST, ENCODER = "best", "encoder"
"""The exported model in a run's folder, and the Hugging Face folder inside of it."""
TASKS_FILE = "tasks.json"
"""Beside the latter: the definition of each task that the model has a head for, by name."""


def exported_model(name_or_dir: str) -> str:
    """The exported model of a run whose output folder this is; else the name itself."""
    inner = Path(name_or_dir) / BEST
    return str(inner) if (inner / ENCODER / "config.json").is_file() else name_or_dir


def encoder_source(name_or_dir: str) -> str:
    """The encoder's name or folder: of a run or an exported model the folder inside of it, else the name itself."""
    model = exported_model(name_or_dir)
    inner = Path(model) / ENCODER
    return str(inner) if (inner / "config.json").is_file() else model


def run_folder(checkpoint: str) -> Path | None:
    """The run's folder, given that, its `best/` or the encoder in it; None where there is no run around it."""
    path = Path(os.path.abspath(checkpoint))
    steps = {BEST: path.parent, ENCODER: path.parent.parent}
    for folder in (path, steps.get(path.name, path)):
        if (folder / "config.yaml").is_file():
            return folder
    return None
