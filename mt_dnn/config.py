"""The configuration of a run: frozen dataclasses that check themselves, read from flags and YAML alike.

Flag names are MT-DNN's where the meaning is the same. A later source wins: defaults, `--config`, flags.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_utils.atomic import write_text
from data_utils.errors import raise_all
from data_utils.strict import read_yaml_mapping
from module.optim import OPTIMIZERS, OWN_NAME, PATSConfig, SAGEConfig, is_own, parse_options, spec_of
from module.optim.noisytune import NOISYTUNE_LAMBDA
from mt_dnn.flags import build, convert, flags_of, option, parse_flags
from mt_dnn.places import PLACES, STARTED_IN, from_here
from mt_dnn.record.results import MEAN
from mt_dnn.sampling import MAIN_TASK, SamplingConfig

GLUE_TASKS = "experiments/glue/glue_task_def.yml"
"""Below the repository's root, from wherever a command is started."""

BASELINES = ("none", "sage", "noisytune")

FREE_ON_RESUME = frozenset(
    """resume dry_run device fsdp on_nonfinite replica_check_per_updates tensorboard log_per_updates save_per_updates
    keep_checkpoints""".split()
) | {*PLACES, STARTED_IN, "output_dir"}
"""What may differ between a run and its continuation: the experiment stays the same (another device rounds anew).

What lies at the places is compared where a checkpoint is taken up.
"""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Data and model."""

    data_dir: str = option(path=True, help="folder of features made by prepro_std.py")
    init_checkpoint: str = option(
        path=True, help="pretrained encoder: hub name, local folder, or best/ of a finished run"
    )
    train_datasets: str = option(
        help="tasks to train, such as cola,rte; several share one encoder. <task>_<suffix> trains the task's head on "
        "<task>_<suffix>_train, too"
    )
    test_datasets: str | None = option(None, help="tasks to evaluate; none: all trained ones")
    test_splits: str | None = option(
        None, help="splits with labels to score once, at the end, with the model in best/, such as test; none: none"
    )
    best_by: str = option(
        MEAN, help="what best/ is chosen and --early_stopping decided by: the mean over evaluated tasks, or one of them"
    )
    task_def: str = option(GLUE_TASKS, path=True, help="task definition file, MT-DNN's format")
    train_fraction: float = option(
        1.0, help="share of each task's training rows, stratified; larger contain smaller ones"
    )
    data_seed: int = option(1, help="which rows --train_fraction takes")
    max_seq_len: int = option(512, help="longer rows are shortened to so many tokens, and counted")
    packing: str = option(
        "auto", choices=("auto", "on", "off"), help="several rows a line, no padding; auto: where the encoder allows it"
    )
    dropout_p: float = option(0.1, help="dropout before a head whose task has no dropout_p of its own")
    pooler: str = option(
        "checkpoint",
        choices=("checkpoint", "new"),
        help="what heads read of the first token: the checkpoint's pooler, or a new one with dropout, as in MT-DNN",
    )
    heads: str = option(
        "checkpoint",
        choices=("checkpoint", "new"),
        help="heads that best/ of a run has for the same labels are taken over, or all are drawn anew",
    )

    @property
    def trained_names(self) -> list[str]:
        """The task that each name of `train_datasets` stands for."""
        return [name.strip().partition("_")[0] for name in self.train_datasets.split(",") if name.strip()]

    def problems(self) -> list[str]:
        """What is wrong with these values, a line each."""
        bad = [f"--max_seq_len must be at least 8, got {self.max_seq_len}"] * (self.max_seq_len < 8)
        bad += [f"--train_fraction must be in (0, 1], got {self.train_fraction}"] * (not 0 < self.train_fraction <= 1)
        bad += [f"--data_seed must be >= 0, got {self.data_seed}"] * (self.data_seed < 0)
        if self.train_fraction == 1 and self.data_seed != 1:
            bad.append("--data_seed would have no effect: it needs --train_fraction below 1")
        return bad + [f"--dropout_p must be in [0, 1), got {self.dropout_p}"] * (not 0 <= self.dropout_p < 1)


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Optimizer and method."""

    optim: str = option(
        "adamax",
        choices=tuple(OPTIMIZERS),
        pattern=OWN_NAME,
        alias="optimizer",
        help="optimizer, or a class of your own as package.module:Class",
    )
    optim_options: str | None = option(
        None, help="arguments of a class of your own, such as momentum=0.9,nesterov=true"
    )
    baseline: str = option("none", choices=BASELINES, help="the paper's baselines: turns a plain --optim into them")
    learning_rate: float = option(1e-4, help="peak learning rate")
    head_lr_factor: float = option(
        1.0, help="learning rate of heads, times --learning_rate; for tasks without a head_lr_factor of their own"
    )
    weight_decay: float = option(0.0, help="decoupled weight decay; never on biases and normalisation")
    adam_eps: float | None = option(None, help="the optimizer's eps; none: 1e-8, for SAGE 1e-6")
    noisytune_lambda: float | None = option(
        None, help=f"NoisyTune: intensity of the one-off noise; --baseline noisytune alone takes {NOISYTUNE_LAMBDA}"
    )

    def problems(self) -> list[str]:
        """What is wrong with these values, a line each."""
        bad = [f"--learning_rate must be > 0, got {self.learning_rate}"] * (not self.learning_rate > 0)
        factor = self.head_lr_factor
        bad += [f"--head_lr_factor must be > 0 and finite, got {factor}"] * (not 0 < factor < math.inf)
        bad += [f"--weight_decay must be >= 0, got {self.weight_decay}"] * (not self.weight_decay >= 0)
        for name in ("adam_eps", "noisytune_lambda"):
            value = getattr(self, name)
            bad += [f"--{name} must be > 0, got {value}"] * (value is not None and not value > 0)
        if self.optim_options is not None:
            try:
                parse_options(self.optim_options)
            except ValueError as error:
                bad.append(f"--optim_options: {error}")
        return bad + self._contradictions()

    def _contradictions(self) -> list[str]:
        bad = []
        if self.optim_options is not None and not is_own(self.optim):
            bad.append("--optim_options would have no effect: it needs an --optim of the form package.module:Class")
        plain = self.optim in ("adamax", "adamw")
        if self.baseline != "none" and not plain:
            bad.append(
                f"--baseline {self.baseline} contradicts --optim {self.optim}: a baseline goes with adamax or adamw"
            )
        if self.baseline == "sage" and self.noisytune_lambda is not None:
            bad.append("--baseline sage contradicts --noisytune_lambda: they are two baselines")
        return bad

    @property
    def optimizer_name(self) -> str:
        """The optimizer that runs, `--baseline sage` taken into account."""
        return f"sage_{self.optim}" if self.baseline == "sage" and self.optim in ("adamax", "adamw") else self.optim

    @property
    def noisytune_intensity(self) -> float:
        """NoisyTune's lambda, 0 for no noise before training."""
        if self.noisytune_lambda is not None:
            return self.noisytune_lambda
        return NOISYTUNE_LAMBDA if self.baseline == "noisytune" else 0.0

    @property
    def label(self) -> str:
        """The method's name in tables: the optimizer, with NoisyTune where it is on."""
        return self.optimizer_name + ("+noisytune" if self.noisytune_intensity else "")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Training loop."""

    epochs: int = option(10, help="passes over the training data")
    batch_size: int = option(32, help="rows a forward pass; an update sees grad_accumulation_step times as many")
    batch_size_eval: int = option(64, help="rows a forward pass in evaluation")
    grad_accumulation_step: int = option(1, help="forward passes an update; equal to a batch so many times larger")
    warmup: float = option(0.1, help="share of all updates in which the learning rate rises")
    global_grad_clipping: float = option(1.0, help="largest norm of all gradients together; 0: no clipping")
    seed: int = option(1, help="seed of head initialisation, data order, dropout and noise")
    early_stopping: int = option(0, help="stop after so many evaluations without a better score; 0: never")
    device: str = option("auto", choices=("auto", "cpu", "cuda"), help="where to run; auto: a GPU if there is one")
    fp16: bool = option(False, help="float16 autocast with loss scaling (GPU)")
    bf16: bool = option(False, help="bfloat16 autocast; on a CPU faster only if it has AVX512-BF16 or AMX")
    deterministic: bool = option(False, help="GPU: algorithms that repeat to the last bit; slower (a CPU always does)")
    on_nonfinite: str = option(
        "stop",
        choices=("stop", "skip"),
        help="an update whose loss or gradient norm is not finite ends the run or is left out",
    )
    fsdp: bool = option(
        False, help="torchrun: share the model out over all processes, for encoders that do not fit one"
    )
    replica_check_per_updates: int = option(
        100, help="torchrun: updates between two comparisons of all processes' weights; 0: at checkpoints only"
    )

    def problems(self) -> list[str]:
        """What is wrong with these values, a line each."""
        bad = []
        for name in ("epochs", "batch_size", "batch_size_eval", "grad_accumulation_step"):
            value = getattr(self, name)
            bad += [f"--{name} must be at least 1, got {value}"] * (value < 1)
        bad += [f"--warmup must be in [0, 1), got {self.warmup}"] * (not 0 <= self.warmup < 1)
        for name in ("global_grad_clipping", "early_stopping", "seed", "replica_check_per_updates"):
            value = getattr(self, name)
            bad += [f"--{name} must be >= 0, got {value}"] * (not value >= 0)
        bad += ["--fp16 contradicts --bf16: choose one"] * (self.fp16 and self.bf16)
        bad += ["--fp16 contradicts --fsdp: a shard's overflow is not seen by the others; use --bf16"] * (
            self.fp16 and self.fsdp
        )
        return bad


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Output."""

    output_dir: str = option(path=True, help="folder of this run: config, metrics, results, checkpoints, best model")
    log_per_updates: int = option(50, help="updates between two training events in metrics.jsonl")
    sensitivity_per_updates: int = option(
        100, help="updates between two lines about PATS's or SAGE's sensitivities in sensitivity_log.jsonl; 0: none"
    )
    eval_per_updates: int = option(0, help="updates between two evaluations within an epoch; 0: at its end only")
    save_per_updates: int = option(0, help="updates between two checkpoints within an epoch; 0: at its end only")
    keep_checkpoints: int = option(2, help="how many of the newest checkpoints are kept; best/ always is")
    dev_predictions: bool = option(
        False, help="keep what is predicted for each dev row at each evaluation, in dev_predictions.json"
    )
    tensorboard: bool = option(True, help="write tensorboard/")
    resume: bool = option(False, help="go on with the run in output_dir, or start it if there is none")
    dry_run: bool = option(False, help="print the plan and train nothing")

    def problems(self) -> list[str]:
        """What is wrong with these values, a line each."""
        bad = []
        for name, least in {
            "log_per_updates": 1,
            "sensitivity_per_updates": 0,
            "eval_per_updates": 0,
            "save_per_updates": 0,
            "keep_checkpoints": 1,
        }.items():
            value = getattr(self, name)
            bad += [f"--{name} must be at least {least}, got {value}"] * (value < least)
        return bad


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "method": MethodConfig,
    "pats": PATSConfig,
    "sage": SAGEConfig,
    "sampling": SamplingConfig,
    "loop": LoopConfig,
    "output": OutputConfig,
}
SECTION_OF = {owner: name for name, owner in SECTIONS.items()}
FLAGS = flags_of(tuple(SECTIONS.values()))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All of a run's settings, by section."""

    data: DataConfig
    method: MethodConfig
    pats: PATSConfig
    sage: SAGEConfig
    sampling: SamplingConfig
    loop: LoopConfig
    output: OutputConfig

    def __post_init__(self) -> None:
        problems = [problem for name in SECTIONS for problem in getattr(self, name).problems()]
        raise_all(problems + self._without_effect())

    def _without_effect(self) -> list[str]:
        """Flags of a method that does not run, and a main task that has no others beside it."""
        spec, method = spec_of(self.method.optimizer_name), self.method
        idle = []
        if not spec.perturbs:
            why = f"--optim is {method.optim}; they need --optim pats_adamax or pats_adamw"
            idle.append((self.pats.changed(), why))
        if not spec.adapts:
            idle.append((self.sage.changed(), "it needs --optim sage_adamax, sage_adamw or --baseline sage"))
        if self.sampling.sampler == MAIN_TASK and len(set(self.data.trained_names)) < 2:
            idle.append(
                ([f"--sampler {MAIN_TASK}"], "it needs several --train_datasets, of which the first is the main one")
            )
        return [f"{', '.join(flags)} would have no effect: {why}" for flags, why in idle if flags]

    def to_dict(self) -> dict[str, Any]:
        """Flat, by flag name: what `config.yaml` holds."""
        return {name: getattr(getattr(self, SECTION_OF[flag.owner]), flag.field.name) for name, flag in FLAGS.items()}

    def write(self, path: Path) -> None:
        """Write the resolved configuration, enough to run it again with `--config`."""
        once = {key: value for key, value in self.to_dict().items() if key not in ("resume", "dry_run")}
        write_text(path, yaml.safe_dump({**once, STARTED_IN: os.getcwd()}, sort_keys=False))

    def check_same(self, path: Path) -> None:
        """Raise `InputError` if `config.yaml` is there and has other settings than these; see `FREE_ON_RESUME`."""
        _saved_values(path, self.to_dict())

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> TrainConfig:
        """Build from converted values by flag name; `InputError` names every missing or wrong one."""
        missing = [
            f"--{name} is required: {flag.field.metadata['help']}"
            for name, flag in FLAGS.items()
            if flag.required and name not in values
        ]
        raise_all(missing)
        return cls(**{name: build(owner, FLAGS, values) for name, owner in SECTIONS.items()})


def load_config(argv: Sequence[str] | None, description: str) -> TrainConfig:
    """Read flags, the YAML file behind `--config` and, with `--resume`, the settings of the run in `--output_dir`.

    Raises:
        InputError: unknown flags or keys, wrong or missing values, contradictions; all of them in one message.
    """
    raw = parse_flags(argv, FLAGS, description)
    recipe = raw.pop("config", None)
    given, problems = _read(Path(recipe)) if recipe else ({}, [])
    flags, flag_problems = convert(raw, FLAGS, "")
    given |= flags
    raise_all(problems + flag_problems)
    if given.get("resume") and "output_dir" in given:
        given = _saved_values(Path(given["output_dir"]) / "config.yaml", given) | given
    return TrainConfig.from_values(from_here(given))


def _saved_values(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the run to resume, {} if there is none; what is `given` must agree with them."""
    if not os.path.isfile(path):
        return {}
    saved, problems = _read(path)
    raise_all(problems)
    # A flag that there was not yet when the run began had no effect, as its default has none.
    before = {name: flag.field.default for name, flag in FLAGS.items() if not flag.required} | saved
    raise_all(
        [
            f"--{name} {value} contradicts {path}, which has {before[name]}: "
            "a resumed run keeps its settings; leave the flag out, or choose another --output_dir"
            for name, value in given.items()
            if name in before and name not in FREE_ON_RESUME and before[name] != value
        ]
    )
    return saved


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A YAML file's values by flag name, and what is wrong with it."""
    values = read_yaml_mapping(path)
    place = {STARTED_IN: values.pop(STARTED_IN)} if STARTED_IN in values else {}
    converted, problems = convert(values, FLAGS, str(path))
    converted |= place
    # Until November 2026 there was no choice: every run averaged |θ·g|, and its config.yaml names the noise form alone.
    if "pats_noise_form" in values and "pats_sensitivity" not in values:
        if str(values.get("optim")).startswith("pats"):
            problems.append(
                f"{path}: names pats_noise_form without pats_sensitivity, as files did when there was no choice. Such "
                "runs were what is now pats_sensitivity: magnitude. Add that line to repeat one, or pats_sensitivity: "
                "signed for PATS as printed; checkpoints of such runs cannot be resumed here"
            )
        elif "output_dir" in values:  # a resolved configuration, whose values of PATS's were that time's defaults
            converted.pop("pats_noise_form", None)
    return converted, problems
