"""Checkpoints: whole or not there, without pickle, with all that a run needs to go on to the last bit.

A folder `checkpoints/step_00000123/` holds `model.safetensors`, `optimizer.safetensors`, `random.safetensors`, with
Mixout `pretrained.safetensors`, `state.json` and, written last, `manifest.json`. The run's logs stay outside, in files
that only grow; `state.json` has the marks of how far they reached.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_utils.atomic import RETIRED, remove_folder, write_folder
from data_utils.errors import InputError
from data_utils.fingerprints import Fingerprint, damage
from data_utils.strict import to_json
from mt_dnn.record.writing import writing

FORMAT = 4  # 4: marks of logs, not events; 3: tensors whole for any number of processes; 2: noise keyed by position
NAME = re.compile(r"step_\d{8}")
TENSORS = ("model", "optimizer", "random")
SOMETIMES = ("pretrained",)  # the weights before training, where the method goes on to need them
FILES = (*(f"{stem}.safetensors" for stem in TENSORS), "state.json")


class Saved(NamedTuple):
    """A checkpoint that was written: where, how large, how long it took."""

    folder: Path
    size_bytes: int
    seconds: float


class Checkpoint(NamedTuple):
    """What a checkpoint holds: tensors by stem and name, on the CPU; state as JSON gave it; marks of logs by name."""

    folder: Path
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    logs: dict[str, Fingerprint]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they lie.
        keep: how many of the newest to keep.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(
        self,
        step: int,
        tensors: dict[str, dict[str, Tensor]],
        state: dict[str, Any],
        logs: Mapping[str, Fingerprint],
    ) -> Saved:
        """Write a checkpoint, then drop the oldest beyond `keep`.

        Args:
            step: updates done.
            tensors: by file stem (`TENSORS`, and of `SOMETIMES` what there is), then by name.
            state: what is not tensors; goes to JSON.
            logs: by file name, how far the run's logs reach; so much of them is on the disk.

        Raises:
            StoppedError: it cannot be written; those before it stand.
        """

        def fill(partial: Path) -> None:
            for stem, group in tensors.items():
                save_file({k: v.detach().contiguous() for k, v in group.items()}, partial / f"{stem}.safetensors")
            marks = {name: mark._asdict() for name, mark in logs.items()}
            whole = {"format": FORMAT, "step": step, "logs": marks, **state}
            (partial / "state.json").write_text(to_json(whole), encoding="utf-8")

        started = time.perf_counter()
        target = self._after(step)
        with writing(target):
            size = write_folder(target, fill)
            for old in self._all()[: -self.keep]:
                remove_folder(old)
        return Saved(target, size, time.perf_counter() - started)

    def any(self) -> bool:
        """Whether there are some, whole or not; one that was just being replaced counts."""
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        return any(NAME.fullmatch(path.name.removesuffix(RETIRED)) for path in paths)

    def newest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """Read the newest whole checkpoint; damaged ones are reported and passed over. None if there never was one.

        Raises:
            InputError: there are checkpoints, but none of them is whole; or the newest whole one is of another format.
        """
        folders = self._all()
        for folder in reversed(folders):
            if (reason := damage(folder, FILES)) is None:
                return read_checkpoint(folder)
            say(f"checkpoint {folder} is damaged ({reason})")
        if folders:
            raise InputError(f"--resume: no checkpoint in {self.folder} is whole; start anew in another --output_dir")
        return None

    def weights(self, step: int) -> dict[str, Tensor]:
        """The model's tensors after so many updates, on the CPU; {} where no whole checkpoint has them."""
        folder = self._after(step)
        return {} if damage(folder, FILES) else load_file(folder / "model.safetensors")

    def drop_after(self, folder: Path) -> None:
        """Remove what is newer than `folder`: damaged, and in the way of what is to come."""
        folders = self._all()
        for newer in folders[folders.index(folder) + 1 :]:
            remove_folder(newer)

    def _after(self, step: int) -> Path:
        """Where the checkpoint after so many updates lies."""
        return self.folder / f"step_{step:08d}"

    def _all(self) -> list[Path]:
        """From the oldest to the newest."""
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(path for path in paths if NAME.fullmatch(path.name) and path.is_dir())


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint whose files are as they were written.

    Raises:
        InputError: of another format, or not what this toolkit writes.
    """
    try:
        state = json.loads((folder / "state.json").read_bytes())
        if not isinstance(state, dict) or (found := state.get("format")) != FORMAT:
            found = found if isinstance(state, dict) else None
            raise InputError(
                f"--resume: {folder} has format {found}, this version reads {FORMAT}; "
                "go on with the version that wrote it, or start anew in another --output_dir"
            )
        there = [stem for stem in SOMETIMES if (folder / f"{stem}.safetensors").is_file()]
        tensors = {stem: load_file(folder / f"{stem}.safetensors") for stem in (*TENSORS, *there)}
        return Checkpoint(folder, tensors, state, _marks(state.get("logs")))
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"--resume: {folder} is no checkpoint of this toolkit: {error}") from None


def _marks(logs: Any) -> dict[str, Fingerprint]:
    """The marks of logs by name as JSON gave them; ValueError for anything else."""
    if not isinstance(logs, dict):
        raise ValueError(f"no marks of logs: {logs!r}")
    return {name: Fingerprint.parse(mark) for name, mark in logs.items()}


def split_optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimizer's state as tensors by `index.name`, and its groups' settings as JSON takes them."""
    state = optimizer.state_dict()
    tensors = {f"{index}.{name}": value for index, values in state["state"].items() for name, value in values.items()}
    return tensors, state["param_groups"]


def join_optimizer_state(tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The `state_dict` that `split_optimizer_state` took apart."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": groups}
