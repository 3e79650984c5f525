"""What a run is about to do, in words: printed at its start and by `--dry_run`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch

from data_utils.cli import columns
from data_utils.model_folder import encoder_source
from data_utils.task_def import TaskDef
from module.dropout import drops_out
from module.encoder import Encoder
from module.optim import SensitivityOptimizer, spec_of
from mt_dnn.config import FLAGS, TrainConfig
from mt_dnn.data import TaskData, shortened, unused_keys
from mt_dnn.method import MIXOUT
from mt_dnn.model import MTDNN, holds_pooler
from mt_dnn.objectives import Objective
from mt_dnn.objectives.distill import kd_loss
from mt_dnn.objectives.objective import Setting
from mt_dnn.precision import precision_remarks
from mt_dnn.record.results import MEAN
from mt_dnn.sampling import STEADY, MultiTaskSampler
from mt_dnn.teachers import told


def describe(
    config: TrainConfig,
    data: Mapping[str, TaskData],
    model: MTDNN,
    optimizer: torch.optim.Optimizer,
    sampler: MultiTaskSampler,
    device: torch.device,
    objective: Objective,
    *,
    packing: bool,
    processes: int,
) -> str:
    """The plan: method, encoder, heads, tasks with rows and updates, parameter groups and what is perturbed."""
    loop, method = config.loop, config.method
    encoder = model.encoder
    precision = "fp16" if loop.fp16 else "bf16" if loop.bf16 else "fp32"
    beside = f", NoisyTune {method.noisytune_intensity:g} before training" if method.noisytune_intensity else ""
    beside += ", Mixout in place of the encoder's dropout" * (method.baseline == MIXOUT)
    rows = loop.batch_size * loop.grad_accumulation_step
    spread = f" x {processes} processes, {'sharded (FSDP)' if loop.fsdp else 'whole (DDP)'}" if processes > 1 else ""
    tasks = [item.task for item in data.values()]
    splits = [split for item in data.values() for split in item.splits]
    setting = Setting(tasks, drops_out(encoder), drops_out(model), loop.bf16)
    lines = [
        f"method   {method.optimizer_name}{beside}, learning rate {method.learning_rate:g}, "
        f"warmup {loop.warmup:g}, seed {loop.seed}",
        *_values(config, len(sampler) * loop.epochs),
        *(f"{about:9}{text}" for about, text in objective.remarks(setting)),
        f"encoder  {encoder_source(config.data.init_checkpoint)} ({encoder.config.model_type}, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters with heads) on {device.type}{spread}, {precision}, "
        f"rows {'packed' if packing else 'padded'}{', lines in buckets of sizes' * config.data.pad_to_buckets}",
        f"pooler   {_pooler(config, encoder)}",
        *(f"note     {remark}" for remark in [*encoder.remarks, *precision_remarks(loop, device)]),
        *(f"note     {remark}" for remark in _idle(config, tasks, optimizer)),
        f"updates  {len(sampler):,} an epoch of {rows} rows, {len(sampler) * loop.epochs:,} in {loop.epochs} "
        f"epoch{'s' * (loop.epochs > 1)}, sampler {config.sampling.label}",
        *_chosen_lines(config),
        *_head_lines(data, model),
        *_loss_lines(data),
        *_teacher_lines(config, data),
        *_file_lines(data),
        *_test_lines(data),
        *[f"data     {config.data.train_fraction:g} of each task's training rows"] * (config.data.train_fraction < 1),
        *_cap_lines(config, sampler),
        *[f"data     {line}" for split in splits if (line := unused_keys(split))],
        *[f"note     {task.name}: {line}" for task in tasks for line in task.kind.notes(task)],
        *[f"note     {item.stem}: {line}" for item in splits for line in item.task.kind.remarks(item)],
        "",
        *columns(_task_rows(config, data, sampler)),
        "",
        *columns(_group_rows(config, optimizer)),
    ]
    return "\n".join(lines)


def _pooler(config: TrainConfig, encoder: Encoder) -> str:
    """Where the pooler comes from, which heads read."""
    if config.data.pooler == "new":
        return f"new: dropout {config.data.dropout_p:g}, dense, tanh (--pooler new)"
    if holds_pooler(config.data.init_checkpoint):
        return "dense, tanh, taken over with the heads"
    if encoder.pooler is not None:
        return "new: dense, tanh (encoders of this type have none)"
    if len(encoder.untrained) == len(list(encoder.model.parameters())):  # a run that goes on reads no weights here
        return "the checkpoint's"
    untrained = any(name.startswith("pooler.") for name in encoder.untrained)
    return "new: the encoder's own, not in the checkpoint" if untrained else "the checkpoint's"


def _values(config: TrainConfig, updates: int) -> list[str]:
    """What is the methods' own, a line each."""
    lines = [f"         {config.method.optim_options}"] * (config.method.optim_options is not None)
    for record in config.in_use.values():
        of_run = record.of_run(updates)
        values = {field.metadata["flag"].partition("_")[2]: getattr(of_run, field.name) for field in fields(record)}
        shown = [f"{name} {v:g}" if isinstance(v, float) else f"{name} {v}" for name, v in values.items()]
        lines.append(f"         {(type(record).__doc__ or '').rstrip('.')}: {', '.join(shown)}")
        lines += [f"note     {remark}" for remark in record.remarks(updates, config.method.learning_rate)]
    return lines


def _head_lines(data: Mapping[str, TaskData], model: MTDNN) -> list[str]:
    """A line a head: new or taken over, and why; and one for tasks that ask for a head that is not built."""
    lines = [f"{'head' if not i else '':9}{name}: {model.head_origins[name]}" for i, name in enumerate(data)]
    if san := [name for name, item in data.items() if item.task.enable_san]:
        instead = "a linear head is used in place of MT-DNN's SAN answer module"
        lines.append(f"{'':9}enable_san is true for {', '.join(san)}: {instead}")
    return lines


def _idle(config: TrainConfig, tasks: Sequence[TaskDef], optimizer: torch.optim.Optimizer) -> list[str]:
    """Flags that were set and change nothing in this run."""
    its_own = "each task has one of its own"
    reasons = {}
    if config.data.pooler != "new" and all(task.dropout_p is not None for task in tasks):
        reasons["dropout_p"] = its_own
    if all(task.head_lr_factor is not None for task in tasks):
        reasons["head_lr_factor"] = its_own
    if not isinstance(optimizer, SensitivityOptimizer):
        reasons["sensitivity_per_updates"] = f"{config.method.optim} keeps no sensitivities"
    values = config.to_dict()
    return [
        f"--{flag} {values[flag]:g} has no effect: {reason}"
        for flag, reason in reasons.items()
        if values[flag] not in (0, FLAGS[flag].field.default)
    ]


def _chosen_lines(config: TrainConfig) -> list[str]:
    """A line with what the best model is chosen by, if it is one task."""
    by, early = config.data.best_by, " and when to stop" * (config.loop.early_stopping > 0)
    return [f"best/    chosen by {by} alone{early} (--best_by)"] * (by != MEAN)


def _cap_lines(config: TrainConfig, sampler: MultiTaskSampler) -> list[str]:
    """A line with the tasks of which an epoch has a part of the rows only."""
    most = config.sampling.max_rows_per_task
    if most is None:
        return []
    cut = [task for task, rows in sampler.rows.items() if rows > most]
    what = f"{', '.join(cut)}: {most:,} rows an epoch, drawn anew each epoch" if cut else "all rows: no task has more"
    return [f"data     {what} (--max_rows_per_task)"]


def _loss_lines(data: Mapping[str, TaskData]) -> list[str]:
    """A line with the tasks whose loss is weighted, if there are some."""
    weights = [f"{name} times {w:g}" for name, item in data.items() if (w := item.task.loss_weight) != 1]
    return [f"loss     {', '.join(weights)} (loss_weight)"] * bool(weights)


def _teacher_lines(config: TrainConfig, data: Mapping[str, TaskData]) -> list[str]:
    """A line on how a teacher's part is weighted, and one a task with where its soft labels come from."""
    distill = config.distill
    if distill.distill_from is None:
        return []
    lines = [f"teacher  weight {distill.distill_weight:g}, temperature {distill.distill_temperature:g}"]
    for name, item in data.items():
        soft = [told(file, file.soft) for file in item.train_files if file.soft is not None]
        lines.append(f"{'':9}{name}: " + (f"{kd_loss(item.task)}, {', '.join(soft)}" if soft else "labels alone"))
    return lines


def _file_lines(data: Mapping[str, TaskData]) -> list[str]:
    """A line a task that is trained on other files than its own one, or on several."""
    return [
        f"data     {name}: " + ", ".join(f"{file.stem} ({len(file):,} rows)" for file in item.train_files)
        for name, item in data.items()
        if item.task.train_files
    ]


def _test_lines(data: Mapping[str, TaskData]) -> list[str]:
    """A line with the splits that are scored at the end."""
    found = [f"{split.stem} ({len(split):,} rows)" for item in data.values() for split in item.test.values()]
    return [f"test     {', '.join(found)}: scored at the end, with the model of best/"] * bool(found)


def _task_rows(config: TrainConfig, data: Mapping[str, TaskData], sampler: MultiTaskSampler) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("task", "type", "metric", "train rows", "dev rows", "updates/epoch", "shortened")]
    first_epoch = Counter(draw.task for draw in sampler.epoch(0))
    for name, item in data.items():
        dev = " + ".join(f"{len(split):,}" for split in item.dev.values()) or "not evaluated"
        cut = sum(shortened(split, config.data.max_seq_len) for split in item.splits)
        about = "" if config.sampling.sampler in STEADY else "~"
        updates, rows = f"{about}{first_epoch[name]:,}", f"{len(item.train):,}"
        task_type, metric = item.task.type_name, item.task.primary_metric
        table.append((name, task_type, metric, rows, dev, updates, f"{cut:,} rows"))
    return table


def _group_rows(config: TrainConfig, optimizer: torch.optim.Optimizer) -> list[tuple[str, ...]]:
    """Parameter groups; the last column says what the method does to them beyond the plain step."""
    own = config.of_optimizer
    method = spec_of(config.method.optimizer_name).method if own is not None and own.acts else None
    table: list[tuple[str, ...]] = [("parameter group", "tensors", "parameters", "weight decay", "treatment")]
    for group in optimizer.param_groups:
        treatment = method.treatment if method is not None and group[method.key] else "plain step"
        factor = group["initial_lr"] / config.method.learning_rate
        treatment += f", rate times {factor:g}" * (factor != 1)
        count = sum(p.numel() for p in group["params"])
        table.append(
            (group["name"], f"{len(group['params']):,}", f"{count:,}", f"{group['weight_decay']:g}", treatment)
        )
    return table
