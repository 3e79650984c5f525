r"""COPA, or Balanced COPA, as published (XML) to canonical rows.

    python -m experiments.copa.copa_prepro --source COPA

COPA has 500 items to develop on and 500 to test. Those to develop on are split here: ids from 401 are dev, the others
train. Balanced COPA adds a twin to each, with the same alternatives and the other one right; its id is larger by 1000,
and it is on its original's side, for a model that knows the one half knows the other. An item is a row: its premise
with "because" or "so", and two options.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from data_utils.canonical import Problems, Row
from data_utils.errors import InputError, entry_point
from data_utils.published import PlacedRow, Source, find_splits, source_parser, write_splits
from data_utils.task_def import load_task_defs, select_tasks

TASK_DEF = Path(__file__).with_name("copa_task_def.yml")
FILES = {"dev": ("balanced-copa-dev-all.xml", "copa-dev.xml"), "test": ("copa-test.xml",)}
FIRST_DEV, TWINS_FROM = 401, 1000
ASKS = {"cause": "because", "effect": "so"}
PARTS = ("p", "a1", "a2")


def items_of(path: Path) -> list[ElementTree.Element]:
    """The items of a file; `InputError` where it is no XML."""
    try:
        return list(ElementTree.parse(path).getroot().iter("item"))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as XML: {error}") from None


def read_item(item: ElementTree.Element) -> Row:
    """An item as a row; `InputError` for what it lacks."""
    texts = [" ".join((item.findtext(part) or "").split()) for part in PARTS]
    uid, asks, right = (item.get(key, "") for key in ("id", "asks-for", "most-plausible-alternative"))
    if not uid.isdecimal() or asks not in ASKS or right not in ("1", "2") or not all(texts):
        expected = "a number as id, asks-for (cause, effect), most-plausible-alternative (1, 2), and texts p, a1, a2"
        raise InputError(f"item {uid!r}: expected {expected}; got {dict(item.attrib)} {texts}")
    labels = tuple(str(int(right == option)) for option in ("1", "2"))
    return Row(uid, labels, f"{texts[0]} {ASKS[asks]}", tuple(texts[1:]), ("1", "2"))


def side_of(uid: str) -> str:
    """The split of an item of the development file."""
    return "dev" if (int(uid) - 1) % TWINS_FROM + 1 >= FIRST_DEV else "train"


def read_split(split: str, path: Path, problems: Problems) -> Iterator[PlacedRow]:
    """The items of a split, each with its number in the file; bad ones are told once, with the split `train`."""
    for number, item in enumerate(items_of(path), start=1):
        try:
            row = read_item(item)
        except InputError as error:
            if split in ("train", "test"):
                problems.add(number, str(error))
            continue
        if split in ("test", side_of(row.uid)):
            yield number, row


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run with the given flags; returns the exit code: 0 done, 2 the input is wrong."""
    parser = source_parser("COPA's XML to canonical rows.", f"folder with {' or '.join(FILES['dev'])}")
    args = parser.parse_args(argv)
    (task,) = select_tasks(load_task_defs(TASK_DEF), "copa", "copa")
    found = find_splits(Path(args.source), task.name, FILES, optional=["test"])
    files = {"train": found["dev"], **found}
    sources = [Source(task, split, path, functools.partial(read_split, split)) for split, path in files.items()]
    write_splits(sources, Path(args.output_dir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
