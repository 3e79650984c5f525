"""One update of the model: forward, backward, accumulate, clip, check, optimizer, schedule, in that order."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.lr_scheduler import LRScheduler

from module.losses import LOSSES
from module.optim import ListOptimizer
from mt_dnn.batching import Collator
from mt_dnn.config import LoopConfig
from mt_dnn.data import TaskData
from mt_dnn.model import MTDNN
from mt_dnn.sampling import Draw


class NonFiniteError(RuntimeError):
    """A loss or gradient norm is not finite. The update was not applied."""


class Precision:
    """Autocast and loss scaling for float32, bfloat16 or float16."""

    def __init__(self, device: torch.device, *, fp16: bool, bf16: bool) -> None:
        self.device = device
        self.dtype = torch.float16 if fp16 else torch.bfloat16 if bf16 else torch.float32
        self.scaler = torch.amp.GradScaler(device.type, enabled=fp16)

    @property
    def autocast(self) -> AbstractContextManager[Any]:
        """The context for forward passes."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)


class Updated(NamedTuple):
    """What an update leaves behind for the log: mean loss over its rows (a tensor on the device), gradient norm."""

    loss: Tensor
    grad_norm: float


class Updater:
    """Applies updates to a model.

    Args:
        model: the model to train.
        optimizer: acts on gradients after clipping.
        schedule: sets the learning rate of the next update.
        collator: builds the batches.
        precision: autocast and loss scaling.
        data: training rows by task.
        config: batch size and clipping.
    """

    def __init__(
        self,
        model: MTDNN,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler,
        collator: Collator,
        precision: Precision,
        data: dict[str, TaskData],
        config: LoopConfig,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.collator = collator
        self.precision = precision
        self.data = data
        self.config = config
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def __call__(self, draw: Draw, step: int) -> Updated:
        """Apply the update `draw`, number `step` of the run.

        Raises:
            NonFiniteError: the loss or the gradient norm is not finite; model and optimizer are as before.
        """
        self.model.train()
        loss = self._backward(draw)
        self.precision.scaler.unscale_(self.optimizer)
        grads = [p.grad for p in self._parameters if p.grad is not None]
        norm = get_total_norm(grads, foreach=True)
        # The one read-back of a step: what is not finite must not be applied, so the host has to know.
        loss_value, grad_norm = torch.stack((loss, norm)).tolist()
        self._check(loss_value, grad_norm, draw, step)
        limit = self.config.global_grad_clipping
        clips = 0 < limit < grad_norm < math.inf  # below the limit nothing changes, and a pass over memory is saved
        if clips and isinstance(self.optimizer, ListOptimizer):
            self.precision.scaler.step(self.optimizer, grad_factor=limit / (grad_norm + 1e-6))
        else:
            if clips:
                clip_grads_with_norm_(grads, limit, norm, foreach=True)
            self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        if math.isfinite(grad_norm):  # else float16's scaler has skipped the step
            self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Updated(loss, grad_norm)

    def _backward(self, draw: Draw) -> Tensor:
        """Accumulate the gradients of the mean loss over all rows of the update; returns that loss."""
        item = self.data[draw.task]
        criterion = LOSSES[item.task.loss]
        total = torch.zeros((), device=self.precision.device)
        for start in range(0, len(draw.rows), self.config.batch_size):
            rows = draw.rows[start : start + self.config.batch_size]
            batch = self.collator(item.train, rows).to(self.precision.device)
            with self.precision.autocast:
                logits = self.model(draw.task, batch.inputs)
                loss = criterion(logits, batch.labels).sum() / len(draw.rows)
            self.precision.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _check(self, loss: float, grad_norm: float, draw: Draw, step: int) -> None:
        """Refuse a non-finite update. With float16 an infinite norm is the scaler's own signal, and it skips."""
        if math.isfinite(loss) and (math.isfinite(grad_norm) or self.precision.scaler.is_enabled()):
            return
        self.optimizer.zero_grad(set_to_none=True)
        uids = _uids(self.data[draw.task], draw.rows)
        raise NonFiniteError(
            f"update {step}, task {draw.task}: loss {loss}, gradient norm {grad_norm}; the update was not applied. "
            f"uids: {uids}"
        )


def _uids(item: TaskData, rows: np.ndarray) -> str:
    return ", ".join(item.train.uids[i] for i in rows)
