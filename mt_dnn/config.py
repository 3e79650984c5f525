"""The configuration of a run: frozen dataclasses that check themselves, read from flags and YAML alike.

Flag names are MT-DNN's where the meaning is the same. A later source wins: defaults, `--config`, flags.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_utils.atomic import write_text
from data_utils.errors import InputError, raise_all
from data_utils.strict import listed, read_yaml_mapping
from module.mixout import MixoutConfig
from module.optim import OPTIMIZERS, ListOptimizer, PATSConfig, RecAdamConfig, SAGEConfig, spec_of
from module.optim.hyperparameters import Hyperparameters
from mt_dnn.flags import build, convert, flags_of, parse_flags
from mt_dnn.method import BASELINES, MIXOUT, MethodConfig
from mt_dnn.objectives.distill import DistillConfig
from mt_dnn.objectives.freelb import FreeLBConfig
from mt_dnn.objectives.rdrop import RDropConfig
from mt_dnn.objectives.smart import SMARTConfig
from mt_dnn.places import PLACES, STARTED_IN, from_here
from mt_dnn.sampling import MAIN_TASK, SamplingConfig
from mt_dnn.sections import AT_LOG, DataConfig, LoopConfig, OutputConfig

FREE_ON_RESUME = frozenset(
    """resume dry_run device fsdp on_nonfinite replica_check_per_updates tensorboard log_per_updates save_per_updates
    keep_checkpoints""".split()
) | {*PLACES, STARTED_IN, "output_dir"}
"""What may differ between a run and its continuation: the experiment stays the same (another device rounds anew).

What lies at the places is compared where a checkpoint is taken up.
"""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All of a run's settings, by section."""

    data: DataConfig
    method: MethodConfig
    pats: PATSConfig
    sage: SAGEConfig
    recadam: RecAdamConfig
    mixout: MixoutConfig
    distill: DistillConfig
    smart: SMARTConfig
    freelb: FreeLBConfig
    rdrop: RDropConfig
    sampling: SamplingConfig
    loop: LoopConfig
    output: OutputConfig

    def __post_init__(self) -> None:
        problems = [problem for name in SECTIONS for problem in getattr(self, name).problems()]
        raise_all(problems + self._contradictions() + self._without_effect())

    def _contradictions(self) -> list[str]:
        """Settings of different sections that do not go together."""
        found = {
            f"--baseline {MIXOUT} contradicts --fsdp: each process keeps whole pretrained weights; leave --fsdp out": (
                self.method.baseline == MIXOUT and self.loop.fsdp
            ),
            f"--baseline {self.method.baseline} contradicts --fp16: gradients that vanish or overflow there would make "
            "the perturbation; use --bf16": self.method.objective.follows_gradients and self.loop.fp16,
            f"--optim {self.method.optim} contradicts --finite_check {AT_LOG}: it cannot leave an update out by itself "
            "as adamax, pats, sage and recadam can": (
                self.loop.finite_check == AT_LOG
                and not issubclass(spec_of(self.method.optimizer_name).factory, ListOptimizer)
            ),
        }
        return [problem for problem, is_there in found.items() if is_there]

    @property
    def in_use(self) -> dict[str, Hyperparameters]:
        """The records of the methods that run, by section."""
        chosen = {self.method.baseline, self._optimizer_section}
        return {name: record for name, record in self._of_methods() if name in chosen}

    @property
    def of_optimizer(self) -> Hyperparameters | None:
        """The record of the optimizer's method; None for a plain optimizer."""
        return None if self._optimizer_section is None else getattr(self, self._optimizer_section)

    @property
    def _optimizer_section(self) -> str | None:
        method = spec_of(self.method.optimizer_name).method
        return None if method is None else SECTION_OF[method.hyperparameters]

    def _of_methods(self) -> Iterator[tuple[str, Hyperparameters]]:
        """All methods' records by section."""
        for name, owner in SECTIONS.items():
            if issubclass(owner, Hyperparameters):
                yield name, getattr(self, name)

    def _without_effect(self) -> list[str]:
        """Flags of a method that does not run, and a main task that has no others beside it."""
        in_use = self.in_use
        idle = [(record.changed(), _needs(name)) for name, record in self._of_methods() if name not in in_use]
        if self.sampling.sampler == MAIN_TASK and len(set(self.data.trained_names)) < 2:
            idle.append(([f"--sampler {MAIN_TASK}"], "several --train_datasets, of which the first is the main one"))
        now = f"--optim is {self.method.optim}; "
        return [
            f"{', '.join(flags)} would have no effect: {now * needs.startswith('--optim')}"
            f"{'it needs' if len(flags) == 1 else 'they need'} {needs}"
            for flags, needs in idle
            if flags
        ]

    @property
    def label(self) -> str:
        """The method's name in tables, with `+distilled` where a teacher helps."""
        return self.method.label + "+distilled" * (self.distill.distill_from is not None)

    def to_dict(self) -> dict[str, Any]:
        """Flat, by flag name: what `config.yaml` holds."""
        return {name: getattr(getattr(self, SECTION_OF[flag.owner]), flag.field.name) for name, flag in FLAGS.items()}

    def write(self, path: Path) -> None:
        """Write the resolved configuration, enough to run it again with `--config`."""
        once = {key: value for key, value in self.to_dict().items() if key not in ("resume", "dry_run")}
        write_text(path, yaml.safe_dump({**once, STARTED_IN: os.getcwd()}, sort_keys=False))

    @property
    def kept(self) -> dict[str, Any]:
        """What stays the same however often a run resumes: all but `FREE_ON_RESUME`."""
        return {name: value for name, value in self.to_dict().items() if name not in FREE_ON_RESUME}

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


SECTIONS: dict[str, type] = typing.get_type_hints(TrainConfig)
"""The parts of a configuration. The one of a baseline is called as the baseline."""
SECTION_OF = {owner: name for name, owner in SECTIONS.items()}
FLAGS = flags_of(tuple(SECTIONS.values()))


def _needs(section: str) -> str:
    """The flags by which a method runs: `--optim sage_adamax, sage_adamw or --baseline sage`."""
    of_section = [
        name
        for name, spec in OPTIMIZERS.items()
        if spec.method is not None and spec.method.hyperparameters is SECTIONS[section]
    ]
    ways = [f"--optim {of_section[0]}", *of_section[1:]] if of_section else []
    ways += [f"--baseline {section}"] * (section in BASELINES)
    return " or ".join(filter(None, [", ".join(ways[:-1]), ways[-1]]))


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
        saved = _saved_values(Path(given["output_dir"]) / "config.yaml", given)
        if not saved and any(flag.required and name not in given for name, flag in FLAGS.items()):
            raise InputError(_no_run(Path(given["output_dir"])))
        given = saved | given
    return TrainConfig.from_values(from_here(given))


def _no_run(folder: Path) -> str:
    """That there is no run to go on with, and which ones there are beside it."""
    runs = sorted(path.parent.name for path in folder.parent.glob("*/config.yaml"))
    beside = f"; {folder.parent} has {listed(runs)}" if runs else ""
    return f"--resume: --output_dir {folder} holds no run{beside}. A run that begins there needs all its flags"


def _saved_values(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the run to resume, {} if there is none; what is `given` must agree with them."""
    if not os.path.isfile(path):
        return {}
    saved, problems = _read(path)
    raise_all(problems)
    raise_all(
        [
            f"--{name} {now} contradicts {path}, which has {before}: "
            "a resumed run keeps its settings; leave the flag out, or choose another --output_dir"
            for name, (before, now) in changed_settings(saved, given).items()
        ]
    )
    return saved


def changed_settings(saved: dict[str, Any], given: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The saved and the given value of each setting of a run that differs though it has to stay; by flag name."""
    # A flag that there was not yet when the run began had no effect, as its default has none.
    before = {name: flag.field.default for name, flag in FLAGS.items() if not flag.required} | saved
    return {
        name: (before[name], value)
        for name, value in given.items()
        if name in before and name not in FREE_ON_RESUME and before[name] != value
    }


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
