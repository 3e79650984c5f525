"""What a run has left: its settings, scores and rows, for who tells of them and for who goes on with the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_utils.errors import InputError
from data_utils.manifest import read_manifest
from data_utils.model_folder import run_folder
from data_utils.strict import read_yaml_mapping
from mt_dnn.places import from_here
from mt_dnn.record.results import read_results


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
        return cls(
            settings_of(folder),
            read_results(results) if results.is_file() else {},
            _tasks_of(folder / "metrics.jsonl"),
        )


def settings_of(folder: Path) -> dict[str, Any]:
    """A run's settings by flag name, with places that can be found from here; `InputError` for a damaged file."""
    return from_here(read_yaml_mapping(folder / "config.yaml"))


def remark_on(checkpoint: str) -> str:
    """That the run of a checkpoint has not ended, where one can see it; else ""."""
    folder = run_folder(checkpoint)
    cut = folder is not None and not (folder / "results.json").is_file()
    return "the run has not ended: this is its best model so far; train.py --resume goes on" if cut else ""


def longest_row(settings: Mapping[str, Any], encoder: int) -> int | None:
    """How many tokens a run's row had at most; `encoder` is what the encoder takes. None where nothing says it."""
    found = [settings.get("max_seq_len")]
    try:
        manifest = read_manifest(settings["data_dir"])
        found.append(manifest.max_seq_len if manifest else None)
    except (KeyError, TypeError, InputError):  # features that are not here, or no more
        pass
    known = [length for length in found if isinstance(length, int) and length > 0]
    return min(*known, encoder) if known else None


def _tasks_of(log: Path) -> Mapping[str, Any]:
    """The tasks in a run's first event; {} where there is none, or something else."""
    try:
        with log.open(encoding="utf-8") as file:
            event = json.loads(file.readline())
        return event["tasks"] if isinstance(event["tasks"], dict) else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
