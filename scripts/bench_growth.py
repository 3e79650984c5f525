"""Time and memory against the size of the input: rows, parameters, tasks, runs of a study, length of `metrics.jsonl`.

    python -m scripts.bench_growth --model downloads/all-MiniLM-L6-v2 --output docs/growth_cpu.csv
    python -m scripts.bench_growth --model … --parts table,report --sizes 1,2

Each measurement has a process of its own, whose peak of memory it reports. The exponent is the slope of log seconds
over log size: 1 where time grows as the input does, less where a fixed part counts.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data_utils.errors import InputError, entry_point

Work = Callable[[], object]
TASK_DEF = "experiments/glue/glue_task_def.yml"
TEXT = "The old sailor told the children a story that nobody in the harbour had ever heard before ."


def _done(code: int) -> None:
    if code:
        raise RuntimeError(f"it ended with exit code {code}: there is nothing to time")


def _rows(count: int, folder: Path, model: str) -> Work:
    """Canonical rows of CoLA, and what makes features of them."""
    import prepro_std

    lines = [f"{i}\t{i % 2}\t{TEXT} {i}\n" for i in range(count)]
    (folder / "cola_train.tsv").write_text("".join(lines))
    (folder / "cola_dev.tsv").write_text("".join(lines[:20]))
    flags = ["--model", model, "--root_dir", str(folder), "--tasks", "cola", "--workers", "1"]
    return lambda: _done(prepro_std.main([*flags, "--task_def", TASK_DEF]))


def _features(count: int, folder: Path, model: str) -> Path:
    """The folder of features of so many rows."""
    _rows(count, folder, model)()
    (found,) = (path.parent for path in folder.rglob("cola_train.json"))
    return found


def prepare(size: int, folder: Path, model: str) -> Work:
    """Tokenise 2,000 rows."""
    return _rows(2_000 * size, folder, model)


def load(size: int, folder: Path, model: str) -> Work:
    """Load features of 2,000 rows from JSON lines, and write their packed copy."""
    from data_utils.features import load_features
    from data_utils.task_def import load_task_defs

    features, task = _features(2_000 * size, folder, model), load_task_defs(TASK_DEF)["cola"]
    return lambda: load_features(str(features), task, "train")


def _training(rows: int, folder: Path, model: str) -> Work:
    """An epoch over so many rows, with all that a run writes."""
    import train

    flags = ["--data_dir", str(_features(rows, folder, model)), "--init_checkpoint", model, "--train_datasets", "cola"]
    return lambda: _done(train.main([*flags, "--epochs", "1", "--output_dir", str(folder / "run"), "--device", "cpu"]))


def epoch(size: int, folder: Path, model: str) -> Work:
    """Train an epoch of 400 rows, from the start of the run to its results."""
    return _training(400 * size, folder, model)


def predict(size: int, folder: Path, model: str) -> Work:
    """Predict 500 rows of a table, with a model that is loaded for it."""
    import predict as program

    _training(32, folder, model)()
    (folder / "table.csv").write_text("text\n" + "".join(f"{TEXT} {i}\n" for i in range(500 * size)))
    flags = ["--checkpoint", str(folder / "run"), "--table", str(folder / "table.csv"), "--text", "text"]
    return lambda: _done(program.main([*flags, "--device", "cpu", "--output", str(folder / "answers.csv")]))


def step(size: int, folder: Path, model: str) -> Work:
    """Five PATS steps over 2 million parameters."""
    import torch

    from module.optim import PATSAdamax

    weights = [torch.nn.Parameter(torch.randn(1000, 1000)) for _ in range(2 * size)]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer = PATSAdamax(weights, lr=1e-4)
    return lambda: [optimizer.step() for _ in range(5)]


def tasks(size: int, folder: Path, model: str) -> Work:
    """Lay out an epoch of 10 tasks of 20,000 rows."""
    from mt_dnn.sampling import MultiTaskSampler, SamplingConfig

    sampler = MultiTaskSampler({f"t{i}": 20_000 for i in range(10 * size)}, 32, SamplingConfig(), 1)
    return lambda: sum(1 for _ in sampler.epoch(0))


def resume(size: int, folder: Path, model: str) -> Work:
    """Open a log of 20,000 events again, as a resumed run does."""
    from data_utils.fingerprints import Fingerprint
    from mt_dnn.record.run_log import EVENTS, RunLog

    line = '{"event": "train", "step": 1, "epoch": 0, "loss": {"rte": 0.69}, "learning_rate": 1e-4, "grad_norm": 1.0}\n'
    (folder / EVENTS).write_text(line * 20_000 * size, encoding="utf-8")
    marks = {EVENTS: Fingerprint.of(folder / EVENTS)}
    return lambda: RunLog(folder, marks=marks, step=1, tensorboard=False).__exit__()


def _study(folder: Path, runs: int, events: int) -> list[str]:
    """The folder of a study with finished runs of two methods, whose logs have so many training events."""
    from studies.study import Run, Study

    study = Study(folder / "study", tuple(Run("minilm/rte", m, (), s) for s in range(runs // 2) for m in METHODS))
    study.folder.mkdir()
    study.save()
    rng = np.random.default_rng(0)
    for run in study.runs:
        made = study.run_folder(run)
        made.mkdir(parents=True)
        score = {"epoch": 1.0, "step": events, "score": rng.normal(70, 1), "metrics": {}, "constant": False}
        task = {"primary_metric": "ACC", "best": score, "last": score, "history": [score]}
        (made / "results.json").write_text(json.dumps({"tasks": {"rte": task}, "wall_seconds": 9.0}))
        log = [{"event": "train", "step": i, "epoch": 0, "loss": {"rte": 0.69}} for i in range(events)]
        log.append({"event": "eval", "epoch": 1.0, "step": events, "mean": score["score"], "tasks": {"rte": score}})
        (made / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in log))
    return [str(study.folder)]


METHODS = ("adamax", "pats")


def status(size: int, folder: Path, model: str) -> Work:
    """A sweep over a study with 10 finished runs."""
    from studies import sweep

    flags = ["--output_dir", *_study(folder, 10 * size, 10), "--devices", "cpu"]
    return lambda: _done(sweep.main(flags))


def table(size: int, folder: Path, model: str) -> Work:
    """The table of 10 finished runs."""
    from studies import table

    flags = _study(folder, 10 * size, 10)
    return lambda: _done(table.main(flags))


def report(size: int, folder: Path, model: str) -> Work:
    """The report of 10 finished runs."""
    from studies import report

    flags = _study(folder, 10 * size, 10)
    return lambda: _done(report.main(flags))


def report_events(size: int, folder: Path, model: str) -> Work:
    """The report of 4 runs whose logs have 5,000 events each."""
    from studies import report

    flags = _study(folder, 4, 5_000 * size)
    return lambda: _done(report.main(flags))


PARTS = {
    one.__name__: one
    for one in (prepare, load, epoch, predict, step, tasks, resume, status, table, report, report_events)
}


def measure(part: str, size: int, model: str) -> tuple[float, float]:
    """Seconds and peak MiB of one part at one size, in a fresh process."""
    command = [sys.executable, "-m", "scripts.bench_growth", "--model", model, "--one", part, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise InputError(f"{part} at size {size}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    seconds, peak = done.stdout.splitlines()[-1].split()
    return float(seconds), float(peak)


def one(part: str, size: int, model: str) -> None:
    """Measure here, and print."""
    with tempfile.TemporaryDirectory() as folder:
        work = PARTS[part](size, Path(folder), model)
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log size."""
    return float(np.polyfit([math.log(size) for size in sizes], [math.log(one) for one in seconds], 1)[0])


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Print, and write, a line for each part."""
    parser = argparse.ArgumentParser(description="Time and memory against the size of the input.")
    parser.add_argument("--model", required=True, help="encoder with its tokenizer, for the parts about rows")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--sizes", default="1,2,4,8", help="times the input that a part's description names")
    parser.add_argument("--output", help="CSV")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        one(args.one[0], int(args.one[1]), args.model)
        return 0
    sizes = [int(size) for size in args.sizes.split(",")]
    rows = [["part", "what", *(f"s at {n}" for n in sizes), "exponent", *(f"MiB at {n}" for n in sizes)]]
    for part in args.parts.split(","):
        seconds, peaks = zip(*(measure(part, size, args.model) for size in sizes), strict=True)
        slope = f"{exponent(sizes, seconds):.2f}"
        what = (PARTS[part].__doc__ or "").rstrip(".")
        rows.append([part, what, *(f"{s:.3f}" for s in seconds), slope, *(f"{peak:.0f}" for peak in peaks)])
        print(",".join(rows[-1][:1] + rows[-1][2:]), flush=True)
    if args.output:
        with open(args.output, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
