"""Heads that learn at a rate of their own: parameter groups by head, where a factor is not 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data_utils.task_def import TaskDef
from mt_dnn.config import TrainConfig

HEADS_PREFIX = "heads."
"""What the names of heads' parameters begin with, the task's name comes next; see `mt_dnn.model.MTDNN`."""


def head_rates(config: TrainConfig, tasks: Sequence[TaskDef]) -> dict[str, float]:
    """The factor of each task's head: its own, else `--head_lr_factor`."""
    plain = config.method.head_lr_factor
    return {task.name: plain if task.head_lr_factor is None else task.head_lr_factor for task in tasks}


def with_head_rates(
    groups: Sequence[dict[str, Any]], factors: Mapping[str, float], learning_rate: float
) -> list[dict[str, Any]]:
    """Parameter groups such as `encoder_param_groups` gives, with those of heads whose factor is not 1 apart.

    Such a group has an `lr` of its own, `learning_rate` times the factor, and comes after the one that it was a part
    of; so the encoder's parameters keep their places, and PATS its noise.
    """
    split = []
    for group in groups:
        members: dict[str, list[int]] = {}
        for i, name in enumerate(group["names"]):
            task = name.removeprefix(HEADS_PREFIX).partition(".")[0] if name.startswith(HEADS_PREFIX) else ""
            members.setdefault(task if factors.get(task, 1.0) != 1.0 else "", []).append(i)
        for task, places in members.items():
            own: dict[str, Any] = {key: [group[key][i] for i in places] for key in ("params", "names")}
            if task:
                own |= {"name": f"{group['name']}, head of {task}", "lr": learning_rate * factors[task]}
            split.append(group | own)
    return split
