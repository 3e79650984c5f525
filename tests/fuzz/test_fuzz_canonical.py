"""Canonical rows: what is written comes back; what is spoiled is read as it stands or refused with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.canonical import Row, canonical_path, count_lines, read_rows, write_rows
from data_utils.errors import InputError
from data_utils.kinds.regression import MAX_FLOAT32
from data_utils.task_def import DataFormat, TaskDef, TaskType
from tests.fuzz.mutations import check_places, line_alone, mutated, no_hang

TASKS = {
    "one text": ("PremiseOnly", "Classification", ()),
    "two texts": ("PremiseAndOneHypothesis", "Classification", ("no", "yes", "I'm not sure")),
    "a number": ("PremiseAndOneHypothesis", "Regression", ()),
    "options": ("PremiseAndMultiHypothesis", "Ranking", ()),
    "words": ("Seqence", "SeqenceLabeling", ("O", "B-PER", "I-PER", '"', "'")),
}
FORMATS = {
    name: TaskDef(name="toy", data_format=DataFormat(layout), task_type=TaskType(kind), labels=labels)
    for name, (layout, kind, labels) in TASKS.items()
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"), max_size=12)
filled = texts.filter(lambda text: text.strip() and not text.startswith("\ufeff"))
tokens = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["it's", '"', "\\", "\u2028"])
numbers = st.floats(-MAX_FLOAT32, MAX_FLOAT32).map(repr) | st.integers(-9, 9).map(str)


@st.composite
def rows_of(draw: st.DrawFn, task: TaskDef) -> list[Row]:
    """Rows that a canonical file of the task can hold."""
    labels = (
        st.sampled_from(task.label_names) if task.label_names and task.task_type is not TaskType.Ranking else numbers
    )
    rows = []
    for uid in draw(st.lists(filled, min_size=1, max_size=5, unique=True)):
        if task.data_format is DataFormat.PremiseOnly:
            row = Row(uid, (draw(labels),), draw(filled))
        elif task.data_format is DataFormat.PremiseAndOneHypothesis:
            row = Row(uid, (draw(labels),), draw(filled), (draw(texts),))
        elif task.data_format is DataFormat.PremiseAndMultiHypothesis:
            options = draw(
                st.lists(st.tuples(filled.map(lambda t: t.replace(",", ";")), labels, texts), min_size=1, max_size=3)
            )
            uids, names, hypotheses = zip(*options, strict=True)
            row = Row(uid, names, draw(filled), hypotheses, uids)
        else:
            words = draw(st.lists(st.tuples(labels, tokens), min_size=1, max_size=4))
            names, parts = zip(*[*words, (draw(labels), "end")], strict=True)
            row = Row(uid, names, tokens=parts)
        rows.append(row)
    return rows


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_rows_come_back_as_written(name: str, data: st.DataObject, tmp_path: Path) -> None:
    task = FORMATS[name]
    rows, path = data.draw(rows_of(task)), canonical_path(tmp_path, "toy", "train")
    assert write_rows(path, rows, task.data_format) == len(rows) == count_lines(path)
    assert read_rows(path, task) == rows


@given(st.lists(st.text(max_size=4), min_size=3, max_size=3))
def test_a_row_is_written_so_that_it_comes_back_or_refused(tmp_path: Path, fields: list[str]) -> None:
    uid, premise, hypothesis = fields
    row, path = Row(uid, ("1",), premise, (hypothesis,)), tmp_path / "toy_train.tsv"
    try:
        write_rows(path, [row], DataFormat.PremiseAndOneHypothesis)
        read = read_rows(path, FORMATS["a number"])
    except InputError:
        return
    assert read == [row]


VALID = {
    "one text": 'r1\t1\tIt\'s "fine" .\nr2\t0\tzoë 猫 \u2028 x\n\ufeffr3\t1\t \\x \n',
    "two texts": "0\tyes\ta b\tc\r\n1\tno\td\t\r\n2\tI'm not sure\te\tf",
    "a number": "0\t3.25\ta b\tc\n1\t-1e-3\td\te\n2\t5\tf\tg\n",
    "options": "q1\ta,b,c\t0,1,0.5\twhich\tthis\tthat\tnone\nq2\td\t2\tp\th\n",
    "words": 's1\t[\'O\', \'B-PER\']\t[\'it\', "Zoë\'s"]\ns2\t["O", "I-PER"]\t["\\ud83d\\ude42", "a\\tb"]\n',
}


@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
def test_spoiled_files_are_read_as_they_stand_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    task, path = FORMATS[name], tmp_path / "toy_train.tsv"
    content = data.draw(mutated(VALID[name].encode()))
    path.write_bytes(content)
    try:
        with no_hang():
            rows = read_rows(path, task)
    except InputError as error:
        places = check_places(str(error), path)
        assert places or content == b"", error
        if places and "stands already in" not in str(error):
            path.write_bytes(line_alone(content, places[0]))
            with pytest.raises(InputError, match=f"{path}:1: "):  # the line that the message names is at fault
                read_rows(path, task)
        return
    lines = content.decode("utf-8-sig").removesuffix("\n").split("\n")
    assert len(rows) == len({row.uid for row in rows}) == len(lines) == count_lines(path)
    for row, line in zip(rows, lines, strict=True):
        check_row(row, line.removesuffix("\r").split("\t"), task)


def check_row(row: Row, fields: list[str], task: TaskDef) -> None:
    """The row is what its line says, read without this toolkit."""
    if task.data_format is DataFormat.Seqence:
        assert len(row.labels) == len(row.tokens)
        assert (row.uid, len(fields)) == (fields[0], 3)
        assert all(token in fields[2] or "\\" in fields[2] or '"' in fields[2] for token in row.tokens)
    elif task.data_format is DataFormat.PremiseAndMultiHypothesis:
        options = (",".join(row.option_uids), ",".join(row.labels))
        assert [row.uid, *options, row.premise, *row.hypotheses] == fields
    else:
        assert [row.uid, *row.labels, row.premise, *row.hypotheses] == fields
    numeric: Any = task.task_type in (TaskType.Regression, TaskType.Ranking)
    for label in row.labels:
        assert abs(float(label)) < float("inf") if numeric else label in task.label_names
