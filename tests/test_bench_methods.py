"""`scripts/bench_methods.py` on a tiny encoder; its figures are no test's business."""

from __future__ import annotations

import csv
from pathlib import Path

from scripts import bench_methods
from studies.recipes import Recipes
from studies.suite import Suite
from tests.conftest import Workshop


def test_it_measures_every_method_that_the_recipes_have(workshop: Workshop, tmp_path: Path) -> None:
    data = ["--data_dir", str(workshop.data_dir), "--init_checkpoint", str(workshop.encoder), "--tasks", "sst"]
    output = tmp_path / "methods.csv"
    how = ["--batch_size", "4", "--updates", "1", "--rounds", "2", "--output", str(output)]
    assert bench_methods.main([*data, *how]) == 0
    rows = list(csv.DictReader(output.open()))
    assert [row["method"] for row in rows] == list(Recipes.of(Suite()).methods_of("minilm/sst"))
    assert (rows[0]["method"], float(rows[0]["ratio"])) == ("adamax", 1.0)
    assert all(float(row["milliseconds"]) > 0 and row["rounds"] == "2" for row in rows)
