"""Human-rated snippets (Hutto and Gilbert, ICWSM 2014) to canonical rows: polarity and intensity tasks per domain.

The source package vaderSentiment 0.5 (MIT) carries the ratings as `hutto_ICWSM_2014.tar.gz`, one file a domain, each
line `id <tab> mean rating <tab> text`. Both tasks of a domain share its texts and its split into train and dev, so
that no dev text is seen in any task's training. Every step is deterministic: the same input gives the same files.

    python -m experiments.quickstart.vader_prepro --source downloads/vaderSentiment-0.5.zip --output_dir data/quickstart
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_utils.atomic import StagedFiles
from data_utils.canonical import Problems, Row, canonical_path, write_rows
from data_utils.errors import InputError, entry_point, raise_all
from data_utils.task_def import DataFormat

INNER_ARCHIVE = "hutto_ICWSM_2014.tar.gz"
SUFFIX = "_GroundTruth.txt"
FILES = {  # the domain's name in task names -> its file
    "movie": f"movieReviewSnippets{SUFFIX}",
    "amazon": f"amazonReviewSnippets{SUFFIX}",
    "nyt": f"nytEditorialSnippets{SUFFIX}",
    "tweet": f"tweets{SUFFIX}",
}
NEUTRAL_BELOW = 0.5  # |mean rating| under this is no polarity: the raters themselves did not agree on a sign
MAX_RATING = 4.0
BROKEN_ARCHIVE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError)


@dataclass(frozen=True)
class Snippet:
    """One rated text; `uid` is `<domain>-<id in the file>`, `rating` the mean of its raters, -4 to 4."""

    uid: str
    rating: float
    text: str

    @property
    def group(self) -> str:
        """What must not straddle train and dev: the review that `12_3` is the third sentence of, else the snippet."""
        return self.uid.split("_")[0]

    @property
    def polarity(self) -> str | None:
        """The sign of the rating; None for a neutral text."""
        if abs(self.rating) < NEUTRAL_BELOW:
            return None
        return "positive" if self.rating > 0 else "negative"


def read_files(source: Path) -> dict[str, bytes]:
    """Read all rating files, by file name: from the source package, the archive inside it, or a folder of the files.

    Archives are read in memory: nothing in them is ever written to disk under a name of theirs.

    Raises:
        InputError: the source is missing, not a readable archive, or holds no rating file.
    """
    try:
        files = _files_in_folder(source) if source.is_dir() else _files_in_archive(source.read_bytes())
    except BROKEN_ARCHIVE as error:
        raise InputError(
            f"--source {source}: cannot be read as a .zip, a .tar.gz or a folder: {error}; "
            "if it is a download, delete it and download it again"
        ) from None
    if not files:
        raise InputError(f"--source {source}: found neither {INNER_ARCHIVE} nor any *{SUFFIX} in it")
    return files


def _files_in_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _files_in_archive(data: bytes) -> dict[str, bytes]:
    """Collect the rating files of a .zip or .tar.gz, looking into the inner archive where there is one."""
    files: dict[str, bytes] = {}
    for path, member in _members(data, wanted=(SUFFIX, INNER_ARCHIVE)):
        name = path.rsplit("/", 1)[-1]
        if name == INNER_ARCHIVE:
            files |= _files_in_archive(member)
        elif not name.startswith("."):  # `._name` is macOS metadata
            files[name] = member
    return files


def _members(data: bytes, wanted: tuple[str, ...]) -> list[tuple[str, bytes]]:
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(name, archive.read(name)) for name in archive.namelist() if name.endswith(wanted)]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = ((entry.name, archive.extractfile(entry)) for entry in archive if entry.name.endswith(wanted))
        return [(name, handle.read()) for name, handle in found if handle is not None]  # None: not a plain file


def parse_snippets(data: bytes, domain: str, file: str) -> list[Snippet]:
    """Parse one rating file; white space in a text, tabs included, is collapsed to single blanks.

    Raises:
        InputError: with file, line and reason of the first rows that do not parse, and the count of the others.
    """
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    snippets: dict[str, Snippet] = {}
    problems = Problems(Path(file))
    if not lines:
        raise InputError(f"{file}: the file is empty")
    for number, line in enumerate(lines, start=1):
        try:
            snippet = _parse_line(line, domain)
            if snippet.uid in snippets:
                raise ValueError(f"the id {snippet.uid.removeprefix(f'{domain}-')!r} stands twice")
            snippets[snippet.uid] = snippet
        except ValueError as error:
            problems.add(number, str(error))
    raise_all(problems.messages())
    return list(snippets.values())


def _parse_line(line: bytes, domain: str) -> Snippet:
    """Turn `id <tab> rating <tab> text` into a snippet; ValueError says what is wrong with it."""
    try:
        columns = line.decode("utf-8").split("\t", 2)
    except UnicodeDecodeError as error:
        raise ValueError(f"invalid UTF-8 at byte {error.start + 1} of the line") from None
    if len(columns) < 3:
        raise ValueError(f"found {len(columns)} columns, expected 3: id, mean rating, text")
    name, rating, text = columns[0].strip(), columns[1].strip(), " ".join(columns[2].split())
    try:
        value = float(rating)
    except ValueError:
        raise ValueError(f"the mean rating {rating!r} is not a number") from None
    if not abs(value) <= MAX_RATING:  # also true for nan
        raise ValueError(f"the mean rating {rating} is outside -{MAX_RATING:g} to {MAX_RATING:g}")
    if not name or not text:
        raise ValueError(f"the {'text' if name else 'id'} is empty")
    return Snippet(f"{domain}-{name}", value, text)


def split_snippets(snippets: Sequence[Snippet], train_rows: int, dev_rows: int) -> tuple[list[Snippet], list[Snippet]]:
    """Choose `dev_rows`, then up to `train_rows` snippets, in an order that depends on nothing but their names.

    A review's sentences go to one side together, as do reviews that share a text; what is left of a review when a
    side is full is used by neither. The result is (train, dev).
    """
    dev: list[Snippet] = []
    train: list[Snippet] = []
    for cluster in sorted(_clusters(snippets), key=lambda cluster: _shuffle_key(cluster[0].group)):
        side, room = (dev, dev_rows) if len(dev) < dev_rows else (train, train_rows)
        side += cluster[: room - len(side)]
    return train, dev


def _clusters(snippets: Iterable[Snippet]) -> list[list[Snippet]]:
    """Gather snippets by group, and join groups that hold the same text up to upper and lower case."""
    cluster_of_group: dict[str, list[Snippet]] = {}
    group_of_text: dict[str, str] = {}
    for snippet in snippets:
        own = cluster_of_group.setdefault(snippet.group, [])
        own.append(snippet)
        twin = cluster_of_group[group_of_text.setdefault(snippet.text.casefold(), snippet.group)]
        if twin is not own:
            twin += own
            cluster_of_group |= {group: twin for group, members in cluster_of_group.items() if members is own}
    return list({id(cluster): cluster for cluster in cluster_of_group.values()}.values())


def _shuffle_key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def task_rows(domain: str, snippets: Sequence[Snippet]) -> dict[str, list[Row]]:
    """Give the canonical rows of a domain's two tasks, by task name."""
    return {
        f"{domain}pol": [Row(s.uid, (s.polarity,), s.text) for s in snippets if s.polarity is not None],
        f"{domain}int": [Row(s.uid, (f"{s.rating:g}",), s.text) for s in snippets],
    }


def convert(
    files: dict[str, bytes], domains: Sequence[str], train_rows: int, dev_rows: int
) -> dict[tuple[str, str], list[Row]]:
    """Turn rating files into canonical rows by (task, split), and print what became of every row read.

    Raises:
        InputError: a domain's file is missing or wrong, or too small for `dev_rows` and at least one training row.
    """
    tables: dict[tuple[str, str], list[Row]] = {}
    for domain in domains:
        if FILES[domain] not in files:
            raise InputError(f"--domains: {domain} needs {FILES[domain]}; the source has: {', '.join(sorted(files))}")
        snippets = parse_snippets(files[FILES[domain]], domain, FILES[domain])
        train, dev = split_snippets(snippets, train_rows, dev_rows)
        if len(dev) < dev_rows or not train:
            raise InputError(f"--dev_rows: {dev_rows} leaves nothing to train on; {domain} has {len(snippets)} rows")
        spare = len(snippets) - len(train) - len(dev)
        print(f"{domain}: {len(snippets):,} rows read; {len(train):,} for train, {len(dev):,} for dev, {spare:,} spare")
        for split, chosen in (("train", train), ("dev", dev)):
            for task, rows in task_rows(domain, chosen).items():
                if not rows:
                    raise InputError(f"--{split}_rows: {task} has no row: all {len(chosen)} texts chosen are neutral")
                tables[task, split] = rows
                print(f"  {task} {split}: {len(rows):,} rows{_polarity_note(rows, chosen) * task.endswith('pol')}")
    return tables


def _polarity_note(rows: Sequence[Row], chosen: Sequence[Snippet]) -> str:
    positive = sum(row.labels == ("positive",) for row in rows)
    counts = f", {positive:,} positive and {len(rows) - positive:,} negative"
    left_out = len(chosen) - len(rows)
    return f"{counts}; {left_out:,} left out as neutral, |mean rating| < {NEUTRAL_BELOW}"


def write_tables(tables: dict[tuple[str, str], list[Row]], output_dir: Path) -> None:
    """Write `<task>_<split>.tsv` of all tables, or none."""
    with StagedFiles() as staged:
        for (task, split), rows in tables.items():
            write_rows(staged.path(canonical_path(output_dir, task, split)), rows, DataFormat.PremiseOnly)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source_help = f"vaderSentiment-0.5.zip or .tar.gz, {INNER_ARCHIVE}, or a folder with the *{SUFFIX} files"
    parser.add_argument("--source", type=Path, required=True, help=source_help)
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for <task>_<split>.tsv")
    parser.add_argument("--domains", default="movie,amazon", help=f"comma-separated, of {', '.join(FILES)}")
    parser.add_argument("--train_rows", type=int, default=600, help="at most this many training texts a domain")
    parser.add_argument("--dev_rows", type=int, default=300, help="dev texts a domain")
    return parser


def _check(domains: Sequence[str], rows: dict[str, int]) -> None:
    bad = [f"--domains: unknown {name!r}; allowed: {', '.join(FILES)}" for name in domains if name not in FILES]
    bad += [f"{flag} must be at least 1, got {value}" for flag, value in rows.items() if value < 1]
    raise_all(bad)


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when done, 2 when the input is wrong."""
    args = _parser().parse_args(argv)
    domains = list(dict.fromkeys(name.strip() for name in args.domains.split(",")))
    _check(domains, {"--train_rows": args.train_rows, "--dev_rows": args.dev_rows})
    write_tables(convert(read_files(args.source), domains, args.train_rows, args.dev_rows), args.output_dir)
    print(f"written to {args.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
