"""A method's hyper-parameters as one frozen record: constructor, flags, YAML keys and the table in the docs follow it.

To add one, give the record a field; its default, range, symbol, flag and help text stand there and nowhere else.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Interval:
    """A range of numbers as mathematics writes it: `[0, 1)` has 0 and not 1; NaN is in none."""

    text: str

    def __contains__(self, value: float) -> bool:
        low, high = (math.inf if end == "∞" else float(end) for end in self.text[1:-1].split(", "))
        above = low <= value if self.text.startswith("[") else low < value
        return above and (value <= high if self.text.endswith("]") else value < high)

    def __str__(self) -> str:
        return self.text


def hyperparameter(
    default: Any, *, symbol: str, flag: str, help: str, within: str | None = None, choices: Sequence[str] = ()
) -> Any:
    """A field of a record.

    Args:
        default: the paper's value.
        symbol: what the paper calls it.
        flag: its name as a flag of train.py, and in YAML.
        help: what it does, in a few words.
        within: the range of a number, as `Interval` takes it.
        choices: the values of a text.
    """
    interval = None if within is None else Interval(within)
    metadata = {"symbol": symbol, "flag": flag, "help": help, "within": interval, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Base of the records."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The fields, which are the optimizer's arguments and its groups' keys."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Raise ValueError, with the words that torch's optimizers use, where an option is out of range."""
        for field in dataclasses.fields(cls):
            value, what = options[field.name], _objection(field, options[field.name])
            if what:
                raise ValueError(f"Invalid {field.name} value: {value!r}; {what}")

    def problems(self) -> list[str]:
        """What is wrong with these values, a line each, by the flags' names."""
        found = {field: _objection(field, getattr(self, field.name)) for field in dataclasses.fields(self)}
        return [
            f"--{field.metadata['flag']} {what}, got {getattr(self, field.name)}"
            for field, what in found.items()
            if what
        ]

    def of_run(self, updates: int) -> Hyperparameters:
        """The values for a run of so many updates, where some are shares of them."""
        return self

    def remarks(self, updates: int, lr: float) -> Iterator[str]:
        """What is worth knowing about these values in a run of so many updates with that peak learning rate."""
        return iter(())

    @property
    def acts(self) -> bool:
        """Whether they leave the method anything to do."""
        return True

    def changed(self) -> list[str]:
        """The flags whose values are not the defaults."""
        fields = dataclasses.fields(self)
        return [f"--{field.metadata['flag']}" for field in fields if getattr(self, field.name) != field.default]


def full_signature(init: Callable[..., None], record: type[Hyperparameters]) -> inspect.Signature:
    """A constructor's signature with a record's fields in place of its `**options`: what `help()` shows."""
    written = inspect.signature(init)
    own = list(inspect.signature(record).parameters.values())
    return written.replace(parameters=[*list(written.parameters.values())[:-1], *own])


def _objection(field: dataclasses.Field[Any], value: Any) -> str:
    """What a value must be, if it is not; else empty."""
    choices, within = field.metadata["choices"], field.metadata["within"]
    if choices:
        return "" if value in choices else f"must be one of {', '.join(choices)}"
    return "" if value in within else f"must be in {within}"
