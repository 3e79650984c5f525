"""A model's sensitivities on disk, some 20 KB: exact statistics of each tensor, and histograms on a fixed grid.

    <run>/sensitivity.safetensors   count, mean and std by tensor, histogram_<range>
    <run>/sensitivity.json          how they were measured, a summary, and the tensors' names in order

Written by studies.sensitivity, read by studies.figures, which needs no model and no torch for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from data_utils.atomic import StagedFiles
from data_utils.errors import InputError

TENSORS_FILE, SUMMARY_FILE = "sensitivity.safetensors", "sensitivity.json"


class Grid(NamedTuple):
    """Bins of equal width on the logarithm; the upper end belongs to the last one."""

    low: float
    high: float
    bins: int

    @property
    def edges(self) -> np.ndarray:
        """Where bins begin and end, (bins + 1,)."""
        return np.geomspace(self.low, self.high, self.bins + 1)

    def counts(self, values: np.ndarray) -> np.ndarray:
        """How many values fall into each bin, (bins,) int64; those outside, zeros among them, into none."""
        logs = np.log10(values[values > 0], dtype=np.float64)
        return np.histogram(logs, self.bins, (math.log10(self.low), math.log10(self.high)))[0].astype(np.int64)


GRIDS = {
    "paper": Grid(5e-8, 1e-5, 230),  # "outliers" beyond it were left out of the paper's Figure 2 (Appendix A.3)
    "full": Grid(1e-20, 1e4, 1440),
}


@dataclass(frozen=True)
class Sensitivities:
    """What was measured of one model; arrays are by tensor, in the order of `names`.

    Attributes:
        settings: how it was measured.
        names: the tensors' names in the model.
        count: elements, int64.
        mean: over a tensor's elements.
        std: the same, dividing by their number.
        median: over all elements.
        histograms: counts of all tensors' elements together, on the grid of that name in `GRIDS`.
    """

    settings: Mapping[str, Any]
    names: tuple[str, ...]
    count: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    median: float
    histograms: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, values: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Sensitivities:
        """Summarize sensitivities by tensor, float32 of any shape."""
        flat = [array.reshape(-1) for array in values.values()]
        return cls(
            settings=settings,
            names=tuple(values),
            count=np.array([len(array) for array in flat], dtype=np.int64),
            mean=np.array([array.mean(dtype=np.float64) for array in flat]),
            std=np.array([array.std(dtype=np.float64) for array in flat]),
            median=float(np.median(np.concatenate(flat), overwrite_input=True)),  # of the copy that concatenate made
            histograms={name: np.sum([grid.counts(array) for array in flat], axis=0) for name, grid in GRIDS.items()},
        )

    @property
    def elements(self) -> int:
        """How many there are in all tensors."""
        return int(self.count.sum())

    @property
    def overall_mean(self) -> float:
        """Over all elements."""
        return float(self.count @ self.mean) / self.elements

    @property
    def overall_std(self) -> float:
        """Over all elements: what the paper's Figure 3 shows."""
        square = float(self.count @ (self.std**2 + self.mean**2)) / self.elements
        return math.sqrt(max(square - self.overall_mean**2, 0.0))

    def share(self, grid: str) -> float:
        """The share of all elements that lies on a grid."""
        return float(self.histograms[grid].sum()) / self.elements

    def flags(self) -> list[str]:
        """Arguments of studies.sensitivity that measure other runs in the same way."""
        known = {name: self.settings.get(name) for name in ("which", "batch_size", "max_rows")}
        return [part for name, value in known.items() if value is not None for part in (f"--{name}", str(value))]

    def summary(self) -> dict[str, Any]:
        """The numbers that a reader asks for first."""
        return {
            "elements": self.elements,
            "mean": self.overall_mean,
            "std": self.overall_std,
            "median": self.median,
            "share_in_paper_range": self.share("paper"),
        }

    def save(self, folder: Path) -> None:
        """Write both files, or neither; InputError where that is not possible."""
        arrays = {"count": self.count, "mean": self.mean, "std": self.std}
        arrays |= {f"histogram_{name}": counts for name, counts in self.histograms.items()}
        about = {"settings": dict(self.settings), "summary": self.summary(), "tensors": list(self.names)}
        with StagedFiles() as staged:
            save_file(arrays, staged.path(folder / TENSORS_FILE))
            text = json.dumps(about, indent=1, allow_nan=False) + "\n"
            staged.path(folder / SUMMARY_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Sensitivities | None:
        """What `save` wrote; None where nothing was measured, InputError for something else."""
        if not (folder / SUMMARY_FILE).exists():
            return None
        try:
            about = json.loads((folder / SUMMARY_FILE).read_bytes())
            arrays = load_file(folder / TENSORS_FILE)
            histograms = {name: arrays[f"histogram_{name}"] for name in GRIDS}
            loaded = cls(
                settings=dict(about["settings"]),
                names=tuple(about["tensors"]),
                median=float(about["summary"]["median"]),
                histograms=histograms,
                **{name: arrays[name] for name in ("count", "mean", "std")},
            )
            loaded._check()
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, RecursionError) as error:
            raise InputError(
                f"{folder / SUMMARY_FILE}: not what studies.sensitivity writes ({error!r}); remove it and measure again"
            ) from None
        return loaded

    def _check(self) -> None:
        """Raise ValueError unless the arrays fit each other."""
        expected = {name: (grid.bins,) for name, grid in GRIDS.items()}
        found = {name: counts.shape for name, counts in self.histograms.items()}
        by_tensor = {array.shape for array in (self.count, self.mean, self.std)}
        if found != expected or by_tensor != {(len(self.names),)} or self.elements < 1:
            raise ValueError(f"histograms of {found} bins, statistics of shape {by_tensor}")
