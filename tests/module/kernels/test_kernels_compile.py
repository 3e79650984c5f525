"""The kernels compile for GPUs, assembler included, and load four elements at a time. No GPU is needed for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
SCRIPT = Path(__file__).with_name("compile_kernels.py")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100"])
def test_every_kernel_compiles_and_loads_wide(capability: int, tmp_path: Path) -> None:
    compiles = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = {**compiles, "PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), str(capability)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    elementwise = set(found) - {"sums", "noise"}
    assert {name for name in elementwise if found[name]["wide"]} == elementwise - {"adamax, unaligned"}
    assert not any(one["float64_arrays"] for one in found.values())
