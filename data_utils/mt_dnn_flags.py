"""MT-DNN's flags and what stands for each of them here: for messages about unknown flags, and for docs/mt_dnn.md.

The names are those of MT-DNN's command lines (github.com/namisan/mt-dnn): the 92 of `train.py` at commit 016e984, and
the two of DeepSpeed that its newer scripts give; `prepro_std.py` at ae43d7e and 02a1bf0; `predict.py` at 0b584fd.
A test holds what is named here against the flags that there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PAGE = "docs/mt_dnn.md"


class Counterpart(NamedTuple):
    """What a flag of MT-DNN's is here: the flags to use, "" for none, and what is different."""

    here: str
    remark: str = ""


SAN = Counterpart("", "part of the SAN answer module; here every head is linear")
MLM = Counterpart("", "part of masked language modelling, which is not built")
LAUNCH = Counterpart("", "start several processes with torchrun, which sets it")
ENCODER = Counterpart("--init_checkpoint", "one Hugging Face name or folder says it all")
SCHEDULE = Counterpart("--warmup", "linear warm-up, then linear decay, is the only schedule")
CACHE = Counterpart("", "set the environment variable HF_HOME")
BINS = Counterpart("--packing", "rows are packed without padding where the encoder allows it; no bins by length")

TRAIN: dict[str, Counterpart] = {
    # data
    "data_dir": Counterpart("--data_dir"),
    "task_def": Counterpart("--task_def"),
    "train_datasets": Counterpart("--train_datasets"),
    "test_datasets": Counterpart("--test_datasets", "names of tasks: mnli stands for both its dev splits, averaged"),
    "max_seq_len": Counterpart("--max_seq_len", "longer rows are shortened; there they are left out of training"),
    "init_checkpoint": Counterpart("--init_checkpoint", "hub name, folder, or a finished run; no model.pt"),
    "tokenizer": ENCODER,
    "encoder_type": ENCODER,
    "bert_model_type": ENCODER,
    "do_lower_case": ENCODER,
    "do_padding": Counterpart("--packing", "rows are padded to the longest of their batch, or packed"),
    "data_sort_on": Counterpart("", "batches are cut anew every epoch, in random order"),
    "dataloader_num_workers": Counterpart("", "features are memory-mapped; nothing is loaded in other processes"),
    "transformer_cache": CACHE,
    "glue_format_on": Counterpart("", "python -m experiments.glue.submission writes GLUE's own form"),
    "encode_mode": Counterpart("", "export.py writes an ordinary Hugging Face model"),
    "mkd_opt": Counterpart("--distill_from", "features: learns from `softlabel` (logits), beside the labels"),
    # tasks and batches
    "batch_size": Counterpart("--batch_size", "default 32, there 8"),
    "batch_size_eval": Counterpart("--batch_size_eval", "default 64, there 8"),
    "grad_accumulation_step": Counterpart(
        "--grad_accumulation_step",
        "all passes of an update are of one task, as in a larger batch; there an update adds up batches of any tasks",
    ),
    "mtl_opt": Counterpart("", "every task has a head of its own"),
    "ratio": Counterpart(
        "--ratio", "with --sampler main_task; at least one update an epoch of each other task, there perhaps none"
    ),
    "mix_opt": Counterpart(
        "", "--sampler main_task mixes all, as 0 does there; 1 puts the first task's batches at the end of the epoch"
    ),
    "bin_on": BINS,
    "bin_size": BINS,
    "bin_grow_ratio": BINS,
    # optimizer
    "optimizer": Counterpart(
        "--optim --optimizer", "adamax or adamw, plain, with PATS or SAGE; sgd is torch.optim:SGD"
    ),
    "learning_rate": Counterpart("--learning_rate", "default 1e-4, there 5e-5"),
    "weight_decay": Counterpart("--weight_decay", "acts, and is 0; there the flag is not read, and 0.01 is used"),
    "adam_eps": Counterpart("--adam_eps", "acts; there it is never read"),
    "momentum": Counterpart("", "there it is never read"),
    "global_grad_clipping": Counterpart("--global_grad_clipping"),
    "grad_clipping": Counterpart("--global_grad_clipping", "there it is never read"),
    "warmup": Counterpart("--warmup"),
    "warmup_schedule": SCHEDULE,
    "scheduler_type": SCHEDULE,
    "epochs": Counterpart("--epochs", "default 10, there 5"),
    "seed": Counterpart("--seed", "default 1, there 2018"),
    "dropout_p": Counterpart("--dropout_p"),
    "bert_dropout_p": Counterpart("", "the encoder's dropout is that of its own config.json"),
    "dropout_w": Counterpart("", "no dropout of whole words"),
    "vb_dropout": Counterpart("", "there it is never read"),
    "fp16": Counterpart("--fp16", "torch's autocast; there NVIDIA's apex"),
    "fp16_opt_level": Counterpart("--fp16 --bf16", "torch's autocast has no levels"),
    # what a run writes
    "output_dir": Counterpart("--output_dir"),
    "log_per_updates": Counterpart("--log_per_updates", "default 50, there 500"),
    "log_file": Counterpart("--output_dir", "metrics.jsonl in it"),
    "tensorboard": Counterpart("--tensorboard", "on unless --no-tensorboard is given"),
    "tensorboard_logdir": Counterpart("--output_dir", "tensorboard/ in it"),
    "save_per_updates": Counterpart("--save_per_updates", "0: at the end of epochs only"),
    "save_per_updates_on": Counterpart("--save_per_updates", "any number but 0 switches it on"),
    "resume": Counterpart("--resume", "goes on from the newest whole checkpoint, equal to never having stopped"),
    "model_ckpt": Counterpart("--resume", "the checkpoint is found in --output_dir"),
    "dump_state_on": Counterpart("", "checkpoints always hold the optimizer's state"),
    "name": Counterpart("", "there it is never read"),
    "debug": Counterpart("", "what a run does stands in its metrics.jsonl"),
    # devices
    "cuda": Counterpart("--device", "auto, cpu or cuda"),
    "multi_gpu_on": LAUNCH,
    "local_rank": LAUNCH,
    "world_size": LAUNCH,
    "master_addr": LAUNCH,
    "master_port": LAUNCH,
    "backend": LAUNCH,
    "deepspeed": Counterpart("--fsdp", "under torchrun, for encoders that do not fit one GPU"),
    "deepspeed_config": Counterpart("--fsdp", "under torchrun, for encoders that do not fit one GPU"),
    # the model
    "pooler_actf": Counterpart("--pooler", "new: dropout, dense, tanh; the default keeps the checkpoint's pooler"),
    "update_bert_opt": Counterpart("", "the encoder is always trained"),
    "num_hidden_layers": Counterpart("", "the encoder has the layers of its own config.json"),
    "init_ratio": Counterpart("", "no such setting"),
    "answer_opt": SAN,
    "mem_cum_type": SAN,
    "answer_num_turn": SAN,
    "answer_mem_drop_p": SAN,
    "answer_att_hidden_size": SAN,
    "answer_att_type": SAN,
    "answer_rnn_type": SAN,
    "answer_sum_att_type": SAN,
    "answer_merge_opt": SAN,
    "answer_mem_type": SAN,
    "answer_dropout_p": SAN,
    "answer_weight_norm_on": SAN,
    "max_answer_len": Counterpart("", "an answer has at most 30 tokens; generation tasks are not built"),
    "masked_lm_prob": MLM,
    "short_seq_prob": MLM,
    "max_predictions_per_seq": MLM,
    "adv_train": Counterpart("--baseline", "smart"),
    "adv_opt": Counterpart("--baseline", "smart, which is all that it chooses there"),
    "adv_norm_level": Counterpart("--adv_norm_level", "token is 0 there, sequence is 1"),
    "adv_p_norm": Counterpart("--adv_p_norm", "inf or l2; its l1, a step along the signs, is not here"),
    "adv_alpha": Counterpart("--adv_alpha", "1 here is nearly 2 there with SymKlCriterion, see docs/methods.md"),
    "adv_k": Counterpart("--adv_k"),
    "adv_step_size": Counterpart("--adv_step_size", "default 1e-3, the paper's; there 1e-5"),
    "adv_noise_var": Counterpart("--adv_noise_var", "a standard deviation, as there"),
    "adv_epsilon": Counterpart(
        "--adv_epsilon", "the largest norm of a perturbation, as in the paper; there it keeps a division finite"
    ),
}

PREPRO_STD: dict[str, Counterpart] = {
    "model": Counterpart("--model", "no default"),
    "root_dir": Counterpart("--root_dir", "no default; features go to a folder of the last part of the model's name"),
    "task_def": Counterpart("--task_def", "no default"),
    "workers": Counterpart("--workers", "default: one a core; there 1"),
    "do_padding": Counterpart("", "rows are not padded on disk"),
    "transformer_cache": CACHE,
    "do_lower_case": Counterpart("--model", "its tokenizer knows"),
    "roberta_path": Counterpart("--model", "a Hugging Face name or folder"),
}

PREDICT: dict[str, Counterpart] = {
    "checkpoint": Counterpart("--checkpoint", "the --output_dir of a run, or its best/; no model.pt"),
    "task": Counterpart("--task"),
    "task_id": Counterpart("--task", "the task's name"),
    "task_def": Counterpart("", "the model knows its tasks"),
    "prep_input": Counterpart("--data_dir --split", "or --table for a table, --texts for a file of texts"),
    "with_label": Counterpart("--label", "of a table; the scores of a dev split are always told"),
    "score": Counterpart("--output", "a table"),
    "max_seq_len": Counterpart("--max_seq_len"),
    "batch_size_eval": Counterpart("--batch_size_eval"),
    "cuda": Counterpart("--device", "auto, cpu or cuda"),
}


def counterpart_line(flag: str, table: Mapping[str, Counterpart]) -> str | None:
    """A line about an unknown flag (without its dashes) that is MT-DNN's; None if it is not.

    MT-DNN's command lines may shorten a flag to any beginning that no other flag has.
    """
    found = [name for name in table if name == flag] or [name for name in table if flag and name.startswith(flag)]
    if len(found) != 1:
        return None
    (name,) = found
    here, remark = table[name]
    if flag != name and f"--{name}" in here.split():
        return f"--{flag}: no such flag; flags are not cut short here, write --{name}"
    theirs = f"--{flag} is MT-DNN's" + (f" --{name}, cut short" if flag != name else "")
    return f"{theirs}; {f'here it is {here}' if here else 'not here'}{f': {remark}' if remark else ''}"
