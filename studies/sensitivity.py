"""How sensitive a trained model's parameters are: the mean over training batches of |θ·∇L|, dropout off.

    python -m studies.sensitivity --study study/                        # all finished runs of a study
    python -m studies.sensitivity --checkpoint runs/rte,runs/rte-pats   # any runs of train.py

One measure for every method, whether or not its optimizer keeps sensitivities: the same batches (they do not depend
on the run's seed; a run on a share of the data has those of its share), the loss that training has (the mean over a
batch's rows, or words), and the tensors that PATS would perturb. Weights are those after the last epoch, as scores in
tables are: how long a model was trained changes its sensitivities, and best epochs differ from run to run.
Each run's folder gets `sensitivity.safetensors` and `sensitivity.json` (see `sensitivity_record`); what was measured
already with the same settings and weights is left as it is, and so is a record whose weights are gone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, StoppedError, entry_point, raise_all
from data_utils.fingerprints import MANIFEST, damage, sha256_of
from data_utils.strict import read_yaml_mapping
from module.optim import encoder_param_groups
from module.optim.sensitivity import sensitivity_
from mt_dnn.batching import Collator, pick_packing
from mt_dnn.config import TrainConfig, load_config
from mt_dnn.data import TaskData, check_data, load_data, own_tokenizer
from mt_dnn.distributed import ALONE
from mt_dnn.model import HEADS_FILE, MTDNN, TASKS_FILE, build_model
from mt_dnn.objectives import task_loss
from mt_dnn.precision import pick_device
from mt_dnn.record.checkpoint import Checkpoints
from mt_dnn.record.run_log import say
from mt_dnn.sampling import MultiTaskSampler, SamplingConfig
from mt_dnn.setup import make_deterministic
from mt_dnn.subset import share_of
from mt_dnn.tasks import choose_tasks
from studies.sensitivity_record import SUMMARY_FILE, Sensitivities
from studies.study import Status, Study
from studies.suite import ROOT

BATCHES_SEED = 1  # of which rows make each batch


@dataclass(frozen=True)
class Measurement:
    """How to measure a run.

    Attributes:
        which: `last`, the newest checkpoint's weights, or `best`, those in `best/`, whose epochs differ between runs.
        batch_size: rows a batch; the gradient's noise, and with it the measure, depends on it.
        max_rows: take at most so many rows of each task, stratified, at least one of each class; None: all.
        data_dir: folder of the features; None: the one that the run had.
        device: as train.py's.
    """

    which: str = "last"
    batch_size: int = 32
    max_rows: int | None = None
    data_dir: str | None = None
    device: str = "auto"

    def run(self, folder: Path) -> Sensitivities:
        """What is kept of a run's sensitivities; raises what `tensors` does."""
        tensors = {name: value.numpy() for name, value in self.tensors(folder).items()}
        return Sensitivities.of(tensors, self.settings(folder))

    def tensors(self, folder: Path) -> dict[str, Tensor]:
        """Measure a run of train.py: the sensitivity of each parameter, by tensor, shaped as it is, on the CPU.

        Raises:
            InputError: not a run's folder, the model is damaged, or its data are not there or are others.
            StoppedError: a sensitivity is not finite.
        """
        config = self._config(folder)
        self._weights(folder)  # a run without any is said to be one before its data are read
        device = pick_device(config.loop, ALONE)
        if device.type == "cuda":
            make_deterministic()
        trained, _ = choose_tasks(config.data)
        data = self._rows(load_data(config.data, trained, tested=()))
        _check_best(folder / "best", data)
        model = build_model(str(folder / "best"), trained, dropout_p=0.0, seed=BATCHES_SEED)
        tokenizer = own_tokenizer(str(folder / "best"))
        check_data(config.data, data, model.encoder, tokenizer)
        if self.which == "last":
            _load_last(model, folder)
        packing = pick_packing(config.data.packing, model.encoder)
        longest = config.data.max_seq_len
        collator = Collator.for_encoder(model.encoder, packing=packing, max_length=longest, tokenizer=tokenizer)
        tensors = mean_sensitivity(model.to(device), data, collator, self.batch_size, label=str(folder))
        if bad := [name for name, value in tensors.items() if not value.isfinite().all()]:
            raise StoppedError(f"{folder}: sensitivities that are not finite, of {len(bad)} tensors such as {bad[0]}")
        return {name: value.cpu() for name, value in tensors.items()}

    def settings(self, folder: Path) -> dict[str, Any]:
        """What the outcome depends on; InputError where the run has no such weights."""
        return self._choices() | {"weights_sha256": sha256_of(self._weights(folder))}

    def is_done(self, folder: Path) -> bool:
        """Whether the run has this measurement already; records without weights, as studies keep them, count as well.

        Raises:
            InputError: the run has neither.
        """
        before = Sensitivities.load(folder)
        if before is None:
            return False
        if self._newest_weights(folder) is None and self._choices().items() <= before.settings.items():
            return True
        return before.settings == self.settings(folder)

    def _choices(self) -> dict[str, Any]:
        return {
            "which": self.which,
            "batch_size": self.batch_size,
            "max_rows": self.max_rows,
            "data_dir": self.data_dir,
        }

    def _newest_weights(self, folder: Path) -> Path | None:
        """The list of the hashes of the model's files, where the run has such weights."""
        if self.which == "last":
            return max((folder / "checkpoints").glob(f"step_????????/{MANIFEST}"), default=None)
        best = folder / "best" / MANIFEST
        return best if best.is_file() else None

    def _weights(self, folder: Path) -> Path:
        """`_newest_weights`; InputError where the run has none."""
        if (weights := self._newest_weights(folder)) is not None:
            return weights
        if self.which == "last":
            raise InputError(f"--which last: {folder} has no checkpoint; --which best needs none")
        raise InputError(f"{folder}: no best/{MANIFEST}; expected the --output_dir of a train.py run")

    def _config(self, folder: Path) -> TrainConfig:
        """The run's settings, for one process and in float32 whatever it was trained in."""
        if not (folder / "config.yaml").is_file():
            raise InputError(f"{folder}: no config.yaml; expected the --output_dir of a train.py run")
        flags = [f"--config={folder / 'config.yaml'}", f"--device={self.device}"]
        flags += ["--no-fp16", "--no-bf16", "--no-fsdp", "--no-dry_run"]
        saved = read_yaml_mapping(folder / "config.yaml")
        paths = {flag: str(saved[flag]) for flag in ("data_dir", "task_def") if flag in saved}
        paths |= {} if self.data_dir is None else {"data_dir": self.data_dir}
        flags += [f"--{flag}={_found(path)}" for flag, path in paths.items()]
        return load_config(flags, description="")

    def _rows(self, data: dict[str, TaskData]) -> dict[str, TaskData]:
        if self.max_rows is None:
            return data
        shares = {name: min(1.0, self.max_rows / len(item.train)) for name, item in data.items()}
        return {
            name: TaskData(
                item.task, tuple(share_of(file, shares[name], BATCHES_SEED) for file in item.train_files), {}
            )
            for name, item in data.items()
        }


def _found(path: str) -> str:
    """A path of a run; a study's runs started in the repository's root, wherever this was started."""
    return path if os.path.exists(path) or not (ROOT / path).exists() else str(ROOT / path)


def _check_best(best: Path, data: dict[str, TaskData]) -> None:
    """Raise `InputError` for a model that is not whole, or whose heads are for other labels than the data's."""
    if reason := damage(best, required=(HEADS_FILE, TASKS_FILE)):
        raise InputError(f"{best}: not a whole exported model ({reason})")
    saved = json.loads((best / TASKS_FILE).read_bytes())
    raise_all(
        [
            f"{best}: no head for {name} with the labels that --task_def gives it now"
            for name, item in data.items()
            if saved.get(name, {}).get("labels") != list(item.task.label_names)
        ]
    )


def _load_last(model: MTDNN, folder: Path) -> None:
    checkpoint = Checkpoints(folder / "checkpoints", keep=1).newest(say)
    if checkpoint is None:
        raise InputError(f"--which last: {folder} has no checkpoint; --which best needs none")
    try:
        model.load_state_dict(checkpoint.tensors["model"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{checkpoint.folder} does not fit {folder / 'best'}: {reason}") from None


def mean_sensitivity(
    model: MTDNN, data: dict[str, TaskData], collator: Collator, batch_size: int, label: str = ""
) -> dict[str, Tensor]:
    """The mean over one pass of training batches of |θ·∇L|, by name of the tensors that PATS would perturb.

    Args:
        model: on the device to compute on; it is left in evaluation mode, with other parameters frozen.
        data: the training rows of each task; a batch holds one task's.
        collator: builds the batches.
        batch_size: rows a batch; the last one of a task may be smaller, and counts as much.
        label: shown beside the progress bar.
    """
    groups = [group for group in encoder_param_groups(model) if group["perturb"]]
    names = [name for group in groups for name in group["names"]]
    params = [param for group in groups for param in group["params"]]
    model.eval().requires_grad_(False)
    for param in params:
        param.requires_grad_(True)
    rows = {name: len(item.train) for name, item in data.items()}
    sampler = MultiTaskSampler(rows, batch_size, SamplingConfig(), BATCHES_SEED)
    averages = [torch.zeros_like(param) for param in params]
    draws = tqdm(sampler.epoch(0), desc=label, leave=False, disable=None)
    for number, draw in enumerate(draws, start=1):
        item = data[draw.task]
        batch = collator(item.train, draw.rows).to(params[0].device)
        loss = task_loss(model, item.task, batch) / collator.units(item.train, draw.rows)
        grads = torch.autograd.grad(loss, params, materialize_grads=True)
        with torch.no_grad():
            # The optimizers' own measure; with this β the moving average is the mean of all batches so far.
            sensitivity_(averages, params, list(grads), beta=1 - 1 / number)
    return dict(zip(names, averages, strict=True))


def _folders(checkpoint: str | None, study: str | None) -> list[Path]:
    """The runs to measure; InputError where there is none."""
    if checkpoint is not None:
        folders = [Path(part.strip()) for part in checkpoint.split(",") if part.strip()]
        if not folders:
            raise InputError(f"--checkpoint {checkpoint!r}: expected folders of runs, separated by commas")
        return list(dict.fromkeys(folders))
    outcomes = Study.load(Path(study or "")).outcomes()
    finished = [outcome.folder for outcome in outcomes if outcome.status is Status.DONE]
    if not finished:
        raise InputError(f"--study {study}: none of its {len(outcomes)} runs is finished; see studies.sweep")
    if len(finished) < len(outcomes):
        print(f"{len(outcomes) - len(finished)} of {len(outcomes)} runs are not finished and are left out")
    return finished


def _parser() -> Parser:
    parser = Parser(
        prog="python -m studies.sensitivity",
        description="Measure the sensitivities of trained models' parameters, by one measure for all methods.",
        allow_abbrev=False,
    )
    runs = parser.add_mutually_exclusive_group(required=True)
    runs.add_argument("--checkpoint", metavar="RUN_DIR[,RUN_DIR...]", help="the --output_dirs of train.py runs")
    runs.add_argument("--study", type=path_text, help="a study's folder: all of its finished runs")
    parser.add_argument(
        "--which", choices=("last", "best"), default="last", help="the newest checkpoint or best/ (default: last)"
    )
    parser.add_argument("--data_dir", "--data", type=path_text, help="folder of features (default: each run's own)")
    parser.add_argument("--batch_size", type=int, default=32, help="rows a batch; same for all runs (default: 32)")
    parser.add_argument("--max_rows", type=int, help="at most so many rows of each task (default: all)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    return parser


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when done, 2 when a run or its data cannot be read."""
    args = _parser().parse_args(argv)
    raise_all(
        [
            f"--{name} must be at least 1, got {value}"
            for name, value in (("batch_size", args.batch_size), ("max_rows", args.max_rows))
            if value is not None and value < 1
        ]
    )
    measurement = Measurement(args.which, args.batch_size, args.max_rows, args.data_dir, args.device)
    for folder in _folders(args.checkpoint, args.study):
        if measurement.is_done(folder):
            print(f"measured before: {folder / SUMMARY_FILE}")
            continue
        found = measurement.run(folder)
        found.save(folder)
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in found.summary().items() if name != "elements")
        print(f"written: {folder / SUMMARY_FILE}: {found.elements:,} elements, {numbers}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
