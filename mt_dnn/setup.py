"""From a configuration to a trainer: everything is loaded and checked before the run's first file is written."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from data_utils.errors import InputError
from module.encoder import Encoder
from module.optim import build_optimizer, encoder_param_groups, linear_schedule, noisytune_
from mt_dnn.batching import Collator
from mt_dnn.config import LoopConfig, MethodConfig, TrainConfig
from mt_dnn.data import check_fits_encoder, choose_tasks, load_data, own_tokenizer
from mt_dnn.model import build_model
from mt_dnn.plan import describe
from mt_dnn.run_folder import check_folder
from mt_dnn.sampling import MultiTaskSampler
from mt_dnn.seeding import stream_seed
from mt_dnn.trainer import Trainer
from mt_dnn.update import Precision


def build_trainer(config: TrainConfig) -> Trainer:
    """Load data and model, apply NoisyTune if asked for, and put the trainer together.

    Raises:
        InputError: any input does not fit; nothing was written to the output folder.
    """
    check_folder(Path(config.output.output_dir), resume=config.output.resume)
    device = pick_device(config.loop)
    trained, tested = choose_tasks(config.data)
    data = load_data(config.data.data_dir, trained, tested)
    seed = config.loop.seed
    model = build_model(config.data.init_checkpoint, trained, dropout_p=config.data.dropout_p, seed=seed)
    tokenizer = own_tokenizer(config.data.init_checkpoint)
    check_fits_encoder(config.data, data, model.encoder, tokenizer)
    if config.method.noisytune_intensity:
        noisytune_(
            model.encoder.pretrained_parameters(),
            intensity=config.method.noisytune_intensity,
            seed=stream_seed(seed, "noisytune"),
        )
    torch.manual_seed(stream_seed(seed, "dropout"))
    model.to(device)
    sampler = MultiTaskSampler(
        {name: len(item.train) for name, item in data.items()},
        config.loop.batch_size * config.loop.grad_accumulation_step,
        config.loop.sampler,
        seed,
    )
    optimizer = make_optimizer(model, config.method, seed)
    schedule = linear_schedule(optimizer, warmup=config.loop.warmup, total_steps=len(sampler) * config.loop.epochs)
    packing = pick_packing(config.data.packing, model.encoder)
    return Trainer(
        config=config,
        data=data,
        tested=tested,
        tokenizer=tokenizer,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        sampler=sampler,
        collator=Collator.for_encoder(model.encoder, packing=packing, max_length=config.data.max_seq_len),
        precision=Precision(device, fp16=config.loop.fp16, bf16=config.loop.bf16),
        plan=describe(config, data, model, optimizer, sampler, device, packing=packing),
    )


def make_optimizer(model: nn.Module, method: MethodConfig, seed: int) -> torch.optim.Optimizer:
    """The configured optimizer over the model's parameter groups; `InputError` for an encoder of unknown make."""
    try:
        groups = encoder_param_groups(model, weight_decay=method.weight_decay)
    except ValueError:
        raise InputError("--init_checkpoint: found no encoder layers in it; needed is a BERT-like encoder") from None
    return build_optimizer(
        method.optimizer_name,
        groups,
        lr=method.learning_rate,
        weight_decay=method.weight_decay,
        eps=method.adam_eps,
        pats=method.pats,
        sage=method.sage,
        seed=stream_seed(seed, "noise"),
    )


def pick_device(loop: LoopConfig) -> torch.device:
    """The device to run on; `InputError` for a GPU or a precision that is not to be had."""
    available = torch.cuda.is_available()
    if loop.device == "cuda" and not available:
        raise InputError("--device cuda: torch sees no CUDA device; use --device cpu or auto")
    device = torch.device("cuda" if available and loop.device != "cpu" else "cpu")
    if device.type == "cpu" and (loop.fp16 or loop.bf16):
        flag = "--fp16" if loop.fp16 else "--bf16"
        raise InputError(f"{flag} needs a CUDA device; a CPU trains in fp32")
    return device


def pick_packing(wanted: str, encoder: Encoder) -> bool:
    """Whether rows are packed; `InputError` when that was asked for and the encoder does not allow it."""
    if wanted == "on" and not encoder.can_pack:
        raise InputError(f"--packing on: not tested for {encoder.config.model_type} encoders; use auto or off")
    return encoder.can_pack and wanted != "off"
