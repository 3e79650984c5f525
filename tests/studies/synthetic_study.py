"""Studies that were never run: the files that figures and reports read, with plausible numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from studies.sensitivity_record import Sensitivities
from studies.study import Run, Study
from tests.studies.fake_study import METRICS

BASE = {"cola": 58.9, "mrpc": 90.2, "rte": 68.0, "stsb": 89.3, "qqp": 88.5, "qnli": 92.0, "mnli": 84.6, "sst": 92.8}
GAIN = {"adamax": 0.0, "sage": 0.6, "noisytune": 0.4, "pats": 1.6, "pats_magnitude_variance": -9.0}
WIDTH = {"adamax": 1.15, "sage": 1.05, "noisytune": 1.1, "pats": 0.8, "pats_magnitude_variance": 1.3}
EPOCHS = 10


def rte(method: str, seed: int, **varied: str) -> Run:
    """A run of minilm/rte."""
    return Run("minilm/rte", method, tuple(sorted(varied.items())), seed)


def write_study(folder: Path, runs: Sequence[Run]) -> Study:
    """The list of runs alone: all of them are waiting."""
    study = Study(folder, tuple(runs))
    study.save()
    return study


def finish(study: Study, run: Run, scores: Mapping[str, Sequence[float]], constant: bool = False) -> Path:
    """A finished run with these scores in points, an epoch each; returns its folder."""
    folder = study.run_folder(run)
    folder.mkdir(parents=True)
    epochs = len(next(iter(scores.values())))
    evals = [
        {
            "epoch": e + 1.0,
            "step": 10 * (e + 1),
            "tasks": {t: _evaluation(t, s[e], constant) for t, s in scores.items()},
        }
        for e in range(epochs)
    ]
    tasks = {
        task: {
            "primary_metric": METRICS.get(task, "ACC"),
            "history": (history := [{"epoch": e["epoch"], "step": e["step"], **e["tasks"][task]} for e in evals]),
            "best": max(history, key=lambda entry: entry["score"]),
            "last": history[-1],
        }
        for task in scores
    }
    last, best = (float(np.mean([task[which]["score"] for task in tasks.values()])) for which in ("last", "best"))
    about = {"seed": run.seed, "optim": run.method, "samples_per_second": 101.5, "wall_seconds": 73.2, "device": "cpu"}
    results = {"tasks": tasks, "average": {"best": best, "last": last}, **about, "versions": {"torch": "2.13.0"}}
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    write_events(folder, [*_train_events(run, list(scores), epochs), *({"event": "eval", **one} for one in evals)])
    varied = {name: float(value) for name, value in run.varied}
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"pats_lambda": 2e-6, "train_fraction": 1.0, "seed": run.seed, **varied})
    )
    return folder


def write_events(folder: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """`metrics.jsonl`, in the order of steps."""
    ordered = sorted(events, key=lambda event: event["step"])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in ordered), encoding="utf-8")


def _evaluation(task: str, score: float, constant: bool) -> dict[str, Any]:
    return {"score": score, "metrics": {METRICS.get(task, "ACC"): score}, "constant": constant}


def _train_events(run: Run, tasks: Sequence[str], epochs: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng([run.seed, len(run.method)])
    return [
        {
            "event": "train",
            "step": step,
            "epoch": (step - 1) // 10,
            "loss": {task: 0.66 * float(np.exp(-step / 40)) + 0.05 + 0.02 * rng.random() for task in tasks},
        }
        for step in range(5, 10 * epochs + 1, 5)
    ]


def plausible_scores(run: Run, task: str) -> list[float]:
    """A curve that rises and levels off; PATS gains a little, less data cost some."""
    rng = np.random.default_rng([run.seed, len(run.label), len(task)])
    varied = dict(run.varied)
    end = BASE.get(task, 80.0) + GAIN.get(run.method, 0.3) + rng.normal(0, 0.7)
    end -= 14 * (1 - float(varied.get("train_fraction", 1))) ** 1.5
    end -= 2.5 * abs(np.log10(float(varied.get("pats_lambda", 2e-6)) / 2e-6)) ** 2
    epochs = np.arange(1, EPOCHS + 1)
    return [float(value) for value in end - 18 * np.exp(-epochs / 1.8) + rng.normal(0, 0.4, EPOCHS)]


def write_sensitivities(folder: Path, run: Run, elements: int = 60_000, **settings: Any) -> None:
    """Log-normal sensitivities, narrower for PATS and for more data."""
    rng = np.random.default_rng([run.seed, len(run.label)])
    share = float(dict(run.varied).get("train_fraction", 1))
    spread = WIDTH.get(run.method, 1.0) * (1 + 0.3 * (1 - share))
    values = rng.lognormal(np.log(8e-7), spread, elements).astype(np.float32)
    tensors = {"layer.0.weight": values[: elements // 2].reshape(-1, 4), "layer.0.bias": values[elements // 2 :]}
    made = {"which": "best", "batch_size": 32, "max_rows": None, **settings}
    Sensitivities.of(tensors, made).save(folder)


def plausible_study(
    folder: Path,
    tasks: Sequence[str] = ("rte",),
    methods: Sequence[str] = ("adamax", "sage", "noisytune", "pats"),
    seeds: int = 5,
    varied: Sequence[tuple[tuple[str, str], ...]] = ((),),
    encoder: str = "minilm",
    sensitivities: bool = True,
) -> Study:
    """All runs finished, but two of `pats_magnitude_variance`: the third seed collapsed, the second failed."""
    runs = [
        Run(f"{encoder}/{task}", method, one, seed)
        for task in tasks
        for one in varied
        for method in methods
        if not (one and one[0][0] == "pats_lambda" and not method.startswith("pats"))
        for seed in range(1, seeds + 1)
    ]
    study = write_study(folder, runs)
    for run in runs:
        if (run.method, run.seed) == ("pats_magnitude_variance", 2):
            study.note_attempt(run, attempts=2, exit_code=1, message="stopped: loss nan")
            continue
        trained = BASE if run.task == "mtl" else (run.task,)
        collapsed = (run.method, run.seed) == ("pats_magnitude_variance", 3)
        scores = {task: [52.7] * EPOCHS if collapsed else plausible_scores(run, task) for task in trained}
        made = finish(study, run, scores, constant=collapsed)
        if sensitivities:
            write_sensitivities(made, run)
    return study
