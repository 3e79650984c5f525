"""MRPC as Microsoft ships it: no dev file, but GLUE's list of the training rows that are its dev split.

`dev_ids.tsv` has the two ids of a row a line. GLUE's own download script makes `train.tsv` and `dev.tsv` from it, in
the order of the training file, and stops where it has no list: then there is no official dev split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_utils.canonical import Problems, read_lines
from data_utils.errors import InputError, raise_all

TRAIN = "msr_paraphrase_train.txt"
FILES = {"train": TRAIN, "dev": TRAIN, "test": "msr_paraphrase_test.txt"}
LISTS = ("dev_ids.tsv", "mrpc_dev_ids.tsv")
SOURCE = "https://dl.fbaipublicfiles.com/glue/data/mrpc_dev_ids.tsv"
ID_COLUMNS = ("#1 ID", "#2 ID")

Lines = Iterator[tuple[int, str]]
"""Lines with their numbers."""


def dev_list(folder: Path) -> Path | None:
    """The list of dev rows in the folder of Microsoft's files, None where there is none."""
    return next((folder / name for name in LISTS if (folder / name).is_file()), None)


def no_dev_list(folder: Path) -> str:
    """What to say where there is none."""
    return (
        f"{folder / LISTS[0]}: no such file; {TRAIN} holds the dev rows, too, and only this list of GLUE's says which "
        f"they are: download {SOURCE} to there, or write one of your own, the two ids of a dev row a line, with a tab"
    )


def rows_of(split: str, lines: Lines, header: Sequence[str], path: Path) -> Lines:
    """The lines of the training file `path` that belong to its train or dev split; lines that are no row are train's.

    Raises:
        InputError: no list of dev rows, lines in it that are no pair of ids, and after the last line ids that no row
            has.
    """
    source = dev_list(path.parent)
    if source is None:
        raise InputError(no_dev_list(path.parent))
    listed, problems = _read_ids(source), Problems(source)
    columns = [header.index(name) for name in ID_COLUMNS if name in header]
    unseen = dict(listed)
    for number, line in lines:
        fields = line.split("\t")
        pair = tuple(fields[i] for i in columns if i < len(fields))
        unseen.pop(pair, None)
        if (pair in listed) == (split == "dev"):
            yield number, line
    for pair, number in unseen.items():
        problems.add(number, f"no row of {path.name} has the ids {' and '.join(pair)}")
    raise_all(problems.messages())


def _read_ids(source: Path) -> dict[tuple[str, ...], int]:
    """Pairs of ids, and the lines they stand in."""
    listed, problems = {}, Problems(source)
    for number, line in enumerate(read_lines(source), start=1):
        pair = tuple(line.split("\t"))
        if len(pair) != len(ID_COLUMNS) or not all(map(str.strip, pair)):
            problems.add(number, "expected the two ids of a row with a tab between them")
        listed[pair] = number
    raise_all(problems.messages())
    return listed
