r"""SQuAD, or XQuAD's English part, as published (JSON) to this project's files, which have the same form.

    python -m experiments.squad.squad_prepro --source SQUAD --task squad

XQuAD's questions are for testing and come as one file. They are split here by article: the last 12 are dev, the others
train. Every question is checked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_utils.atomic import StagedFiles
from data_utils.canonical import canonical_path
from data_utils.errors import InputError, entry_point
from data_utils.published import find_splits, source_parser
from data_utils.squad_json import count_questions, iter_questions, read_articles
from data_utils.task_def import load_task_defs, select_tasks

TASK_DEF = Path(__file__).with_name("squad_task_def.yml")
FILES = {  # by task and split: what the file may be called
    "squad": {"train": ("train-v1.1.json",), "dev": ("dev-v1.1.json",)},
    "squad2": {"train": ("train-v2.0.json",), "dev": ("dev-v2.0.json",)},
    "xquad": {"train": ("xquad.en.json",)},
}
DEV_ARTICLES = 12


def split_articles(articles: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The articles by split; of a train split without a dev split the last ones become that."""
    if "dev" in articles:
        return dict(articles)
    return {"train": articles["train"][:-DEV_ARTICLES], "dev": articles["train"][-DEV_ARTICLES:]}


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run with the given flags; returns the exit code: 0 done, 2 the input is wrong."""
    parser = source_parser("SQuAD's JSON, checked and split.", "folder with the data set's files", list(FILES))
    args = parser.parse_args(argv)
    (task,) = select_tasks(load_task_defs(TASK_DEF), args.task, "--task")
    found = find_splits(Path(args.source), task.name, FILES[task.name], optional=[])
    for path in found.values():
        for _ in iter_questions(path, unanswerable=task.unanswerable):
            pass
    with StagedFiles() as staged:
        for split, articles in split_articles({split: read_articles(path) for split, path in found.items()}).items():
            target = staged.path(canonical_path(args.output_dir, task.name, split, task.data_format))
            target.write_text(json.dumps({"data": articles}, ensure_ascii=False), encoding="utf-8")
            if not (count := count_questions(target)):
                raise InputError(f"{found['train']}: no question for {task.name} {split}")
            print(f"{task.name} {split}: {count:,} questions")
    print(f"canonical files: {args.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
