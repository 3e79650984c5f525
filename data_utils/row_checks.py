"""What looks wrong in rows without being an error: looked for while they pass, told with a count and the first uids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from data_utils.strict import printable, shortened

SHOWN = 3
LONGEST_NUMBER = 24
COLUMN_NAMES = frozenset(
    "uid id idx index guid label labels gold_label score quality text texts sentence sentence1 sentence2 premise "
    "hypothesis question question1 question2 query passage title body review comment tweet document content".split()
)
"""What columns of texts are called, in lower case."""


class Found:
    """Rows with something in common: how many there are, and the uids of the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self._uids: list[str] = []

    def add(self, uid: str) -> None:
        """Count a row."""
        self.count += 1
        if self.count <= SHOWN:
            self._uids.append(printable(shortened(uid)))

    def tell(self, rows: int, what: str) -> str:
        """`3 of 20 rows … (uids a, b, c)`."""
        more = ", ..." if self.count > SHOWN else ""
        have = "has" if self.count == 1 else "have"
        uids = "uid" if self.count == 1 else "uids"
        return f"{self.count:,} of {rows:,} rows {have} {what} ({uids} {', '.join(self._uids)}{more})"


class TextCheck:
    """Looks at the texts of a split's rows.

    Args:
        train_texts: hashes of the training rows' texts, which the rows of other splits are compared with.
        training: whether these are the training rows; then `train_texts` is filled.
    """

    def __init__(self, train_texts: set[int] | None = None, *, training: bool = False) -> None:
        self._train_texts = set() if train_texts is None else train_texts
        self._training = training
        self._rows = 0
        self._header = ""
        self._noted: list[str] = []
        self._filled: Counter[int] = Counter()  # rows by column: with a text, with a quoted one, with a number
        self._quoted: Counter[int] = Counter()
        self._numbers: Counter[int] = Counter()
        self._doubled, self._fractions, self._known, self._wordless = Found(), Found(), Found(), Found()
        self._fraction = ""

    def see(self, uid: str, texts: Sequence[str]) -> None:
        """Look at a row; `texts` are its columns of text."""
        self._rows += 1
        if self._rows == 1 and looks_like_header(texts):
            self._header = ", ".join(texts)
        doubled = fraction = False
        for column, text in enumerate(texts):
            self._filled[column] += bool(text)
            if len(text) > 1 and text[0] == text[-1] == '"':
                self._quoted[column] += 1
                doubled |= '""' in text[1:-1]
            elif len(text) <= LONGEST_NUMBER and is_number(text):
                self._numbers[column] += 1
                if not text.strip().isdecimal():
                    fraction, self._fraction = True, self._fraction or text
        if doubled:
            self._doubled.add(uid)
        if fraction:
            self._fractions.add(uid)
        key = hash(tuple(texts))
        if self._training:
            self._train_texts.add(key)
        elif key in self._train_texts:
            self._known.add(uid)

    def note(self, warning: str) -> None:
        """Add a warning of what only the reader of the rows can see."""
        self._noted.append(warning)

    def see_wordless(self, uids: Iterable[str]) -> None:
        """Note rows in which the tokenizer knows no word."""
        for uid in uids:
            self._wordless.add(uid)

    def warnings(self) -> list[str]:
        """A line for each thing that looks wrong."""
        header = f"the first row looks like a header ({self._header}) and is taken as a row"
        found = [*self._noted, *[header] * bool(self._header)]
        quotes = "as spreadsheets and CSV writers put them; here they stay part of the text: write it without quoting"
        if whole := self._whole_columns(self._quoted):
            found.append(f"{whole} stands in double quotes in every row, {quotes}")
        elif self._doubled.count:
            found.append(self._doubled.tell(self._rows, f"a text in quotes with doubled quotes inside, {quotes}"))
        if whole := self._whole_columns(self._numbers):
            found.append(f"{whole} is a number in every row: are the columns in the right order?")
        elif self._fractions.count:
            example = f"a number as text, such as {self._fraction!r}: is a cell empty or in the wrong column?"
            found.append(self._fractions.tell(self._rows, example))
        if self._known.count:
            found.append(self._known.tell(self._rows, "the same text as a row of train"))
        if self._wordless.count:
            found.append(self._wordless.tell(self._rows, "no word that the tokenizer knows"))
        return found

    def _whole_columns(self, counts: Counter[int]) -> str:
        """The first column of text that all rows count in, where there are two rows or more."""
        whole = [column for column, filled in self._filled.items() if filled == counts[column] and filled > 1]
        if not whole:
            return ""
        return "the text" if len(self._filled) == 1 else f"text {whole[0] + 1}"


def is_number(text: str) -> bool:
    """Whether a text is a number and nothing else, `nan` included."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def looks_like_header(fields: Sequence[str]) -> bool:
    """Whether the fields of a line are all usual names of columns."""
    return all(field.strip(' "').lower() in COLUMN_NAMES for field in fields)
