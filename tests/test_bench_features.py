"""`scripts/bench_features.py` runs to its end on a few rows; its figures are no test's business."""

from __future__ import annotations

import pytest

from scripts import bench_features
from tests.conftest import Workshop


def test_it_prints_a_row_for_each_way(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    data = ["--data_dir", str(workshop.data_dir), "--task_def", "experiments/glue/glue_task_def.yml", "--task", "sst"]
    assert bench_features.main([*data, "--batches", "3", "--rounds", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in rows[2:]] == ["way", "packed", "Arrow", "Parquet"]


@pytest.mark.parametrize("flag", ["--batches", "--rounds"])
def test_nothing_to_measure_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_features.main(["--data_dir", "x", "--task_def", "y", "--task", "sst", flag, "0"]) == 2
    assert f"{flag} must be at least 1, got 0" in capsys.readouterr().err
