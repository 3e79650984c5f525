"""Raw GLUE to canonical rows: the miniature with all quirks, every real file, and a table of bad input."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data_utils.canonical import read_rows
from data_utils.task_def import load_task_defs
from experiments.glue.glue_prepro import RAW_TASKS, TASK_DEF, main
from tests.miniature_glue import write_miniature_glue

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared/glue_data"
TASKS = load_task_defs(TASK_DEF)
REAL_ROWS = {
    "cola": {"train": 8551, "dev": 1043, "test": 1063},
    "mrpc": {"train": 3667, "dev": 408, "test": 1725},
    "rte": {"train": 2490, "dev": 277, "test": 3000},
    "stsb": {"train": 5749, "dev": 1500, "test": 1379},
    "sst": {"train": 67349, "dev": 872, "test": 1821},
    "wnli": {"train": 635, "dev": 71, "test": 146},
    "qnli": {"train": 8999, "dev": 5463, "test": 5463},
    "qqp": {"train": 8999, "dev": 1000},
    "mnli": {"train": 8999, "matched_dev": 9815, "mismatched_dev": 1000},
    "ax": {"test": 1104},
}


def test_the_table_of_raw_files_covers_the_task_definitions() -> None:
    assert RAW_TASKS.keys() == TASKS.keys()
    for name, task in TASKS.items():
        assert tuple(RAW_TASKS[name].files) == task.split_names


@pytest.mark.parametrize("name", TASKS)
def test_all_rows_of_the_miniature_come_through(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    glue, out = write_miniature_glue(tmp_path / "glue", rows=24), tmp_path / "out"
    assert main(["--glue_dir", str(glue), "--output_dir", str(out), "--tasks", name]) == 0
    printed = capsys.readouterr().out
    for split in TASKS[name].split_names:
        count = 6 if split.endswith("test") else 12 if split.endswith("dev") else 24
        rows = read_rows(out / f"{name}_{split}.tsv", TASKS[name])
        assert [row.uid for row in rows] == [str(i) for i in range(count)]
        assert f"{name} {split} {count} {count}" in " ".join(printed.split())
        dummy = ("0",) if name == "stsb" else (TASKS[name].label_names or ("0",))[:1]
        if split.endswith("test"):
            assert {row.labels for row in rows} == {dummy}
        else:
            assert len({row.labels for row in rows}) > 1


def test_texts_and_labels_are_taken_from_the_right_columns(tmp_path: Path) -> None:
    glue, out = write_miniature_glue(tmp_path / "glue"), tmp_path / "out"
    assert main(["--glue_dir", str(glue), "--output_dir", str(out)]) == 0
    mrpc = read_rows(out / "mrpc_train.tsv", TASKS["mrpc"])
    assert mrpc[1].premise.startswith('" ')  # a lone quote is text
    assert mrpc[1].hypotheses[0] == f"indeed {mrpc[1].premise[2:]}"
    assert (mrpc[0].labels, mrpc[1].labels) == (("0",), ("1",))
    assert any("\u2028" in row.premise for row in mrpc) or any("\u0085" in row.premise for row in mrpc)
    assert all(row.premise.endswith(" ") for row in read_rows(out / "sst_train.tsv", TASKS["sst"]))
    mnli = read_rows(out / "mnli_matched_dev.tsv", TASKS["mnli"])
    assert [row.labels[0] for row in mnli[:3]] == ["contradiction", "neutral", "entailment"]
    assert mnli[2].hypotheses[0] == f"indeed {mnli[2].premise}"
    wnli = read_rows(out / "wnli_test.tsv", TASKS["wnli"])
    assert not any(row.hypotheses[0].endswith("\r") for row in wnli)


@pytest.mark.parametrize("name", REAL_ROWS)
def test_every_real_file_comes_through_whole(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not REAL.is_dir():
        pytest.skip(f"real GLUE is not there: {REAL}")
    assert main(["--glue_dir", str(REAL), "--output_dir", str(tmp_path), "--tasks", name]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for split, count in REAL_ROWS[name].items():
        assert f"{name} {split} {count:,} {count:,}" in printed
        rows = read_rows(tmp_path / f"{name}_{split}.tsv", TASKS[name])
        assert len(rows) == count
        raw = (REAL / RAW_TASKS[name].folder / RAW_TASKS[name].files[split]).read_bytes().decode("utf-8-sig")
        lines = raw.removesuffix("\n").split("\n")[-count:]
        for row, line in zip(rows, lines, strict=True):  # no text is altered on the way
            fields = line.split("\t")
            assert row.premise in fields
            assert all(text in fields for text in row.hypotheses)
            assert split.endswith("test") or row.labels[0] in fields


def test_absent_tasks_and_test_splits_are_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    glue = write_miniature_glue(tmp_path / "glue", rows=8)
    for path in [*(glue / "QNLI").iterdir(), glue / "RTE/test.tsv"]:
        path.unlink()
    (glue / "QNLI").rmdir()
    assert main(["--glue_dir", str(glue), "--output_dir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert f"qnli: no folder {glue / 'QNLI'}, skipped" in printed
    assert f"rte test: no file {glue / 'RTE/test.tsv'}, skipped" in printed
    assert not (tmp_path / "out/qnli_train.tsv").exists()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("place", RAW_TASKS["ax"].elsewhere)
def test_the_diagnostic_set_is_found_in_other_copies_of_glue(place: str, named: bool, tmp_path: Path) -> None:
    glue = write_miniature_glue(tmp_path / "glue", rows=8)
    expected, out = tmp_path / "expected", tmp_path / "out"
    flags = ["--tasks", "ax"] if named else []
    assert main(["--glue_dir", str(glue), "--output_dir", str(expected), *flags]) == 0
    (glue / place).parent.mkdir(exist_ok=True)
    (glue / "diagnostic/diagnostic.tsv").rename(glue / place)
    if not any((glue / "diagnostic").iterdir()):
        (glue / "diagnostic").rmdir()
    assert main(["--glue_dir", str(glue), "--output_dir", str(out), *flags]) == 0
    assert (out / "ax_test.tsv").read_bytes() == (expected / "ax_test.tsv").read_bytes()


def replace(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(glue: Path) -> None:
        path = glue / name
        path.write_bytes(change(path.read_bytes()))

    return spoil


def keep(glue: Path) -> None:
    """Nothing is wrong with the files."""


BAD = {
    "no such task": (keep, ["--tasks", "cola,nope"], "--tasks: unknown task 'nope'; "),
    "no such folder": (keep, ["--glue_dir", "/nowhere"], "--glue_dir: no such folder: /nowhere"),
    "named task absent": (
        lambda glue: (glue / "RTE/dev.tsv").unlink(),
        ["--tasks", "rte"],
        "RTE/dev.tsv: no such file",
    ),
    "train absent": (lambda glue: (glue / "RTE/train.tsv").unlink(), [], "RTE/train.tsv: no such file; rte needs it"),
    "too few columns": (
        replace("RTE/train.tsv", lambda b: b + b"24\tonly\n"),
        [],
        "RTE/train.tsv:26: 2 columns, expected 4: index, sentence1, sentence2, label",
    ),
    "tab in a text": (replace("CoLA/train.tsv", lambda b: b + b"a\t1\t\tb\tc\n"), [], "CoLA/train.tsv:25: 5 columns"),
    "blank line": (replace("CoLA/train.tsv", lambda b: b + b"\n"), [], "CoLA/train.tsv:25: 1 columns"),
    "not UTF-8": (
        replace("SST-2/dev.tsv", lambda b: b + b"caf\xe9\t1\n"),
        [],
        "SST-2/dev.tsv:14: not valid UTF-8 (byte 0xe9)",
    ),
    "empty file": (replace("QQP/train.tsv", lambda b: b""), [], "QQP/train.tsv: the file is empty"),
    "header only": (replace("QQP/test.tsv", lambda b: b.split(b"\n")[0]), [], "QQP/test.tsv: nothing but a header"),
    "another header": (
        replace("STS-B/train.tsv", lambda b: b.replace(b"score", b"rating", 1)),
        [],
        "STS-B/train.tsv:1: the header lacks score; it has: index, genre",
    ),
    "a column twice": (
        replace("RTE/train.tsv", lambda b: b.replace(b"index", b"label", 1)),
        [],
        "RTE/train.tsv:1: the header has label more than once: label, sentence1",
    ),
    "a very long header": (
        replace("RTE/train.tsv", lambda b: b.replace(b"label", b"x" * 10**6, 1)),
        [],
        f"RTE/train.tsv:1: the header lacks label; it has: index, sentence1, sentence2, {'x' * 77}...\n",
    ),
    "no output folder": (keep, ["--output_dir", ""], "argument --output_dir: expected a path, got ''"),
    "folder with a NUL": (keep, ["--output_dir", "a\0b"], "argument --output_dir: 'a\\x00b' cannot be a path: "),
    "folder too long": (keep, ["--glue_dir", "x" * 300], " cannot be a path: File name too long"),
    "unknown flag": (keep, ["--colour"], "unrecognized arguments: --colour\n(all flags: "),
    "not a number": (
        replace("STS-B/train.tsv", lambda b: b.replace(b"1.000", b"low")),
        [],
        "STS-B/train.tsv:2: label 'low' is not a finite number",
    ),
    "a score that is too high": (
        replace("STS-B/dev.tsv", lambda b: b.replace(b"1.000", b"5.001", 1)),
        [],
        "STS-B/dev.tsv:2: the score 5.001 is not in 0 to 5\n",
    ),
    "a score below zero": (
        replace("STS-B/train.tsv", lambda b: b.replace(b"1.000", b"-1", 1)),
        [],
        "STS-B/train.tsv:2: the score -1 is not in 0 to 5\n",
    ),
    "unknown label": (
        replace("MNLI/train.tsv", lambda b: b.replace(b"neutral\tneutral", b"-\t-", 1)),
        [],
        "MNLI/train.tsv:3: unknown label '-'; allowed for mnli: contradiction, neutral, entailment",
    ),
}


@pytest.mark.parametrize(("spoil", "flags", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_message_and_writes_nothing(
    spoil: Callable[[Path], None], flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glue, out = write_miniature_glue(tmp_path / "glue"), tmp_path / "new/out"
    spoil(glue)
    assert main(["--glue_dir", str(glue), "--output_dir", str(out), *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "new").exists()


def as_microsoft_ships_it(folder: Path, lists: str | None = "dev_ids.tsv") -> list[str]:
    """Turn GLUE's MRPC files into Microsoft's, dev rows in between the others; returns the dev rows' ids."""
    header, *train = (folder / "train.tsv").read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    dev = (folder / "dev.tsv").read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")[1:]
    test = (folder / "test.tsv").read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    names = header.split("\t")
    ids = ["\t".join(row.split("\t")[names.index(name)] for name in ("#1 ID", "#2 ID")) for row in dev]
    step = len(train) // len(dev)
    both = [row for i, one in enumerate(dev) for row in (*train[i * step : (i + 1) * step], one)]
    both += train[len(dev) * step :]
    labelled = [f"Quality\t{test[0]}", *(f"1\t{row}" for row in test[1:])]
    for name, rows in (("train", [header, *both]), ("test", labelled)):
        data = "\ufeff" + "".join(f"{row}\r\n" for row in rows)
        (folder / f"msr_paraphrase_{name}.txt").write_bytes(data.encode())
    for split in ("train", "dev", "test"):
        (folder / f"{split}.tsv").unlink()
    if lists:
        (folder / lists).write_text("".join(f"{pair}\n" for pair in reversed(ids)))
    return ids


@pytest.mark.parametrize("source", ["miniature", "real"])
@pytest.mark.parametrize("lists", ["dev_ids.tsv", "mrpc_dev_ids.tsv"])
def test_microsofts_files_give_the_rows_of_glues(source: str, lists: str, tmp_path: Path) -> None:
    if source == "real" and not REAL.is_dir():
        pytest.skip(f"real GLUE is not there: {REAL}")
    glue = tmp_path / "glue"
    if source == "real":
        shutil.copytree(REAL / "MRPC", glue / "MRPC")
    else:
        write_miniature_glue(glue)
        for split, base in (("train", 1000), ("dev", 2000)):  # the miniature's dev rows have the ids of train rows
            path = glue / f"MRPC/{split}.tsv"
            head, *rows = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            rows = [row.replace(f"\t{i}1\t{i}2\t", f"\t{base + i}\t{base + i}9\t") for i, row in enumerate(rows)]
            path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    flags = ["--glue_dir", str(glue), "--tasks", "mrpc", "--output_dir"]
    assert main([*flags, str(tmp_path / "glues")]) == 0
    as_microsoft_ships_it(glue / "MRPC", lists)
    assert main([*flags, str(tmp_path / "microsofts")]) == 0
    for split in ("train", "dev", "test"):
        one, other = (tmp_path / name / f"mrpc_{split}.tsv" for name in ("glues", "microsofts"))
        assert one.read_bytes() == other.read_bytes(), split


LISTS: dict[str, tuple[str | None, str]] = {
    "none": (None, "/MRPC/dev_ids.tsv: no such file; msr_paraphrase_train.txt holds the dev rows, too, and only this"),
    "a row that is not there": (
        "01\t02\n7\t8\n",
        "/MRPC/dev_ids.tsv:2: no row of msr_paraphrase_train.txt has the ids 7 and",
    ),
    "no pairs": ("01\t02\n11\n", "/MRPC/dev_ids.tsv:2: expected the two ids of a row with a tab between them"),
    "empty": ("", "/MRPC/dev_ids.tsv: the file is empty"),
}


@pytest.mark.parametrize(("text", "message"), LISTS.values(), ids=LISTS.keys())
def test_without_a_good_list_of_dev_rows_nothing_is_guessed(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glue = write_miniature_glue(tmp_path / "glue", rows=8)
    as_microsoft_ships_it(glue / "MRPC", None)
    if text is not None:
        (glue / "MRPC/dev_ids.tsv").write_text(text)
    assert main(["--glue_dir", str(glue), "--output_dir", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_glue_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--glue_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 2
    assert "--glue_dir: no GLUE files in" in capsys.readouterr().err


def test_bad_rows_can_be_dropped_but_not_unseen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    glue, out = write_miniature_glue(tmp_path / "glue"), tmp_path / "out"
    replace("QQP/train.tsv", lambda b: b + b"24\t1\t2\ttorn in two\n")(glue)
    flags = ["--glue_dir", str(glue), "--output_dir", str(out), "--tasks", "qqp"]
    assert main(flags) == 2
    assert "leave these rows out with --drop_bad_rows" in capsys.readouterr().err
    assert main([*flags, "--drop_bad_rows"]) == 0
    printed = capsys.readouterr().out
    assert "QQP/train.tsv:26: 4 columns, expected 6" in printed
    assert "qqp train 25 24" in " ".join(printed.split())
    assert len(read_rows(out / "qqp_train.tsv", TASKS["qqp"])) == 24


@pytest.mark.parametrize("command", ["script", "module"])
def test_it_runs_as_a_script_from_any_folder_and_as_a_module(command: str, tmp_path: Path) -> None:
    glue, out = write_miniature_glue(tmp_path / "glue", rows=8), tmp_path / "out"
    how = (
        [str(ROOT / "experiments/glue/glue_prepro.py")]
        if command == "script"
        else ["-m", "experiments.glue.glue_prepro"]
    )
    where = tmp_path if command == "script" else ROOT
    flags = ["--glue_dir", str(glue), "--output_dir", str(out), "--tasks", "ax"]
    done = subprocess.run([sys.executable, *how, *flags], cwd=where, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert (out / "ax_test.tsv").is_file()
