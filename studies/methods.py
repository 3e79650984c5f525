"""What a study knows of each method: its name and look in figures, and the flags that it alone has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Look(NamedTuple):
    """A method's colour (red, green, blue from 0 to 1), dashes and marker."""

    colour: tuple[float, float, float]
    dashes: str | tuple[float, tuple[float, ...]]
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """As matplotlib's arguments. A solid line lies below broken ones: where two coincide, both are seen."""
        return {"color": self.colour, "linestyle": self.dashes, "zorder": 2.0 if self.dashes == "solid" else 2.1}


@dataclass(frozen=True)
class Method:
    """A method of a suite's recipes.

    Attributes:
        name: in figures.
        look: there; colours are Okabe and Ito's, which people with colour blindness can tell apart, and a few more.
            Against white most have a contrast of 3:1 and more; those of R-Drop, Mixout and RecAdam have 2.1 to 2.3.
        flags: what the names of its own flags begin with; "" for a variant, which has those of another method.
    """

    name: str
    look: Look
    flags: str = ""


def _rgb(code: str) -> tuple[float, float, float]:
    red, green, blue = (int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


METHODS = {
    "adamax": Method("Adamax", Look(_rgb("000000"), (0, (4, 1.5)), "s")),
    "sage": Method("SAGE", Look(_rgb("009E73"), (0, (6, 1.5, 1, 1.5)), "^"), "sage_"),
    "noisytune": Method("NoisyTune", Look(_rgb("D55E00"), (0, (2, 1)), "D"), "noisytune_"),
    "smart": Method("SMART", Look(_rgb("117733"), (0, (1, 2)), "p"), "adv_"),
    "freelb": Method("FreeLB", Look(_rgb("882255"), (0, (5, 2, 2, 2)), "*"), "freelb_"),
    "freelb_third": Method("FreeLB, × 0.3", Look(_rgb("AA4499"), (0, (5, 2)), "H")),
    "rdrop": Method("R-Drop", Look(_rgb("DDAA33"), (0, (2, 2)), "d"), "rdrop_"),
    "mixout": Method("Mixout", Look(_rgb("56B4E9"), (0, (3, 1)), "<"), "mixout_"),
    "recadam": Method("RecAdam", Look(_rgb("E69F00"), (0, (4, 1, 1, 1)), ">"), "recadam_"),
    "pats": Method("PATS", Look(_rgb("0072B2"), "solid", "o"), "pats_"),
    "pats_lr": Method("PATS, σ by rate", Look(_rgb("5D3A9B"), (0, (5, 1, 1, 1)), "h")),
    "pats_magnitude": Method("PATS, |θg|, σ = r", Look(_rgb("8B5A00"), (0, (3, 1, 1, 1, 1, 1)), "X")),
    "pats_magnitude_variance": Method("PATS, |θg|, σ = √r", Look(_rgb("CC79A7"), (0, (1, 1)), "v")),
}
OTHER = Look(_rgb("767676"), (0, (8, 2, 1, 2, 1, 2)), "P")
"""For methods that a user's own recipes add."""

OWN_FLAGS = {method.flags: name for name, method in METHODS.items() if method.flags}
"""What the names of a method's own flags begin with, and the method.

The baseline cannot have them; all other flags must be equal for a comparison to be fair.
"""


def name_of(method: str) -> str:
    """A method's name in figures; a method that only a user's own recipes have keeps its name there."""
    return METHODS[method].name if method in METHODS else method
