"""Frozen dataclasses as command-line flags and YAML keys: one signature, one set of checks, all problems at once."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from data_utils.cli import Parser, path_text
from data_utils.errors import InputError
from data_utils.mt_dnn_flags import PAGE, TRAIN, counterpart_line
from data_utils.strict import shown

T = TypeVar("T")

LARGEST = 2**63 - 1
"""Whole numbers beyond it fit no counter and no seed."""

TRUE, FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    choices: Sequence[str] = (),
    pattern: str = "",
    alias: str | None = None,
    path: bool = False,
) -> Any:
    """A dataclass field that is also a flag; without a default the flag is required.

    `pattern`: what a value that is none of the `choices` may be. `path`: must be able to be one.
    """
    metadata = {"help": help, "choices": tuple(choices), "pattern": pattern, "alias": alias, "path": path}
    return dataclasses.field(default=default, metadata=metadata)


class Flag(typing.NamedTuple):
    """One flag: the dataclass it belongs to, its field, and its plain type.

    Its name is the field's, or `flag` of the field's metadata. Beside that the metadata holds `help`, and may hold
    `choices`, `pattern`, `alias` and `path`, as `option` gives them.
    """

    owner: type
    field: dataclasses.Field[Any]
    kind: type
    optional: bool

    @property
    def name(self) -> str:
        """As it is written, without dashes."""
        return str(self.field.metadata.get("flag", self.field.name))

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.field.default is dataclasses.MISSING

    def parse(self, value: Any) -> Any:
        """Turn a flag's text or a YAML value into the field's type; `InputError` when it is neither."""
        name = f"--{self.name}"
        quote = "; quote it" if self.kind is str and not isinstance(value, str) else ""
        if self.optional and (value is None or value == "none"):
            return None
        if value is None or isinstance(value, dict):
            found = "nothing" if value is None else "a mapping"
            raise InputError(f"{name}: expected {_DESCRIPTIONS[self.kind]}, got {found}")
        if isinstance(value, list) and self.kind is str and all(isinstance(item, str) for item in value):
            value = ",".join(value)  # YAML lists of names, as `a,b` on the command line
        if isinstance(value, bool) != (self.kind is bool) and not isinstance(value, str):
            raise InputError(f"{name}: expected {_DESCRIPTIONS[self.kind]}, got {shown(value)}{quote}")
        choices = self.field.metadata["choices"]
        pattern = self.field.metadata.get("pattern") or "(?!)"
        if choices and value not in choices and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            raise InputError(f"{name}: unknown {shown(value)}; allowed: {', '.join(choices)}")
        try:
            converted = _CONVERTERS[self.kind](value)
            return path_text(converted) if self.field.metadata.get("path") else converted
        except argparse.ArgumentTypeError as error:
            raise InputError(f"{name}: {error}") from None
        except (ValueError, TypeError, OverflowError):
            raise InputError(f"{name}: expected {_DESCRIPTIONS[self.kind]}, got {shown(value)}{quote}") from None


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in TRUE | FALSE:
        return str(value).lower() in TRUE
    raise ValueError


def _to_text(value: Any) -> str:
    """As it stands: `str` of what YAML reads as a number need not be what was written.

    Many of these are paths, so what no path can be is refused: "", a NUL, half a surrogate pair.
    """
    if not isinstance(value, str) or not value or b"\0" in os.fsencode(value):
        raise ValueError
    return value


def _to_int(value: Any) -> int:
    text = str(value)
    number = int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else _to_float(value)  # YAML reads 1e3 as text
    if number != int(number) or abs(number) > LARGEST:
        raise ValueError
    return int(number)


def _to_float(value: Any) -> float:
    number = float(value)
    if not re.fullmatch(r"[0-9+\-.eE]+", str(value)) or not math.isfinite(number):  # Python would take 1_0, too
        raise ValueError
    return number


_CONVERTERS: dict[type, Any] = {str: _to_text, int: _to_int, float: _to_float, bool: _to_bool}
_DESCRIPTIONS = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false"}


def flags_of(owners: Sequence[type]) -> dict[str, Flag]:
    """The flags of several dataclasses by name; a name may belong to one of them only."""
    flags: dict[str, Flag] = {}
    for owner in owners:
        hints = typing.get_type_hints(owner)
        for field in dataclasses.fields(owner):
            hint = hints[field.name]
            members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            kind = next(member for member in members if member is not type(None))
            flag = Flag(owner, field, kind, type(None) in members)
            assert flag.name not in flags, f"two dataclasses own --{flag.name}"
            flags[flag.name] = flag
    return flags


def parse_flags(argv: Sequence[str] | None, flags: Mapping[str, Flag], description: str) -> dict[str, str]:
    """Read the flags that were given, as text. Nothing is converted yet, so that all problems can be told at once.

    Raises:
        InputError: an unknown flag, or one without its value.
    """
    parser = Parser(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS, mt_dnn=TRAIN)
    parser.add_argument(
        "--config", metavar="YAML", type=path_text, help="file of flags without the dashes; flags given here win"
    )
    groups: dict[type, Any] = {}
    for name, flag in flags.items():
        if flag.owner not in groups:
            groups[flag.owner] = parser.add_argument_group(_title(flag.owner))
        groups[flag.owner].add_argument(*_spellings(flag), dest=name, help=_help(flag), **_action(flag))
    return vars(parser.parse_args(argv))


def _title(owner: type) -> str:
    return (owner.__doc__ or owner.__name__).splitlines()[0].rstrip(".")


def _spellings(flag: Flag) -> list[str]:
    alias = flag.field.metadata.get("alias")
    return [f"--{flag.name}"] + ([f"--{alias}"] if alias else [])


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
            theirs = counterpart_line(name, TRAIN) if name in TRAIN else None
            hint = f"; {theirs} (see {PAGE})" if theirs else ""
            problems.append(f"{source}: unknown key {name!r}{hint}; allowed: {', '.join(flags)}")
            continue
        try:
            parsed[name] = flags[name].parse(value)
        except InputError as error:
            problems.append(f"{source}: {error}" if source else str(error))
    return parsed, problems


def build(owner: type[T], flags: Mapping[str, Flag], values: Mapping[str, Any]) -> T:
    """Build one dataclass from those values by flag name that are its own."""
    own = {name: flag.field.name for name, flag in flags.items() if flag.owner is owner}
    return owner(**{own[name]: value for name, value in values.items() if name in own})
