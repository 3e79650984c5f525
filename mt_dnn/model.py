"""The multi-task model: one shared encoder, a head per task."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from data_utils.errors import InputError, StoppedError, raise_all
from data_utils.fingerprints import damage
from data_utils.hub import earlier_download, model_source
from data_utils.model_folder import ENCODER, TASKS_FILE, encoder_source, exported_model
from data_utils.task_def import TaskDef, listed
from module.encoder import Encoder, load_encoder, quiet_transformers
from module.headless import sign, stoppers
from module.heads import HEADS
from module.mixout import Mixout
from module.pretrained import check_place
from mt_dnn.seeding import stream_seed

HEADS_FILE = "heads.safetensors"
"""What lies in an exported model (`best/`) beside `TASKS_FILE` and `encoder/`, a Hugging Face model folder."""

RESUME_CURE = (
    "a resumed run needs its config.json and tokenizer alone, which the run's own folder has where best/ is there"
)

ENCODER_PREFIX, POOLER_PREFIX = "encoder.model.", "encoder.pooler."
"""Names in the state dict of what goes to the Hugging Face folder, and of a pooler of ours."""


def has_pretrained_weights(name: str) -> bool:
    """Whether a parameter is the encoder's, and not a head's or a pooler's, which may be new.

    This follows from the name alone: a run that goes on builds its encoder without weights, and has the same groups.
    """
    return name.startswith(ENCODER_PREFIX) and not name.startswith(f"{ENCODER_PREFIX}pooler.")


class MTDNN(nn.Module):
    """A shared encoder and a `ModuleDict` of heads by task name.

    `head_origins` says of each head, in words, whether it is new or taken over, and why. `mixout` mixes the encoder's
    weights in training, where the run wants it.
    """

    def __init__(self, encoder: Encoder, heads: nn.ModuleDict) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = heads
        self.head_origins = dict.fromkeys(heads, "new head")
        self.mixout: Mixout | None = None

    def forward(self, task: str, inputs: dict[str, Tensor]) -> Tensor:
        """Logits of one task's head; see `module.heads` for their shape."""
        return self.heads[task](self.encoder(**inputs))


def check_trainable(tasks: Sequence[TaskDef]) -> None:
    """Raise `InputError` for tasks that no head is there for yet, or a loss that does not fit it."""
    bad = []
    for task in tasks:
        kind = task.type_name
        if kind not in HEADS:
            bad.append(f"task {task.name!r}: no head for task_type {kind}; there is: {', '.join(HEADS)}")
        elif task.loss not in HEADS[kind].losses:
            fitting = ", ".join(HEADS[kind].losses)
            bad.append(f"task {task.name!r}: {kind} is not trained with loss {task.loss}; use {fitting}")
        if hasattr(nn.ModuleDict(), task.name):
            bad.append(f"task {task.name!r}: torch keeps this name for itself; choose another")
    raise_all(bad)


def build_model(
    init_checkpoint: str,
    tasks: Sequence[TaskDef],
    *,
    dropout_p: float,
    seed: int,
    pooler: str = "checkpoint",
    heads: str = "checkpoint",
    weights: bool = True,
) -> MTDNN:
    """Load the encoder and add a head per task; an exported model's heads of the same name, type and labels come along.

    With `pooler` "new" a new one, with dropout before it, takes the place of the checkpoint's, as in MT-DNN.
    With `heads` "new" no head comes along.
    Without `weights` it is for those of a checkpoint to be put in: only the encoder's configuration is read.

    Raises:
        InputError: the encoder cannot be loaded, or a task cannot be trained.
    """
    check_trainable(tasks)
    folder = Path(exported_model(init_checkpoint))
    exported = weights and (encoder_source(init_checkpoint) != init_checkpoint or (folder / HEADS_FILE).is_file())
    if exported and (reason := damage(folder, (HEADS_FILE, TASKS_FILE))):
        raise InputError(f"--init_checkpoint: the exported model {folder} is damaged ({reason})")
    anew = pooler == "new"
    replaced = dropout_p if anew else 0.0 if holds_pooler(init_checkpoint) else None
    encoder = _load_encoder(init_checkpoint, stream_seed(seed, "encoder"), weights, replaced)
    by_task = nn.ModuleDict()
    for task in tasks:
        p = dropout_p if task.dropout_p is None else task.dropout_p
        head = HEADS[task.type_name]
        by_task[task.name] = head(encoder.hidden_size, task.kind.width(task), p, stream_seed(seed, "head", task.name))
    model = MTDNN(encoder, by_task)
    if weights:
        model.head_origins |= _load_heads(model, folder, tasks, keep_pooler=anew, keep_heads=heads == "new")
    return model


def holds_pooler(init_checkpoint: str) -> bool:
    """Whether this is an exported model with a pooler of ours, which lies among the heads."""
    try:
        with safe_open(Path(exported_model(init_checkpoint)) / HEADS_FILE, "pt") as saved:
            return any(name.startswith(POOLER_PREFIX) for name in saved.keys())  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):  # a damaged one is told when it is read
        return False


def _load_encoder(init_checkpoint: str, seed: int, weights: bool, new_pooler: float | None) -> Encoder:
    name = source = encoder_source(init_checkpoint)
    try:
        check_place(name)
        source = model_source(name, "--init_checkpoint")
        return load_encoder(source, seed, weights=weights, new_pooler=new_pooler)
    except ValueError as error:
        flag = "" if isinstance(error, InputError) else "--init_checkpoint: "
        cure = "" if weights else f"; {RESUME_CURE}"
        raise InputError(f"{flag}{error}{earlier_download(name, source)}{cure}") from None


def _load_heads(
    model: MTDNN, folder: Path, tasks: Sequence[TaskDef], *, keep_pooler: bool, keep_heads: bool
) -> dict[str, str]:
    """Take over the heads (and the pooler, if it is ours) of an exported model whose types and labels are the same.

    With `keep_pooler` the model's pooler stays as it is, with `keep_heads` its heads do.

    Returns:
        What became of each task's head, in words; {} where there is no exported model.

    Raises:
        InputError: what lies there is not what `export_model` writes for this encoder and these labels.
    """
    if not (folder / HEADS_FILE).is_file():
        return {}
    try:
        saved = load_file(folder / HEADS_FILE)
        raw_tasks = json.loads((folder / TASKS_FILE).read_bytes())
        before = {name: (raw["task_type"], raw["labels"]) for name, raw in raw_tasks.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"--init_checkpoint: {folder} is not a whole exported model: {reason}") from None
    same = [task for task in tasks if before.get(task.name) == _answers(task) and not keep_heads]
    taken = (*([] if keep_pooler else [POOLER_PREFIX]), *(f"heads.{task.name}." for task in same))
    state = {name: value for name, value in model.state_dict().items() if name.startswith(taken)}
    known = (POOLER_PREFIX, *(f"heads.{name}." for name in before))
    bad = [f"{name} belongs to none of its tasks" for name in saved if not name.startswith(known)]
    for name in sorted(state.keys() | {name for name in saved if name.startswith(taken)}):
        wanted, found = (_kind(tensors.get(name)) for tensors in (state, saved))
        bad += [f"{name} is {found}, expected {wanted}"] * (wanted != found)
    raise_all([f"--init_checkpoint: {folder / HEADS_FILE}: {problem}" for problem in bad[:10]])
    for task in same:
        saved |= _rescaled(saved, task, 1 / task.label_std, -task.label_mean / task.label_std)
    for name, value in state.items():
        value.copy_(saved[name])
    if keep_heads:
        return {task.name: "new head (--heads new)" for task in tasks}
    return {task.name: _origin(task, before, folder) for task in tasks}


def _rescaled(state: Mapping[str, Tensor], task: TaskDef, factor: float, offset: float) -> dict[str, Tensor]:
    """The tensors of a regression's head for other units, by their names in the state; {} where these are the same."""
    if not task.is_scaled:
        return {}
    prefix = f"heads.{task.name}."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    found = HEADS[task.type_name].rescaled(own, factor, offset)
    return {prefix + name: value for name, value in found.items()}


def _answers(task: TaskDef) -> tuple[str, list[str]]:
    """What a task's head answers, as `tasks.json` has it: the type of the task, and its labels in order."""
    return task.to_dict()["task_type"], list(task.label_names)


def _origin(task: TaskDef, saved: dict[str, tuple[str, list[str]]], folder: Path) -> str:
    """Whether a task's head is one of the exported model's, and why not."""
    if task.name not in saved:
        return f"new head ({folder} has heads for {listed(list(saved))})"
    before, now = saved[task.name], _answers(task)
    if before == now:
        return f"head taken over from {folder}"
    if before[0] != now[0]:
        return f"new head (in {folder} it is of type {before[0]}; here {now[0]})"
    labels = (f"labels are {listed(names)}" if names else "label is a number" for _, names in (before, now))
    return f"new head (in {folder} its {next(labels)}; here its {next(labels)})"


def _kind(tensor: Tensor | None) -> str:
    """What a saved tensor must agree in, in words; of any float type, as they all become float32."""
    if tensor is None:
        return "not there"
    return f"{'float' if tensor.is_floating_point() else tensor.dtype} {tuple(tensor.shape)}"


def exported_state(folder: Path, names: Collection[str]) -> dict[str, Tensor]:
    """The tensors of these names of a model that `export_model` wrote, on the CPU.

    The encoder's folder has others beside, see `module.headless`.

    Raises:
        StoppedError: it is no longer whole.
    """
    if reason := damage(folder, (HEADS_FILE, TASKS_FILE)):
        raise StoppedError(f"{folder} is damaged ({reason}), so what it holds cannot be scored")
    encoder: dict[str, Tensor] = {}
    for file in sorted((folder / ENCODER).glob("*.safetensors")):  # large models have several
        encoder |= {ENCODER_PREFIX + name: value for name, value in load_file(file).items()}
    found = encoder | load_file(folder / HEADS_FILE)
    return {name: value for name, value in found.items() if name in names}


def exported_tasks(folder: Path) -> dict[str, TaskDef]:
    """The tasks of a model that `export_model` wrote and that is whole, by name."""
    raw = json.loads((folder / TASKS_FILE).read_bytes())
    return {name: TaskDef.from_dict(name, definition) for name, definition in raw.items()}


def export_model(
    model: MTDNN,
    state: dict[str, Tensor],
    folder: Path,
    tasks: Sequence[TaskDef],
    tokenizer: PreTrainedTokenizerBase | None,
) -> None:
    """Write a model to use elsewhere: a Hugging Face encoder folder, the rest, and the tasks with their label names.

    `state` is the model's state dict, with whole tensors where the model itself is sharded. The rest are the heads, and
    the pooler where it is ours. A regression's head gives numbers in the labels' units from here on, whatever it was
    trained on. `build_model` takes such a folder up again.
    """
    encoder = {n.removeprefix(ENCODER_PREFIX): v for n, v in state.items() if n.startswith(ENCODER_PREFIX)}
    with quiet_transformers():
        model.encoder.model.save_pretrained(folder / ENCODER, state_dict=encoder | stoppers(model.encoder.model))
    sign(folder / ENCODER)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder / ENCODER)
    for task in tasks:
        state = state | _rescaled(state, task, task.label_std, task.label_mean)
    rest = {name: value.contiguous() for name, value in state.items() if not name.startswith(ENCODER_PREFIX)}
    save_file(rest, folder / HEADS_FILE)
    plain = [replace(task, label_mean=0.0, label_std=1.0) for task in tasks]
    definitions = {task.name: task.to_dict() | {"labels": list(task.label_names)} for task in plain}
    (folder / TASKS_FILE).write_text(json.dumps(definitions, indent=1) + "\n", encoding="utf-8")
