"""Samplers: what an epoch holds, that it depends on seed and epoch alone, and how tasks share the updates."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from data_utils.errors import InputError
from mt_dnn.config import load_config
from mt_dnn.sampling import MAIN_TASK, SAMPLERS, TEMPERATURE, MultiTaskSampler, SamplingConfig, with_all

ROWS = {"big": 103, "middle": 40, "small": 7}


NEEDS = {TEMPERATURE: {"sampler_temperature": 5.0}, MAIN_TASK: {"ratio": 0.5}}


def planned(
    rows: dict[str, int], rows_per_update: int, sampler: str, seed: int, most: int | None = None, **own: float
) -> MultiTaskSampler:
    settings = NEEDS.get(sampler, {}) | own
    config = SamplingConfig(sampler=sampler, max_rows_per_task=most, **settings)  # type: ignore[arg-type]
    assert not config.problems()
    return MultiTaskSampler(rows, rows_per_update, config, seed)


def rows_by_task(sampler: MultiTaskSampler, epoch: int) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for draw in sampler.epoch(epoch):
        rows.setdefault(draw.task, []).extend(draw.rows.tolist())
    return rows


def test_mtdnn_sees_every_row_once_an_epoch() -> None:
    sampler = planned(ROWS, 8, "mtdnn", seed=3)
    for epoch in range(3):
        rows = rows_by_task(sampler, epoch)
        assert {task: sorted(seen) for task, seen in rows.items()} == {t: list(range(n)) for t, n in ROWS.items()}
    assert len(sampler.epoch(0)) == len(sampler) == 13 + 5 + 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_epoch_depends_on_seed_and_number_alone(name: str) -> None:
    def flat(seed: int, epoch: int) -> list[tuple[str, list[int]]]:
        return [(d.task, d.rows.tolist()) for d in planned(ROWS, 8, name, seed).epoch(epoch)]

    assert flat(1, 5) == flat(1, 5)
    assert flat(1, 5) != flat(1, 6)
    assert flat(1, 5) != flat(2, 5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_epoch_has_the_same_length_and_one_task_an_update(name: str) -> None:
    sampler = planned(ROWS, 8, name, seed=0)
    for epoch in range(3):
        draws = sampler.epoch(epoch)
        assert len(draws) == len(sampler)
        assert all(1 <= len(d.rows) <= 8 and d.rows.max() < ROWS[d.task] for d in draws)


def test_batches_are_cut_anew_every_epoch() -> None:
    sampler = planned({"one": 64}, 8, "mtdnn", seed=0)
    groups = [{frozenset(d.rows.tolist()) for d in sampler.epoch(epoch)} for epoch in range(2)]
    assert not groups[0] & groups[1]


def test_a_task_keeps_its_order_whatever_else_is_trained() -> None:
    alone = [d.rows.tolist() for d in planned({"big": 103}, 8, "mtdnn", 1).epoch(0)]
    together = [d.rows.tolist() for d in planned(ROWS, 8, "mtdnn", 1).epoch(0) if d.task == "big"]
    assert alone == together


POWERS = [
    ("proportional", {}, 1.0),
    ("sqrt", {}, 0.5),
    ("uniform", {}, 0.0),
    (TEMPERATURE, {"sampler_temperature": 1.0}, 1.0),
    (TEMPERATURE, {"sampler_temperature": 4.0}, 0.25),
]


@pytest.mark.parametrize(("name", "own", "power"), POWERS)
def test_shares_follow_the_sampler(name: str, own: dict[str, float], power: float) -> None:
    sampler = planned({"big": 6400, "small": 400}, 1, name, seed=0, **own)
    share = Counter(d.task for d in sampler.epoch(0))["small"] / len(sampler)
    expected = 1 / (1 + 16**power)
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / len(sampler))


def test_round_robin_takes_turns_and_starts_small_tasks_again() -> None:
    draws = planned(ROWS, 8, "round_robin", seed=0).epoch(0)
    assert [d.task for d in draws[:6]] == ["big", "middle", "small"] * 2
    assert sorted(draws[2].rows.tolist()) == sorted(draws[5].rows.tolist()) == list(range(7))


def test_a_task_that_starts_again_has_its_rows_in_another_order() -> None:
    draws = planned({"big": 103, "small": 24}, 8, "round_robin", seed=0).epoch(0)
    small = [frozenset(d.rows.tolist()) for d in draws if d.task == "small"]
    assert frozenset().union(*small[:3]) == frozenset().union(*small[3:6]) == frozenset(range(24))
    assert not set(small[:3]) & set(small[3:6])


def test_accumulation_and_large_batches_plan_the_same_updates() -> None:
    """8 rows x 4 passes or 32 rows x 1 pass: the plan knows only 32."""
    one, other = (planned(ROWS, rows, "mtdnn", 1).epoch(2) for rows in (8 * 4, 32))
    assert [(a.task, a.rows.tolist()) for a in one] == [(b.task, b.rows.tolist()) for b in other]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("rows", [{"huge": 5000, "tiny": 3, "mite": 1}, {"mite": 1, "tiny": 3, "huge": 5000}], ids=str)
def test_no_sampler_leaves_a_task_out_of_an_epoch(name: str, rows: dict[str, int]) -> None:
    own = {"ratio": 1e-6} if name == MAIN_TASK else {}
    sampler = planned(rows, 8, name, seed=0, **own)
    for epoch in range(20):
        assert {draw.task for draw in sampler.epoch(epoch)} == set(rows), f"epoch {epoch}"


def test_a_task_that_was_not_drawn_takes_the_place_of_a_frequent_one() -> None:
    """The other updates stay as they were drawn, so that runs from before this was so are the same but for this."""
    rng = np.random.default_rng(0)
    drawn = ["a", "b", "a", "a"]
    mended = with_all(drawn, ["a", "b", "c"], rng)
    assert Counter(mended) == {"a": 2, "b": 1, "c": 1} and mended[1] == "b"
    assert with_all(drawn, ["a", "b"], rng) == drawn


@pytest.mark.parametrize(
    ("ratio", "others"), [(0.5, 6), (0.6, 7), (1.0, 13), (2.0, 26), (100.0, 46), (1e308, 46), (0.01, 2)], ids=str
)
def test_the_main_task_is_whole_and_the_others_are_a_multiple_of_it(ratio: float, others: int) -> None:
    rows = {"main": 103, "middle": 40, "large": 325}  # updates of 8 rows: 13, 5 and 41
    sampler = planned(rows, 8, MAIN_TASK, seed=1, ratio=ratio)
    for epoch in range(3):
        draws = sampler.epoch(epoch)
        count = Counter(draw.task for draw in draws)
        assert len(draws) == len(sampler) == 13 + others
        assert count["main"] == 13 and count["middle"] <= 5 and count["large"] <= 41
        assert sorted(rows_by_task(sampler, epoch)["main"]) == list(range(103))
        assert all(len(seen) == len(set(seen)) for seen in rows_by_task(sampler, epoch).values())
    assert [draw.task for draw in draws[:13]] != ["main"] * 13  # mixed


def test_a_cap_takes_other_rows_each_epoch_and_leaves_small_tasks_alone() -> None:
    whole, capped = planned(ROWS, 8, "mtdnn", 1), planned(ROWS, 8, "mtdnn", 1, most=20)
    assert len(capped) == 3 + 3 + 1
    seen = [rows_by_task(capped, epoch) for epoch in range(12)]
    assert all(
        {task: len(set(rows)) for task, rows in one.items()} == {"big": 20, "middle": 20, "small": 7} for one in seen
    )
    assert seen[0]["big"] != seen[1]["big"] and len({row for one in seen for row in one["big"]}) > 85
    assert [one["small"] for one in seen[:3]] == [rows_by_task(whole, epoch)["small"] for epoch in range(3)]
    assert rows_by_task(planned(ROWS, 8, "mtdnn", 1, most=103), 0) == rows_by_task(whole, 0)


BAD = {
    "--sampler temperature": "--sampler temperature needs --sampler_temperature",
    "--sampler main_task": "--sampler main_task needs --ratio",
    "--sampler temperature --sampler_temperature 0.5": "--sampler_temperature must be at least 1, got 0.5",
    "--sampler main_task --ratio 0": "--ratio must be > 0, got 0.0",
    "--sampler_temperature 2": "--sampler_temperature would have no effect: it needs --sampler temperature",
    "--sampler sqrt --ratio 2": "--ratio would have no effect: it needs --sampler main_task, which is sqrt",
    "--max_rows_per_task 0": "--max_rows_per_task must be at least 1, got 0",
    "--max_rows_per_task many": "--max_rows_per_task: expected a whole number, got 'many'",
    "--sampler main_task --ratio 1 --train_datasets cola,": "--sampler main_task would have no effect: it needs",
}


@pytest.mark.parametrize(("flags", "message"), BAD.items(), ids=BAD.keys())
def test_bad_flags(flags: str, message: str) -> None:
    least = "--data_dir data --init_checkpoint encoder --output_dir run --train_datasets cola,rte".split()
    with pytest.raises(InputError, match=re.escape(message)):
        load_config([*least, *flags.split()], description="")
