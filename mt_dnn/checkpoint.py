"""Checkpoints: whole or not there, without pickle, with all that a run needs to go on to the last bit.

A folder `checkpoints/step_00000123/` holds `model.safetensors`, `optimizer.safetensors`, `random.safetensors`,
`state.json` and, written last, `manifest.json` with every file's size and SHA-256. It is filled under another name and
renamed when complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_utils.errors import InputError

FORMAT = 2  # 2: noise keyed by position; 1: by tensor


def write_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder beside `target`, add its manifest, and put it in `target`'s place in one rename."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    fill(partial)
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    manifest = {str(path.relative_to(partial)): _fingerprint(path) for path in files}
    _write_json(partial / "manifest.json", manifest)
    for path in [*files, partial / "manifest.json", *(p for p in partial.rglob("*") if p.is_dir()), partial]:
        _fsync(path)
    retired = target.with_name(target.name + ".old")
    shutil.rmtree(retired, ignore_errors=True)
    if target.exists():
        os.rename(target, retired)  # a folder cannot be replaced in one step; a crash here leaves `.old` to find
    os.rename(partial, target)
    _fsync(target.parent)
    shutil.rmtree(retired, ignore_errors=True)


def damage(folder: Path) -> str | None:
    """Why a folder cannot be used, or None if all of its files are there and as they were written."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name, expected in manifest.items():
            if _fingerprint(folder / name) != expected:
                return f"{name} is not what was written"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return None


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they lie.
        keep: how many of the newest to keep.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> Path:
        """Write a checkpoint, then drop the oldest beyond `keep`.

        Args:
            step: updates done.
            tensors: by file stem, then by name.
            state: what is not tensors; goes to JSON.
        """

        def fill(partial: Path) -> None:
            for stem, group in tensors.items():
                save_file({k: v.detach().contiguous() for k, v in group.items()}, partial / f"{stem}.safetensors")
            _write_json(partial / "state.json", {"format": FORMAT, "step": step, **state})

        target = self.folder / f"step_{step:08d}"
        write_folder(target, fill)
        for old in self._all()[: -self.keep]:
            shutil.rmtree(old)
        return target

    def newest(self, say: Callable[[str], None]) -> Path | None:
        """The newest whole checkpoint; damaged ones are reported and passed over. None if there never was one.

        Raises:
            InputError: there are checkpoints, but none of them is whole.
        """
        folders = self._all()
        for folder in reversed(folders):
            if (reason := damage(folder)) is None:
                return folder
            say(f"checkpoint {folder} is damaged ({reason})")
        if folders:
            raise InputError(f"--resume: no checkpoint in {self.folder} is whole; start anew in another --output_dir")
        return None

    def _all(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step_" + "[0-9]" * 8) if path.is_dir())


def read_state(folder: Path) -> dict[str, Any]:
    """A checkpoint's `state.json`; `InputError` for one of another format."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if state["format"] != FORMAT:
        raise InputError(f"--resume: {folder} has format {state['format']}, this version reads {FORMAT}")
    return state


def read_tensors(folder: Path, stem: str) -> dict[str, Tensor]:
    """One of a checkpoint's groups of tensors, on the CPU."""
    return load_file(folder / f"{stem}.safetensors")


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
    tuples = [{name: tuple(v) if name == "betas" else v for name, v in group.items()} for group in groups]
    return {"state": state, "param_groups": tuples}


def _fingerprint(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
