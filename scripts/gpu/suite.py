"""The project's own tests that need a GPU, or run their kernels there where one is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from scripts.gpu.records import Writer

TESTS = ("tests/module/kernels/test_launch.py", "tests/module/optim/test_follows_reference.py")
REHEARSED = ("tests/module/kernels/test_launch.py", "-k", "sizes_without_elements")


def measure(write: Writer, folder: Path, *, tiny: bool) -> None:
    """One line: whether they passed, with pytest's last line."""
    if importlib.util.find_spec("pytest") is None:
        write("pytest", status="skipped", note="pytest is not installed; the line 'kernels' needs none")
        return
    log = folder / "pytest.log"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(REHEARSED if tiny else TESTS)]
    with log.open("wb") as file:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False).returncode
    last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
    write("pytest", float(code == 0), "passed", goal="1", status="ok" if code == 0 else "FAILED", note=last)
