"""What labels are: the rule, the order of names, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from data_utils.errors import InputError
from data_utils.tables.labels import MAX_WHOLE_CLASSES, find_labels

CLASSIFICATION, REGRESSION = "Classification", "Regression"
FOUND: dict[str, tuple[list[str], dict[str, Any], str, tuple[str, ...]]] = {
    "names": (["no", "yes"], {}, CLASSIFICATION, ("no", "yes")),
    "names are sorted": (["b", "C", "a"], {}, CLASSIFICATION, ("C", "a", "b")),
    "names in the order given": (["b", "c", "a"], {"names": ("c", "a", "b")}, CLASSIFICATION, ("c", "a", "b")),
    "0 and 1": (["1", "0"], {}, CLASSIFICATION, ("0", "1")),
    "numbers after spaces": ([" 1", "0"], {}, CLASSIFICATION, ("0", " 1")),
    "stars": (["10", "9", "1"], {}, CLASSIFICATION, ("1", "9", "10")),
    "many whole numbers": ([str(i) for i in range(MAX_WHOLE_CLASSES + 1)], {}, REGRESSION, ()),
    "as many as may be": ([str(-i) for i in range(MAX_WHOLE_CLASSES)], {}, CLASSIFICATION, ("-19",)),
    "fractions": (["1", "2.5"], {}, REGRESSION, ()),
    "whole, written as fractions": (["1.0", "2.0"], {}, REGRESSION, ()),
    "overridden": (["1.0", "2.0"], {"kind": "classification"}, CLASSIFICATION, ("1.0", "2.0")),
    "overridden, too": (["1", "2"], {"kind": "regression"}, REGRESSION, ()),
    "a number that Python alone reads": (["1_0", "2"], {}, CLASSIFICATION, ("1_0", "2")),
}


@pytest.mark.parametrize("case", FOUND)
def test_the_rule(case: str) -> None:
    labels, given, kind, names = FOUND[case]
    found = find_labels("stars", dict.fromkeys(labels, 5), **given)
    assert found.task_type.value == kind
    assert found.names[: len(names)] == names and len(found.names) == (len(labels) if names else 0)
    assert found.told[0].startswith(f"{len(labels)} different labels; ")
    overridden = f"--kind {given['kind']}" if "kind" in given else "--kind overrides this"
    assert found.told[0].endswith(overridden)


REFUSED: dict[str, tuple[dict[str, int], dict[str, Any], str]] = {
    "none": ({}, {}, "--label stars: no row has a label"),
    "one": ({"a": 9}, {}, "--label stars: every label is 'a', so there is nothing to learn"),
    "one number": (
        {"1.0": 9, "1.00": 2},
        {},
        "--label stars: every label is the number 1, so there is nothing to learn",
    ),
    "names as numbers": (
        {"1": 3, "bad": 2},
        {"kind": "regression"},
        "a regression needs numbers, and 2 rows have 'bad'; empty these cells, or give --kind classification",
    ),
    "no finite number": (
        {"1": 3, "inf": 2},
        {"kind": "regression"},
        "a regression needs numbers, and 2 rows have 'inf'",
    ),
    "decimal commas": (
        {f"{i},5": 100 for i in range(30)},
        {},
        "in 3,000 rows; 3,000 rows have a decimal comma: write a decimal point, '0.5' for '0,5', or give --kind",
    ),
    "few decimal commas": ({"7": 3, "-7,83": 1}, {}, "; 1 row has a decimal comma: write a decimal point, '-7.83' for"),
    "decimal commas and odd ones": (
        {"NA": 4} | {f"{i},5": 1 for i in range(30)},
        {},
        "all are numbers but 'NA' (4 rows); empty these cells; 30 rows have a decimal comma: write",
    ),
    "decimal commas in a regression": (
        {"NA": 4, "7,83": 1, "2,5": 1},
        {"kind": "regression"},
        "6 rows have 'NA', '7,83', '2,5'; write a decimal point, '7.83' for '7,83'",
    ),
    "commas between thousands or decimal ones": (
        {f"{i},234": 100 for i in range(1, 30)},
        {},
        "; 2,900 rows have commas, probably between thousands: write '1234' for '1,234' if the comma stands between "
        "thousands, '1.234' for '1,234' if it is a decimal comma, or give --kind",
    ),
    "one comma": (
        {"7": 3, "1,234": 1},
        {},
        "; 1 row has commas, probably between thousands: write '1234' for '1,234' if",
    ),
    "several commas": (
        {"1,234": 3, "12,345,678": 1, "7": 1},
        {},
        "; 4 rows have commas, probably between thousands: leave out the commas, '12345678' for '12,345,678', or give",
    ),
    "commas and a point": ({"1,234.50": 3, "1,234": 3, "2.5": 1}, {}, "leave out the commas, '1234.50' for '1,234.50'"),
    "one that is no thousand": (
        {"1,234": 3, "7,83": 1},
        {},
        "; 4 rows have a decimal comma: write a decimal point, '7.83' for '7,83', or give",
    ),
    "no thousand begins with a zero": ({"0,123": 3, "1,234": 1}, {}, "write a decimal point, '0.123' for '0,123'"),
    "commas of both kinds": (
        {"1,234,567": 3, "7,83": 1} | {f"{i}.5": 1 for i in range(30)},
        {},
        "all are numbers but '1,234,567' (3 rows); empty these cells; 1 row has a decimal comma: write a dec",
    ),
    "thousands in a regression": (
        {"NA": 4, "1,234": 1, "1,234,567": 1},
        {"kind": "regression"},
        "6 rows have 'NA', '1,234', '1,234,567'; leave out the commas, '1234567' for '1,234,567'",
    ),
    "decimal commas tell more": (
        {"1,234": 1, "7,83": 1, "2": 1},
        {"kind": "regression"},
        "2 rows have '1,234', '7,83'; write a decimal point, '7.83' for '7,83'",
    ),
    "idle": ({"1.5": 3, "2": 2}, {"names": ("2", "1.5")}, "--labels would have no effect: a regression has numbers"),
    "not named": (
        {"a": 3, "b": 2, "c": 1},
        {"names": ("b", "a")},
        "--labels does not name 'c', which --label stars has",
    ),
    "not there": ({"a": 3, "b": 2}, {"names": ("b", "a", "z")}, "--labels: no row has the label 'z'"),
    "named twice": ({"a": 3, "b": 2}, {"names": ("b", "a", "b")}, "--labels: 'b' stands twice"),
    "texts": (
        {f"w{i}": 1 for i in range(30)},
        {},
        "30 different labels in 30 rows, such as 'w0', 'w1', 'w2', .... Is it",
    ),
    "odd ones": (
        {"n/a": 1} | {f"{i}.5": 1 for i in range(30)},
        {},
        "31 different labels in 31 rows; all are numbers but 'n/a' (1 row); empty these cells, or give --kind",
    ),
    "odd ones in many rows": (
        {"#DIV/0!": 1, "NA": 19} | {f"{i / 10}": 20 for i in range(51)},
        {},
        "53 different labels in 1,040 rows; all are numbers but 'NA' (19 rows), '#DIV/0!' (1 row); empty these cells",
    ),
    "odd ones among whole numbers": (
        {str(i): 50 for i in range(90)} | dict.fromkeys(["a", "b", "c", "d"], 9),
        {},
        "all are numbers but 'a' (9 rows), 'b' (9 rows), 'c' (9 rows), ...; empty",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    counts, given, message = REFUSED[case]
    with pytest.raises(InputError) as error:
        find_labels("stars", counts, **given)
    assert message in str(error.value)


def test_what_looks_wrong_is_told() -> None:
    found = find_labels("stars", {"Yes": 3, "yes ": 2, "no": 4, "NaN": 1})
    assert found.warnings == [
        "stars: 'Yes' and 'yes ' differ in white space, case or the coding of accents alone, and are different labels",
        "stars: 1 row has the label 'NaN', taken as a name; for no label leave the cell empty",
    ]
    assert find_labels("stars", {"a": 3, "b": 2}).warnings == []
    found = find_labels("stars", {"01": 3, "1": 2, " 2": 1, "2": 4, "3": 1})
    assert found.warnings == [
        "stars: ' 2' and '2' are the same number, and are different labels",
        "stars: '01' and '1' are the same number, and are different labels",
    ]
    found = find_labels("stars", {"1.0": 3, "1": 2, "100000000000000001": 1, "100000000000000002": 1}, "classification")
    assert found.warnings == ["stars: '1' and '1.0' are the same number, and are different labels"]
    for commas in ({"1,2": 3, "2": 1}, {"1,5": 3, "2,5": 1}, {"1,234": 3, "1,234,567": 1}):
        assert find_labels("stars", commas, "classification").names == tuple(commas)
    for names in ({"1,5": 3, "a": 1}, {"1,2,3": 3, "2,3": 1}, {"1,234": 3, "a": 1}):
        assert find_labels("stars", names).names == tuple(names)
    assert len(find_labels("words", {f"w{i}": 1 for i in range(30)}, "classification").names) == 30


def test_names_among_numbers_are_classes_where_they_are_many_or_all_are_few_or_kind_says_so() -> None:
    """Odd cells are few beside many numbers: a tenth of more than 20 labels at most."""
    few = {"NA": 9} | {f"{i}.5": 9 for i in range(MAX_WHOLE_CLASSES - 1)}
    many = {f"n{i}": 9 for i in range(4)} | {f"{i}.5": 9 for i in range(35)}
    odd = {"NA": 9} | {f"{i}.5": 9 for i in range(MAX_WHOLE_CLASSES)}
    for counts, kind in ((few, None), (many, None), (odd, "classification")):
        assert set(find_labels("stars", counts, kind).names) == set(counts)
    with pytest.raises(InputError, match=r"all are numbers but 'NA' \(9 rows\)"):
        find_labels("stars", odd)
