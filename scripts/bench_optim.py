r"""Time and memory of one optimizer step on the parameter shapes of real encoders, beside torch's optimizers.

    python -m scripts.bench_optim                                       # on a CPU without the largest of the encoders
    python -m scripts.bench_optim --models roberta_large,path/to/encoder --csv runs/optim.csv

All rows take turns, on the same parameters and gradients, so that whatever else the machine does falls on all; each
turn has a new optimizer, so that the state of only one is in memory. The floor is what the memory traffic that the
formulae need takes at the best bandwidth measured in the same turns: a parameter, its gradient and its averages are
read once, and all but the gradient written once. Models come from their configurations: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import importlib.util
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from transformers import AutoConfig, AutoModel, BertConfig, PretrainedConfig, RobertaConfig

from data_utils.atomic import StagedFiles
from data_utils.errors import InputError, entry_point
from module.kernels.mode import interpreted
from module.optim import AdamaxW, PATSAdamax, PATSAdamW, PATSConfig, SAGEAdamax, SAGEAdamW, encoder_param_groups
from module.optim.adamax import ListAdamax
from module.optim.backends import why_not_numba, why_not_triton
from module.optim.noise import Draws
from mt_dnn.record.run_folder import device_name

Group = dict[str, Any]

MODELS: dict[str, Callable[[], PretrainedConfig]] = {
    "minilm": partial(BertConfig, hidden_size=384, num_hidden_layers=6, intermediate_size=1536),
    "bert_base": BertConfig,
    "roberta_large": partial(
        RobertaConfig,
        vocab_size=50265,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=514,
        type_vocab_size=1,
    ),
}
SLOW = "roberta_large"  # on a CPU measured only when asked for
LR = 1e-4
PAPER = PATSConfig()
BASE_BYTES = 28  # for each parameter: it, its gradient and two averages read, all but the gradient written
SENSITIVITY_BYTES = 8  # where there is a third average, that read and written
SMALL_TENSORS, SMALL_SIZE = 200, 64
HEADINGS = (
    "optimizer     backend   median ms     min ms  x torch foreach Adamax  x AdamaxW   floor ms  x floor  memory %"
)


class Algorithm1(Optimizer):
    """The paper's Algorithm 1 on Adamax as one would write it down: a tensor at a time, with the paper's values."""

    def __init__(self, params: list[Group]) -> None:
        super().__init__(params, {"lr": LR, "betas": (0.9, 0.999), "eps": 1e-8, "perturb": True})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update all parameters."""
        for group in self.param_groups:
            (beta1, beta2), averages = group["betas"], ["exp_avg", "exp_inf", "sensitivity"][: 2 + group["perturb"]]
            for theta in group["params"]:
                state, g = self.state[theta], theta.grad
                if not state:
                    state |= {"step": 0, **{name: torch.zeros_like(theta) for name in averages}}
                state["step"] += 1
                if group["perturb"]:
                    average = state["sensitivity"].lerp_(theta * g, 1 - PAPER.sensitivity_beta)
                    ratio = average.sum() / (theta.numel() * average + PAPER.noise_eps)
                    intensity = PAPER.noise_lambda * (ratio - PAPER.noise_gamma).clamp(min=0)
                exp_avg, exp_inf = state["exp_avg"].lerp_(g, 1 - beta1), state["exp_inf"].mul_(beta2)
                torch.maximum(exp_inf, g.abs() + group["eps"], out=exp_inf)
                theta.addcdiv_(exp_avg, exp_inf, value=-group["lr"] / (1 - beta1 ** state["step"]))
                if group["perturb"]:
                    theta += torch.normal(0.0, intensity.sqrt()) * torch.bernoulli(
                        torch.full_like(theta, PAPER.noise_p)
                    )


@dataclass(frozen=True)
class Row:
    """A line of the table; `third_average` says whether perturbed parameters have one, of their sensitivity."""

    optimizer: str
    backend: str
    build: Callable[[list[Group]], Optimizer]
    third_average: bool = False

    def new(self, groups: list[Group]) -> Optimizer:
        """An optimizer over copies of the groups: torch writes the options of the one into the dicts it is given."""
        return self.build([dict(group) for group in groups])

    def why_not(self, device: torch.device) -> str | None:
        """Why it cannot be measured here, None if it can. Triton's interpreter is no GPU, and never timed."""
        if self.backend == "numba":
            return why_not_numba(torch.empty(1, device=device))
        if self.backend != "triton":
            return None
        if device.type != "cuda":
            return "needs a GPU"
        return "TRITON_INTERPRET is set" if interpreted() else why_not_triton(torch.empty(1, device=device))


def _ours(kind: type[Optimizer], *, third_average: bool = True) -> list[Row]:
    ways = ("foreach", "numba", "triton")
    return [Row(kind.__name__, way, partial(kind, lr=LR, backend=way), third_average) for way in ways]


TORCH = Row("torch Adamax", "foreach", partial(torch.optim.Adamax, lr=LR, foreach=True))
ADAMAX, PATS = _ours(AdamaxW, third_average=False), _ours(PATSAdamax)
ROWS = [
    Row("torch Adamax", "loop", partial(torch.optim.Adamax, lr=LR, foreach=False)),
    TORCH,
    Row("torch AdamW", "foreach", partial(torch.optim.AdamW, lr=LR, weight_decay=0.0, foreach=True)),
    Row("torch AdamW", "fused", partial(torch.optim.AdamW, lr=LR, weight_decay=0.0, fused=True)),
    *ADAMAX,
    *PATS,
    *_ours(PATSAdamW),
    *_ours(SAGEAdamax),
    *_ours(SAGEAdamW),
    Row("Algorithm 1", "loop", Algorithm1, third_average=True),
]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A line of the CSV file; what was not measured is None. `perturbed_parameters` are the model's, in every row."""

    model: str
    optimizer: str
    backend: str
    ms_median: float | None = None
    ms_min: float | None = None
    ratio_to_torch_adamax_foreach: float | None = None
    ratio_to_adamaxw: float | None = None
    floor_ms: float | None = None
    ratio_to_floor: float | None = None
    peak_memory_percent: float | None = None
    perturbed_parameters: int
    parameters: int
    device: str
    torch: str
    date: str


def encoder_groups(config: PretrainedConfig, device: torch.device) -> list[Group]:
    """The parameter groups of a model of this configuration."""
    with torch.device("meta"):
        model = AutoModel.from_config(config, dtype=torch.float32)
    return encoder_param_groups(fill(model.to_empty(device=device)))


@torch.no_grad()
def fill(module: nn.Module) -> nn.Module:
    """Give the parameters random values and gradients, of the size that a trained model's have."""
    for param in module.parameters():
        param.normal_(std=0.02)
        param.grad = torch.empty_like(param).normal_(std=1e-3)
    return module


def elements(groups: list[Group]) -> int:
    """How many parameters there are."""
    return sum(param.numel() for group in groups for param in group["params"])


def milliseconds(call: Callable[[], object], times: int, device: torch.device) -> list[float]:
    """Time each of a run of calls; a GPU is waited for once, at the end."""
    if device.type != "cuda":
        marks = [time.perf_counter()]
        for _ in range(times):
            call()
            marks.append(time.perf_counter())
        return [1e3 * (end - begin) for begin, end in itertools.pairwise(marks)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize(device)
    return [begin.elapsed_time(end) for begin, end in itertools.pairwise(events)]


def memory_percent(optimizer: Optimizer, device: torch.device) -> float | None:
    """Take a step on a GPU; return the memory that it needs for a while, in percent of the optimizer's state."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    optimizer.step()
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return 100 * (torch.cuda.max_memory_allocated(device) - before) / sum(tensor.nbytes for tensor in tensors)


def memory_user(device: torch.device) -> tuple[Callable[[], object], int]:
    """What bandwidth is measured with, and the bytes it moves: a copy, on a CPU an addition in place.

    A CPU reads what a copy overwrites, so that the bytes of a copy are uncertain there.
    """
    source = torch.ones(2**27 if device.type == "cuda" else 2**26, device=device)  # far more than caches hold
    target = torch.ones_like(source)
    if device.type == "cuda":
        return partial(target.copy_, source), 2 * source.nbytes
    return partial(target.add_, source), 3 * source.nbytes


def take_turns(
    rows: list[Row], groups: list[Group], rounds: int, device: torch.device
) -> tuple[dict[Row, list[float]], dict[Row, float | None], float]:
    """Return milliseconds and memory of each row's steps, and the most bytes that memory moved in a millisecond."""
    warm_up, steps = (3, 10) if device.type == "cuda" else (1, 2)
    times: dict[Row, list[float]] = {row: [] for row in rows}
    memory: dict[Row, float | None] = {}
    moves: list[float] = []
    move, moved_bytes = memory_user(device)
    for _ in range(rounds):
        moves += milliseconds(move, steps, device)
        for row in rows:
            optimizer = row.new(groups)
            for _ in range(warm_up):
                optimizer.step()
            times[row] += milliseconds(optimizer.step, steps, device)
            memory[row] = memory_percent(optimizer, device)
    return times, memory, moved_bytes / min(moves)


def measure(model: str, groups: list[Group], rounds: int | None) -> list[Result]:
    """Time all rows on one model; print and return the results."""
    device, parameters = groups[0]["params"][0].device, elements(groups)
    perturbed = elements([group for group in groups if group["perturb"]])
    rounds = rounds or (5 if device.type == "cuda" else 4 if parameters < 5e7 else 2)
    reasons = {row: row.why_not(device) for row in ROWS}
    times, memory, speed = take_turns([row for row in ROWS if reasons[row] is None], groups, rounds, device)
    print(f"\n{model}: {parameters:,} parameters, {perturbed:,} of them perturbed; bandwidth {speed / 1e6:.1f} GB/s")
    print(f"{HEADINGS}   ({len(times[TORCH])} steps each)")
    model_columns = {"model": model, "parameters": parameters, "perturbed_parameters": perturbed}
    origin = {"device": device_name(device), "torch": str(torch.__version__), "date": str(datetime.date.today())}
    results = []
    for row in ROWS:
        measured: dict[str, float | None] = {}
        if row in times:
            median = statistics.median(times[row])
            floor = (BASE_BYTES * parameters + SENSITIVITY_BYTES * perturbed * row.third_average) / speed
            measured = {"ms_median": median, "ms_min": min(times[row]), "floor_ms": floor}
            measured["ratio_to_torch_adamax_foreach"] = median / statistics.median(times[TORCH])
            plain = [times[other] for other in ADAMAX if other.backend == row.backend and other in times]
            measured["ratio_to_adamaxw"] = median / statistics.median(plain[0]) if plain else None
            measured |= {"ratio_to_floor": median / floor, "peak_memory_percent": memory[row]}
        results.append(Result(optimizer=row.optimizer, backend=row.backend, **model_columns, **measured, **origin))
        print(line(results[-1], reasons[row]), flush=True)
    return results


def line(result: Result, reason: str | None) -> str:
    """A row of the table; with the reason where there are no figures."""
    name = f"{result.optimizer:12}  {result.backend:8}"
    if reason is not None:
        return f"{name}  not measured ({reason})"
    memory = "-" if result.peak_memory_percent is None else f"{result.peak_memory_percent:.1f}"
    to_plain = "-" if result.ratio_to_adamaxw is None else f"{result.ratio_to_adamaxw:.2f}"
    times = (
        f"{result.ms_median:9.3f}  {result.ms_min:9.3f}  {result.ratio_to_torch_adamax_foreach:22.2f}  {to_plain:>9}"
    )
    return f"{name} {times}  {result.floor_ms:9.3f}  {result.ratio_to_floor:7.2f}  {memory:>8}"


@contextlib.contextmanager
def without_mathematics(sizes: list[int]) -> Iterator[None]:
    """Let the list-wise steps of `AdamaxW` and `PATSAdamax` do all but the mathematics and the noise."""
    noise = [torch.zeros(size) for size in sizes]
    nowhere = [Draws(torch.empty(0, dtype=torch.int64), torch.empty(0)) for _ in sizes]
    nothing: dict[str, Callable[..., Any]] = {
        name: lambda *lists, **options: []
        for name in ("sensitivity_", "mean_sensitivities", "perturb_", "perturb_some_")
    }
    with (
        mock.patch.object(ListAdamax, "rule", staticmethod(lambda *lists, **options: None)),
        mock.patch.multiple(
            "module.optim.pats",
            keyed_noise=lambda *spans, **options: noise,
            keyed_draws=lambda *spans, **options: nowhere,
            **nothing,
        ),
    ):
        yield


def measure_overhead(device: torch.device) -> None:
    """Print the host's time for a step on many small tensors, and how much of it is not mathematics."""
    tensors = [nn.Parameter(torch.empty(SMALL_SIZE, device=device)) for _ in range(SMALL_TENSORS)]
    groups = [{"params": list(fill(nn.ParameterList(tensors)).parameters()), "perturb": True}]
    rows = [row for row in (TORCH, *ADAMAX, *PATS) if row.why_not(device) is None]
    optimizers = {row: row.new(groups) for row in rows}
    for seed, optimizer in enumerate(optimizers.values()):  # or it is warned of equal noise
        for group in optimizer.param_groups:
            group |= {"seed": seed} if "seed" in group else {}
    times: dict[tuple[Row, str], list[float]] = {(row, part): [] for row in rows for part in ("step", "bare")}
    for _ in range(10):
        for row, optimizer in optimizers.items():
            optimizer.step()
            times[row, "step"] += host_milliseconds(optimizer, device)
            if isinstance(optimizer, ListAdamax) and row.backend == "foreach":
                with without_mathematics([SMALL_SIZE] * SMALL_TENSORS):
                    times[row, "bare"] += host_milliseconds(optimizer, device)
    medians = {key: 1e3 * statistics.median(values) for key, values in times.items() if values}
    print(f"\nA step on {SMALL_TENSORS} tensors of {SMALL_SIZE} elements, microseconds of the host")
    print("optimizer     backend       step  book-keeping: a step without its mathematics")
    for row in rows:
        bare = f"{medians[row, 'bare']:14.0f}" if (row, "bare") in medians else ""
        print(f"{row.optimizer:12}  {row.backend:8} {medians[row, 'step']:9.0f}{bare}")


def host_milliseconds(optimizer: Optimizer, device: torch.device) -> list[float]:
    """Time ten steps by the host's clock, also where a GPU does the work."""
    found = milliseconds(optimizer.step, 10, torch.device("cpu"))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return found


def find_config(name: str) -> tuple[str, PretrainedConfig]:
    """A name to show and a configuration, by a name in `MODELS` or from an encoder's folder."""
    if name in MODELS:
        return name, MODELS[name]()
    if not Path(name, "config.json").is_file():
        raise InputError(f"--models {name}: not one of {', '.join(MODELS)}, nor a folder with a config.json")
    return Path(name).name, AutoConfig.from_pretrained(name, local_files_only=True)


def write_csv(path: Path, results: list[Result]) -> None:
    """Write a line for each result; empty where nothing was measured."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Result)])
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each model, and one of overheads."""
    parser = argparse.ArgumentParser(description="Time and memory of one optimizer step on real parameter shapes.")
    parser.add_argument("--models", help=f"some of {','.join(MODELS)}, and encoder folders (with a config.json)")
    parser.add_argument(
        "--rounds", type=int, help="turns of each row (2 steps, on a GPU 10); default 5 there, else 4 or 2"
    )
    parser.add_argument("--csv", type=Path, metavar="PATH", help="also write the figures there")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args(argv)
    if args.rounds is not None and args.rounds < 1:
        raise InputError(f"--rounds {args.rounds}: must be at least 1")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU")
    device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    names = (
        args.models.split(",") if args.models else [name for name in MODELS if device.type == "cuda" or name != SLOW]
    )
    configs = [find_config(name) for name in names]
    triton = importlib.import_module("triton").__version__ if importlib.util.find_spec("triton") else "not installed"
    print(f"{device_name(device)}, torch {torch.__version__}, triton {triton}, {datetime.date.today()}", flush=True)
    torch.manual_seed(0)
    with StagedFiles() as staged:
        path = staged.path(args.csv) if args.csv else None  # before the work, for a path that will not do
        results = [
            one for name, config in configs for one in measure(name, encoder_groups(config, device), args.rounds)
        ]
        if path is not None:
            write_csv(path, results)
    measure_overhead(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
