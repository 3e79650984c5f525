"""Several processes: DistributedDataParallel, FSDP2 and other sharded parameters arrive where one process does.

The checks are in `sharded_worker.py`. Processes start once for each number of ranks, run all the checks chosen, and
report each; a group that hangs is ended.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed

if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("torch is built without gloo", allow_module_level=True)

from tests.module.optim.sharded_worker import CHECKS, KERNELS, NUMBA  # noqa: E402

LACKING = {
    words: library
    for words, library in ((KERNELS, "triton"), (NUMBA, "numba"))
    if not importlib.util.find_spec(library)
}

TIMEOUT = 180
"""Seconds; a group needs some fifteen where it has two cores for itself."""


class Group:
    """So many processes that have run checks together."""

    def __init__(self, ranks: int, chosen: list[str], folder: Path) -> None:
        (folder / "task.json").write_text(json.dumps({"ranks": ranks, "seconds": TIMEOUT, "chosen": chosen}))
        done = subprocess.run(
            [sys.executable, "-m", "tests.module.optim.sharded_worker", str(folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = done.stdout
        self.reports = [_reports(folder / f"{rank}.jsonl") for rank in range(ranks)]

    def troubles(self, check: str) -> list[str]:
        """What went wrong, rank by rank; empty if nothing did."""
        troubles = []
        for rank, reports in enumerate(self.reports):
            if check not in reports:
                reason = "it hung, or an earlier check failed in the midst of its communication"
                troubles.append(f"rank {rank} has not finished: {reason}\n{self.said[-2000:]}")
            elif (trouble := reports[check]) is not None:
                troubles.append(f"rank {rank}: {trouble}")
        return troubles


def _reports(file: Path) -> dict[str, str | None]:
    lines = file.read_text().splitlines() if file.exists() else []
    return {report["check"]: report["trouble"] for report in map(json.loads, lines)}


@pytest.fixture(scope="module")
def troubles_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Troubles of a check, by its name: the first one that is asked for runs all that need as many ranks."""
    mine = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    wanted = {item.callspec.params["check"] for item in mine}

    @functools.cache
    def group_of(ranks: int) -> Group:
        chosen = [
            name
            for name, (needed, _) in CHECKS.items()
            if needed == ranks and name in wanted and not any(words in name for words in LACKING)
        ]
        return Group(ranks, chosen, tmp_path_factory.mktemp(f"{ranks}-ranks"))

    return lambda name: group_of(CHECKS[name][0]).troubles(name)


@pytest.mark.parametrize("check", sorted(CHECKS, key=lambda name: (CHECKS[name][0], name)))
def test_on_every_rank(check: str, troubles_of: Callable[[str], list[str]]) -> None:
    for words, library in LACKING.items():
        if words in check:
            pytest.skip(f"{library} is not installed")
    if troubles := troubles_of(check):
        pytest.fail("\n".join(troubles), pytrace=False)
