"""How a table is written: its format by the name of its file, and the flags that say what the name does not."""

from __future__ import annotations

import argparse
import codecs
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from data_utils.errors import InputError, raise_all
from data_utils.strict import shown

STANDARD = "-"
"""The name of standard input and standard output."""

ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
FORMATS = tuple(dict.fromkeys(ENDINGS.values()))
DELIMITED = {"csv": ",", "tsv": "\t"}
QUOTES = ("csv", "none")


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    r"""The flags about a table's form; None where they are not given.

    Attributes:
        table_format: one of `FORMATS`; None: by the ending of the file's name.
        encoding: of CSV, TSV and JSON lines; None: UTF-8.
        delimiter: the character between cells; None: a comma in CSV, a tab in TSV. `\t` stands for a tab.
        quotes: "csv": cells may stand in double quotes and then hold anything; "none": quotes are ordinary characters.
    """

    table_format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quotes: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter == "\\t":
            object.__setattr__(self, "delimiter", "\t")
        bad = []
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            bad.append(f"--delimiter must be one character, no quote or line end, got {shown(self.delimiter)}")
        if self.encoding is not None:
            try:
                "a".encode(self.encoding)
                codecs.getincrementaldecoder(self.encoding)
            except (LookupError, ValueError):
                known = "utf-8, utf-16, cp1252, latin-1, gb18030, shift_jis and others that Python knows"
                bad.append(f"--encoding: unknown encoding {shown(self.encoding)}; there are {known}")
        raise_all(bad)

    def format_of(self, source: str, flag: str = "--table") -> str:
        """The format of a file, or of standard input.

        Raises:
            InputError: the name does not say it, or a flag would have no effect in this format.
        """
        found = self.table_format or ENDINGS.get(Path(source).suffix.lower())
        if found is None:
            place = "standard input" if source == STANDARD else source
            cure = f"--table_format says it: {', '.join(FORMATS)}"
            raise InputError(f"{flag} {place}: the name does not end in {', '.join(ENDINGS)}; {cure}")
        given = {name: getattr(self, name) is not None for name in ("delimiter", "quotes", "encoding")}
        idle = [name for name in ("delimiter", "quotes") if given[name] and found not in DELIMITED]
        idle += ["encoding"] * (given["encoding"] and found == "parquet")
        raise_all([f"--{name} would have no effect: {source} is {found}" for name in idle])
        return found


def add_option_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `TableOptions`, and nothing else, to a command."""
    group = parser.add_argument_group("how tables are written")
    group.add_argument("--table_format", choices=FORMATS, help="default: by the ending of the file's name")
    group.add_argument("--encoding", help="such as cp1252 or utf-16 (default: utf-8)")
    group.add_argument("--delimiter", help=r"between cells (default: a comma in CSV, \t in TSV)")
    group.add_argument(
        "--quotes",
        choices=QUOTES,
        help="csv (default): cells may stand in quotes; none: quotes are ordinary characters",
    )


def options_of(args: argparse.Namespace) -> TableOptions:
    """What the flags of `add_option_flags` say; they are taken out of `args`."""
    return TableOptions(**{field.name: vars(args).pop(field.name) for field in dataclasses.fields(TableOptions)})
