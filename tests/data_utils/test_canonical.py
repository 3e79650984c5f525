"""Canonical rows: all four formats read and written, every bad row reported with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.canonical import Row, canonical_path, count_lines, format_row, read_rows, write_rows
from data_utils.errors import InputError
from data_utils.task_def import DataFormat, TaskDef, TaskType

SINGLE = TaskDef(name="cola", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification)
PAIR = TaskDef(
    name="rte",
    data_format=DataFormat.PremiseAndOneHypothesis,
    task_type=TaskType.Classification,
    labels=("not_entailment", "entailment"),
)
SCORE = TaskDef(name="stsb", data_format=DataFormat.PremiseAndOneHypothesis, task_type=TaskType.Regression)
OPTIONS = TaskDef(name="rank", data_format=DataFormat.PremiseAndMultiHypothesis, task_type=TaskType.Ranking)
WORDS = TaskDef(
    name="ner", data_format=DataFormat.Seqence, task_type=TaskType.SeqenceLabeling, labels=("O", "B-PER", "I-PER")
)


def write(folder: Path, data: str | bytes) -> Path:
    path = folder / "task_train.tsv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


ROWS = {
    "one text": (SINGLE, Row("0", ("1",), 'he said "yes" \u2028 and \u0085 left')),
    "two texts": (PAIR, Row("a-1", ("entailment",), "first", ("second",))),
    "an empty second text": (PAIR, Row("a-1", ("entailment",), "first", ("",))),
    "a number": (SCORE, Row("7", ("3.250",), "first ", (" second",))),
    "options": (OPTIONS, Row("q", ("0", "1", "0.5"), "which", ("this", "that", "none"), ("a", "b", "c"))),
    "words": (WORDS, Row("s", ("O", "B-PER"), tokens=("it's", 'Zo"ë'))),
}


@pytest.mark.parametrize(("task", "row"), ROWS.values(), ids=ROWS.keys())
def test_every_format_comes_back_as_written(tmp_path: Path, task: TaskDef, row: Row) -> None:
    path = canonical_path(tmp_path, task.name, "train")
    other = row._replace(uid="other")
    assert write_rows(path, [row, other], task.data_format) == 2
    assert path.name == f"{task.name}_train.tsv"
    assert read_rows(path, task) == [row, other]


QUIRKS = {
    "no last line end": b"0\t1\ta b\n1\t0\tc",
    "Windows line ends": b"0\t1\ta b\r\n1\t0\tc\r\n",
    "byte-order mark": b"\xef\xbb\xbf0\t1\ta b\n1\t0\tc\n",
}


@pytest.mark.parametrize("data", QUIRKS.values(), ids=QUIRKS.keys())
def test_quirks_of_files_do_not_reach_the_rows(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, data)
    assert read_rows(path, SINGLE) == [Row("0", ("1",), "a b"), Row("1", ("0",), "c")]
    assert count_lines(path) == 2


def test_a_sequence_may_be_json_or_a_python_literal(tmp_path: Path) -> None:
    path = write(tmp_path, "0\t['O', 'B-PER']\t['a', \"b's\"]\n1\t[\"O\"]\t[\"c\"]\n")
    assert [row.tokens for row in read_rows(path, WORDS)] == [("a", "b's"), ("c",)]


GOOD = "0\t1\tfine\n"
BAD = {
    "empty file": (SINGLE, b"", ": the file is empty"),
    "only a mark": (SINGLE, b"\xef\xbb\xbf", ":1: blank line"),
    "not UTF-8": (SINGLE, GOOD.encode() + b"1\t1\tcaf\xe9\n", ":2: not valid UTF-8 (byte 0xe9)"),
    "blank line": (SINGLE, GOOD + "\n2\t0\tx\n", ":2: blank line"),
    "too few columns": (SINGLE, GOOD + "1\t1\n", ":2: 2 columns, expected 3: uid, label, premise"),
    "too many columns": (SINGLE, GOOD + "1\t1\tx\ty\n", ":2: 4 columns, expected 3"),
    "pair without a second": (PAIR, "0\tentailment\tx\n", ":1: 3 columns, expected 4: uid, label, premise, hypothesis"),
    "no uid": (SINGLE, "\t1\tx\n", ":1: the uid (first column) is empty"),
    "no text": (PAIR, "0\tentailment\t \t\n", ":1: the row has no text"),
    "uid twice": (SINGLE, GOOD + GOOD, ":2: the uid '0' stands already in line 1"),
    "unknown label": (PAIR, "0\tmaybe\tx\ty\n", ":1: unknown label 'maybe'; allowed for rte: not_entailment, entail"),
    "no label": (SINGLE, "0\t\tx\n", ":1: the label is empty; only rows of a split whose name ends in test may be"),
    "no number": (SCORE, "0\t\tx\ty\n", ":1: the label is empty; only rows of a split whose name ends in test may"),
    "header": (
        SINGLE,
        "uid\tlabel\tsentence\n" + GOOD,
        ":1: unknown label 'label'; allowed for cola: 0, 1; this looks like a header, which canonical files do not",
    ),
    "class out of range": (SINGLE, "0\t2\tx\n", ":1: unknown label '2'; allowed for cola: 0, 1"),
    "not a number": (SCORE, "0\thigh\tx\ty\n", ":1: label 'high' is not a finite number"),
    "digits with an underscore": (SCORE, "0\t1_0\tx\ty\n", ":1: label '1_0' is not a finite number"),
    "beyond float32": (SCORE, "0\t1e39\tx\ty\n", ":1: label '1e39' is not a finite number"),
    "infinite": (SCORE, "0\tinf\tx\ty\n", ":1: label 'inf' is not a finite number"),
    "options disagree": (OPTIONS, "0\ta,b\t0,1\tp\tx\n", ":1: 2 option uids, 2 labels and 1 hypotheses"),
    "no option": (OPTIONS, "0\ta\t0\tp\n", ":1: 4 columns, expected 5 or more"),
    "rank not a number": (OPTIONS, "0\ta\tx\tp\th\n", ":1: label 'x' is not a finite number"),
    "label a token": (WORDS, "0\t['O']\t['a', 'b']\n", ":1: 1 labels for 2 tokens"),
    "code in a list": (WORDS, "0\t[print(1)]\t['a']\n", ":1: the list of labels is not a list of strings: [print(1)]"),
    "a number without end": (WORDS, f"0\t[0x{'f' * 5000}]\t['a']\n", ":1: the list of labels holds a number that is"),
    "half a character": (WORDS, '0\t["O"]\t["\\ud800"]\n', ":1: the list of tokens holds half a surrogate pair"),
    "rank with an underscore": (OPTIONS, "0\ta\t1_0\tp\th\n", ":1: label '1_0' is not a finite number"),
    "unknown word label": (WORDS, "0\t['X']\t['a']\n", ":1: unknown label 'X'"),
}


@pytest.mark.parametrize(("task", "data", "message"), BAD.values(), ids=BAD.keys())
def test_bad_rows_are_errors_with_file_and_line(tmp_path: Path, task: TaskDef, data: str | bytes, message: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(InputError) as caught:
        read_rows(path, task)
    assert str(caught.value).startswith(f"{path}{message}")


def test_ten_problems_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "".join(f"{i}\tbad\tx\n" for i in range(25)))
    with pytest.raises(InputError) as caught:
        read_rows(path, SINGLE)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == f"{path}: and 15 more lines like these"


def test_a_list_in_json_is_read_as_json_without_a_word_on_the_terminal(tmp_path: Path, recwarn: object) -> None:
    """In Python the first token would be two halves of a character, and the second list has an unknown escape."""
    path = write(tmp_path, '0\t["O"]\t["\\ud83d\\ude42"]\n' + "1\t['O']\t['\\d']\n")
    assert [row.tokens for row in read_rows(path, WORDS)] == [("\U0001f642",), ("\\d",)]
    assert not recwarn


@pytest.mark.parametrize(("task", "label"), [(SINGLE, "1"), (SCORE, "2.5")], ids=["class", "number"])
def test_rows_without_labels_are_read_where_that_is_asked_for(tmp_path: Path, task: TaskDef, label: str) -> None:
    text = "\tx\ty" if task is SCORE else "\tx"
    path = write(tmp_path, f"0\t{text}\n1\t{label}{text}\n2\twrong{text}\n")
    with pytest.raises(InputError) as caught:
        read_rows(path, task, labelled=False)
    assert str(caught.value).startswith(f"{path}:3: ") and "'wrong'" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    write(tmp_path, f"0\t{text}\n1\t{label}{text}\n")
    assert [row.labels for row in read_rows(path, task, labelled=False)] == [("",), (label,)]


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tsv", tmp_path, tmp_path / "a\0b", tmp_path / ("x" * 5000)):
        with pytest.raises(InputError, match="cannot be read"):
            read_rows(path, SINGLE)


def test_formats_that_a_kind_does_not_have_are_refused(tmp_path: Path) -> None:
    task = TaskDef(name="odd", data_format=DataFormat.MRC, task_type=TaskType.Classification)
    with pytest.raises(InputError, match="a Classification task has rows of the format PremiseOnly, .*, got MRC"):
        read_rows(write(tmp_path, GOOD), task)


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\r"], ids=repr)
def test_what_a_tsv_cannot_carry_is_not_written(text: str) -> None:
    with pytest.raises(InputError, match="the row '5' holds a tab or a line end"):
        format_row(Row("5", ("1",), text), DataFormat.PremiseOnly)


UNFIT = {
    "a mark that reading takes off": (SINGLE, Row("\ufeffa", ("1",), "x"), "starts with a byte-order mark"),
    "half a character": (SINGLE, Row("5", ("1",), "\ud800"), "holds half a surrogate pair"),
    "a comma among options": (OPTIONS, Row("5", ("1",), "x", ("y",), ("a,b",)), "holds a comma inside an option's uid"),
}


@pytest.mark.parametrize(("task", "row", "message"), UNFIT.values(), ids=UNFIT.keys())
def test_what_would_not_come_back_is_not_written(tmp_path: Path, task: TaskDef, row: Row, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_rows(tmp_path / "toy_train.tsv", [row], task.data_format)
