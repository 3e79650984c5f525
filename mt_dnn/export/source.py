"""What an export is made of: the model at a checkpoint, and the pretrained encoder that training began with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_utils.manifest import model_short_name
from data_utils.model_folder import BEST, ENCODER, TASKS_FILE, exported_model
from data_utils.strict import listed
from mt_dnn.record.finished import first_encoder

UNKNOWN = "unknown"
MOST_NAMES = 20
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")


def checkpoint_problems(checkpoint: str) -> list[str]:
    """Why there is nothing to export at `checkpoint`, with the names that exist; [] where there is."""
    path, flag = Path(checkpoint), f"--checkpoint {checkpoint}"
    if (Path(exported_model(checkpoint)) / TASKS_FILE).is_file():
        return []
    if path.name == ENCODER and (path.parent / TASKS_FILE).is_file():
        return [f"{flag}: this is the encoder alone; give {path.parent}, which has the heads, too"]
    if (path / "config.yaml").is_file():
        return [f"{flag}: the run has no finished {BEST}/ yet; it comes with its first evaluation (--resume goes on)"]
    around = path if path.is_dir() else path.parent
    runs = [str(one) for one in sorted(around.glob("*")) if (one / BEST / TASKS_FILE).is_file()]
    there = f"; {around} has {listed(runs[:MOST_NAMES])}" if runs else ""
    what = "no exported model in it" if path.exists() else "no such folder"
    return [f"{flag}: {what}; expected the --output_dir of a train.py run, or its {BEST}/{there}"]


def known_tasks(checkpoint: str) -> list[str]:
    """The tasks of the model there; [] where there is none that can be read."""
    try:
        return list(json.loads((Path(exported_model(checkpoint)) / TASKS_FILE).read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return []


@dataclass(frozen=True)
class Origin:
    """The pretrained encoder that training began with.

    Attributes:
        name: its hub name, or the last part of its folder.
        hub: whether that is a hub name.
        licence: what its folder says, or `UNKNOWN`.
    """

    name: str
    hub: bool
    licence: str

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Origin:
        """Of a run's settings: through the runs it was trained on from, if it was."""
        name = first_encoder(str(settings.get("init_checkpoint", "")))
        if not name:
            return cls(UNKNOWN, False, UNKNOWN)
        if os.path.isdir(name):
            return cls(model_short_name(name), False, licence_in(Path(name)))
        hub = name.count("/") < 2 and not name.startswith((".", "/", "~"))
        return cls(name if hub else model_short_name(name), hub, UNKNOWN)


def licence_in(folder: Path) -> str:
    """The licence that a model's folder names: in its card's front matter, or as the first line of its own file."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        front = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else None
    except (OSError, ValueError, LookupError, yaml.YAMLError, RecursionError):
        front = None
    if isinstance(front, dict) and (found := front.get("license_name") or front.get("license")):
        names = found if isinstance(found, list) else [found]
        return " ".join(", ".join(map(str, names)).split())
    for name in LICENCE_FILES:
        try:
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            continue
        return next((f"{line.strip()[:80]} ({name})" for line in lines if line.strip()), UNKNOWN)
    return UNKNOWN
