"""What a run has left: its settings, scores and rows, for who tells of them and for who goes on with the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_utils.model_folder import run_folder
from data_utils.strict import read_yaml_mapping
from mt_dnn.places import from_here
from mt_dnn.record.results import read_results

CHAIN = 10
"""Runs that went on from one another, at most: a run's settings can name the run itself."""


@dataclass(frozen=True)
class Run:
    """What a run's folder says; each part is empty where it is not there, as in a copy of `best/` alone.

    Attributes:
        settings: `config.yaml`, flat, by flag name.
        results: `results.json`; empty while the run goes on.
        tasks: rows by task, from the run's first event: `train_rows`, and `dev_rows` by split.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: str) -> Run:
        """The run that a checkpoint belongs to, whichever of its folders is given; `InputError` for damaged files."""
        folder = run_folder(checkpoint)
        if folder is None:
            return cls()
        results = folder / "results.json"
        tasks = _start_of(folder / "metrics.jsonl").get("tasks")
        return cls(
            settings_of(folder),
            read_results(results) if results.is_file() else {},
            tasks if isinstance(tasks, dict) else {},
        )


def settings_of(folder: Path) -> dict[str, Any]:
    """A run's settings by flag name, with places that can be found from here; `InputError` for a damaged file."""
    return from_here(read_yaml_mapping(folder / "config.yaml"))


def first_encoder(model: str, base: Path = Path()) -> str:
    """The encoder that training began with: through the runs that it went on from, if it did; else the model itself.

    Args:
        model: a hub name or a folder, a run's or another.
        base: what relative folders start from.
    """
    for _ in range(CHAIN):
        if not model or (run := run_folder(str(base / model))) is None:
            break
        model = str(settings_of(run).get("init_checkpoint", ""))
    return model


def remark_on(checkpoint: str) -> str:
    """That the run of a checkpoint has not ended, where one can see it; else ""."""
    folder = run_folder(checkpoint)
    cut = folder is not None and not (folder / "results.json").is_file()
    return "the run has not ended: this is its best model so far; train.py --resume goes on" if cut else ""


def longest_row(folder: Path, encoder: int) -> int | None:
    """How many tokens a run's row had at most, as its first event says; `encoder` is what the encoder takes.

    The features are not asked: they may lie elsewhere by now, or have been made anew. Without its log, a run's settings
    say it; None where nothing does.
    """
    found = _start_of(folder / "metrics.jsonl").get("max_seq_len")
    if found is None:
        found = settings_of(folder).get("max_seq_len")
    return min(found, encoder) if isinstance(found, int) and found > 0 else None


def _start_of(log: Path) -> Mapping[str, Any]:
    """A run's first event; {} where there is none, or something else."""
    try:
        with log.open(encoding="utf-8") as file:
            event = json.loads(file.readline())
    except (OSError, ValueError):
        return {}
    return event if isinstance(event, dict) else {}
