"""Frozen dataclasses as command-line flags and YAML keys: one signature, one set of checks, all problems at once."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from data_utils.errors import InputError

T = TypeVar("T")

TRUE, FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def option(
    default: Any = dataclasses.MISSING, *, help: str, choices: Sequence[str] = (), alias: str | None = None
) -> Any:
    """A dataclass field that is also a flag; without a default the flag is required."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": tuple(choices), "alias": alias})


class Flag(typing.NamedTuple):
    """One flag: the dataclass it belongs to, its field, and its plain type."""

    owner: type
    field: dataclasses.Field[Any]
    kind: type
    optional: bool

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.field.default is dataclasses.MISSING

    def parse(self, value: Any) -> Any:
        """Turn a flag's text or a YAML value into the field's type; `InputError` when it is neither."""
        name = f"--{self.field.name}"
        if self.optional and (value is None or value == "none"):
            return None
        if value is None or isinstance(value, dict):
            found = "nothing" if value is None else "a mapping"
            raise InputError(f"{name}: expected {_DESCRIPTIONS[self.kind]}, got {found}")
        if isinstance(value, (list, tuple)) and self.kind is str:  # YAML lists of names, as `a,b` on the command line
            value = ",".join(map(str, value))
        if isinstance(value, bool) != (self.kind is bool) and not isinstance(value, str):
            raise InputError(f"{name}: expected {_DESCRIPTIONS[self.kind]}, got {value!r}")
        choices = self.field.metadata["choices"]
        if choices and value not in choices:
            raise InputError(f"{name}: unknown {value!r}; allowed: {', '.join(choices)}")
        try:
            return _CONVERTERS[self.kind](value)
        except (ValueError, TypeError, OverflowError):
            raise InputError(f"{name}: expected {_DESCRIPTIONS[self.kind]}, got {value!r}") from None


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in TRUE | FALSE:
        return str(value).lower() in TRUE
    raise ValueError


def _to_int(value: Any) -> int:
    number = float(value)  # YAML reads 1e3 as text
    if not re.fullmatch(r"[0-9+\-.eE]+", str(value)) or number != int(number):
        raise ValueError
    return int(number)


def _to_float(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


_CONVERTERS: dict[type, Any] = {str: str, int: _to_int, float: _to_float, bool: _to_bool}
_DESCRIPTIONS = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false"}


def flags_of(owners: Sequence[type]) -> dict[str, Flag]:
    """The flags of several dataclasses by name; a name may belong to one of them only."""
    flags: dict[str, Flag] = {}
    for owner in owners:
        hints = typing.get_type_hints(owner)
        for field in dataclasses.fields(owner):
            assert field.name not in flags, f"two dataclasses own --{field.name}"
            hint = hints[field.name]
            members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            kind = next(member for member in members if member is not type(None))
            flags[field.name] = Flag(owner, field, kind, type(None) in members)
    return flags


class _Parser(argparse.ArgumentParser):
    """`argparse` with one-line errors in place of the usage text of fifty flags."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}\n(all flags: {self.prog} --help)")


def parse_flags(argv: Sequence[str] | None, flags: Mapping[str, Flag], description: str) -> dict[str, str]:
    """Read the flags that were given, as text. Nothing is converted yet, so that all problems can be told at once.

    Raises:
        InputError: an unknown flag, or one without its value.
    """
    parser = _Parser(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config", metavar="YAML", help="file of flags without the dashes; flags given here win")
    groups: dict[type, Any] = {}
    for name, flag in flags.items():
        if flag.owner not in groups:
            groups[flag.owner] = parser.add_argument_group(_title(flag.owner))
        groups[flag.owner].add_argument(*_spellings(flag), dest=name, help=_help(flag), **_action(flag))
    return vars(parser.parse_args(argv))


def _title(owner: type) -> str:
    return (owner.__doc__ or owner.__name__).splitlines()[0].rstrip(".")


def _spellings(flag: Flag) -> list[str]:
    alias = flag.field.metadata["alias"]
    return [f"--{flag.field.name}"] + ([f"--{alias}"] if alias else [])


def _help(flag: Flag) -> str:
    default = (
        "required" if flag.required else f"default: {'none' if flag.field.default is None else flag.field.default}"
    )
    return f"{flag.field.metadata['help']} ({default})".replace("%", "%%")


def _action(flag: Flag) -> dict[str, Any]:
    if flag.kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"metavar": "{" + ",".join(flag.field.metadata["choices"]) + "}" if flag.field.metadata["choices"] else "X"}


def convert(values: Mapping[str, Any], flags: Mapping[str, Flag], source: str) -> tuple[dict[str, Any], list[str]]:
    """Convert raw values by flag name; returns what could be converted and a line for everything that could not."""
    parsed, problems = {}, []
    for name, value in values.items():
        if name not in flags:
            problems.append(f"{source}: unknown key {name!r}; allowed: {', '.join(flags)}")
            continue
        try:
            parsed[name] = flags[name].parse(value)
        except InputError as error:
            problems.append(f"{source}: {error}" if source else str(error))
    return parsed, problems


def build(owner: type[T], values: Mapping[str, Any]) -> T:
    """Build one dataclass from the values that are its own."""
    names = {field.name for field in dataclasses.fields(owner)}  # type: ignore[arg-type]
    return owner(**{name: value for name, value in values.items() if name in names})
