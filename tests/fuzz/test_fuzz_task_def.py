"""Task files: every definition survives its YAML form; whatever else comes is refused with file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.features import feature_path
from data_utils.task_def import (
    LOSSES,
    MAX_CLASSES,
    METRICS,
    DataFormat,
    TaskDef,
    TaskType,
    load_task_defs,
)
from tests.fuzz.mutations import WORDS, check_places, mutated, no_hang

GLUE = (Path(__file__).parents[2] / "experiments/glue/glue_task_def.yml").read_bytes()
SMALL = b"""\
cola: {data_format: PremiseOnly, task_type: Classification, dropout_p: 0.05}
ner:
  data_format: Sequence
  labels: &names [O, "B-PER", 7]
  task_type: SequenceLabeling
  split_names: [train, dev]
other: {data_format: Seqence, task_type: SeqenceLabeling, labels: *names, enable_san: true}
"""

names = st.text(st.characters(categories=["L", "N", "S"]), min_size=1, max_size=6)
# YAML 1.1 takes U+0085, U+2028 and U+2029 for line ends, which PyYAML writes without escaping them
labels = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n\u0085\u2028\u2029"), min_size=1, max_size=6
)


@st.composite
def task_defs(draw: st.DrawFn) -> TaskDef:
    """Any valid task."""
    kind = draw(st.sampled_from(TaskType))
    several = st.lists(labels, min_size=2, max_size=4, unique=True).map(tuple)
    named = draw(several if kind is TaskType.SeqenceLabeling else several | st.just(()))
    values: dict[str, Any] = {"labels": () if kind is TaskType.Regression else named}
    if not values["labels"] and kind is not TaskType.Regression:
        values["n_class"] = draw(st.integers(2, MAX_CLASSES))
    values["metric_meta"] = tuple(draw(st.lists(st.sampled_from([m for m in METRICS if m != "F1"]), max_size=3)))
    for key in ("kd_loss", "adv_loss"):
        values[key] = draw(st.sampled_from(LOSSES) | st.none())
    values["dropout_p"] = draw(st.floats(0, 1, exclude_max=True) | st.none())
    values["split_names"] = tuple(draw(st.lists(names, min_size=1, max_size=3, unique=True)))
    layout, san = draw(st.sampled_from(DataFormat)), draw(st.booleans())
    return TaskDef(name=draw(names), data_format=layout, task_type=kind, enable_san=san, **values)


@given(st.lists(task_defs(), min_size=1, max_size=3, unique_by=lambda task: task.name), st.booleans(), st.booleans())
def test_tasks_survive_their_yaml_form(tmp_path: Path, tasks: list[TaskDef], unicode: bool, flow: bool) -> None:
    path = tmp_path / "tasks.yml"
    raw = {task.name: task.to_dict() for task in tasks}
    text = yaml.safe_dump(raw, allow_unicode=unicode, default_flow_style=flow, sort_keys=False)
    path.write_text(text, encoding="utf-8", newline="\n")
    assert list(load_task_defs(path).values()) == tasks


def check_task_file(path: Path) -> None:
    """The file is read to valid tasks, or refused in words that name it."""
    try:
        with no_hang():
            tasks = load_task_defs(path)
    except InputError as error:
        places = check_places(str(error), path)
        assert places or re.search(r": (task |no task in it|larger than |cannot be read: )", str(error)), error
        return
    for name, task in tasks.items():
        assert (task.name, task) == (name, TaskDef.from_dict(name, task.to_dict()))
        assert len(task.label_names) == (0 if task.task_type is TaskType.Regression else task.n_class)
        assert task.n_class <= MAX_CLASSES
        for split in task.split_names:  # no name leads out of the folder
            assert feature_path(path.parent, name, split).resolve().parent == path.parent.resolve()


@given(data=st.data())
def test_spoiled_task_files_give_valid_tasks_or_one_message(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "tasks.yml"
    path.write_bytes(data.draw(mutated(SMALL, SMALL, GLUE)))
    check_task_file(path)


KEYS = ("data_format", "task_type", "n_class", "labels", "metric_meta", "loss", "kd_loss", "dropout_p", "enable_san")
known = st.sampled_from(["PremiseOnly", "Classification", "Regression", "ACC", "F1", "CeCriterion", "train"])
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.binary(max_size=3)
)
anything = st.recursive(known | scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(scalars, v, max_size=2))
bodies = st.fixed_dictionaries(
    {"data_format": known | anything, "task_type": known | anything},
    optional={key: known | st.lists(known) | anything for key in (*KEYS[2:], "adv_loss", "split_names", "colour")},
)


@given(st.dictionaries(names | scalars, bodies | anything, max_size=2))
def test_any_value_for_any_key_is_taken_or_refused(tmp_path: Path, raw: dict[Any, Any]) -> None:
    path = tmp_path / "tasks.yml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    check_task_file(path)


@given(st.sampled_from(WORDS), st.sampled_from(["labels", "split_names"]))
def test_names_in_lists_are_read_as_they_are_written(tmp_path: Path, word: bytes, key: str) -> None:
    """`[010, x]` must not become 8, nor `[1:30, x]` 90."""
    path = tmp_path / "tasks.yml"
    path.write_bytes(
        b"toy: {data_format: PremiseOnly, task_type: Classification, %s: [%s, x]}\n" % (key.encode(), word)
    )
    try:
        task = load_task_defs(path)["toy"]
    except InputError:
        return
    written = word.decode()
    assume(not set("\n\r\\'\"[]{}&*!#?,") & set(written))
    assert getattr(task, key) == (written.strip(" \t\u0085\u2028"), "x")


@pytest.mark.parametrize("word", WORDS, ids=lambda word: repr(word[:20]))
def test_every_nasty_word_at_the_top_of_a_task_file(tmp_path: Path, word: bytes) -> None:
    path = tmp_path / "tasks.yml"
    for content in (word, word + b": 1", b"toy: " + word, b"toy: {data_format: PremiseOnly, task_type: " + word + b"}"):
        path.write_bytes(content)
        check_task_file(path)
