"""Random streams by name."""

from __future__ import annotations

from mt_dnn.seeding import stream_seed

ROWS_OF_RTE, TASKS = 3633073606591157992, 4572347854456582006


def test_seeds_are_the_same_in_every_version_and_process() -> None:
    """A change here would make resumed runs differ from uninterrupted ones."""
    assert stream_seed(1, "rows", "rte", 2, 0) == ROWS_OF_RTE
    assert stream_seed(0, "tasks", 0) == TASKS


def test_streams_of_other_names_have_other_seeds() -> None:
    names = [
        (1, "a", "bc"),
        (1, "ab", "c"),
        (1, "abc"),
        (11, "abc"),
        (1, "a", 1),
        (1, "a", 11),
        (1, "a", 1, 1),
        (2, "a"),
    ]
    seeds = [stream_seed(*name) for name in names]
    assert len(set(seeds)) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)
