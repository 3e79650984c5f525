"""Which folder is meant where a command takes a model: a run's output folder and its `best/` stand for its encoder."""

from __future__ import annotations

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
