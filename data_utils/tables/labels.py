"""What a column of labels is: classes by name, or numbers. By one rule, which is told, and which `--kind` overrides."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from data_utils.errors import InputError, raise_all
from data_utils.kinds.regression import finite_number
from data_utils.strict import listed, shown
from data_utils.task_names import TaskType

KINDS = {"classification": TaskType.Classification, "regression": TaskType.Regression}
MAX_WHOLE_CLASSES = 20
MAX_SHOWN = 3
RULE = (
    f"names are classes; whole numbers are classes where there are at most {MAX_WHOLE_CLASSES} different ones; "
    "all other numbers are a regression"
)
WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")
DECIMAL_COMMA = re.compile(r"\s*[+-]?[0-9]+,[0-9]+\s*")
THOUSANDS = re.compile(r"\s*[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?\s*")
"""A number with commas between thousands; with one comma alone, as in 1,234, it can be a decimal comma, too."""
SEEM_MISSING = frozenset("nan na n/a null none nil - ? unknown".split())


class Labels(NamedTuple):
    """What labels are.

    Attributes:
        task_type: classification or regression.
        names: of the classes in the order of their ids; () for a regression.
        told: how that was found, in words; a line each.
        warnings: what looks wrong; a line each.
    """

    task_type: TaskType
    names: tuple[str, ...]
    told: list[str]
    warnings: list[str]


def find_labels(
    column: str, counts: Mapping[str, int], kind: str | None = None, names: Sequence[str] | None = None
) -> Labels:
    """Decide what labels are.

    Args:
        column: their column, for messages.
        counts: of each label that occurs, how many rows have it; none is "".
        kind: what `--kind` says; None: by `RULE`.
        names: what `--labels` says: all classes in order; None: sorted.

    Raises:
        InputError: no label, one only, a regression with other than numbers, `--labels` that do not agree, names of
            which nearly every row has its own, or numbers with a few other cells among them.
    """
    where = f"--label {column}"
    if not counts:
        raise InputError(f"{where}: no row has a label")
    if len(counts) == 1:
        raise InputError(f"{where}: every label is {shown(next(iter(counts)))}, so there is nothing to learn")
    ruled, why = _rule(counts)
    task_type = KINDS[kind] if kind is not None else ruled
    reason = f"{why}, so it is a {ruled.value.lower()}; --kind overrides this" if kind is None else f"--kind {kind}"
    told = f"{len(counts):,} different labels; {reason}"
    if task_type is TaskType.Regression:
        _check_numbers(where, counts, names)
        values = [number for label in counts if (number := finite_number(label)) is not None]
        if min(values) == max(values):
            raise InputError(f"{where}: every label is the number {min(values):g}, so there is nothing to learn")
        return Labels(task_type, (), [told, f"from {min(values):g} to {max(values):g}"], [])
    if kind is None:
        _check_names(where, counts)
    order, said = _ordered(where, counts, names)
    return Labels(task_type, order, [told, said], _warnings(column, counts))


def _rule(counts: Mapping[str, int]) -> tuple[TaskType, str]:
    """What the rule makes of the labels, and what it has seen in them."""
    if all(WHOLE.fullmatch(label) for label in counts):
        if len(counts) <= MAX_WHOLE_CLASSES:
            return TaskType.Classification, f"they are whole numbers, at most {MAX_WHOLE_CLASSES}"
        return TaskType.Regression, f"they are whole numbers, more than {MAX_WHOLE_CLASSES}"
    if all(finite_number(label) is not None for label in counts):
        # As pandas writes whole numbers beside an empty cell.
        if all(float(label).is_integer() for label in counts):
            return TaskType.Regression, "they are numbers with a decimal point; --kind classification if they are names"
        return TaskType.Regression, "they are numbers, not all of them whole"
    return TaskType.Classification, "they are names"


def _check_names(where: str, counts: Mapping[str, int]) -> None:
    """Raise `InputError` for names that are hardly meant as classes."""
    found = f"{where}: {len(counts):,} different labels in {sum(counts.values()):,} rows"
    if spoilt := _spoilt_numbers(counts):
        raise InputError(f"{found}; {spoilt}, or give --kind: classification takes all labels as names")
    if len(counts) > MAX_WHOLE_CLASSES and 2 * len(counts) > sum(counts.values()):
        raise InputError(f"{found}, such as {_some(counts)}. Is it the right column? --kind classification insists")


def _spoilt_numbers(counts: Mapping[str, int]) -> str:
    """What keeps a column of numbers from being one, and the cure; "" for a column of names.

    All of it may have commas. A few odd cells are spoilt where there are many labels: each number would be a class of
    its own, and a missing value one more.
    """
    commas = {label: counts[label] for label in _with_commas(counts)}
    odd = {label: count for label, count in counts.items() if label not in commas and finite_number(label) is None}
    if odd and (10 * len(odd) > len(counts) or len(counts) <= MAX_WHOLE_CLASSES):
        return ""
    return "; ".join(([_tell_odd(odd)] if odd else []) + ([_tell_commas(commas)] if commas else []))


def _tell_odd(odd: Mapping[str, int]) -> str:
    first = sorted(odd, key=lambda label: (-odd[label], label))
    told = [f"{shown(label)} ({_rows(odd[label])})" for label in first[:MAX_SHOWN]]
    return f"all are numbers but {', '.join(told)}{', ...' if len(first) > MAX_SHOWN else ''}; empty these cells"


def _with_commas(labels: Collection[str]) -> list[str]:
    """The labels that are numbers with commas, those first that tell most of what the commas are.

    One that cannot stand between thousands makes decimal commas of all that can be such.
    """
    decimal, grouped = (dict.fromkeys(filter(form.fullmatch, labels)) for form in (DECIMAL_COMMA, THOUSANDS))
    kept, other = (grouped, decimal) if decimal.keys() <= grouped.keys() else (decimal, grouped)
    return sorted(kept, key=lambda label: label in other)


def _tell_commas(commas: Mapping[str, int]) -> str:
    first = next(iter(commas))
    have = "has" if sum(commas.values()) == 1 else "have"
    what = "commas, probably between thousands" if THOUSANDS.fullmatch(first) else "a decimal comma"
    return f"{_rows(sum(commas.values()))} {have} {what}: {point_for(first)}"


def point_for(label: str) -> str:
    """The cure for a number with commas, both where one comma can be either; "" for any other label."""
    decimal, grouped = DECIMAL_COMMA.fullmatch(label), THOUSANDS.fullmatch(label)
    plain, pointed = (f"{shown(label.replace(',', mark))} for {shown(label)}" for mark in ("", "."))
    if decimal and grouped:
        return f"write {plain} if the comma stands between thousands, {pointed} if it is a decimal comma"
    return f"leave out the commas, {plain}" if grouped else f"write a decimal point, {pointed}" if decimal else ""


def _check_numbers(where: str, counts: Mapping[str, int], names: Sequence[str] | None) -> None:
    bad = ["--labels would have no effect: a regression has numbers"] * (names is not None)
    others = [label for label in counts if finite_number(label) is None]
    if others:
        found = f"{where}: a regression needs numbers, and {sum(counts[x] for x in others):,} rows have {_some(others)}"
        comma = next(map(point_for, _with_commas(others)), "")
        bad.append(f"{found}; {comma or 'empty these cells, or give --kind classification'}")
    raise_all(bad)


def _ordered(where: str, counts: Mapping[str, int], names: Sequence[str] | None) -> tuple[tuple[str, ...], str]:
    """The names of the classes in order, and what is said about the order."""
    if names is not None:
        bad = [f"--labels: {shown(name)} stands twice" for name, count in Counter(names).items() if count > 1]
        bad += [f"--labels: no row has the label {shown(name)}" for name in dict.fromkeys(names) if name not in counts]
        if missing := [name for name in counts if name not in names]:
            bad.append(f"--labels does not name {listed(list(map(shown, missing)))}, which {where} has")
        raise_all(bad)
        return tuple(names), "in the order of --labels"
    if all(WHOLE.fullmatch(label) for label in counts):
        return tuple(sorted(counts, key=lambda label: (int(label), label))), "in the order of the numbers"
    return tuple(sorted(counts)), "sorted by name; --labels sets another order"


def _warnings(column: str, counts: Mapping[str, int]) -> list[str]:
    """Labels that are nearly the same, or that seem to stand for none."""
    alike: dict[str | float, list[str]] = defaultdict(list)
    equal: dict[str | float, list[str]] = defaultdict(list)
    for label in sorted(counts):
        if (number := finite_number(label)) is not None:
            # Of whole numbers all digits count: names such as 100000000000000001 are one number as floats.
            equal[int(label) if WHOLE.fullmatch(label) else number].append(label)
        else:
            alike[unicodedata.normalize("NFC", " ".join(label.split())).casefold()].append(label)
    reasons = {"differ in white space, case or the coding of accents alone": alike, "are the same number": equal}
    found = [
        f"{column}: {' and '.join(map(shown, labels))} {reason}, and are different labels"
        for reason, groups in reasons.items()
        for labels in groups.values()
        if len(labels) > 1
    ]
    for label in sorted(counts):
        if label.strip().casefold() in SEEM_MISSING:
            rows = f"{_rows(counts[label])} {'have' if counts[label] != 1 else 'has'}"
            found.append(
                f"{column}: {rows} the label {shown(label)}, taken as a name; for no label leave the cell empty"
            )
    return found


def _rows(count: int) -> str:
    return f"{count:,} rows" if count != 1 else "1 row"


def _some(labels: Mapping[str, int] | Sequence[str]) -> str:
    few = list(labels)[:MAX_SHOWN]
    return ", ".join(map(shown, few)) + (", ..." if len(labels) > len(few) else "")


def counted(counts: Mapping[str, int], names: Sequence[str]) -> str:
    """`negative 512, positive 488`: the rows of each class, in order."""
    return listed([f"{name} {counts[name]:,}" for name in names])
