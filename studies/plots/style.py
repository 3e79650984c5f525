"""How figures look, and how they become files: one colour and line style a method everywhere, sizes for paper columns.

Colours stand out from white (3:1 and more): Okabe and Ito's, which people with colour blindness can tell apart, a
purple and a brown. matplotlib is imported when a figure is made, used through its objects alone, and leaves the user's
settings and backend as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data_utils.errors import InputError
from studies.plots.data import Key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9  # inches, as in most two-column styles
FORMATS = ("png", "svg")
DOTS_PER_INCH = 300


class Look(NamedTuple):
    """A method's colour (red, green, blue from 0 to 1), dashes and marker."""

    colour: tuple[float, float, float]
    dashes: str | tuple[float, tuple[float, ...]]
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """As matplotlib's arguments. A solid line lies below broken ones: where two coincide, both are seen."""
        return {"color": self.colour, "linestyle": self.dashes, "zorder": 2.0 if self.dashes == "solid" else 2.1}


def _rgb(code: str) -> tuple[float, float, float]:
    red, green, blue = (int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


LOOKS = {
    "adamax": Look(_rgb("000000"), (0, (4, 1.5)), "s"),
    "sage": Look(_rgb("009E73"), (0, (6, 1.5, 1, 1.5)), "^"),
    "noisytune": Look(_rgb("D55E00"), (0, (2, 1)), "D"),
    "smart": Look(_rgb("117733"), (0, (1, 2)), "p"),
    "freelb": Look(_rgb("882255"), (0, (5, 2, 2, 2)), "*"),
    "freelb_third": Look(_rgb("AA4499"), (0, (5, 2)), "H"),
    "rdrop": Look(_rgb("DDAA33"), (0, (2, 2)), "d"),
    "mixout": Look(_rgb("56B4E9"), (0, (3, 1)), "<"),
    "recadam": Look(_rgb("E69F00"), (0, (4, 1, 1, 1)), ">"),
    "pats": Look(_rgb("0072B2"), "solid", "o"),
    "pats_lr": Look(_rgb("5D3A9B"), (0, (5, 1, 1, 1)), "h"),
    "pats_magnitude": Look(_rgb("8B5A00"), (0, (3, 1, 1, 1, 1, 1)), "X"),
    "pats_magnitude_variance": Look(_rgb("CC79A7"), (0, (1, 1)), "v"),
}
OTHER = Look(_rgb("767676"), (0, (8, 2, 1, 2, 1, 2)), "P")
"""For methods that a user's own recipes add."""

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
    look = LOOKS.get(key.method, OTHER)
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
