"""What a measurement says: a line of JSON for each figure, written as it comes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of the table.

    Attributes:
        measurement: which one it belongs to.
        what: what was measured.
        value: the figure, None where there is none.
        unit: of the figure; "x" for a ratio.
        goal: what the figure should be, in words, "" for no goal.
        status: "ok", "FAILED" (the measurement, not its goal) or "skipped".
        note: conditions, or why there is no figure.
    """

    measurement: str
    what: str
    value: float | None = None
    unit: str = ""
    goal: str = ""
    status: str = "ok"
    note: str = ""

    def line(self) -> str:
        """The record as a line of the table."""
        value = "" if self.value is None else f"{self.value:.4g} {self.unit}"
        goal = f"  (goal: {self.goal})" if self.goal else ""
        return f"{self.measurement:12} {self.status:8} {self.what:44} {value:>18}{goal}  {self.note}".rstrip()


@dataclass(frozen=True)
class Writer:
    """Appends records of one measurement to a file and prints them."""

    path: Path
    measurement: str

    def __call__(
        self,
        what: str,
        value: float | None = None,
        unit: str = "",
        *,
        goal: str = "",
        status: str = "ok",
        note: str = "",
    ) -> None:
        """Write one record; it is on the disk when this returns, so that a measurement that is cut keeps it."""
        record = Record(
            measurement=self.measurement, what=what, value=value, unit=unit, goal=goal, status=status, note=note
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")
        print(record.line(), flush=True)


def read(path: Path) -> list[Record]:
    """The records of a file, in their order; none where there is no file."""
    if not path.exists():
        return []
    return [Record(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
