"""Optimizer steps beside the memory floor and torch's fused AdamW, by `scripts.bench_optim`."""

from __future__ import annotations

from pathlib import Path

import torch

from scripts.bench_optim import ROWS, encoder_groups
from scripts.bench_optim import measure as measure_steps
from scripts.gpu.records import Writer
from scripts.gpu.world import SHAPES


def measure(write: Writer, folder: Path, *, tiny: bool) -> None:
    """Lines for each optimizer on each shape."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reasons = {(row.optimizer, row.backend): row.why_not(device) for row in ROWS}
    torch.manual_seed(0)
    for shape in ("tiny",) if tiny else ("bert_base", "bert_large"):
        results = measure_steps(shape, encoder_groups(SHAPES[shape](), device), 1 if tiny else None)
        fused = next((r.ms_median for r in results if (r.optimizer, r.backend) == ("torch AdamW", "fused")), None)
        for result in results:
            name = f"{shape} {result.optimizer} {result.backend}"
            if result.ms_median is None:
                write(name, status="skipped", note=reasons[result.optimizer, result.backend] or "")
                continue
            goal = "at most 1.4" if (result.optimizer, result.backend) == ("PATSAdamax", "triton") else ""
            write(f"{name}: to floor", result.ratio_to_floor, "x", goal=goal, note=f"{result.ms_median:.3f} ms")
            if fused:
                write(f"{name}: to AdamW fused", result.ms_median / fused, "x")
