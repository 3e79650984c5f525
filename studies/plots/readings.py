"""What `studies.readings` found, as a figure: share of elements with noise by γ, and the distribution of σ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.atomic import StagedFiles
from studies.methods import name_of
from studies.plots.data import Key
from studies.plots.style import FORMATS, TWO_COLUMNS, look_of, new_figure, style, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ADAMAX = "adamax"
GAMMAS = (0.0, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 2e-2)
"""Zero, and the paper's Table 3."""

SIGNED_STD = "pats_signed_std"
HEIGHT = 2.1  # inches
LEAST_SHARE = 1e-4  # of the elements: bins below it are no part of the figure's range


@dataclass(frozen=True)
class Reading:
    """What a method did to an encoder's layers.

    Attributes:
        method: Adamax, or PATS in one of its readings.
        drift: root mean square of the weights' change since before the training.
        weights: root mean square of the weights before it.
        shares: by γ, the share of elements whose σ is not zero; median over matrices. Empty for Adamax, as is the rest.
        sigma_mean: mean σ over all elements, and its root mean square `sigma_rms`.
        sigma_quantiles: of σ where it is not zero: 5, 25, 50, 75, 95 %.
        histogram: share of all elements with σ between two of `edges`.
    """

    method: str
    drift: float
    weights: float
    shares: Mapping[float, float] = field(default_factory=dict)
    sigma_mean: float = 0.0
    sigma_rms: float = 0.0
    sigma_quantiles: Sequence[float] = ()
    histogram: Sequence[float] = ()
    edges: Sequence[float] = ()


def draw_readings(readings: Sequence[Reading], rate: float, about: str, folder: Path) -> list[Path]:
    """Write the figure in all formats, with its caption beside it; returns the files.

    Args:
        readings: those of PATS are shown.
        rate: the peak learning rate, a dotted line.
        about: encoder, task and updates, for the caption.
        folder: of `readings.png` and so on.

    Raises:
        InputError: matplotlib is not installed, or the folder cannot be written to.
    """
    noisy = [one for one in readings if one.shares]
    caption = (
        f"PATS's readings ({about}). Left: share of the elements that get noise, by γ, over the paper's range, median "
        "over matrices. Right: distribution of σ over all elements, of which those without noise are not shown, the "
        f"first bin with all that is smaller; the dotted line is the learning rate, {rate:g}."
    )
    with style(), StagedFiles() as staged:
        figure = new_figure(TWO_COLUMNS, HEIGHT)
        left, right = figure.subplots(1, 2)
        _draw_shares(left, noisy)
        _draw_sigma(right, noisy, rate)
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(noisy), frameon=False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for kind in FORMATS:
            write_figure(figure, staged.path(folder / f"readings.{kind}"), kind, caption)
        staged.path(folder / "readings.txt").write_text(caption + "\n", encoding="utf-8")
    return [folder / f"readings.{kind}" for kind in (*FORMATS, "txt")]


def _key(method: str) -> Key:
    return Key("PATS, σ = r" if method == SIGNED_STD else name_of(method), method)


def _draw_shares(axes: Axes, readings: Sequence[Reading]) -> None:
    for one in readings:
        key = _key(one.method)
        look = look_of(key)
        axes.plot(range(len(GAMMAS)), list(one.shares.values()), **look.line, marker=look.marker, label=key.text)
    axes.set_xticks(range(len(GAMMAS)), [f"{gamma:g}" for gamma in GAMMAS])
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("γ")
    axes.set_ylabel("share with noise")


def _draw_sigma(axes: Axes, readings: Sequence[Reading], rate: float) -> None:
    axes.set_xscale("log")
    for one in readings:
        axes.stairs(one.histogram, one.edges, baseline=None, **look_of(_key(one.method)).line)
    axes.axvline(rate, color="0.35", linestyle=":", linewidth=0.9)
    bins = [pair for one in readings for pair in zip(one.edges, one.histogram, strict=False)]
    seen = [edge for edge, share in bins if share > LEAST_SHARE]
    if seen:  # a large γ leaves no element any noise
        axes.set_xlim(min(seen), max(seen))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("σ")
    axes.set_ylabel("share of elements")
