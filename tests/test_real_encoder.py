"""The real thing, small: all-MiniLM-L6-v2 on rows of real CoLA and STS-B, from raw files to scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import prepro_std
import train
from data_utils.features import load_features
from data_utils.task_def import load_task_defs
from experiments.glue import glue_prepro
from module.encoder import load_encoder
from mt_dnn.batching import Collator

ROOT = Path(__file__).parents[1]
ENCODER = ROOT / "downloads" / "all-MiniLM-L6-v2"
GLUE = ROOT.parent / "shared" / "glue_data"
TASK_DEF = "experiments/glue/glue_task_def.yml"

pytestmark = [
    pytest.mark.skipif(
        not (ENCODER / "config.json").is_file(), reason="no downloads/all-MiniLM-L6-v2 (test.sh makes it)"
    ),
    pytest.mark.skipif(not GLUE.is_dir(), reason="no real GLUE at ../shared/glue_data"),
]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first rows of CoLA and STS-B as MiniLM's features."""
    root = tmp_path_factory.mktemp("real")
    for folder in ("CoLA", "STS-B"):
        (root / "glue" / folder).mkdir(parents=True)
        for split, rows in (("train", 97), ("dev", 65)):
            with (GLUE / folder / f"{split}.tsv").open(encoding="utf-8") as file:
                head = "".join(line for line, _ in zip(file, range(rows), strict=False))
            (root / "glue" / folder / f"{split}.tsv").write_text(head, encoding="utf-8")
    canonical = root / "canonical"
    assert glue_prepro.main(["--glue_dir", str(root / "glue"), "--output_dir", str(canonical)]) == 0
    flags = ["--model", str(ENCODER), "--root_dir", str(canonical), "--task_def", TASK_DEF, "--workers", "1"]
    assert prepro_std.main(flags) == 0
    return canonical / "all-MiniLM-L6-v2"


@torch.no_grad()
def test_packed_rows_equal_padded_rows(features: Path) -> None:
    encoder = load_encoder(str(ENCODER), seed=0).eval()
    rows = load_features(features, load_task_defs(TASK_DEF)["stsb"], "dev")
    pooled = [
        encoder(**Collator.for_encoder(encoder, packing=packing, max_length=512)(rows, np.arange(32)).inputs).pooled
        for packing in (False, True)
    ]
    torch.testing.assert_close(pooled[0], pooled[1], rtol=1e-4, atol=1e-5)


def test_pats_trains_two_tasks(features: Path, tmp_path: Path) -> None:
    """A few updates cannot show scores, but they must lower the loss: STS-B starts near its mean square, about 9."""
    flags = ["--data_dir", str(features), "--init_checkpoint", str(ENCODER), "--train_datasets", "cola,stsb"]
    flags += ["--optim", "pats_adamax", "--learning_rate", "1e-3", "--epochs", "4", "--log_per_updates", "6"]
    assert train.main([*flags, "--output_dir", str(tmp_path), "--no-tensorboard"]) == 0
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    curve = [event["loss"]["stsb"] for event in events if "stsb" in event.get("loss", {})]
    assert curve[-1] < 0.7 * curve[0], curve
    assert json.loads((tmp_path / "results.json").read_text())["tasks"]["stsb"]["last"]["score"] > 20
