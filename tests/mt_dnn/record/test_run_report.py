"""What a run reports of its losses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import train
from tests.conftest import Workshop


def losses(workshop: Workshop, folder: Path, every: int) -> dict[int, float]:
    """The loss of each training event, by its number of updates."""
    flags = ["--train_datasets", "cola", "--epochs", "2", "--log_per_updates", str(every)]
    assert train.main(workshop.flags(folder, *flags)) == 0
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {event["step"]: event["loss"]["cola"] for event in events if event["event"] == "train"}


def test_an_event_has_the_mean_loss_of_the_updates_since_the_one_before(workshop: Workshop, tmp_path: Path) -> None:
    single, pairs = losses(workshop, tmp_path / "single", 1), losses(workshop, tmp_path / "pairs", 2)
    assert list(single) == [1, 2, 3, 4, 5, 6] and list(pairs) == [2, 3, 4, 6]
    before = 0
    for step, loss in pairs.items():
        since = [single[one] for one in range(before + 1, step + 1)]
        assert loss == pytest.approx(sum(since) / len(since), rel=1e-6)
        before = step
