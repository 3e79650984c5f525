"""Stands for train.py in tests of sweeps: notes how it was called, and ends as it is told, at once.

The folder in STUB_FOLDER holds `calls.jsonl`, which it adds to, and `behaviour.json`: by run (`pats/seed_1`), one of
`BEHAVIOURS`. The nearer the learning rate is to 1e-4, the better it scores.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

BEHAVIOURS = ("finish", "collapse", "refuse", "crash", "no results", "die", "busy", "wait", "deaf")
FOLDER = Path(os.environ["STUB_FOLDER"])
SWITCHES = ("--resume", "--dry_run", "--no-tensorboard", "--bf16", "--dev_predictions")


def flags() -> dict[str, str]:
    """The flags it was called with, without switches."""
    rest = [argument for argument in sys.argv[1:] if argument not in SWITCHES]
    return dict(zip(rest[::2], rest[1::2], strict=True))


def end(message: str, code: int) -> NoReturn:
    """Say why, and end."""
    print(message, file=sys.stderr, flush=True)
    sys.exit(code)


def finish(output: Path, given: dict[str, str], constant: bool) -> None:
    """What a run leaves that is done."""
    score = 70.0 - 10 * abs(math.log10(float(given["--learning_rate"])) + 4)
    task = {"primary_metric": "ACC"}
    task |= {which: {"epoch": 1, "step": 1, "score": score, "constant": constant} for which in ("last", "best")}
    results = {"tasks": {"rte": task}, "average": {"best": score, "last": score}, "wall_seconds": 2.0}
    (output / "results.json").write_text(json.dumps(results), encoding="utf-8")


def main() -> None:
    """Behave."""
    given = flags()
    if "--dry_run" in sys.argv:
        print("method   as told\n         note     of nothing" + "\nnote     slow in bf16" * ("--bf16" in sys.argv))
        sys.exit(end("error: --nonsense: unknown flag", 2) if "--nonsense" in given else 0)
    output = Path(given["--output_dir"])
    started = time.time()
    told = json.loads((FOLDER / "behaviour.json").read_text(encoding="utf-8"))
    behaviour = told.get("/".join(output.parts[-2:]), "finish")
    assert behaviour in BEHAVIOURS
    if behaviour == "wait":
        signal.signal(signal.SIGTERM, lambda *_: end("stopped: SIGTERM came after update 3; it is saved", 3))
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (output / "results.json").exists():
        sys.exit(0)
    output.mkdir(parents=True, exist_ok=True)
    lock = (output / "run.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        behaviour = "busy"
    if behaviour == "busy":
        end(f"error: --output_dir {output}: another run is writing to it (process 1 on x)", 4)
    (output / "metrics.jsonl").write_text('{"event": "train", "step": 3, "epoch": 1, "loss": {"rte": 0.5}}\n{"ev')
    (FOLDER / "started").touch()
    time.sleep(60 if behaviour in ("wait", "deaf") else 0.05)
    if behaviour == "refuse":
        end("error: --data_dir x: no features\nmake some", 2)
    if behaviour == "crash":
        raise RuntimeError("a bug")
    if behaviour == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour != "no results":
        finish(output, given, behaviour == "collapse")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    environment = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
    call = {"argv": sys.argv[1:], "started": started, "ended": time.time(), "cores": cores, "cwd": os.getcwd()}
    with (FOLDER / "calls.jsonl").open("a", encoding="utf-8") as file:
        print(json.dumps(call | environment), file=file)


if __name__ == "__main__":
    main()
