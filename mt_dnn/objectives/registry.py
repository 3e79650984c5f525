"""The objectives by the name that `--baseline` has for them."""

from __future__ import annotations

from mt_dnn.objectives.freelb import FreeLB
from mt_dnn.objectives.objective import Objective
from mt_dnn.objectives.rdrop import RDrop
from mt_dnn.objectives.smart import Smart

OBJECTIVES: dict[str, type[Objective]] = {"smart": Smart, "freelb": FreeLB, "rdrop": RDrop}
