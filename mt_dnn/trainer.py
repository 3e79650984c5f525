"""The training loop: epochs of planned updates, evaluations, checkpoints, and the run's folder."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from data_utils.errors import InputError
from data_utils.task_def import TaskDef
from mt_dnn.batching import Collator
from mt_dnn.checkpoint import (
    Checkpoints,
    join_optimizer_state,
    read_state,
    read_tensors,
    split_optimizer_state,
    write_folder,
)
from mt_dnn.config import TrainConfig
from mt_dnn.data import TaskData
from mt_dnn.evaluate import evaluate_task
from mt_dnn.model import MTDNN, export_model
from mt_dnn.progress import LossMeter, Progress
from mt_dnn.results import History, write_results
from mt_dnn.run_folder import device_name, prepare_folder, versions
from mt_dnn.run_log import RunLog, say
from mt_dnn.sampling import Draw, MultiTaskSampler
from mt_dnn.sensitivity_log import log_sensitivity
from mt_dnn.update import Precision, Updated, Updater


@dataclass
class Trainer:
    """Runs one configuration from where its output folder stands to the end.

    `mt_dnn.setup.build_trainer` puts one together.
    """

    config: TrainConfig
    data: dict[str, TaskData]
    tested: Sequence[TaskDef]
    tokenizer: transformers.PreTrainedTokenizerBase | None
    model: MTDNN
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    sampler: MultiTaskSampler
    collator: Collator
    precision: Precision
    plan: str

    def __post_init__(self) -> None:
        loop, output = self.config.loop, self.config.output
        self.folder = Path(output.output_dir)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", output.keep_checkpoints)
        self.update = Updater(self.model, self.optimizer, self.schedule, self.collator, self.precision, self.data, loop)
        self.progress = Progress()
        self.losses = LossMeter()

    def run(self) -> dict[str, Any]:
        """Train, evaluate and write everything; returns what `results.json` holds.

        Raises:
            InputError: the output folder holds another run.
            NonFiniteError: a loss or gradient norm was not finite; the last checkpoint stands.
        """
        offset = self._enter_folder()
        self.log = RunLog(
            self.folder, offset=offset, step=self.progress.step, tensorboard=self.config.output.tensorboard
        )
        try:
            if offset == 0:
                self._log_start()
            while not self._finished():
                self._run_epoch()
            return self._finish()
        finally:
            self.log.close()

    def _finished(self) -> bool:
        loop = self.config.loop
        stopped = 0 < loop.early_stopping <= self.progress.history.since_best
        return self.progress.epoch >= loop.epochs or stopped

    def _run_epoch(self) -> None:
        """The updates of one pass that are still to do, with what falls due between them; then evaluate and save."""
        at, output = self.progress, self.config.output
        draws = self.sampler.epoch(at.epoch)
        label = f"epoch {at.epoch + 1}/{self.config.loop.epochs}"
        with tqdm(total=len(draws), initial=at.position, desc=label, leave=False, disable=None) as bar:
            for draw in draws[at.position :]:
                self._train_on(draw)
                bar.update()
                if at.step % output.log_per_updates == 0 or at.position == len(draws):
                    bar.set_postfix_str(f"loss {self._log_train(label, len(draws)):.4f}")
                if output.sensitivity_per_updates and at.step % output.sensitivity_per_updates == 0:
                    log_sensitivity(self.optimizer, self.log, at.step)
                inside = at.position < len(draws)
                if inside and output.eval_per_updates and at.step % output.eval_per_updates == 0:
                    self._evaluate(at.epoch + at.position / len(draws))
                    if self._finished():
                        break
                if inside and output.save_per_updates and at.step % output.save_per_updates == 0:
                    self._save()
        if at.position == len(draws):
            at.epoch, at.position = at.epoch + 1, 0
            self._evaluate(float(at.epoch))
        self._save()

    def _train_on(self, draw: Draw) -> None:
        started = time.perf_counter()
        self.last: Updated = self.update(draw, self.progress.step + 1)
        self.losses.add(draw.task, self.last.loss)
        self.progress.step += 1
        self.progress.position += 1
        self.progress.rows += len(draw.rows)
        spent = time.perf_counter() - started
        self.progress.train_seconds += spent
        self.progress.wall_seconds += spent

    def _log_train(self, label: str, updates: int) -> float:
        """One training event; returns the mean loss over all tasks."""
        at, losses = self.progress, self.losses.means()
        rate = self.schedule.get_last_lr()[0]
        loss = sum(losses.values()) / len(losses)
        norm = self.last.grad_norm if math.isfinite(self.last.grad_norm) else None  # a step that fp16's scaler skipped
        self.log.event("train", at.step, epoch=at.epoch, loss=losses, learning_rate=rate, grad_norm=norm)
        for task, value in losses.items():
            self.log.scalar(f"loss/{task}", value, at.step)
        self.log.scalar("learning_rate", rate, at.step)
        if norm is not None:
            self.log.scalar("grad_norm", norm, at.step)
        self.log.scalar("samples_per_second", self._speed(), at.step)
        by_task = "  ".join(f"{task} {value:.4f}" for task, value in losses.items())
        say(f"{label}  update {at.position}/{updates}  loss {by_task}  lr {rate:.2e}  {self._speed():.0f} samples/s")
        self.losses.clear()
        return loss

    def _speed(self) -> float:
        return self.progress.rows / max(self.progress.train_seconds, 1e-9)

    def _evaluate(self, epoch: float) -> None:
        """Score all tested tasks; keep the model as `best/` if their mean was never better."""
        started = time.perf_counter()
        at = self.progress
        how = {"batch_size": self.config.loop.batch_size_eval, "device": self.precision.device}
        tasks = {
            task.name: evaluate_task(
                self.model, self.data[task.name], self.collator, autocast=self.precision.autocast, **how
            )
            for task in self.tested
        }
        improved = at.history.add(epoch, at.step, tasks)
        mean = at.history.evaluations[-1]["mean"]
        self.log.event("eval", at.step, epoch=epoch, mean=mean, best=improved, tasks=tasks)
        for name, result in tasks.items():
            for metric, value in result["metrics"].items():
                self.log.scalar(f"dev/{name}/{metric}", value, at.step)
        self.log.scalar("dev/mean", mean, at.step)
        if improved:
            write_folder(self.folder / "best", self._export)
        scores = "  ".join(f"{task.name} {task.primary_metric} {tasks[task.name]['score']:.2f}" for task in self.tested)
        mean_text = f"  mean {mean:.2f}" if len(tasks) > 1 else ""
        say(f"epoch {round(epoch, 2):g}  dev  {scores}{mean_text}{'  (best so far)' if improved else ''}")
        at.wall_seconds += time.perf_counter() - started

    def _export(self, folder: Path) -> None:
        export_model(self.model, folder, [item.task for item in self.data.values()], self.tokenizer)

    def _enter_folder(self) -> int:
        """Make the folder, or take up the run in it; returns how much of `metrics.jsonl` to keep, in bytes."""
        newest = self.checkpoints.newest(say) if self.config.output.resume else None
        if newest is None:
            prepare_folder(self.folder)
            self.config.write(self.folder / "config.yaml")
            return 0
        say(f"resuming from {newest}")
        return self._restore(newest)

    def _save(self) -> None:
        """Write a checkpoint with all that the run needs to go on as if it had never stopped."""
        optimizer_tensors, groups = split_optimizer_state(self.optimizer)
        random = {"cpu": torch.get_rng_state()}
        if self.precision.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.precision.device)
        tensors = {"model": self.model.state_dict(), "optimizer": optimizer_tensors, "random": random}
        state = {
            "data": self._data_identity(),
            "progress": asdict(self.progress),
            "losses": self.losses.state(),
            "groups": groups,
            "schedule": self.schedule.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "metrics_bytes": self.log.sync(),
        }
        self.checkpoints.save(self.progress.step, tensors, state)

    def _restore(self, checkpoint: Path) -> int:
        state = read_state(checkpoint)
        if state["data"] != (data := self._data_identity()):
            changed = [name for name in data if state["data"].get(name) != data[name]]
            raise InputError(f"--resume: the features or definition of {', '.join(changed)} changed since {checkpoint}")
        self.model.load_state_dict(read_tensors(checkpoint, "model"))
        optimizer_tensors = read_tensors(checkpoint, "optimizer")
        self.optimizer.load_state_dict(join_optimizer_state(optimizer_tensors, state["groups"]))
        self.schedule.load_state_dict(state["schedule"])
        self.precision.scaler.load_state_dict(state["scaler"])
        random = read_tensors(checkpoint, "random")
        torch.set_rng_state(random["cpu"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.precision.device)
        history = History(**state["progress"].pop("history"))
        self.progress = Progress(**state["progress"], history=history)
        self.losses.load(state["losses"], self.precision.device)
        return state["metrics_bytes"]

    def _data_identity(self) -> dict[str, Any]:
        """What a checkpoint belongs to: each task's definition, its label names in order, and its features' hashes."""
        return {
            name: {
                "definition": item.task.to_dict(),
                "label_names": list(item.task.label_names),
                "sha256": {features.split: features.sha256 for features in item.splits},
            }
            for name, item in self.data.items()
        }

    def _log_start(self) -> None:
        tasks = {
            name: {
                "train_rows": len(item.train),
                "dev_rows": {split: len(features) for split, features in item.dev.items()},
                "label_names": list(item.task.label_names),
            }
            for name, item in self.data.items()
        }
        self.log.event("start", 0, method=self.config.method.label, seed=self.config.loop.seed, tasks=tasks)

    def _finish(self) -> dict[str, Any]:
        at = self.progress
        about = {
            "seed": self.config.loop.seed,
            "optim": self.config.method.label,
            "epochs": at.history.evaluations[-1]["epoch"],
            "updates": at.step,
            "samples_per_second": round(self._speed(), 2),
            "wall_seconds": round(at.wall_seconds, 2),
            "device": device_name(self.precision.device),
            "versions": versions(),
        }
        self.log.event("end", at.step, average=at.history.average())
        return write_results(self.folder / "results.json", at.history, self.tested, about)
