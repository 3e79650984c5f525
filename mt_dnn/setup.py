"""From a configuration to a trainer: everything is loaded and checked before the run's first file is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from data_utils.errors import InputError, raise_all
from data_utils.task_def import TaskDef
from module.mixout import Mixout
from module.optim import (
    build_optimizer,
    encoder_param_groups,
    linear_schedule,
    noisytune_,
    parse_options,
    spec_of,
    with_recall,
)
from mt_dnn.batching import Collator, pick_packing
from mt_dnn.config import TrainConfig
from mt_dnn.data import TaskData, check_data, load_data, own_tokenizer
from mt_dnn.distributed import ALONE, Ranks
from mt_dnn.head_rates import head_rates, with_head_rates
from mt_dnn.method import MIXOUT
from mt_dnn.model import MTDNN, build_model, has_pretrained_weights
from mt_dnn.objectives.build import build_objective, idle_task_keys
from mt_dnn.objectives.distill import check_distillation
from mt_dnn.parallel import parallel
from mt_dnn.places import encoder_identity
from mt_dnn.plan import describe
from mt_dnn.precision import Precision, pick_device
from mt_dnn.record.checkpoint import Checkpoints
from mt_dnn.record.run_folder import check_folder
from mt_dnn.record.run_state import RunState
from mt_dnn.sampling import MultiTaskSampler
from mt_dnn.sections import GLUE_TASKS, DataConfig
from mt_dnn.seeding import stream_seed
from mt_dnn.tasks import choose_tasks, test_split_names
from mt_dnn.trainer import Trainer


def build_trainer(config: TrainConfig, ranks: Ranks = ALONE) -> Trainer:
    """Load data and model, apply NoisyTune if asked for, and put the trainer together.

    Raises:
        InputError: any input does not fit, on any process; nothing was written to the output folder.
    """
    with ranks.together():
        if ranks.first:
            check_folder(Path(config.output.output_dir), resume=config.output.resume)
        if resumes := config.output.resume and Checkpoints(Path(config.output.output_dir) / "checkpoints", 1).any():
            check_places(config.data)
        device = pick_device(config.loop, ranks)
        trained, tested = choose_tasks(config.data)
        data = load_data(config.data, trained, tested, test_split_names(config.data), config.distill.distill_from)
        check_distillation(config.distill, [item.task for item in data.values() if item.train.soft is not None])
        model, tokenizer, packing = load_model(config, data, trained, weights=not resumes)
        objective = build_objective(config, model, trained)
    seed = config.loop.seed
    # A stream for each process: their rows are different, so must be what dropout hides of them.
    torch.manual_seed(stream_seed(seed, "dropout", *([ranks.rank] if ranks.rank else [])))
    if config.loop.deterministic:
        make_deterministic()
    spread = parallel(model, ranks, device, fsdp=config.loop.fsdp)
    sampler = MultiTaskSampler(
        {name: len(item.train) for name, item in data.items()},
        config.loop.batch_size * config.loop.grad_accumulation_step,
        config.sampling,
        seed,
    )
    updates = len(sampler) * config.loop.epochs
    optimizer = make_optimizer(model, config, trained, updates)
    schedule = linear_schedule(optimizer, warmup=config.loop.warmup, total_steps=updates)
    precision = Precision(device, fp16=config.loop.fp16, bf16=config.loop.bf16)
    return Trainer(
        config=config,
        state=RunState(
            spread,
            optimizer,
            schedule,
            precision,
            data,
            tested,
            updates=len(sampler),
            seed=seed,
            settings=config.kept,
            encoder=encoder_identity(model.encoder, tokenizer),
            idle_keys=idle_task_keys(config),
        ),
        tokenizer=tokenizer,
        sampler=sampler,
        collator=Collator.for_encoder(
            model.encoder,
            packing=packing,
            max_length=config.data.max_seq_len,
            tokenizer=tokenizer,
            buckets=config.data.pad_to_buckets,
        ),
        objective=objective,
        plan=describe(
            config, data, model, optimizer, sampler, device, objective, packing=packing, processes=ranks.size
        ),
    )


def check_places(data: DataConfig) -> None:
    """Raise `InputError` where a run that goes on does not find what it was trained with."""
    there = {
        "data_dir": (data.data_dir, os.path.isdir(data.data_dir)),
        "task_def": (data.task_def, data.task_def == GLUE_TASKS or os.path.isfile(data.task_def)),
    }
    raise_all(
        [
            f"--{name} {place}: not there. A run goes on with the same contents in another place, too: --{name} PATH"
            for name, (place, is_there) in there.items()
            if not is_there
        ]
    )


def load_model(
    config: TrainConfig, data: dict[str, TaskData], trained: Sequence[TaskDef], *, weights: bool = True
) -> tuple[MTDNN, PreTrainedTokenizerBase | None, bool]:
    """The model, NoisyTune or Mixout applied, its tokenizer, and whether rows are packed.

    Without `weights` for a checkpoint to be taken up, which has been checked and says what it was made with.
    """
    seed, method = config.loop.seed, config.method
    init, own = config.data.init_checkpoint, {"pooler": config.data.pooler, "heads": config.data.heads}
    model = build_model(init, trained, dropout_p=config.data.dropout_p, seed=seed, weights=weights, **own)
    tokenizer = own_tokenizer(init)
    if weights:
        check_data(config.data, data, model.encoder, tokenizer)
    if weights and method.noisytune_intensity:
        pretrained, stream = model.encoder.pretrained_parameters(), stream_seed(seed, "noisytune")
        noisytune_(pretrained, intensity=method.noisytune_intensity, seed=stream)
    if method.baseline == MIXOUT:
        try:
            model.mixout = Mixout(model.encoder.model, config.mixout.p)
        except ValueError as error:
            raise InputError(f"--baseline mixout: {error}") from None
    return model, tokenizer, pick_packing(config.data.packing, model.encoder)


def make_deterministic() -> None:
    """Have torch choose algorithms that give the same bits every time; what has none raises an error when it runs."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first matrix product is computed
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def make_optimizer(
    model: nn.Module, config: TrainConfig, tasks: Sequence[TaskDef], updates: int
) -> torch.optim.Optimizer:
    """The configured optimizer over the model's parameter groups, for a run of so many updates.

    Raises:
        InputError: an encoder of unknown make, or an optimizer of the user's own that will not do.
    """
    method = config.method
    try:
        groups = encoder_param_groups(model, weight_decay=method.weight_decay)
    except ValueError:
        raise InputError("--init_checkpoint: found no encoder layers in it; needed is a BERT-like encoder") from None
    groups = with_head_rates(groups, head_rates(config, tasks), method.learning_rate)
    if spec_of(method.optimizer_name).recalls:
        groups = with_recall(groups, has_pretrained_weights)
    own = config.of_optimizer
    try:
        return build_optimizer(
            method.optimizer_name,
            groups,
            lr=method.learning_rate,
            weight_decay=method.weight_decay,
            eps=method.adam_eps,
            hyperparameters=None if own is None else own.of_run(updates),
            seed=stream_seed(config.loop.seed, "noise"),
            options=parse_options(method.optim_options) if method.optim_options is not None else None,
        )
    except ValueError as error:  # a class of one's own; the values of the others are checked by their flags
        raise InputError(f"--optim {error}") from None
