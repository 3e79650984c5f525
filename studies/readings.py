"""The four readings of PATS side by side, on an encoder and a task: which elements get noise, and how much.

    python -m studies.readings --data_dir data/canonical_data/all-MiniLM-L6-v2 --train_datasets cola \
        --init_checkpoint downloads/all-MiniLM-L6-v2 --learning_rate 3e-4 --updates 200 --output_dir runs/readings

It takes train.py's flags, `--pats_lambda` among them, and trains `--updates` updates with plain Adamax and with each
reading. Then it prints for each: the share of elements that get noise by γ, over the range that the paper searched;
quantiles of their σ, and σ beside the learning rate; and how far the weights have moved. That is how to choose λ: σ
should be of the size of the learning rate, or below. Where matplotlib is installed it draws a figure, too. Exit codes:
0 done, 2 the input is wrong, 1 anything else.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_utils.atomic import StagedFiles
from data_utils.cli import Parser, columns, path_text
from data_utils.errors import InputError, entry_point
from module.optim import PATSAdamax
from module.optim.pats import PATSConfig, noise_scale, unit_scales
from module.optim.sensitivity import mean_sensitivities
from mt_dnn.config import TrainConfig, load_config
from mt_dnn.setup import build_trainer
from mt_dnn.trainer import Trainer
from studies.plots.readings import ADAMAX, GAMMAS, SIGNED_STD, Reading, draw_readings

PROG = "python -m studies.readings"
METHODS: dict[str, dict[str, str]] = {
    ADAMAX: {},
    "pats": {"sensitivity": "signed", "noise_form": "variance"},
    SIGNED_STD: {"sensitivity": "signed", "noise_form": "std"},
    "pats_magnitude_variance": {"sensitivity": "magnitude", "noise_form": "variance"},
    "pats_magnitude": {"sensitivity": "magnitude", "noise_form": "std"},
}
"""The methods that are trained; those of PATS by the names that recipes have, where they have one."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
EDGES = torch.logspace(-9, 0, 91)  # of the histogram of σ
OWN = ("optim", "optimizer", "baseline", "pats_sensitivity", "pats_noise_form", "pats_noise_schedule", "resume")
"""Flags of train.py that the command sets itself."""


def measure(config: TrainConfig, method: str, updates: int) -> Reading:
    """Train a method for so many updates and look at its noise.

    Raises:
        InputError: as train.py, before it begins.
    """
    trainer = build_trainer(with_method(config, method))
    optimizer = trainer.state.optimizer
    before = {name: param.detach().clone() for name, param, _ in layers(optimizer)}
    for step, draw in enumerate(itertools.islice(endless(trainer), updates), start=1):
        updated = trainer.update(draw, step)
        if updated.problem:
            raise InputError(f"{method}: {updated.problem}")
    now = {name: param.detach() for name, param, _ in layers(optimizer)}
    reading = Reading(
        method=method,
        drift=rms([now[name] - old for name, old in before.items()]),
        weights=rms(list(before.values())),
    )
    return with_noise(reading, optimizer) if isinstance(optimizer, PATSAdamax) else reading


def with_method(config: TrainConfig, method: str) -> TrainConfig:
    """The configuration of one of `METHODS`."""
    if method == ADAMAX:
        return replace(config, method=replace(config.method, optim="adamax"), pats=PATSConfig())
    return replace(config, pats=replace(config.pats, **METHODS[method]))  # type: ignore[arg-type]  # all are texts


def endless(trainer: Trainer) -> Iterator[Any]:
    """The updates of all epochs."""
    return itertools.chain.from_iterable(map(trainer.sampler.epoch, itertools.count()))


def layers(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
    """What PATS perturbs, whichever optimizer it is: name, parameter and group."""
    for group in optimizer.param_groups:
        if group["perturb"]:
            yield from zip(group["names"], group["params"], itertools.repeat(group))


def with_noise(reading: Reading, optimizer: PATSAdamax) -> Reading:
    """Add what the optimizer's state says of the noise: shares are medians over matrices, σ is over all elements."""
    shares: dict[float, list[float]] = {gamma: [] for gamma in GAMMAS}
    sigmas = []
    for _, param, group in layers(optimizer):
        average = optimizer.state[param]["sensitivity"]
        mean, size = mean_sensitivities([average], [average.numel()], None), [average.numel()]
        options = {"noise_eps": group["noise_eps"], "sensitivity": group["sensitivity"]}
        if param.dim() > 1:
            for gamma, found in shares.items():
                scales = unit_scales([average], mean, size, noise_gamma=gamma, noise_form="std", **options)[0]
                found.append((scales > 0).float().mean().item())
        options |= {"noise_gamma": group["noise_gamma"], "noise_form": group["noise_form"]}
        sigmas.append(unit_scales([average], mean, size, **options)[0].flatten().cpu() * noise_scale(group))
    every = torch.cat(sigmas)
    noisy = every[every > 0]
    # torch.quantile takes sixteen million elements at most, and an even sample says the same.
    sample = noisy[:: max(1, len(noisy) // 2**20)]
    empty = noisy.new_zeros(len(QUANTILES))
    return replace(
        reading,
        shares={gamma: statistics.median(found) for gamma, found in shares.items()},
        sigma_mean=every.mean().item(),
        sigma_rms=rms([every]),
        sigma_quantiles=tuple((sample.quantile(torch.tensor(QUANTILES)) if len(sample) else empty).tolist()),
        histogram=tuple(torch.histogram(noisy.clamp(EDGES[0], EDGES[-1]), EDGES).hist.div(len(every)).tolist()),
        edges=tuple(EDGES.tolist()),
    )


def rms(tensors: Sequence[Tensor]) -> float:
    """Root mean square over all elements."""
    total = sum(tensor.double().square().sum().item() for tensor in tensors)
    return float((total / sum(tensor.numel() for tensor in tensors)) ** 0.5)


def table(readings: Sequence[Reading], rate: float) -> str:
    """The readings in words and numbers, for a terminal."""
    noisy = [one for one in readings if one.shares]
    shares = [[one.method, *(f"{one.shares[gamma]:.4f}" for gamma in GAMMAS)] for one in noisy]
    sigmas = [
        [
            one.method,
            *(f"{value:.1e}" for value in (one.sigma_mean, one.sigma_rms, *one.sigma_quantiles)),
            f"{one.sigma_quantiles[2] / rate:.3g}",
        ]
        for one in noisy
    ]
    moved = [[one.method, f"{one.drift:.2e}", f"{one.weights:.2e}"] for one in readings]
    parts = {
        "share of elements that get noise, by γ (median over matrices)": [
            ["reading", *(f"γ {gamma:g}" for gamma in GAMMAS)],
            *shares,
        ],
        f"σ, the noise's standard deviation; quantiles where it is not zero; rate {rate:g}": [
            ["reading", "mean σ", "rms σ", *(f"{q:.0%}" for q in QUANTILES), "median / rate"],
            *sigmas,
        ],
        "how far the weights moved (root mean square)": [["method", "moved by", "weights"], *moved],
    }
    return "\n\n".join("\n".join([heading, "", *columns(rows)]) for heading, rows in parts.items())


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    config: TrainConfig
    updates: int
    folder: Path


def parse(argv: Sequence[str] | None) -> Request:
    """Read the flags; `InputError` for what train.py does not take, and for what this command sets itself."""
    about = "PATS's four readings side by side. It takes train.py's flags, too."
    parser = Parser(prog=PROG, description=about, allow_abbrev=False)
    parser.add_argument("--updates", type=int, default=200, help="updates to train each of them for (default: 200)")
    parser.add_argument("--output_dir", required=True, type=path_text, help="folder of readings.json and the figure")
    own, others = parser.parse_known_args(argv)
    if given := [flag for flag in others if flag.partition("=")[0].removeprefix("--") in OWN]:
        raise InputError(f"{', '.join(given)}: {PROG} sets this itself: it tries all readings")
    if own.updates < 1:
        raise InputError(f"--updates must be at least 1, got {own.updates}")
    folder = Path(own.output_dir)
    flags = [*others, "--optim", "pats_adamax", "--output_dir", str(folder / "run"), "--no-tensorboard"]
    config = load_config(flags, "PATS's four readings side by side; flags of train.py")
    if not config.pats.acts:
        raise InputError("--pats_lambda and --pats_p must be above 0: without noise there is nothing to compare")
    return Request(config, own.updates, folder)


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when done, 2 for wrong input, 1 for anything else."""
    request = parse(argv)
    readings = []
    for method in METHODS:
        print(f"{method}: {request.updates} updates", flush=True)
        readings.append(measure(request.config, method, request.updates))
    rate = request.config.method.learning_rate
    print(f"\n{table(readings, rate)}\n")
    about = {
        "learning_rate": rate,
        "updates": request.updates,
        "pats": asdict(request.config.pats),
        "init_checkpoint": request.config.data.init_checkpoint,
        "train_datasets": request.config.data.train_datasets,
        "readings": [asdict(one) for one in readings],
    }
    path = request.folder / "readings.json"
    with StagedFiles() as staged:
        staged.path(path).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")
    if importlib.util.find_spec("matplotlib") is None:
        print("no figure: it needs matplotlib, pip install -r requirements-study.txt")
        return 0
    data = request.config.data
    about_it = f"{Path(data.init_checkpoint).name}, {data.train_datasets}, after {request.updates} updates"
    for figure in draw_readings(readings, rate, about_it, request.folder):
        print(f"written: {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
