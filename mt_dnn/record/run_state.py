"""All that changes while a run trains: what a checkpoint holds, and how a run takes it up again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from data_utils.errors import InputError
from data_utils.task_def import KEPT_ONLY, TaskDef
from module.optim import ListOptimizer
from module.optim.sharding import sharded_like
from mt_dnn.config import changed_settings
from mt_dnn.data import TaskData
from mt_dnn.objectives.distill import kd_loss
from mt_dnn.parallel import Parallel
from mt_dnn.places import encoder_changes
from mt_dnn.precision import Precision
from mt_dnn.record.checkpoint import Checkpoint, join_optimizer_state, split_optimizer_state
from mt_dnn.record.progress import LossMeter, Progress
from mt_dnn.record.run_folder import device_name
from mt_dnn.seeding import stream_seed

Tensors = dict[str, dict[str, Tensor]]


@dataclass
class RunState:
    """A run's model, optimizer, schedule, random streams and place, to be saved and restored together.

    Attributes:
        updates: in an epoch.
        seed: the run's seed.
        settings: `TrainConfig.kept`.
        encoder: `encoder_identity` of the model's.
        idle_keys: keys of a task's definition that have no effect in this run, and so may change while it is cut.
    """

    parallel: Parallel
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    precision: Precision
    data: dict[str, TaskData]
    tested: Sequence[TaskDef]
    updates: int
    seed: int
    settings: dict[str, Any]
    encoder: dict[str, Any]
    idle_keys: frozenset[str] = frozenset()
    progress: Progress = field(default_factory=Progress)
    losses: LossMeter = field(default_factory=LossMeter)

    def capture(self) -> tuple[Tensors, dict[str, Any]]:
        """Tensors by file, whole whatever the number of processes, and the rest as JSON takes it.

        All processes must ask at once; tensors are for the first one only.
        """
        optimizer_tensors, groups = split_optimizer_state(self.optimizer)
        device = self.precision.device
        streams = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            streams["cuda"] = torch.cuda.get_rng_state(device)
        random = {
            f"{rank}.{name}": stream
            for rank, theirs in enumerate(self.parallel.ranks.all_gather(streams))
            for name, stream in theirs.items()
        }
        tensors = {
            "model": self.parallel.state_dict(),
            "optimizer": self.parallel.gathered(optimizer_tensors),
            "random": random,
        }
        if (mixout := self.parallel.model.mixout) is not None:
            tensors["pretrained"] = self.parallel.gathered(mixout.pretrained())
        return tensors, {
            "settings": self.settings,
            "data": self._data_identity(),
            "encoder": self.encoder,
            "made_with": self._made_with(),
            "progress": self.progress.state(),
            "losses": self.losses.state(),
            "groups": groups,
            "scaler": self.precision.scaler.state_dict(),
            "schedule": self.schedule.last_epoch,
        }

    def restore(self, checkpoint: Checkpoint, say: Callable[[str], None]) -> None:
        """Take up a checkpoint; says so where the continuation may round differently.

        Raises:
            InputError: it is of other data, of other settings, or does not fit this run.
        """
        try:
            self._check_settings(checkpoint)
            self._check_inputs(checkpoint)
            self._restore(checkpoint)
            self._restore_random(checkpoint, say)
        except InputError:
            raise
        except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"--resume: {checkpoint.folder} does not fit this run: {reason}") from error

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self.progress = Progress.from_state(state["progress"], self.updates, [task.name for task in self.tested])
        if self.progress.step != state["step"]:
            raise ValueError(f"its updates are {state['step']} and {self.progress.step}")
        if not state["losses"].keys() <= self.data.keys():
            raise ValueError(f"losses of {', '.join(state['losses'])}")
        self.losses.load(state["losses"], self.precision.device)
        self.parallel.load_state_dict(checkpoint.tensors["model"])
        if (mixout := self.parallel.model.mixout) is not None:
            mixout.load_pretrained(checkpoint.tensors["pretrained"])
        self._restore_optimizer(checkpoint.tensors["optimizer"], state["groups"])
        # With `--finite_check log` it counts skipped updates, too; older checkpoints do not say where it is.
        counted = state.get("schedule", self.progress.applied)
        if type(counted) is not int or counted not in (self.progress.applied, self.progress.step):
            raise ValueError(f"its schedule is at {counted!r}")
        _go_to(self.schedule, counted)
        if self.precision.scaler.is_enabled():
            self.precision.scaler.load_state_dict(state["scaler"])

    def _restore_optimizer(self, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
        """Load the averages. The settings stay this run's own: those of the checkpoint must be the same."""
        own = self.optimizer.state_dict()["param_groups"]
        for mine, theirs in zip(json.loads(json.dumps(own)), groups, strict=True):
            changed = [name for name in mine if name != "lr" and mine[name] != theirs.get(name)]
            if changed or mine.keys() != theirs.keys():
                raise ValueError(
                    f"the optimizer's settings differ: {', '.join(changed or theirs.keys() ^ mine.keys())}"
                )
        joined = join_optimizer_state(tensors, own)
        self._check_averages(joined["state"])
        params = [param for group in self.optimizer.param_groups for param in group["params"]]
        for number, values in joined["state"].items():  # torch's own optimizers take them as they are
            shaped = {name: v for name, v in values.items() if name != "step" and v.shape == params[number].shape}
            values.update({name: sharded_like(v, params[number]) for name, v in shaped.items()})
        self.optimizer.load_state_dict(joined)

    def _check_averages(self, state: dict[int, dict[str, Tensor]]) -> None:
        """Raise ValueError unless the state of every parameter is of its shape, and all of a group have the same."""
        known = isinstance(self.optimizer, (ListOptimizer, torch.optim.AdamW))  # others may have numbers beside `step`
        first = 0
        for group in self.optimizer.param_groups:
            numbered = {number: param for number, param in enumerate(group["params"], start=first) if number in state}
            first += len(group["params"])
            if len({frozenset(state[number]) for number in numbered}) > 1:
                raise ValueError(f"not all parameters of the group {group['name']!r} have the same optimizer state")
            for number, param in numbered.items():
                for name, value in state[number].items():
                    shape = () if name == "step" or (not known and not value.dim()) else param.shape
                    if value.shape != shape:
                        raise ValueError(f"optimizer state {number}.{name} has shape {tuple(value.shape)}")
        if extra := state.keys() - set(range(first)):
            raise ValueError(f"optimizer state for parameters that there are not: {sorted(extra)}")

    def _restore_random(self, checkpoint: Checkpoint, say: Callable[[str], None]) -> None:
        """Set this process's random streams, or start new ones where processes or the device are others than then."""
        ranks, random = self.parallel.ranks, checkpoint.tensors["random"]
        made_with, own = checkpoint.state["made_with"], self._made_with()
        if changed := [
            f"{name} {made_with.get(name, 'unknown')}, now {own[name]}"
            for name in own
            if own[name] != made_with.get(name)
        ]:
            say(f"saved with {'; '.join(changed)}: bits may differ from those of a run that never stopped")
        on_gpu = self.precision.device.type == "cuda"
        if made_with.get("processes") != ranks.size or (on_gpu and f"{ranks.rank}.cuda" not in random):
            torch.manual_seed(stream_seed(self.seed, "dropout", ranks.rank, self.progress.step))
            return
        torch.set_rng_state(random[f"{ranks.rank}.cpu"])
        if on_gpu:
            torch.cuda.set_rng_state(random[f"{ranks.rank}.cuda"], self.precision.device)

    def _made_with(self) -> dict[str, Any]:
        """The environment, on which rounding depends; of our own optimizers, which kernels draw their noise."""
        made_with = {
            "processes": self.parallel.ranks.size,
            "model": type(self.parallel).__name__,
            "device": device_name(self.precision.device),
            "torch": str(torch.__version__),
        }
        if isinstance(self.optimizer, ListOptimizer):
            made_with["optimizer steps by"] = ", ".join(self.optimizer.backends())
        return made_with

    def _check_settings(self, checkpoint: Checkpoint) -> None:
        """Raise `InputError` for settings that the checkpoint was not made with: `config.yaml` has been edited."""
        saved = checkpoint.state.get("settings")
        if saved is None:  # checkpoints from before 2026-11-28 do not have them
            return
        file = checkpoint.folder.parents[1] / "config.yaml"
        bad = [
            f"--resume: {name} is {json.dumps(now)} in {file}, and was {json.dumps(before)} in {checkpoint.folder}"
            for name, (before, now) in changed_settings(saved, self.settings).items()
        ]
        if bad:
            raise InputError(
                "\n".join(bad) + "\nA resumed run keeps its settings: give the file its old values again, "
                "or start anew with the new ones in another --output_dir"
            )

    def _check_inputs(self, checkpoint: Checkpoint) -> None:
        """Raise `InputError` where features, task definitions or encoder are not those of the checkpoint."""
        saved, data = checkpoint.state["data"], self._data_identity()
        saved = {name: task | {"definition": self._with_effect(task["definition"])} for name, task in saved.items()}
        bad = []
        for name, now in data.items():
            before = saved[name]
            bad += [f"--data_dir: the features of {name} changed"] * (before["sha256"] != now["sha256"])
            defined = any(before[key] != now[key] for key in ("definition", "label_names"))
            bad += [f"--task_def: the definition of {name} changed"] * defined
            taught = before.get("teacher") != now.get("teacher")
            bad += [f"--distill_from: the soft labels of {name}, or its kd_loss, changed"] * taught
        changes = encoder_changes(checkpoint.state["encoder"], self.encoder)
        bad += [f"--init_checkpoint: the encoder changed: {', '.join(changes)}"] * bool(changes)
        if bad:
            raise InputError(
                "\n".join(f"--resume: {problem} since {checkpoint.folder}" for problem in bad)
                + "\nGive the place where it lies as it was, or start anew in another --output_dir"
            )

    def _data_identity(self) -> dict[str, Any]:
        """What a checkpoint belongs to: each task's definition, its label names in order, and its features' hashes.

        Of a task with a teacher the soft labels' hashes, too.
        """
        return {
            name: {
                "definition": self._with_effect(item.task.to_dict()),
                "label_names": list(item.task.label_names),
                "sha256": {
                    features.stem if features.origin else features.split: features.sha256 for features in item.splits
                },
                **_teacher(item),
            }
            for name, item in self.data.items()
        }

    def _with_effect(self, definition: dict[str, Any]) -> dict[str, Any]:
        """A task's definition without the keys that have no effect: they may change while a run is cut."""
        return {key: value for key, value in definition.items() if key not in self.idle_keys.union(KEPT_ONLY)}


def _teacher(item: TaskData) -> dict[str, Any]:
    """What a task learns from beside its labels; {} for nothing."""
    soft = {file.stem: file.soft.sha256 for file in item.train_files if file.soft is not None}
    return {"teacher": {"sha256": soft, "kd_loss": kd_loss(item.task)}} if soft else {}


def _go_to(schedule: LambdaLR, updates: int) -> None:
    """Set the schedule, and the optimizer's learning rates with it, to where it is after so many updates."""
    rates = [rate * factor(updates) for rate, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
    place = {"last_epoch": updates, "_step_count": updates + 1, "_last_lr": rates}
    schedule.load_state_dict(schedule.state_dict() | place)
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
