"""A world to train in, and processes to fork runs from, for the tests of resuming."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.torture.runs import warm_up, worker_pool
from tests.torture.world import World, make_world


@pytest.fixture(scope="package")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world of `tests/torture` with few rows; not to be written to."""
    return make_world(tmp_path_factory.mktemp("small") / "world", {"train": 12, "dev": 6})


@pytest.fixture(scope="package")
def pool(small_world: World) -> Iterator[ProcessPoolExecutor]:
    """Two processes that have imported everything; tests themselves may have threads, and must not fork."""
    flags = small_world.flags(small_world.data_dir / "nothing", "--train_datasets share")
    with worker_pool(2, functools.partial(warm_up, flags)) as workers:
        yield workers
