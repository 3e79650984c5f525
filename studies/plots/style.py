"""How figures look, and how they become files: sizes for paper columns, and the methods' looks, some paler.

matplotlib is imported when a figure is made, used through its objects alone, and leaves the user's settings and backend
as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_utils.errors import InputError
from studies.methods import METHODS, OTHER, Look
from studies.plots.data import Key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9  # inches, as in most two-column styles
FORMATS = ("png", "svg")
DOTS_PER_INCH = 300


SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.labelpad": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "pats",  # else every file has other ids
}


def look_of(key: Key) -> Look:
    """A method's look; variations are mixed with white."""
    look = METHODS[key.method].look if key.method in METHODS else OTHER
    red, green, blue = (part + key.paleness * (1 - part) for part in look.colour)
    return look._replace(colour=(red, green, blue))


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Within it figures are made and written, whatever the user's own settings are; they come back after it.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib.style
    except ImportError:
        raise InputError("figures need matplotlib: pip install -r requirements-study.txt") from None
    with matplotlib.style.context(["default", SETTINGS]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches on the Agg canvas, which needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, path: Path, kind: str, caption: str) -> None:
    """Write one of `FORMATS`; the same figure gives the same bytes, and the caption is in the file's description."""
    if kind == "svg":
        metadata = {"Date": None, "Creator": None, "Description": caption}
    else:
        metadata = {"Software": None, "Description": caption}
    figure.savefig(path, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
