"""The quickstart's texts: what is read, which side of the split it goes to, and what wrong input is told."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from data_utils.errors import InputError
from data_utils.task_def import load_task_defs
from experiments.quickstart import vader_prepro
from experiments.quickstart.vader_prepro import Snippet, convert, main, parse_snippets, read_files, split_snippets

ROOT = Path(__file__).resolve().parents[2]
TASK_DEF = ROOT / "experiments/quickstart/vader_task_def.yml"
SUBJECTS = ("plot", "cast", "score", "ending", "picture", "sound", "battery", "price", "screen", "cable")
OPINIONS = (("is wonderful", 3.1), ("is good", 1.25), ("exists", 0.1), ("is dull", -1.5), ("is dreadful", -3.4))


def rating_files() -> dict[str, bytes]:
    """Two miniature domains: CRLF, a last line without newline, non-ASCII text, inner tabs and neutral ratings."""
    sentences = [(f"The {s} {words} — naïve me", rating) for s in SUBJECTS for words, rating in OPINIONS]
    movie = "\r\n".join(f"{i}\t{rating}\t {text}\tindeed " for i, (text, rating) in enumerate(sentences, start=1))
    amazon = "\n".join(f"{i // 5 + 1}_{i % 5 + 1}\t{rating}\t{text} {i}" for i, (text, rating) in enumerate(sentences))
    names = vader_prepro.FILES
    return {names["movie"]: movie.encode(), names["amazon"]: f"{amazon}\n".encode()}


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def write_source(kind: str, folder: Path) -> Path:
    """Put the rating files where `--source` may find them: as the package, the archive inside it, or plain files."""
    files = rating_files()
    inner = tar_gz({f"hutto_ICWSM_2014/{name}": data for name, data in files.items()} | {"hutto_ICWSM_2014/a.py": b""})
    inner_path = f"vaderSentiment-0.5/additional_resources/{vader_prepro.INNER_ARCHIVE}"
    if kind == "folder":
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder
    path = folder / {"zip": "v.zip", "sdist": "v.tar.gz", "inner": vader_prepro.INNER_ARCHIVE}[kind]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(inner_path, inner)
    else:
        path.write_bytes(inner if kind == "inner" else tar_gz({inner_path: inner}))
    return path


def run(source: Path, output: Path, *flags: str) -> int:
    return main(
        ["--source", str(source), "--output_dir", str(output), "--train_rows", "30", "--dev_rows", "10", *flags]
    )


def read_tsv(path: Path) -> list[list[str]]:
    text = path.read_bytes().decode("utf-8")
    assert text.endswith("\n") and "\r" not in text
    return [line.split("\t") for line in text[:-1].split("\n")]


@pytest.mark.parametrize("kind", ["zip", "sdist", "inner", "folder"])
def test_every_form_of_the_source_gives_the_same_files(kind: str, tmp_path: Path) -> None:
    assert read_files(write_source(kind, tmp_path)) == rating_files()


def test_rows_are_canonical_and_fit_the_task_definitions(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run(write_source("zip", tmp_path), output) == 0
    tasks = load_task_defs(TASK_DEF)
    written = sorted(path.name for path in output.iterdir())
    expected = [f"{d}{t}_{s}.tsv" for d in ("movie", "amazon") for t in ("pol", "int") for s in ("train", "dev")]
    assert written == sorted(expected)
    for name in written:
        task, split = name.removesuffix(".tsv").split("_")
        assert split in tasks[task].split_names
        rows = read_tsv(output / name)
        assert {len(row) for row in rows} == {3}
        labels = [tasks[task].label_id(label) for _, label, _ in rows]
        assert set(labels) == {0, 1} if task.endswith("pol") else max(labels) > 3 and min(labels) < -3
        assert all("naïve" in text for _, _, text in rows)


def test_both_tasks_share_texts_and_split_and_polarity_leaves_out_only_neutral(tmp_path: Path) -> None:
    assert run(write_source("zip", tmp_path), tmp_path / "out") == 0
    for split, count in (("train", 30), ("dev", 10)):
        intensity = read_tsv(tmp_path / f"out/movieint_{split}.tsv")
        polarity = read_tsv(tmp_path / f"out/moviepol_{split}.tsv")
        assert len(intensity) == count
        signs = {uid: "positive" if float(r) > 0 else "negative" for uid, r, _ in intensity if abs(float(r)) >= 0.5}
        assert {uid: label for uid, label, _ in polarity} == signs


def test_what_is_left_out_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_source("zip", tmp_path), tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "movie: 50 rows read; 30 for train, 10 for dev, 10 spare" in printed
    labels = Counter(label for _, label, _ in read_tsv(tmp_path / "out/moviepol_train.tsv"))
    counts = f"{labels.total()} rows, {labels['positive']} positive and {labels['negative']} negative"
    assert f"moviepol train: {counts}; {30 - labels.total()} left out as neutral, |mean rating| < 0.5" in printed
    assert "movieint train: 30 rows\n" in printed


def test_no_review_and_no_text_is_on_both_sides() -> None:
    twins = [Snippet(f"nyt-{i}_1", 1.0, text) for i, text in enumerate(["Same text.", "same TEXT.", "Another one."])]
    others = [Snippet(f"nyt-{i // 4}_{i % 4 + 2}", 1.0, f"text {i}") for i in range(80)]
    for dev_rows in range(1, 40, 3):
        train, dev = split_snippets(twins + others, 60, dev_rows)
        assert len(dev) == dev_rows
        assert not {s.group for s in train} & {s.group for s in dev}
        assert not {s.text.casefold() for s in train} & {s.text.casefold() for s in dev}
        assert max(Counter(s.uid for s in train + dev).values()) == 1


def test_the_choice_does_not_depend_on_the_order_of_the_rows() -> None:
    snippets = [Snippet(f"movie-{i}", 1.0, f"text {i}") for i in range(50)]
    assert split_snippets(snippets, 20, 10) == split_snippets(snippets[::-1], 20, 10)


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    source, output = write_source("zip", tmp_path), tmp_path / "out"
    runs = []
    for _ in range(2):
        assert run(source, output) == 0
        runs.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert runs[0] == runs[1]


def test_it_runs_as_a_module() -> None:
    command = [
        sys.executable,
        "-m",
        "experiments.quickstart.vader_prepro",
        "--source",
        "none.zip",
        "--output_dir",
        "out",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--source none.zip: cannot be read" in done.stderr and "Traceback" not in done.stderr


BAD_FILES = {
    "empty": (b"", "m.txt: the file is empty"),
    "columns": (b"1\t0.5\tfine\n2\t0.5\n", "m.txt:2: found 2 columns, expected 3: id, mean rating, text"),
    "blank line": (b"1\t0.5\tfine\n\n2\t0.5\tfine", "m.txt:2: found 1 columns"),
    "not a number": (b"1\thigh\ttext", "m.txt:1: the mean rating 'high' is not a number"),
    "nan": (b"1\tnan\ttext", "m.txt:1: the mean rating nan is outside -4 to 4"),
    "too high": (b"1\t4.5\ttext", "m.txt:1: the mean rating 4.5 is outside -4 to 4"),
    "no text": (b"1\t1.0\t  ", "m.txt:1: the text is empty"),
    "no id": (b"\t1.0\ttext", "m.txt:1: the id is empty"),
    "encoding": (b"1\t1.0\tgood\n2\t1.0\tna\xefve", "m.txt:2: invalid UTF-8 at byte 9 of the line"),
    "twice": (b"7\t1.0\tgood\n7\t1.0\tbad", "m.txt:2: the id '7' stands twice"),
    "many": (b"x\n" * 25, "m.txt: and 15 more lines like these"),
}


@pytest.mark.parametrize(("data", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_wrong_row_is_named(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_snippets(data, "movie", "m.txt")
    assert message in str(caught.value)


BAD_FLAGS = {
    "domain": (["--domains", "movie,books"], "--domains: unknown 'books'; allowed: movie, amazon, nyt, tweet"),
    "no domain": (["--domains", ""], "--domains: unknown ''"),
    "absent domain": (["--domains", "nyt"], "--domains: nyt needs nytEditorialSnippets_GroundTruth.txt"),
    "no rows": (["--train_rows", "0"], "--train_rows must be at least 1, got 0"),
    "too many dev rows": (["--dev_rows", "50"], "--dev_rows: 50 leaves nothing to train on; movie has 50 rows"),
}


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS.values(), ids=BAD_FLAGS)
def test_wrong_flags_end_with_code_2_and_write_nothing(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write_source("zip", tmp_path), tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


BAD_SOURCES = {
    "not an archive": (b"<html>not found</html>", "cannot be read as a .zip, a .tar.gz or a folder"),
    "cut short": (tar_gz({"a/x_GroundTruth.txt": bytes(range(256)) * 400})[:300], "delete it and download it again"),
    "another package": (tar_gz({"setup.py": b""}), "found neither hutto_ICWSM_2014.tar.gz nor any *_GroundTruth.txt"),
}


@pytest.mark.parametrize(("data", "message"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_wrong_source_is_named(data: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "source").write_bytes(data)
    assert run(tmp_path / "source", tmp_path / "out") == 2
    assert f"--source {tmp_path / 'source'}: " in (error := capsys.readouterr().err) and message in error


def test_an_output_folder_that_is_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source("zip", tmp_path)
    assert run(source, source) == 2
    assert f"{source}: the folder cannot be made" in capsys.readouterr().err


def test_every_task_of_the_yaml_can_be_written() -> None:
    names = {f"{domain}{kind}" for domain in vader_prepro.FILES for kind in ("pol", "int")}
    assert set(load_task_defs(TASK_DEF)) == names


def test_the_real_texts_are_read_whole() -> None:
    archives = sorted((ROOT / "downloads").glob("vader[Ss]entiment-0.5.*"))
    if not archives:
        pytest.skip("no vaderSentiment-0.5 archive under downloads/; scripts/quickstart.sh fetches it")
    files = read_files(archives[0])
    rows = {domain: len(parse_snippets(files[name], domain, name)) for domain, name in vader_prepro.FILES.items()}
    assert rows == {"movie": 10605, "amazon": 3708, "nyt": 5190, "tweet": 4200}
    tables = convert(files, ["movie", "amazon"], 600, 300)
    positive = Counter(row.labels[0] for row in tables["amazonpol", "dev"])["positive"] / len(
        tables["amazonpol", "dev"]
    )
    assert 0.69 < positive < 0.71, "the figure that vader_task_def.yml gives as its reason for Matthews correlation"
    assert load_task_defs(TASK_DEF)["amazonpol"].primary_metric == "MCC"
