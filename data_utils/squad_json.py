"""Canonical rows of questions about passages: SQuAD's JSON, version 1.1 or 2.0, as it is published.

    {"data": [{"paragraphs": [{"context": "...", "qas": [
        {"id": "...", "question": "...", "answers": [{"text": "...", "answer_start": 17}], "is_impossible": false}]}]}]}

`answer_start` counts characters. A question that has no answer says `"is_impossible": true`; questions of a test split
may come without answers. Further keys (`title`, `plausible_answers`, ...) are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_utils.canonical import MAX_REPORTED, Answer, Row, read_lines
from data_utils.errors import InputError, raise_all
from data_utils.strict import encodable, parse_json, shown

UNANSWERABLE = "for a task with such questions write `unanswerable: true` into its definition"


def read_articles(path: Path) -> list[Any]:
    """What a file's `data` holds, unchecked; `InputError` where it is no such JSON."""
    try:
        return _list(parse_json("\n".join(read_lines(path))), "data")
    except InputError as error:
        if str(error).startswith(str(path)):
            raise
        raise InputError(f"{path}: not SQuAD's JSON: {error}") from None


def count_questions(path: Path) -> int:
    """How many questions a file has; `InputError` where it is not such a file."""
    return sum(1 for _ in _questions(path, []))


def iter_questions(path: Path, *, labelled: bool = True, unanswerable: bool = True) -> Iterator[Row]:
    """Read a file question by question; every one is checked, none is dropped.

    Args:
        path: the file.
        labelled: False where answers may be missing, as in a test split.
        unanswerable: whether the task has questions without an answer.

    Raises:
        InputError: at the end, with file, place (`data[0].paragraphs[2].qas[1]`), what was found and what is expected,
            for up to ten bad questions and a count of the others. At once where the file is no such JSON.
    """
    problems: list[str] = []
    place_of: dict[str, str] = {}
    for place, passage, entry in _questions(path, problems):
        try:
            row = _row(passage, entry, labelled=labelled)
            if labelled and not row.answers and not unanswerable:
                raise InputError(f"is_impossible is true; {UNANSWERABLE}")
        except InputError as error:
            problems.append(f"{path}: {place}: {error}")
            continue
        earlier = place_of.setdefault(row.uid, place)
        if earlier != place:
            problems.append(f"{path}: {place}: the id {shown(row.uid)} stands already in {earlier}; ids must differ")
        yield row
    rest = len(problems) - MAX_REPORTED
    raise_all(problems[:MAX_REPORTED] + [f"{path}: and {rest} more problems like these"] * (rest > 0))
    if not place_of:
        raise InputError(f"{path}: there is no question in it")


def _questions(path: Path, problems: list[str]) -> Iterator[tuple[str, str, Any]]:
    """Each question's place, passage and JSON; paragraphs that are none become problems."""
    for i, article in enumerate(read_articles(path)):
        place = f"data[{i}]"
        try:
            for j, paragraph in enumerate(_list(article, "paragraphs")):
                place = f"data[{i}].paragraphs[{j}]"
                passage = _text(paragraph, "context")
                for k, entry in enumerate(_list(paragraph, "qas")):
                    yield f"{place}.qas[{k}]", passage, entry
        except InputError as error:
            problems.append(f"{path}: {place}: {error}")


def _row(passage: str, entry: Any, *, labelled: bool) -> Row:
    question = _text(entry, "question")
    uid = entry.get("id")
    if isinstance(uid, bool) or not isinstance(uid, (str, int)) or not str(uid).strip() or not encodable(str(uid)):
        raise InputError(f"id must be a name or a whole number, got {shown(uid)}")
    impossible = entry.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise InputError(f"is_impossible must be true or false, got {shown(impossible)}")
    found = _list(entry, "answers") if "answers" in entry else []
    answers = tuple(_answer(passage, answer) for answer in found)
    if impossible and answers:
        raise InputError(f"is_impossible is true, and answers has {shown(answers[0].text)}; expected one of the two")
    if labelled and not impossible and not answers:
        raise InputError('there is no answer; expected at least one in answers, or "is_impossible": true')
    known = impossible or answers
    return Row(str(uid), () if known else ("",), passage, (question,), answers=answers)


def _answer(passage: str, answer: Any) -> Answer:
    text, start = _text(answer, "text"), answer.get("answer_start")
    if type(start) is not int or start < 0:
        raise InputError(f"answer_start must be a whole number from 0, got {shown(start)}")
    if (there := passage[start : start + len(text)]) != text:
        known = passage.find(text)
        cure = f"it stands at {known}" if known >= 0 else "the context does not hold it"
        raise InputError(
            f"the answer {shown(text)} is not at answer_start {start}, where {shown(there)} stands: {cure} "
            "(characters are counted, not bytes)"
        )
    return Answer(text, start)


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, Mapping) or not isinstance(found := value.get(key), list):
        raise InputError(f"expected an object with a list {shown(key)}, got {shown(value)}")
    return found


def _text(value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, str) or not found.strip() or not encodable(found):
        raise InputError(f"{key} must be a text, got {shown(found)}")
    return found
