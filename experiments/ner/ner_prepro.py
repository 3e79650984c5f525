r"""Named entities in CoNLL's form, as published, to canonical rows.

    python -m experiments.ner.ner_prepro --source WNUT17 --task wnut

A line is a word and its tag, the first and the last column (with tabs or spaces between them); a blank line ends a
sentence. Lines of `-DOCSTART-` (CoNLL-2003) are no words. Tags stay as written: BIO, which entities are read off
strictly. A row's uid is its sentence's number in the file, from 0.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_utils.canonical import Problems, Row, read_lines
from data_utils.errors import entry_point
from data_utils.published import PlacedRow, Source, find_splits, source_parser, write_splits
from data_utils.task_def import TaskDef, load_task_defs, select_tasks

TASK_DEF = Path(__file__).with_name("ner_task_def.yml")
FILES = {  # by task and split: what the file may be called
    "wnut": {
        "train": ("wnut17train.conll", "train.conll"),
        "dev": ("emerging.dev.conll", "dev.conll"),
        "test": ("emerging.test.annotated", "test.conll"),
    },
    "conll": {
        "train": ("eng.train", "train.txt"),
        "dev": ("eng.testa", "valid.txt"),
        "test": ("eng.testb", "test.txt"),
    },
}
NO_WORD = "-DOCSTART-"


def read_sentences(task: TaskDef, split: str, path: Path, problems: Problems) -> Iterator[PlacedRow]:
    """The sentences of a file, each with the number of its last line; tags that begin no entity are counted."""
    words: list[str] = []
    tags: list[str] = []
    uid = astray = number = 0
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            columns = line.split("\t") if "\t" in line else line.split(" ")
            if columns[0] == NO_WORD:
                continue
            if len(columns) < 2 or not columns[-1].strip():
                problems.add(number, f"expected a word and its tag, got {line!r}")
                continue
            words.append(columns[0])
            tags.append(columns[-1].strip())
            astray += _astray(tags)
        elif words:
            yield number, Row(str(uid), tuple(tags), tokens=tuple(words))
            words, tags, uid = [], [], uid + 1
    if words:
        yield number, Row(str(uid), tuple(tags), tokens=tuple(words))
    if astray:
        print(f"{task.name} {split}: {astray:,} I- tags follow no tag of their kind; strictly, they are of no entity")


def _astray(tags: Sequence[str]) -> bool:
    """Whether the last tag goes on with an entity that is not there."""
    before = tags[-2] if len(tags) > 1 else ""
    return tags[-1].startswith("I-") and before not in (tags[-1], f"B-{tags[-1][2:]}")


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run with the given flags; returns the exit code: 0 done, 2 the input is wrong."""
    parser = source_parser(
        "Named entities in CoNLL's form to canonical rows.", "folder with the data set's files", list(FILES)
    )
    args = parser.parse_args(argv)
    (task,) = select_tasks(load_task_defs(TASK_DEF), args.task, "--task")
    found = find_splits(Path(args.source), task.name, FILES[task.name], optional=["test"])
    sources = [
        Source(task, split, path, functools.partial(read_sentences, task, split)) for split, path in found.items()
    ]
    write_splits(sources, Path(args.output_dir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
