"""Train, dev and test by shares: exact, stratified, seeded, independent of the rows' order, nothing on two sides."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from data_utils.errors import InputError
from data_utils.tables.examples import Example
from data_utils.tables.split import SplitConfig, _cost, split_examples

SHARES = {"dev": 0.1, "test": 0.2}


def make(labels: Mapping[str, int], groups: int = 0) -> list[Example]:
    rng = random.Random(0)
    rows = [label for label, count in labels.items() for _ in range(count)]
    return [
        Example(f"u{i}", i, (f"text {i}",), label, f"g{rng.randrange(groups)}" if groups else "")
        for i, label in enumerate(rows)
    ]


def split(rows: list[Example], seed: int = 1, **given: Any) -> dict[str, list[Example]]:
    return split_examples(rows, given.pop("shares", SHARES), seed, **({"regression": False, "grouped": False} | given))


def test_each_class_is_shared_out_exactly() -> None:
    rows = make({"a": 100, "b": 40, "c": 3})
    found = split(rows)
    assert {name: Counter(row.label for row in part) for name, part in found.items()} == {
        "train": {"a": 70, "b": 28, "c": 1},
        "dev": {"a": 10, "b": 4, "c": 1},
        "test": {"a": 20, "b": 8, "c": 1},
    }
    assert sorted(row for part in found.values() for row in part) == sorted(rows)
    assert all(part == sorted(part, key=lambda row: row.line) for part in found.values())
    assert split(rows, shares={}) == {"train": rows}


def test_the_seed_says_which_rows_and_their_order_does_not() -> None:
    rows = make({"a": 100, "b": 100})
    sides = {row.uid: name for name, part in split(rows).items() for row in part}
    shuffled = random.Random(1).sample(rows, len(rows))
    assert {row.uid: name for name, part in split(shuffled).items() for row in part} == sides
    assert {row.uid: name for name, part in split(rows, seed=2).items() for row in part} != sides


def test_copies_of_a_text_stay_on_one_side() -> None:
    rows = make({"a": 90, "b": 90})
    copies = [row._replace(uid=f"{row.uid}'", label="a") for row in rows[::2]]
    sides = {row.uid: name for name, part in split(rows + copies).items() for row in part}
    assert all(sides[copy.uid] == sides[copy.uid[:-1]] for copy in copies)


def test_the_split_of_a_table_stays_what_it_was() -> None:
    """Runs on a table prepared again compare with those before: these rows must not move."""
    found = {name: [int(row.uid[1:]) for row in part] for name, part in split(make({"a": 20, "b": 12})).items()}
    assert (found["dev"], found["test"]) == ([3, 8, 26], [0, 2, 12, 18, 28, 31])


@pytest.mark.parametrize("regression", [False, True])
def test_the_order_of_copies_with_other_labels_does_not_matter(regression: bool) -> None:
    names = ("1.5", "2.5") if regression else ("a", "b")
    rows = make(dict.fromkeys(names, 60))
    rows += [row._replace(uid=f"{row.uid}'", label=names[row.label == names[0]]) for row in rows[::3]]
    rows += [row._replace(uid=f"{row.uid}'") for row in rows[120::2]]
    sides = {row.uid: name for name, part in split(rows, regression=regression).items() for row in part}
    for order in (rows[::-1], random.Random(3).sample(rows, len(rows))):
        found = split(order, regression=regression)
        assert {row.uid: name for name, part in found.items() for row in part} == sides


def test_a_text_counts_for_the_label_that_most_of_its_copies_have() -> None:
    """Of 30 texts of a, 10 are b more often: dev and test get their shares of 20 and of 10."""
    rows = make({"a": 30})
    rows += [row._replace(uid=f"{row.uid}{more}", label="b") for row in rows[::3] for more in "xy"]
    found = split(rows)
    texts = {
        name: Counter(int(text.split()[1]) % 3 == 0 for (text,) in {row.texts for row in part})
        for name, part in found.items()
    }
    assert texts["dev"] == {False: 2, True: 1} and texts["test"] == {False: 4, True: 2}


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_label_on_copies_alone_is_in_train_or_refused(seed: int) -> None:
    """It cannot be in train with one text in dev or test; no seed may leave it out in silence."""
    rows = make({"a": 20, "c": 20})
    for copies in (rows[:1], rows[:3]):
        more = [row._replace(uid=f"{row.uid}'", label="rare") for row in copies]
        for order in (rows + more, more + rows):
            try:
                found = split(order, seed)
            except InputError as error:
                assert f"of their own to be in train, as these have other labels, too: 'rare' ({len(more)})" in str(
                    error
                )
            else:
                assert "rare" in {row.label for row in found["train"]}


@pytest.mark.parametrize("groups", [4, 10, 200])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_group_is_on_one_side_and_shares_are_near(groups: int, seed: int) -> None:
    rows = make({"a": 600, "b": 300}, groups)
    found = split(rows, seed, grouped=True)
    seen = [{row.group for row in part} for part in found.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert sum(map(len, found.values())) == len(rows) and all(found.values())
    if groups == 200:
        for name, share in SHARES.items():
            assert len(found[name]) / len(rows) == pytest.approx(share, abs=0.02)
            assert sum(row.label == "a" for row in found[name]) / len(found[name]) == pytest.approx(2 / 3, abs=0.05)
        other = split(rows, seed + 10, grouped=True)
        assert {row.uid for row in other["dev"]} != {row.uid for row in found["dev"]}


def test_a_regression_is_shared_out_by_tenths() -> None:
    rows = [Example(f"u{i}", i, (f"text {i}",), f"{i / 7:.3f}") for i in range(200)]
    for name, part in split(rows, regression=True).items():
        assert len(part) == {"train": 140, "dev": 20, "test": 40}[name]
        assert sum(float(row.label) for row in part) / len(part) == pytest.approx(200 / 14, rel=0.1)
    assert {name: len(part) for name, part in split(rows[:3], regression=True).items()} == dict.fromkeys(
        ("train", "dev", "test"), 1
    )


REFUSED: dict[str, tuple[list[Example], dict[str, Any], str]] = {
    "rare": (
        make({"a": 10, "b": 2}),
        {},
        "labels with too few different texts to be in train, dev and test (3 at least): 'b' (2). Merge them",
    ),
    "rare by copies": ([*make({"a": 10}), *make({"b": 1}) * 5], {}, "'b' (1)"),
    "on a copy alone": (
        [*make({"a": 20}), Example("x", 99, ("text 0",), "b")],  # text 0 is in test
        {},
        "texts of their own to be in train, as these have other labels, too: 'b' (1). Merge",
    ),
    "two rows": (make({"1.5": 1, "2.5": 1}), {"regression": True}, "2 different texts are too few"),
    "two groups": (make({"a": 50, "b": 50}, 2), {"grouped": True}, "--group: 2 groups are too few"),
    "groups by label": (
        [row._replace(group=row.label) for row in make({"a": 50, "b": 50, "c": 50})],
        {"grouped": True},
        "--group: ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    rows, given, message = REFUSED[case]
    if case == "rare by copies":
        rows = [row._replace(texts=("copy",)) if row.label == "b" else row for row in rows]
    with pytest.raises(InputError) as error:
        split(rows, **given)
    assert message in str(error.value)


def test_shares_check_themselves() -> None:
    with pytest.raises(InputError) as error:
        SplitConfig(dev_share=0, test_share=1, split_seed=-1)
    assert str(error.value).splitlines() == [
        "--dev_share must be in (0, 1), got 0",
        "--test_share must be in [0, 1), got 1",
        "--split_seed must be at least 0, got -1",
    ]
    with pytest.raises(InputError, match="leave nothing to train on"):
        SplitConfig(dev_share=0.5, test_share=0.5)


def test_the_cost_of_a_group_does_not_depend_on_the_order_of_its_labels() -> None:
    """A float sum in the order of the rows did, in the last digit, and now and then moved a group."""
    rng = random.Random(0)
    for _ in range(200):
        brings = {label: rng.randint(1, 9) for label in "abcdef"}
        total = {label: rng.randint(10, 99) for label in brings}
        have = {label: rng.randint(0, 9) for label in brings}
        costs = {_cost(dict(rng.sample(list(brings.items()), 6)), have, total, 0.1) for _ in range(5)}
        assert len(costs) == 1
