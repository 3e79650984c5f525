"""Sections of a run's configuration: data and model, training loop, output.

The method's own sections are elsewhere: `mt_dnn.method`, and a record beside each method's code.
"""

from __future__ import annotations

from dataclasses import dataclass

from mt_dnn.flags import option
from mt_dnn.record.results import MEAN

GLUE_TASKS = "experiments/glue/glue_task_def.yml"
"""Below the repository's root, from wherever a command is started."""


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
    pad_to_buckets: bool = option(
        False, help="round lines and width of a batch up to a few sizes, so that few shapes occur; costs padding"
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


AT_LOG = "log"
"""The value of `--finite_check` with which updates are looked at together."""


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
    finite_check: str = option(
        "update",
        choices=("update", AT_LOG),
        help="when the host looks whether updates were finite: after each, or before the next log, so that a GPU need "
        "not wait; what is not finite is left out all the same",
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
        bad += [f"--fp16 contradicts --finite_check {AT_LOG}: its scaler looks after each update; use --bf16"] * (
            self.fp16 and self.finite_check == AT_LOG
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
    save_per_updates: int = option(
        0, help="updates between two checkpoints within an epoch; 0: at its end, and with best/"
    )
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
