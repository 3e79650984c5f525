"""The check of a GLUE submission: a whole one passes, and everything that can be wrong with one is named."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data_utils.canonical import count_lines
from data_utils.task_def import load_task_defs
from experiments.glue import validate
from experiments.glue.glue_prepro import RAW_TASKS, TASK_DEF
from experiments.glue.official import OFFICIAL, OfficialFile

REAL = Path(__file__).resolve().parents[3] / "shared/glue_data"
ROWS = 12
Contents = dict[str, bytes]


@pytest.fixture(autouse=True)
def small_test_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    small = tuple(dataclasses.replace(one, rows=ROWS) for one in OFFICIAL)
    monkeypatch.setattr("experiments.glue.official.OFFICIAL", small)


def good_contents() -> Contents:
    def words(one: OfficialFile) -> list[str]:
        return [one.labels[i % len(one.labels)] if one.labels else f"{i / 3:.3f}" for i in range(ROWS)]

    lines = {one.name: [f"{i}\t{word}" for i, word in enumerate(words(one))] for one in OFFICIAL}
    return {name: "\n".join(["index\tprediction", *rows, ""]).encode() for name, rows in lines.items()}


def write(path: Path, contents: Contents) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def test_a_whole_submission_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "good.zip", good_contents())
    assert validate.main([str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: all 11 files are as GLUE's server takes them\n"


def change(name: str, old: bytes, new: bytes, count: int = 1) -> Callable[[Contents], None]:
    def spoil(contents: Contents) -> None:
        assert old in contents[name]
        contents[name] = contents[name].replace(old, new, count)

    return spoil


def rename(old: str, new: str) -> Callable[[Contents], None]:
    return lambda contents: contents.update({new: contents.pop(old)})


BROKEN: dict[str, tuple[Callable[[Contents], object], list[str]]] = {
    "a file is missing": (lambda c: c.pop("QQP.tsv"), ["QQP.tsv is missing"]),
    "an extra file": (
        lambda c: c.update({"README.txt": b"hello"}),
        ["'README.txt' is none of the 11 files"],
    ),
    "a name in another case": (
        rename("CoLA.tsv", "cola.tsv"),
        ["CoLA.tsv is missing", "'cola.tsv' is none of the 11 files; it is spelled CoLA.tsv"],
    ),
    "in a folder": (
        rename("RTE.tsv", "out/RTE.tsv"),
        ["RTE.tsv lies in the folder 'out'; the files must lie at the top of the zip"],
    ),
    "in a folder and at the top": (
        lambda c: c.update({"out/RTE.tsv": c["RTE.tsv"]}),
        ["RTE.tsv is there 2 times", "RTE.tsv lies in the folder 'out'; the files must lie at the top of the zip"],
    ),
    "another header": (
        change("RTE.tsv", b"index\tprediction", b"id\tlabel"),
        [r"RTE.tsv: the header is 'id\tlabel', expected index, prediction (tab-separated)"],
    ),
    "no header": (
        change("RTE.tsv", b"index\tprediction\n", b""),
        ["RTE.tsv: there is no header, expected index, prediction (tab-separated)"],
    ),
    "commas": (
        lambda c: c.update({"RTE.tsv": c["RTE.tsv"].replace(b"\t", b",")}),
        [
            "RTE.tsv: the header is 'index,prediction', expected index, prediction (tab-separated)",
            "RTE.tsv: 12 lines have not two columns: line 2, 3, 4, 5, 6 and 7 more",
            "RTE.tsv: 0 rows, expected 12",
            "RTE.tsv: the index has gaps: index 0, 1, 2, 3, 4 and 7 more missing",
        ],
    ),
    "rows are missing": (
        change("RTE.tsv", b"4\tentailment\n", b""),
        ["RTE.tsv: 11 rows, expected 12", "RTE.tsv: the index has gaps: index 4 missing"],
    ),
    "a row too many": (
        lambda c: c.update({"AX.tsv": c["AX.tsv"] + b"12\tneutral\n"}),
        ["AX.tsv: 13 rows, expected 12", "AX.tsv: the index goes beyond 11: index 12"],
    ),
    "an index twice": (
        change("SST-2.tsv", b"\n3\t", b"\n2\t"),
        ["SST-2.tsv: the index has gaps: index 3 missing", "SST-2.tsv: the index has a value twice: index 2"],
    ),
    "counted from one": (
        lambda c: c.update({"CoLA.tsv": b"index\tprediction\n" + b"".join(b"%d\t0\n" % i for i in range(1, 13))}),
        ["CoLA.tsv: the index has gaps: index 0 missing", "CoLA.tsv: the index goes beyond 11: index 12"],
    ),
    "out of order": (
        change("MRPC.tsv", b"2\t0\n3\t1\n", b"3\t1\n2\t0\n"),
        ["MRPC.tsv: the index is not in order: line 5"],
    ),
    "an index that is none": (
        change("MRPC.tsv", b"\n2\t", b"\n2.0\t"),
        ["MRPC.tsv: the index is not a whole number: line 4", "MRPC.tsv: the index has gaps: index 2 missing"],
    ),
    "a label of another task": (
        change("MNLI-m.tsv", b"neutral", b"not_entailment"),
        ["MNLI-m.tsv: unknown label 'not_entailment', allowed are entailment, neutral, contradiction: line 3"],
    ),
    "a class id for a word": (
        change("QNLI.tsv", b"\tentailment", b"\t1", 99),
        ["QNLI.tsv: unknown label '1', allowed are entailment, not_entailment: line 2, 4, 6, 8, 10 and 1 more"],
    ),
    "a number for a label": (
        change("WNLI.tsv", b"0\t0", b"0\t0.0"),
        ["WNLI.tsv: unknown label '0.0', allowed are 0, 1: line 2"],
    ),
    "scores that are none": (
        lambda c: [change("STS-B.tsv", b"0.000", b"nan")(c), change("STS-B.tsv", b"0.333", b"high")(c)],
        ["STS-B.tsv: the score nan is not in 0 to 5: line 2", "STS-B.tsv: 'high' is not a number: line 3"],
    ),
    "scores out of range": (
        lambda c: [change("STS-B.tsv", b"0.000", b"-0.1")(c), change("STS-B.tsv", b"3.667", b"inf")(c)],
        ["STS-B.tsv: the score -0.1 is not in 0 to 5: line 2", "STS-B.tsv: the score inf is not in 0 to 5: line 13"],
    ),
    "many wrong scores": (
        lambda c: c.update({"STS-B.tsv": b"index\tprediction\n" + b"".join(b"%d\t9.%d\n" % (i, i) for i in range(12))}),
        [f"STS-B.tsv: the score 9.{i} is not in 0 to 5: line {i + 2}" for i in range(5)]
        + ["STS-B.tsv: and 7 further wrong predictions"],
    ),
    "a byte-order mark": (
        change("QQP.tsv", b"index", b"\xef\xbb\xbfindex"),
        ["QQP.tsv: begins with a byte-order mark; save it as UTF-8 without one"],
    ),
    "Windows line ends": (
        change("QQP.tsv", b"\n", b"\r\n", 99),
        [r"QQP.tsv: 13 lines end in \r\n (Windows); expected \n"],
    ),
    "a blank line": (
        lambda c: c.update({"QQP.tsv": c["QQP.tsv"] + b"\n"}),
        ["QQP.tsv: 1 lines have not two columns: line 14"],
    ),
    "not UTF-8": (change("QQP.tsv", b"3\t", b"3\xff\t"), ["QQP.tsv: line 5: not valid UTF-8"]),
    "an empty file": (lambda c: c.update({"QQP.tsv": b""}), ["QQP.tsv: is empty"]),
    "an archive without files": (lambda c: c.clear(), [f"{one.name} is missing" for one in OFFICIAL]),
}


@pytest.mark.parametrize(("spoil", "problems"), BROKEN.values(), ids=BROKEN.keys())
def test_everything_that_is_wrong_is_named_and_nothing_else(
    spoil: Callable[[Contents], object], problems: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = good_contents()
    spoil(contents)
    path = write(tmp_path / "bad.zip", contents)
    assert validate.main([str(path)]) == 2
    assert capsys.readouterr().err.removeprefix("error: ").splitlines() == [f"{path}: {one}" for one in problems]


def test_all_faults_stand_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = good_contents()
    for name in ("a file is missing", "an extra file", "out of order", "scores out of range"):
        BROKEN[name][0](contents)
    assert validate.main([str(write(tmp_path / "bad.zip", contents))]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 5


NO_ZIPS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a table": (lambda data: b"index\tprediction\n0\t1\n", "not a zip file"),
    "nothing": (lambda data: b"", "not a zip file"),
    "the first half": (lambda data: data[: len(data) // 2], "not a zip file"),
    "a bit has flipped": (lambda data: data[:60] + bytes([data[60] ^ 8]) + data[61:], "CoLA.tsv: is damaged: "),
}


@pytest.mark.parametrize(("spoil", "problem"), NO_ZIPS.values(), ids=NO_ZIPS.keys())
def test_what_is_no_zip_or_a_damaged_one_is_named(
    spoil: Callable[[bytes], bytes], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "bad.zip", good_contents())
    path.write_bytes(spoil(path.read_bytes()))
    assert validate.main([str(path)]) == 2
    assert problem in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate.main([str(tmp_path / "none.zip")]) == 2
    assert "none.zip: cannot be read: No such file or directory" in capsys.readouterr().err


def test_a_file_far_too_large_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "bomb.zip", good_contents() | {"RTE.tsv": b"0" * (validate.MAX_BYTES + 1)})
    assert validate.main([str(path)]) == 2
    assert "RTE.tsv: has 67,108,865 bytes; no file of a submission is so large" in capsys.readouterr().err


def test_the_official_words_are_those_of_the_task_file() -> None:
    tasks = load_task_defs(TASK_DEF)
    assert len(OFFICIAL) == 11
    for one in OFFICIAL:
        assert set(one.labels) == set(tasks[one.head].label_names) == set(tasks[one.task].label_names), one.name
        assert one.split in tasks[one.task].split_names


@pytest.mark.parametrize("official", OFFICIAL, ids=lambda one: one.name)
def test_the_official_counts_are_those_of_the_published_files(official: OfficialFile) -> None:
    raw = RAW_TASKS[official.task]
    path = REAL / raw.folder / raw.files[official.split]
    if not path.is_file():
        pytest.skip(f"the real test file is not there: {path.relative_to(REAL.parent)}")
    assert count_lines(path) - 1 == official.rows
