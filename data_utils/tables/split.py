"""Train, dev and test by shares: seeded, stratified by label, and with what belongs together on one side.

Which rows go where depends on the seed and on what the rows are, not on their order in the table, nor on the machine or
on any library's random numbers: units are ordered by a hash.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data_utils.errors import InputError, raise_all
from data_utils.kinds.regression import finite_number
from data_utils.strict import shown
from data_utils.tables.examples import Example

TRAIN, DEV, TEST = "train", "dev", "test"
BINS = 10
"""Strata of a regression: tenths of the rows by their labels, fewer where there are few rows."""

MAX_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """The flags about shares.

    Attributes:
        dev_share: of the rows, for dev.
        test_share: likewise for test; 0 for none.
        split_seed: another gives another split.
    """

    dev_share: float = 0.1
    test_share: float = 0.1
    split_seed: int = 1

    def __post_init__(self) -> None:
        bad = [f"--dev_share must be in (0, 1), got {self.dev_share}"] * (not 0 < self.dev_share < 1)
        bad += [f"--test_share must be in [0, 1), got {self.test_share}"] * (not 0 <= self.test_share < 1)
        if not bad and self.dev_share + self.test_share >= 1:
            bad.append(f"--dev_share {self.dev_share} and --test_share {self.test_share} leave nothing to train on")
        bad += [f"--split_seed must be at least 0, got {self.split_seed}"] * (self.split_seed < 0)
        raise_all(bad)


class Unit(NamedTuple):
    """Rows that stay together: of one group, or copies of one text. `rows` are places in the list of examples."""

    key: str
    rows: list[int]


def split_examples(
    examples: Sequence[Example],
    shares: Mapping[str, float],
    seed: int,
    *,
    regression: bool,
    grouped: bool,
) -> dict[str, list[Example]]:
    """Share out examples that all have a label.

    Args:
        examples: to share out.
        shares: of the splits besides train, each above 0.
        seed: another gives another split.
        regression: whether labels are numbers: strata are then tenths by value, else classes.
        grouped: whether rows of one group stay together; else rows with the same texts do.

    Returns:
        The examples of each split, in the table's order.

    Raises:
        InputError: a class, or a table, with too few rows or groups to have some in every split.
    """
    if not shares:
        return {TRAIN: list(examples)}
    strata = _bins(examples) if regression else [example.label for example in examples]
    units = _units(examples, seed, grouped=grouped)
    side = (_by_group if grouped else _by_stratum)(units, strata, shares, regression=regression)
    found: dict[str, list[Example]] = {TRAIN: [], **{name: [] for name in shares}}
    for i, example in enumerate(examples):
        found[side[i]].append(example)
    return found


def _units(examples: Sequence[Example], seed: int, *, grouped: bool) -> list[Unit]:
    """What stays together, in an order that depends on the seed and on its texts or its group alone."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for i, example in enumerate(examples):
        members[(example.group,) if grouped else example.texts].append(i)
    units = [Unit(_hash(seed, key), rows) for key, rows in members.items()]
    return sorted(units, key=lambda unit: unit.key)


def _hash(seed: int, key: Hashable) -> str:
    return hashlib.blake2b(repr((seed, key)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _bins(examples: Sequence[Example]) -> list[str]:
    """The tenth of each row by its number; equal numbers are in one."""
    values = [finite_number(example.label) or 0.0 for example in examples]
    ordered = sorted(values)
    bins = max(1, min(BINS, len(values) // BINS))
    edges = [ordered[len(values) * k // bins] for k in range(1, bins)]
    return [str(sum(value >= edge for edge in edges)) for value in values]


def _by_stratum(
    units: Sequence[Unit], strata: Sequence[str], shares: Mapping[str, float], *, regression: bool
) -> dict[int, str]:
    """The split of each row where units are small: of each stratum its share."""
    of_stratum: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        of_stratum[_stratum(unit, strata)].append(unit)
    need = len(shares) + 1
    few = {name: len(members) for name, members in of_stratum.items() if len(members) < need}
    if few and not regression:
        raise InputError(_too_few(f"to be in {_splits(shares)} ({need} at least)", few, shares))
    side: dict[int, str] = {}
    for members in of_stratum.values():
        begin = 0
        for later, (name, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
            rounded = math.floor(len(members) * share + 0.5)
            end = begin + max(0, min(max(1, rounded), len(members) - begin - later))
            side.update({row: name for unit in members[begin:end] for row in unit.rows})
            begin = end
        side.update({row: TRAIN for unit in members[begin:] for row in unit.rows})
    lacking = [name for name in (TRAIN, *shares) if name not in side.values()]
    if lacking:
        raise InputError(f"{len(units)} different texts are too few to give {' and '.join(lacking)} any")
    if not regression:
        _check_train(units, strata, side, shares)
    return side


def _stratum(unit: Unit, strata: Sequence[str]) -> str:
    """The stratum that most of a unit's rows are in, of several the first by name: their order does not matter."""
    counts = Counter(strata[row] for row in unit.rows)
    return min(counts, key=lambda name: (-counts[name], name))


def _check_train(
    units: Sequence[Unit], strata: Sequence[str], side: Mapping[int, str], shares: Mapping[str, float]
) -> None:
    """Raise `InputError` for labels that train lacks: those of copies of texts that have another label more often."""
    lacking = set(strata) - {strata[row] for row, name in side.items() if name == TRAIN}
    if lacking:
        texts = Counter(label for unit in units for label in {strata[row] for row in unit.rows} & lacking)
        raise InputError(_too_few("of their own to be in train, as these have other labels, too", texts, shares))


def _splits(shares: Mapping[str, float]) -> str:
    return f"train, {' and '.join(shares)}"


def _too_few(purpose: str, few: Mapping[str, int], shares: Mapping[str, float]) -> str:
    listed = ", ".join(f"{shown(name)} ({count})" for name, count in sorted(few.items())[:MAX_LISTED])
    more = f" and {len(few) - MAX_LISTED} more" if len(few) > MAX_LISTED else ""
    return (
        f"labels with too few different texts {purpose}: {listed}{more}. Merge them with other labels, "
        "take their rows out, or split the table yourself: "
        f"{', '.join(f'--{name}_table' for name in shares)}"
    )


def _by_group(
    units: Sequence[Unit], strata: Sequence[str], shares: Mapping[str, float], *, regression: bool
) -> dict[int, str]:
    """The split of each row where units are groups: each goes where it brings the strata closest to their shares.

    Large groups come first, so that small ones can make up for them; groups of like size in the order of the units.
    """
    names = [TRAIN, *shares]
    if len(units) < len(names):
        raise InputError(f"--group: {len(units)} groups are too few to be shared out to {', '.join(names)}")
    total = Counter(strata)
    parts = {TRAIN: 1 - sum(shares.values()), **shares}
    have = {name: Counter[str]() for name in names}
    side: dict[int, str] = {}
    ordered = sorted(units, key=lambda unit: -len(unit.rows).bit_length())
    for left, unit in zip(range(len(ordered), 0, -1), ordered, strict=True):
        brings = Counter(strata[row] for row in unit.rows)
        empty = [name for name in names if not have[name]]
        open_to_it = empty if len(empty) == left else names  # the last groups, where a split has none yet, are for it
        best = min(open_to_it, key=lambda name: _cost(brings, have[name], total, parts[name]))
        have[best] += brings
        side.update(dict.fromkeys(unit.rows, best))
    lacking = [] if regression else sorted(set(total) - set(have[TRAIN]))
    if lacking:
        few = ", ".join(map(shown, lacking[:MAX_LISTED]))
        raise InputError(
            f"--group: train would have no row with the label {few}: their groups are too few or too large"
        )
    return side


def _cost(brings: Mapping[str, int], have: Mapping[str, int], total: Mapping[str, int], part: float) -> float:
    """By how much a split's squared distance from its shares grows, each stratum measured by its size."""
    return math.fsum(  # exactly, so that the order of the rows does not count
        (2 * count * (have[stratum] - part * total[stratum]) + count * count) / (part * total[stratum])
        for stratum, count in brings.items()
    )
