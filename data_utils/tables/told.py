"""What is said about a table that becomes a task: its columns and labels, what was done to rows, and the splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from data_utils.row_checks import Found
from data_utils.strict import listed
from data_utils.tables.examples import ColumnMap, Example, ReadTable
from data_utils.tables.labels import Labels, counted

WIDTH = 8


def tell_table(
    table: ReadTable, columns: ColumnMap, counts: Mapping[str, int], labels: Labels, about: Sequence[str]
) -> None:
    """Print what a table holds, and what was made of it; `about` are lines on the task to be."""
    print(f"{table.name}: {table.counts.rows:,} rows, columns {listed(table.columns)}")
    _say("text", " and ".join(columns.texts))
    _say("id", "the rows' numbers" if columns.id is None else columns.id)
    _say("label", f"{columns.label}: {labels.told[0]}")
    if labels.names:
        _say("", counted(counts, labels.names))
    for line in [labels.told[1], *about]:
        _say("", line)
    for note in _notes(table, labels):
        _say("note", note)


def _notes(table: ReadTable, labels: Labels) -> list[str]:
    """What was done to rows, and what looks wrong; a line each."""
    counts, rows = table.counts, table.counts.rows
    found = [f"{table.blank:,} blank lines are skipped"] * bool(table.blank)
    if counts.broken.count:
        found.append(counts.broken.tell(rows, "tabs or line ends in a text; each is a space now"))
    if counts.unlabelled.count:
        found.append(counts.unlabelled.tell(rows, "no label; left out"))
    return [*found, *_copies(table.examples), *labels.warnings]


def _copies(examples: Sequence[Example]) -> list[str]:
    """A line on rows whose text an earlier one has, and one on those of them that have another label."""
    first: dict[tuple[str, ...], str] = {}
    copies, contrary = Found(), Found()
    for example in examples:
        if not example.label:
            continue
        if example.texts not in first:
            first[example.texts] = example.label
            continue
        copies.add(example.uid)
        if first[example.texts] != example.label:
            contrary.add(example.uid)
    found = [copies.tell(len(examples), "the text of an earlier row; all are kept")] * bool(copies.count)
    return found + [contrary.tell(len(examples), "the text of an earlier row and another label")] * bool(contrary.count)


def tell_splits(
    splits: Mapping[str, Sequence[Example]],
    shares: Mapping[str, float],
    seed: int,
    group: str | None,
    tables: Mapping[str, ReadTable],
    labels: Labels,
) -> None:
    """Print how many rows each split has, how they came there, and which labels it lacks."""
    sizes = ", ".join(f"{name} {len(examples):,}" for name, examples in splits.items())
    _say("split", sizes)
    if shares:
        kept = "rows of one text" if group is None else f"rows of one {group}"
        said = " and ".join(f"{share:g} for {name}" for name, share in shares.items())
        _say("", f"{said}, by --split_seed {seed}, stratified by label; {kept} are on one side")
    for name, table in tables.items():
        unlabelled = sum(not example.label for example in table.examples)  # `counts` has none where the column lacks
        _say("", f"{name}: {table.name}, {table.counts.rows:,} rows, {unlabelled:,} without a label")
        if table.counts.broken.count:
            _say("note", f"{table.name}: " + table.counts.broken.tell(table.counts.rows, "tabs or line ends in a text"))
    for name, examples in splits.items():
        have = Counter(example.label for example in examples)
        if lacking := [label for label in labels.names if not have[label]] if any(have) else []:
            _say("note", f"{name} has no row with the label {listed(lacking)}")


def _say(what: str, text: str) -> None:
    print(f"  {what:<{WIDTH}}{text}")
