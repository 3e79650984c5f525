"""All measurements one after another, each in a process of its own with its share of eight minutes.

A measurement that fails, hangs or takes its process with it is a line of the table, and the others go on. Its figures
are in `OUTPUT/NAME.jsonl` as they come, so what was measured before a cut stays.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_utils.errors import InputError, entry_point
from scripts.gpu.records import Record, Writer, read

BUDGET_SECONDS = {"kernels": 90, "steps": 80, "speed": 150, "pats": 60, "memory": 45, "resume": 80, "suite": 90}
"""The most that each may take, in the order in which they run; what one leaves, the later ones have."""

WHOLE_SECONDS = 460
REHEARSAL_FACTOR = 5
"""A rehearsal has so many times as long: on a busy CPU it is to find mistakes, not to be quick."""
PACKAGES = ("torch", "triton", "transformers", "numpy", "accelerate", "scikit-learn", "scipy", "pytest")


def surroundings(*, rehearse: bool) -> dict[str, Any]:
    """Device and versions; asked of torch in a process of its own, so that this one holds no memory of the device."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    device = done.stdout.strip() or f"unknown: {done.stderr.strip()[-200:]}"
    return {
        "device": "cpu" if rehearse else device,
        "rehearsal": rehearse,
        "python": sys.version.split()[0],
        "date": str(datetime.date.today()),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def environment(*, rehearse: bool) -> dict[str, str]:
    """What the measurements see: no hub, and in a rehearsal no GPU but Triton's interpreter."""
    own = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if rehearse:
        own |= {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"}
    return os.environ | own


def run(name: str, output: Path, folder: Path, seconds: float, *, rehearse: bool) -> list[Record]:
    """One measurement; its process and all it has started are ended when its time is up. Returns its records."""
    file = output / f"{name}.jsonl"
    file.unlink(missing_ok=True)  # of an earlier run
    command = [sys.executable, "-m", "scripts.gpu.measure", name, str(output), str(folder)]
    command += ["--rehearse"] if rehearse else []
    started = time.monotonic()
    process = subprocess.Popen(
        command, env=environment(rehearse=rehearse), stdin=subprocess.DEVNULL, start_new_session=True
    )
    note = ""
    try:
        if code := process.wait(seconds):
            note = f"the process ended with {code}"
    except subprocess.TimeoutExpired:
        note = f"cut after {time.monotonic() - started:.0f} s; the lines above stand"
    finally:
        with contextlib.suppress(ProcessLookupError):  # no member is left; else what it started and did not end
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if note:
        Writer(file, name)(name, status="FAILED", note=note)
    return read(file)


def write_json(path: Path, about: dict[str, Any], records: list[Record]) -> None:
    """All there is so far; replaced as a whole, so that it can always be read."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(
        json.dumps(about | {"records": [asdict(one) for one in records]}, indent=1) + "\n", encoding="utf-8"
    )
    fresh.replace(path)


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurements; 0 if none failed, else 1."""
    parser = argparse.ArgumentParser(prog="bench_gpu.sh", description="Tests and measurements on a GPU.")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_gpu"), help="folder of bench_gpu.json")
    parser.add_argument(
        "--rehearse", action="store_true", help="everything in small on a CPU; its figures mean nothing"
    )
    parser.add_argument("--only", help=f"some of {','.join(BUDGET_SECONDS)}")
    args = parser.parse_args(argv)
    names = args.only.split(",") if args.only else list(BUDGET_SECONDS)
    if unknown := [name for name in names if name not in BUDGET_SECONDS]:
        raise InputError(f"--only {','.join(unknown)}: choose from {', '.join(BUDGET_SECONDS)}")
    if importlib.util.find_spec("torch") is None:
        raise InputError(f"{sys.executable} has no torch: name another Python, PYTHON=… bash scripts/bench_gpu.sh")
    about = surroundings(rehearse=args.rehearse)
    if not args.rehearse and about["device"] == "cpu":
        raise InputError("torch finds no GPU here; --rehearse runs everything in small on the CPU")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no measurement outlives this process
    patience = REHEARSAL_FACTOR if args.rehearse else 1
    args.output.mkdir(parents=True, exist_ok=True)
    path, deadline = args.output / "bench_gpu.json", time.monotonic() + patience * WHOLE_SECONDS
    print(", ".join([about["device"], *(f"{name} {found}" for name, found in about["versions"].items())]), flush=True)
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in names:
            seconds = min(patience * BUDGET_SECONDS[name], deadline - time.monotonic())
            if seconds < 5:
                records.append(Record(measurement=name, what=name, status="skipped", note="no time was left"))
            else:
                records += run(name, args.output, folder, seconds, rehearse=args.rehearse)
            write_json(path, about, records)
    print("\n" + "\n".join(record.line() for record in records) + f"\n\n{path}", flush=True)
    return int(any(record.status == "FAILED" for record in records))


if __name__ == "__main__":
    sys.exit(main())
