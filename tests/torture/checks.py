"""What is right about a run that was killed: where it stopped, and what it left, bit for bit as its reference."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from data_utils.errors import SignalledError
from mt_dnn.record.run_folder import DEV_PREDICTIONS
from mt_dnn.record.run_log import SENSITIVITY_LOG
from tests.torture.runs import Attempt


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint folder of the highest update, None if there is none; one that is being replaced counts."""
    names = (path.name.removesuffix(".old") for path in (run / "checkpoints").glob("step_*"))
    newest = max((name for name in names if not name.endswith(".partial")), default=None)
    return run / "checkpoints" / newest if newest else None


def leftovers(run: Path) -> list[Path]:
    """What is half-written or half-replaced."""
    return [path for path in run.rglob("*") if path.name.endswith((".partial", ".old"))]


def last_event(run: Path) -> dict[str, Any]:
    """The last whole line of `metrics.jsonl`; if there is none, an event of update 0."""
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        lines = []
    return json.loads(lines[-1]) if lines else {"event": "none", "step": 0}


def attempt_problems(
    attempt: Attempt, sent: signal.Signals | None, logged: int, run: Path, before: Path | None
) -> list[str]:
    """What is wrong with an attempt that has ended.

    Args:
        attempt: the attempt.
        sent: the signal that it got, if any.
        logged: updates in `metrics.jsonl` when it got it.
        run: the output folder.
        before: the newest checkpoint when the attempt began.
    """
    says = [line for line in attempt.out.splitlines() if line.startswith("resuming from ")]
    if attempt.trained and (len(says) != 1 or before.name not in says[0] if before else says):
        return [f"it said {says}, and the newest checkpoint was {before}"]
    if attempt.code == 0 or (attempt.code == -signal.SIGKILL and sent == signal.SIGKILL):
        return []
    if sent in (None, signal.SIGKILL):
        return [f"exit code {attempt.code}: {attempt.err}"]
    return stop_problems(attempt, sent, logged, run)


def stop_problems(attempt: Attempt, sent: signal.Signals, logged: int, run: Path) -> list[str]:
    """What is wrong with an attempt that SIGTERM or SIGINT has ended: nothing done may be lost, and little added."""
    last = last_event(run)
    if attempt.code == -sent:  # as signals do where nobody heeds them: before the first update and after the last
        return [f"{sent.name} killed it while it trained"] * (attempt.trained and last["event"] != "end")
    reasons = [line for line in attempt.err.splitlines() if line.startswith("stopped: ")]
    if attempt.code != SignalledError.exit_code or len(reasons) != 1 or "Traceback" in attempt.err:
        return [f"{sent.name}: exit code {attempt.code}: {attempt.err}"]
    if not attempt.trained:
        return []
    newest = newest_checkpoint(run)
    saved = int(newest.name.removeprefix("step_")) if newest else 0
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    problems = [f"left over: {path.relative_to(run)}" for path in leftovers(run)]
    if saved < last["step"]:
        problems.append(f"{sent.name}: {last['step']} updates done, {saved} saved")
    if saved > logged + config["log_per_updates"]:  # so many are done before one more is logged
        problems.append(f"{sent.name}: sent when {logged} updates were logged, and it went on to {saved}")
    return problems


def differences(reference: Path, run: Path) -> list[str]:
    """What a finished run left otherwise than its reference, a line each; nothing but times may differ."""
    found = [f"left over: {path.relative_to(run)}" for path in leftovers(run)]
    newest, other = newest_checkpoint(reference), newest_checkpoint(run)
    if newest is None or other is None or newest.name != other.name:
        return [*found, f"last checkpoint {other and other.name}, the reference's {newest and newest.name}"]
    names = {"results.json", "metrics.jsonl"}
    names |= {name for name in (SENSITIVITY_LOG, DEV_PREDICTIONS) if (reference / name).is_file()}
    for folder in (newest, reference / "best"):
        names |= {str(path.relative_to(reference)) for path in folder.rglob("*") if path.is_file()}
    here = (path for folder in (other, run / "best") for path in folder.rglob("*") if path.is_file())
    found += [f"{name} is not in the reference" for name in sorted({str(p.relative_to(run)) for p in here} - names)]
    timed = f"{newest.relative_to(reference)}/manifest.json"  # has the hash of state.json, and so of times
    for name in sorted(names - {timed}):
        found += _file_differences(name, reference / name, run / name)
    return found


def _file_differences(name: str, one: Path, other: Path) -> list[str]:
    if not other.is_file():
        return [f"{name} is missing"]
    if one.read_bytes() == other.read_bytes():
        return []
    if one.suffix == ".safetensors":
        return [f"{name}: {line}" for line in _tensor_differences(load_file(one), load_file(other))]
    expected, got = (_lines(path) for path in (one, other))
    for number, (theirs, ours) in enumerate(zip(expected, got, strict=False), start=1):
        if theirs != ours:
            return [f"{name}, line {number}: {ours.strip()[:160]!r}, in the reference {theirs.strip()[:160]!r}"]
    return [f"{name}: {len(got)} lines, in the reference {len(expected)}"] * (len(expected) != len(got))


def _lines(path: Path) -> list[str]:
    """A text file's lines; without times where it has some."""
    text = path.read_text(encoding="utf-8")
    if path.name in ("state.json", "results.json"):
        text = json.dumps(_timeless(json.loads(text)), indent=1, sort_keys=True)
    return text.split("\n")


def _tensor_differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    if one.keys() != other.keys():
        return [f"other tensors: {', '.join(sorted(one.keys() ^ other.keys()))}"]
    pairs = [(name, one[name], other[name]) for name in one]
    kinds = [name for name, a, b in pairs if (a.dtype, a.shape) != (b.dtype, b.shape)]
    bits = [name for name, a, b in pairs if name not in kinds and not torch.equal(_bytes(a), _bytes(b))]
    texts = [
        f"{len(names)} of {len(one)} tensors have other {what}, such as {names[0]}"
        for what, names in (("shapes", kinds), ("bits", bits))
        if names
    ]
    return texts or ["the same tensors in another file"]


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _timeless(value: Any) -> Any:
    """JSON without what is measured in seconds."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not k.endswith(("_seconds", "_per_second"))}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
