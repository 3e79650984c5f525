"""A run that is killed and resumed ends with the bits of one that never was, with `--deterministic`.

How long that may take is for `main` to say, which ends this process and those it has started.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from scripts.gpu.records import Writer
from scripts.gpu.training import prepare
from scripts.gpu.world import training_flags

COMPARED = ("metrics.jsonl", "model.safetensors", "optimizer.safetensors")


def start(flags: list[str], log: Path) -> subprocess.Popen[bytes]:
    """`train.py` as a process of its own, with what it says in `log`."""
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "train.py", *flags], env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )


def finish(flags: list[str], log: Path) -> None:
    """Run it to its end."""
    process = start(flags, log)
    try:
        code = process.wait()
    finally:
        process.kill()
        process.wait()
    if code != 0:
        raise RuntimeError(f"train.py ended with {code}: {log.read_text(errors='replace')[-300:]}")


def kill_after_a_checkpoint(flags: list[str], run: Path, log: Path) -> None:
    """Start it, and kill it without warning once its first checkpoint stands."""
    process = start(flags, log)
    try:
        while not list((run / "checkpoints").glob("step_*")):
            if process.poll() is not None:
                raise RuntimeError(f"no checkpoint to kill at: {log.read_text(errors='replace')[-300:]}")
            time.sleep(0.02)
        if process.poll() is not None:
            raise RuntimeError("the run was over before it could be killed")
    finally:
        process.kill()
        process.wait()


def contents(run: Path) -> dict[str, bytes]:
    """What must be equal: the log of the run, weights and optimizer state of its last checkpoint."""
    newest = max((run / "checkpoints").glob("step_*"))
    return {name: (run / name if name.endswith(".jsonl") else newest / name).read_bytes() for name in COMPARED}


def measure(write: Writer, folder: Path, *, tiny: bool) -> None:
    """One line for each file that is compared."""
    encoder, features = prepare(folder, tiny=tiny)
    whole, cut, log = folder / "whole", folder / "cut", folder / "resume.log"
    how = ["--optim", "pats_adamax", "--epochs", "4" if tiny else "1", "--deterministic", "--seed", "3"]
    how += [
        "--batch_size",
        "8" if tiny else "32",
        "--save_per_updates",
        "2" if tiny else "20",
        "--log_per_updates",
        "1",
    ]
    flags = {run: [*training_flags(encoder, features, "cola", run), *how] for run in (whole, cut)}
    finish(flags[whole], log)
    kill_after_a_checkpoint(flags[cut], cut, log)
    finish([*flags[cut], "--resume"], log)
    expected, found = contents(whole), contents(cut)
    for name in COMPARED:
        same = expected[name] == found[name]
        write(f"{name} after kill and resume", float(same), "equal", goal="1", status="ok" if same else "FAILED")
