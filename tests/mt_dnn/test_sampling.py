"""Samplers: what an epoch holds, that it depends on seed and epoch alone, and how tasks share the updates."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mt_dnn.sampling import SAMPLERS, MultiTaskSampler

ROWS = {"big": 103, "middle": 40, "small": 7}


def rows_by_task(sampler: MultiTaskSampler, epoch: int) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for draw in sampler.epoch(epoch):
        rows.setdefault(draw.task, []).extend(draw.rows.tolist())
    return rows


def test_mtdnn_sees_every_row_once_an_epoch() -> None:
    sampler = MultiTaskSampler(ROWS, 8, "mtdnn", seed=3)
    for epoch in range(3):
        rows = rows_by_task(sampler, epoch)
        assert {task: sorted(seen) for task, seen in rows.items()} == {t: list(range(n)) for t, n in ROWS.items()}
    assert len(sampler.epoch(0)) == len(sampler) == 13 + 5 + 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_epoch_depends_on_seed_and_number_alone(name: str) -> None:
    def flat(seed: int, epoch: int) -> list[tuple[str, list[int]]]:
        return [(d.task, d.rows.tolist()) for d in MultiTaskSampler(ROWS, 8, name, seed).epoch(epoch)]

    assert flat(1, 5) == flat(1, 5)
    assert flat(1, 5) != flat(1, 6)
    assert flat(1, 5) != flat(2, 5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_epoch_has_the_same_length_and_one_task_an_update(name: str) -> None:
    sampler = MultiTaskSampler(ROWS, 8, name, seed=0)
    for epoch in range(3):
        draws = sampler.epoch(epoch)
        assert len(draws) == len(sampler)
        assert all(1 <= len(d.rows) <= 8 and d.rows.max() < ROWS[d.task] for d in draws)


def test_batches_are_cut_anew_every_epoch() -> None:
    sampler = MultiTaskSampler({"one": 64}, 8, "mtdnn", seed=0)
    groups = [{frozenset(d.rows.tolist()) for d in sampler.epoch(epoch)} for epoch in range(2)]
    assert not groups[0] & groups[1]


def test_a_task_keeps_its_order_whatever_else_is_trained() -> None:
    alone = [d.rows.tolist() for d in MultiTaskSampler({"big": 103}, 8, "mtdnn", 1).epoch(0)]
    together = [d.rows.tolist() for d in MultiTaskSampler(ROWS, 8, "mtdnn", 1).epoch(0) if d.task == "big"]
    assert alone == together


@pytest.mark.parametrize(("name", "power"), [("proportional", 1.0), ("sqrt", 0.5), ("uniform", 0.0)])
def test_shares_follow_the_sampler(name: str, power: float) -> None:
    sampler = MultiTaskSampler({"big": 6400, "small": 400}, 1, name, seed=0)
    share = Counter(d.task for d in sampler.epoch(0))["small"] / len(sampler)
    expected = 1 / (1 + 16**power)
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / len(sampler))


def test_round_robin_takes_turns_and_starts_small_tasks_again() -> None:
    draws = MultiTaskSampler(ROWS, 8, "round_robin", seed=0).epoch(0)
    assert [d.task for d in draws[:6]] == ["big", "middle", "small"] * 2
    assert sorted(draws[2].rows.tolist()) == sorted(draws[5].rows.tolist()) == list(range(7))


def test_accumulation_and_large_batches_plan_the_same_updates() -> None:
    """8 rows x 4 passes or 32 rows x 1 pass: the plan knows only 32."""
    one, other = (MultiTaskSampler(ROWS, rows, "mtdnn", 1).epoch(2) for rows in (8 * 4, 32))
    assert [(a.task, a.rows.tolist()) for a in one] == [(b.task, b.rows.tolist()) for b in other]
