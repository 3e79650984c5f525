"""Samples a second beside Hugging Face Trainer, PATS beside Adamax, and peak memory, with random weights."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import statistics
from pathlib import Path

import torch

from mt_dnn.config import load_config
from mt_dnn.setup import build_trainer
from scripts.bench_train import ours, theirs
from scripts.gpu.records import Writer
from scripts.gpu.world import training_flags, write_encoder, write_features

GOALS = {"cola": "at least 8", "mrpc": "at least 4"}
PRECISIONS: dict[str, tuple[str, list[str]]] = {
    "bf16": ("highest", ["--bf16"]),
    "tf32": ("high", []),
    "fp32": ("highest", []),
}
"""By name: torch's precision of float32 matrix products, for both sides, and our flags, which Trainer follows."""

MEMORY_OPTIMS = ("adamw", "adamax", "pats_adamax")


def prepare(folder: Path, *, tiny: bool) -> tuple[Path, Path]:
    """An encoder and features in `folder`; made by the first measurement that needs them."""
    encoder = folder / ("tiny" if tiny else "bert_base")
    features = folder / "features" / encoder.name
    if not features.is_dir():
        write_encoder(encoder.name, encoder)
        write_features(encoder, features.parent, 64 if tiny else 1600)
    return encoder, features


def free() -> None:
    """Give back what models of an earlier line held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure_speed(write: Writer, folder: Path, *, tiny: bool) -> None:
    """Ratio to Trainer by precision and row lengths, taking turns; at equal optimizers (our Adamax on both sides)."""
    encoder, features = prepare(folder, tiny=tiny)
    has_trainer = importlib.util.find_spec("accelerate") is not None
    updates, rounds = (1, 1) if tiny else (20, 2)
    for precision, (matmul, flags) in PRECISIONS.items():
        torch.set_float32_matmul_precision(matmul)
        for task, goal in GOALS.items():
            common = [*training_flags(encoder, features, task, folder / "unused"), "--optim", "adamax", *flags]
            common += ["--batch_size", "8" if tiny else "32"]
            mine, other = ours(common, updates), theirs(common, updates, "same")
            pairs = [(next(mine), next(other) if has_trainer else None) for _ in range(rounds)]
            mine.close()
            write(f"{precision} {task}", statistics.median(pair[0] for pair in pairs), "samples/s")
            ratios = [own / its for own, its in pairs if its]
            if ratios:
                shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
                write(f"{precision} {task}: to Trainer", statistics.median(ratios), "x", goal=goal, note=shown)
            else:
                write(f"{precision} {task}: to Trainer", status="skipped", note="Trainer needs accelerate")
            free()


def measure_pats(write: Writer, folder: Path, *, tiny: bool) -> None:
    """PATS's samples a second as a share of Adamax's, taking turns in one process, with and without buckets."""
    encoder, features = prepare(folder, tiny=tiny)
    updates, rounds = (1, 1) if tiny else (20, 4)
    common = [*training_flags(encoder, features, "cola", folder / "unused"), "--batch_size", "8" if tiny else "32"]
    common += [] if tiny else ["--bf16"]
    ways = {
        "adamax": ["--optim", "adamax"],
        "pats_adamax": ["--optim", "pats_adamax"],
        "adamax --pad_to_buckets": ["--optim", "adamax", "--pad_to_buckets"],
        "adamax --finite_check log": ["--optim", "adamax", "--finite_check", "log"],
    }
    timers = {name: ours([*common, *flags], updates) for name, flags in ways.items()}
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(next(timer))
    for name in ways:
        goal = "at least 0.97" if name == "pats_adamax" else ""
        ratios = [one / base for one, base in zip(times[name], times["adamax"], strict=True)]
        write(f"{name}: to adamax", statistics.median(ratios), "x", goal=goal, note=f"{max(times[name]):.0f} samples/s")


def measure_memory(write: Writer, folder: Path, *, tiny: bool) -> None:
    """Peak of allocated memory over a few updates; nothing to read on a CPU, where the updates alone are rehearsed."""
    encoder, features = prepare(folder, tiny=tiny)
    for optim in MEMORY_OPTIMS:
        free()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        flags = [*training_flags(encoder, features, "mrpc", folder / "unused"), "--optim", optim]
        trainer = build_trainer(load_config([*flags, "--batch_size", "8" if tiny else "32"], ""))
        for step, draw in enumerate(itertools.islice(trainer.sampler.epoch(0), 2 if tiny else 10), 1):
            trainer.update(draw, step)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            write(f"peak {optim} mrpc fp32", torch.cuda.max_memory_allocated() / 2**20, "MiB")
        else:
            write(f"peak {optim} mrpc fp32", status="skipped", note="memory is counted on a GPU only")
        del trainer
