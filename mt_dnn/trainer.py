"""The training loop: epochs of planned updates, evaluations, checkpoints, and the run's folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from data_utils.atomic import write_folder
from data_utils.errors import InputError, SignalledError, StoppedError
from data_utils.fingerprints import damage
from data_utils.model_folder import BEST, TASKS_FILE
from mt_dnn.batching import Collator
from mt_dnn.config import TrainConfig
from mt_dnn.data import longest_allowed
from mt_dnn.evaluate import Evaluator, Scored, majority_score
from mt_dnn.held_out import score_test
from mt_dnn.model import HEADS_FILE, export_model, exported_state, exported_tasks
from mt_dnn.objectives import Objective
from mt_dnn.record.checkpoint import Checkpoint, Checkpoints
from mt_dnn.record.dev_predictions import Splits, add_dev_predictions
from mt_dnn.record.interrupt import InterruptedRun, RunSignals
from mt_dnn.record.report import Report
from mt_dnn.record.results import read_results, write_results
from mt_dnn.record.run_folder import claim_folder, clear_folder, device_name, release_folder, versions
from mt_dnn.record.run_log import RunLog, say
from mt_dnn.record.run_state import RunState
from mt_dnn.record.writing import writing
from mt_dnn.sampling import Draw, MultiTaskSampler
from mt_dnn.sections import AT_LOG
from mt_dnn.skips import count_skips
from mt_dnn.update import PendingUpdate, Updated, Updater


@dataclass
class Trainer:
    """Runs one configuration from where its output folder stands to the end.

    `mt_dnn.setup.build_trainer` puts one together. With several processes each has its own, and all of them take the
    same decisions in the same order; the first one writes.
    """

    config: TrainConfig
    state: RunState
    tokenizer: PreTrainedTokenizerBase | None
    sampler: MultiTaskSampler
    collator: Collator
    objective: Objective
    plan: str

    def __post_init__(self) -> None:
        loop, output, state = self.config.loop, self.config.output, self.state
        self.folder = Path(output.output_dir)
        self.best, self.results_file = self.folder / BEST, self.folder / "results.json"
        self.parallel = state.parallel
        self.ranks = self.parallel.ranks
        self.say = say if self.ranks.first else _silent
        self.checkpoints = Checkpoints(self.folder / "checkpoints", output.keep_checkpoints)
        self.signals = RunSignals(self.ranks)
        self.update = Updater(
            self.parallel,
            state.optimizer,
            state.schedule,
            self.collator,
            state.precision,
            state.data,
            loop,
            self.objective,
        )
        self.evaluator = Evaluator(
            self.parallel.model,
            self.collator,
            state.precision,
            self.ranks,
            loop.batch_size_eval,
            self.signals.raise_if_signalled,
        )
        self.saved: tuple[int, int] | None = None  # updates and evaluations of the last checkpoint
        self.pending: list[PendingUpdate] = []  # with `--finite_check log`
        self.last: Updated  # of those that were looked at

    def run(self) -> dict[str, Any]:
        """Train, evaluate and write everything; returns what `results.json` holds.

        Raises:
            InputError: the output folder holds another run, or is in use.
            StoppedError: a signal came, a number was not finite, the disk is full, processes disagree or are gone; the
                last checkpoint stands. Or the run is at its end, and `best/` is lost.
        """
        with self.ranks.together():
            lock = claim_folder(self.folder, resume=self.config.output.resume) if self.ranks.first else None
        try:
            checkpoint = self._enter_folder()
            done = read_results(self.results_file) if self._ended() and self.results_file.is_file() else None
            if (done := self.ranks.broadcast(done)) is not None:  # it was only started to write `best/` again
                return done
            with self._open_log(checkpoint) as log:
                self.report = Report(log, self.say, self.state)
                if checkpoint is None:
                    longest = longest_allowed(self.config.data, self.parallel.model.encoder)
                    self.report.start(method=self.config.label, seed=self.config.loop.seed, max_seq_len=longest)
                return self._train()
        finally:
            if lock:
                release_folder(self.folder, lock)

    def _enter_folder(self) -> Checkpoint | None:
        """Take up the run in the output folder and return its checkpoint, or begin a new run."""
        with self.ranks.together():
            if self.config.output.resume:  # another run may have begun here since this one read its settings
                self.config.check_same(self.folder / "config.yaml")
            checkpoint = self.checkpoints.newest(self.say) if self.config.output.resume else None
            if checkpoint is None and not self.parallel.model.encoder.pretrained_parameters():
                raise InputError(f"--resume: the checkpoints of {self.folder} went while the run was set up; try again")
            if checkpoint:
                self.say(f"resuming from {checkpoint.folder}")
                self.state.restore(checkpoint, self.say)
            if self.ranks.first:
                with writing(self.folder):
                    self._tidy(checkpoint)
        if len(set(self.ranks.all_gather(self.state.progress.step))) > 1:
            raise InputError(
                f"--output_dir {self.folder}: the processes see different checkpoints; all need the same one"
            )
        self.saved = self._place() if checkpoint else None
        self._mend_best()
        return checkpoint

    def _tidy(self, checkpoint: Checkpoint | None) -> None:
        """Remove what is in the way of a new run, or of going on from a checkpoint."""
        if checkpoint is None:
            clear_folder(self.folder)
            self.config.write(self.folder / "config.yaml")
            return
        self.checkpoints.drop_after(checkpoint.folder)

    def _mend_best(self) -> None:
        """Write `best/` again where it is not whole and a checkpoint has its weights; else say that it is lost.

        Raises:
            StoppedError: it is lost, and no better score can come.
        """
        at = self.state.progress
        if not at.history.evaluations:
            return
        reason = self.ranks.broadcast(damage(self.best, (HEADS_FILE, TASKS_FILE)) if self.ranks.first else None)
        if reason is None:
            return
        step = at.history.best_model(self.config.data.best_by)["step"]
        weights = self.checkpoints.weights(step)
        if not self.ranks.any(not weights):
            self._export_again(weights)
            self.say(f"{self.best} was not whole ({reason}): written again with the weights after update {step}")
            return
        lost = f"{self.best} is not whole ({reason}), and no checkpoint has its weights, those after update {step}"
        if self._ended():
            raise StoppedError(
                f"{lost}. {self.checkpoints.folder} has the last model, after update {at.step}, and metrics.jsonl all "
                "scores; for the best model start anew in another --output_dir"
            )
        self.say(f"{lost}; only a better score writes it anew")

    def _export_again(self, weights: dict[str, Tensor]) -> None:
        """Write `best/` with these weights, tuned on dev once more; the model keeps its own."""
        model = self.parallel.model
        own = {name: value.clone() for name, value in model.state_dict().items()}
        self.parallel.load_state_dict(weights)
        self._export(self._score_dev())
        model.load_state_dict(own)

    def _open_log(self, checkpoint: Checkpoint | None) -> RunLog:
        with self.ranks.together():
            return RunLog(
                self.folder if self.ranks.first else None,
                marks=checkpoint.logs if checkpoint else {},
                step=self.state.progress.step,
                tensorboard=self.config.output.tensorboard,
            )

    def _train(self) -> dict[str, Any]:
        with self.signals:
            try:
                self._evaluate_if_due()  # a run that was stopped before it could
                if self._finished():
                    self._save()
                while not self._finished():
                    self._run_epoch()
                return self._finish()
            except InterruptedRun as signal:
                self._save()  # nothing to do where test splits are scored: by then the last update is saved
                raise SignalledError(
                    f"{signal} came after update {self.state.progress.step}; it is saved: go on with --resume"
                ) from None

    def _finished(self) -> bool:
        loop, at = self.config.loop, self.state.progress
        stopped = 0 < loop.early_stopping <= at.history.since_best
        return at.epoch >= loop.epochs or stopped

    def _ended(self) -> bool:
        """Whether the last evaluation is done, too."""
        return self._finished() and self.state.progress.evaluated == self.state.progress.step

    def _to_come(self) -> int:
        """Updates of the whole run that are still to do, unless it stops early."""
        return len(self.sampler) * self.config.loop.epochs - self.state.progress.step

    def _run_epoch(self) -> None:
        """The updates of one pass that are still to do, and what falls due after each of them."""
        at, output = self.state.progress, self.config.output
        draws = self.sampler.epoch(at.epoch)
        label = f"epoch {at.epoch + 1}/{self.config.loop.epochs}"
        hidden = None if self.ranks.first else True  # None: where there is no terminal
        with tqdm(total=len(draws), initial=at.position, desc=label, leave=False, disable=hidden) as bar:
            for draw in draws[at.position :]:
                self._train_on(draw)
                bar.update()
                where, to_come = f"{label}  update {at.position}/{len(draws)}", self._to_come()
                # Before an evaluation, too: it may end the run, and what has not been told by then would be lost.
                if at.step % output.log_per_updates == 0 or at.position == len(draws) or self._evaluates_here():
                    self._resolve_pending()
                    self.report.updates(self.last, where, to_come)
                    self.state.losses.clear()
                else:
                    self.report.alive(where, to_come)
                if output.sensitivity_per_updates and at.step % output.sensitivity_per_updates == 0:
                    self.report.sensitivities()
                if at.position == len(draws):
                    at.epoch, at.position = at.epoch + 1, 0
                self._after_update()
                if self._finished():
                    break

    def _after_update(self) -> None:
        every, save = self.config.loop.replica_check_per_updates, self.config.output.save_per_updates
        at = self.state.progress
        if every and at.step % every == 0:
            self.parallel.check_replicas()
        self._evaluate_if_due()
        if at.position == 0 or (save and at.step % save == 0) or self._finished():
            self._save()
        if not self._finished():
            self.signals.raise_if_signalled()

    def _train_on(self, draw: Draw) -> None:
        started = time.perf_counter()
        at = self.state.progress
        if self.config.loop.finite_check == AT_LOG:
            self.pending.append(self.update.apply_deferred(draw, at.step + 1))
        else:
            self._note(draw, at.step + 1, self.update(draw, at.step + 1))
        at.step += 1
        at.position += 1
        at.rows += len(draw.rows)
        spent = time.perf_counter() - started
        at.train_seconds += spent
        at.wall_seconds += spent

    def _resolve_pending(self) -> None:
        """Look at the updates that are pending, before anything is told, scored or saved."""
        started = time.perf_counter()
        pending, self.pending = self.pending, []
        for one, updated in zip(pending, self.update.resolve(pending), strict=True):
            self._note(one.draw, one.step, updated)
        spent = time.perf_counter() - started
        self.state.progress.train_seconds += spent
        self.state.progress.wall_seconds += spent

    def _note(self, draw: Draw, step: int, updated: Updated) -> None:
        """Take up what has become of update number `step`."""
        self.last = updated
        count_skips(self.state.progress, updated, step, stop=self.config.loop.on_nonfinite == "stop")
        if updated.problem:
            self.report.skipped(updated.problem, draw, step)
        else:
            self.state.losses.add(draw.task, updated.loss)

    def _evaluates_here(self) -> bool:
        """Whether `--eval_per_updates` asks for an evaluation after the last update."""
        every = self.config.output.eval_per_updates
        return bool(every) and self.state.progress.step % every == 0

    def _evaluate_if_due(self) -> None:
        """Evaluate at the end of an epoch and where `--eval_per_updates` says so, once after an update."""
        at = self.state.progress
        if at.step > at.evaluated and (at.position == 0 or self._evaluates_here()):
            self._evaluate(at.epoch + at.position / len(self.sampler))

    def _evaluate(self, epoch: float) -> None:
        """Score all tested tasks; keep the model as `best/` if what `--best_by` names was never better."""
        self._resolve_pending()
        started = time.perf_counter()
        at = self.state.progress
        scored = self._score_dev()
        if self.config.output.dev_predictions:
            values = {name: {split: p.values for split, p in one.predicted.items()} for name, one in scored.items()}
            self._keep_predictions(values)
        scores = {name: one.scores for name, one in scored.items()}
        improved = at.history.add(epoch, at.step, scores, self.config.data.best_by)
        self.report.evaluation(improved)
        if improved:
            self.parallel.check_finite()
            self._export(scored)
        at.wall_seconds += time.perf_counter() - started
        if improved:
            self._save()  # elsewhere a resumed run may score otherwise: its record has to know the model in best/

    def _score_dev(self) -> dict[str, Scored]:
        return {task.name: self.evaluator.score(task, self.state.data[task.name].dev) for task in self.state.tested}

    def _keep_predictions(self, predicted: Mapping[str, Splits]) -> None:
        at = self.state.progress
        earlier = {evaluation["step"] for evaluation in at.history.evaluations}
        with self.ranks.together():
            if self.ranks.first:
                add_dev_predictions(self.folder, at.step, predicted, self.state.data, earlier)

    def _export(self, scored: Mapping[str, Scored]) -> None:
        """Write the model to `best/`, with the tasks as they are tuned on dev."""
        state = self.parallel.state_dict()
        tuned = {name: one.tune() for name, one in scored.items()}
        tasks = [tuned.get(name, item.task) for name, item in self.state.data.items()]

        def fill(folder: Path) -> None:
            export_model(self.parallel.model, state, folder, tasks, self.tokenizer)

        with self.ranks.together():
            if self.ranks.first:
                with writing(self.best):
                    write_folder(self.best, fill)

    def _save(self) -> None:
        """Write a checkpoint with all that the run needs to go on as if it had never stopped; once for each place.

        Raises:
            StoppedError: it cannot be written, the weights are not finite, or differ between processes.
        """
        self._resolve_pending()
        at = self.state.progress
        if self.saved == self._place():
            return
        started = time.perf_counter()
        self.parallel.check_finite()
        self.parallel.check_replicas()
        tensors, state = self.state.capture()
        with self.ranks.together():
            if self.ranks.first:
                marks = self.report.log.sync()  # first, so that a checkpoint never knows of more than is on the disk
                self.report.checkpoint(self.checkpoints.save(at.step, tensors, state, marks))
        self.saved = self._place()
        spent = time.perf_counter() - started
        at.save_seconds += spent
        at.wall_seconds += spent

    def _place(self) -> tuple[int, int]:
        at = self.state.progress
        return at.step, len(at.history.evaluations)

    def _score_test_splits(self) -> dict[str, dict[str, Any]]:
        """Scores of the splits that `--test_splits` names, by task, of the model in `best/`."""
        names = [task.name for task in self.state.tested if self.state.data[task.name].test]
        if not names:
            return {}
        started = time.perf_counter()
        self.parallel.load_state_dict(exported_state(self.best, self.parallel.model.state_dict().keys()))
        tasks, seed = exported_tasks(self.best), self.config.loop.seed
        scored = {name: score_test(self.evaluator, tasks[name], self.state.data[name].test, seed) for name in names}
        self.report.test(scored)
        self.state.progress.wall_seconds += time.perf_counter() - started
        return scored

    def _finish(self) -> dict[str, Any]:
        """Score what was kept for the end, and write `results.json`."""
        at = self.state.progress
        self._mend_best()
        tested = self._score_test_splits()
        about = {
            "seed": self.config.loop.seed,
            "optim": self.config.label,
            "epochs": at.history.evaluations[-1]["epoch"],
            "updates": at.step,
            "skipped_updates": at.skipped,
            "overflowed_updates": at.overflows,
            "samples_per_second": round(at.samples_per_second, 2),
            "wall_seconds": round(at.wall_seconds, 2),
            "save_seconds": round(at.save_seconds, 6),  # a small model takes a millisecond
            "processes": self.ranks.size,
            "device": device_name(self.state.precision.device),
            "versions": versions(),
            "features": {
                split.stem: split.sha256
                for item in self.state.data.values()
                for split in (*item.train_files, *item.dev.values())
            },
        }
        self.report.end()
        majority = {task.name: majority_score(self.state.data[task.name]) for task in self.state.tested}
        results = at.history.results(self.state.tested, majority, self.config.data.best_by, tested) | about
        with self.ranks.together():
            if self.ranks.first:
                write_results(self.results_file, results)
        return results


def _silent(line: str) -> None:
    """What all processes but the first say."""
