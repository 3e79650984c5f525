"""Groups of processes for the tests of this folder, and what several of them train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import Workshop
from tests.distributed.launch import HAS_GLOO, Group
from tests.test_train import without_dropout


@pytest.fixture(autouse=True)
def gloo() -> None:
    if not HAS_GLOO:
        pytest.skip("torch is built without gloo")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs in pytest's own process are alike on every machine, and leave the other processes their cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def group_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Group]]:
    """The group of so many ranks: started by the first test that asks for it, or after one in which it ended."""
    groups: dict[int, Group] = {}

    def get(ranks: int) -> Group:
        if ranks not in groups or not groups[ranks].alive:
            groups[ranks] = Group(ranks, tmp_path_factory.mktemp(f"{ranks}-ranks"))
        return groups[ranks]

    yield get
    for group in groups.values():
        group.dismiss()
    for group in groups.values():
        group.wait()


@pytest.fixture(scope="session")
def repeatable(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder without dropout."""
    return without_dropout(workshop, tmp_path_factory.mktemp("repeatable") / "encoder")
