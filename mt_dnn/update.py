"""One update of the model: forward, backward, accumulate, clip, check, optimizer, schedule, in that order."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.lr_scheduler import LRScheduler

from module.optim import ListOptimizer
from module.optim.sharding import whole
from mt_dnn.batching import Collator
from mt_dnn.data import TaskData
from mt_dnn.objectives import Objective
from mt_dnn.parallel import Parallel
from mt_dnn.precision import Precision
from mt_dnn.sampling import Draw
from mt_dnn.sections import LoopConfig


class Updated(NamedTuple):
    """What an update leaves behind for the log.

    `loss` is the mean over its units of what is minimised (a tensor on the device). `problem` is why it was not
    applied, "" if it was; `overflow` is float16's own way of finding its scale, and no problem.
    """

    loss: Tensor
    grad_norm: float
    problem: str = ""
    overflow: bool = False


class PendingUpdate(NamedTuple):
    """An update that the host has not looked at; numbers on the device tell whether it was applied."""

    draw: Draw
    step: int
    loss: Tensor
    grad_norm: Tensor


class Updater:
    """Applies updates to a model.

    Args:
        parallel: the model to train.
        optimizer: acts on gradients after clipping.
        schedule: sets the learning rate of the next update.
        collator: builds the batches.
        precision: autocast and loss scaling.
        data: training rows by task.
        config: batch size and clipping.
        objective: what is minimised.
    """

    def __init__(
        self,
        parallel: Parallel,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler,
        collator: Collator,
        precision: Precision,
        data: dict[str, TaskData],
        config: LoopConfig,
        objective: Objective,
    ) -> None:
        self.parallel = parallel
        self.optimizer = optimizer
        self.schedule = schedule
        self.collator = collator
        self.precision = precision
        self.data = data
        self.config = config
        self.objective = objective
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def __call__(self, draw: Draw, step: int) -> Updated:
        """Apply the update `draw`, number `step` of the run, unless its loss or gradient norm is not finite.

        Then model, optimizer and schedule are as before, and the result says why.
        """
        loss, norm = self._gradients(draw)
        # The one read-back of a step: what is not finite must not be applied, so the host has to know.
        loss_value, grad_norm = torch.stack((loss, norm)).tolist()
        overflow = self.precision.scaler.is_enabled() and not math.isfinite(grad_norm)  # the scaler skips by itself
        if not math.isfinite(loss_value) or not (math.isfinite(grad_norm) or overflow):
            self.optimizer.zero_grad(set_to_none=True)
            self.precision.scaler.update()
            return Updated(loss, grad_norm, self._problem(loss_value, grad_norm, draw, step))
        self._step(norm, grad_norm)
        if not overflow:
            self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Updated(loss, grad_norm, overflow=overflow)

    def apply_deferred(self, draw: Draw, step: int) -> PendingUpdate:
        """Apply the update `draw`, and read nothing back: one that is not finite is left out by the optimizer.

        Nothing but the schedule then differs from what `__call__` does: the update has had its turn there. For our own
        optimizers, without a loss scaler.
        """
        loss, norm = self._gradients(draw)
        found_inf = (~(loss.isfinite() & norm.isfinite())).to(torch.float32)
        limit, factor = self.config.global_grad_clipping, None
        if limit > 0:  # in float64, as on the host
            wide = norm.double()
            factor = torch.where(wide > limit, limit / (wide + 1e-6), 1.0).to(torch.float32)
        cast(ListOptimizer, self.optimizer).step(grad_factor=factor, found_inf=found_inf)
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return PendingUpdate(draw, step, loss, norm)

    def resolve(self, updates: Sequence[PendingUpdate]) -> list[Updated]:
        """Look at updates now: one read-back for all."""
        if not updates:
            return []
        numbers = torch.stack([torch.stack((one.loss, one.grad_norm)) for one in updates]).tolist()
        found = []
        for one, (loss, grad_norm) in zip(updates, numbers, strict=True):
            finite = math.isfinite(loss) and math.isfinite(grad_norm)
            problem = "" if finite else self._problem(loss, grad_norm, one.draw, one.step)
            found.append(Updated(one.loss, grad_norm, problem))
        return found

    def _gradients(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Make the gradients of the update's mean loss; returns that loss, and their norm over all parameters."""
        self.parallel.model.train()
        loss = self.parallel.ranks.sum_(self._backward(draw))
        self.precision.scaler.unscale_(self.optimizer)
        grads = [p.grad for p in self._parameters if p.grad is not None]
        return loss, whole(get_total_norm(grads, foreach=True))

    def _step(self, norm: Tensor, grad_norm: float) -> None:
        """Clip, and step the optimizer; below the limit nothing is clipped, and a pass over memory is saved."""
        limit = self.config.global_grad_clipping
        clips = 0 < limit < grad_norm < math.inf
        if clips and isinstance(self.optimizer, ListOptimizer):
            self.precision.scaler.step(self.optimizer, grad_factor=limit / (grad_norm + 1e-6))
        else:
            if clips:
                clip_grads_with_norm_(self._parameters, limit, norm, foreach=True)
            self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()

    def _backward(self, draw: Draw) -> Tensor:
        """Accumulate the gradients of the mean loss over the update's rows; returns this process's part of it."""
        starts = range(0, len(draw.rows), self.config.batch_size)
        units = self.collator.units(self.data[draw.task].train, draw.rows)
        total = torch.zeros((), device=self.precision.device)
        for start in starts:
            rows = draw.rows[start : start + self.config.batch_size]
            total += self._pass(draw, rows, units, last=start == starts[-1])
        return total

    def _pass(self, draw: Draw, rows: np.ndarray, units: int, *, last: bool) -> Tensor:
        """The objective's terms for this process's part of `rows`, each with its backward pass.

        Processes exchange gradients once an update: in the backward pass of the `last` rows' last term.

        Returns:
            Its part of the mean loss over the `units` of the whole update.
        """
        item, ranks = self.data[draw.task], self.parallel.ranks
        own = np.array_split(rows, ranks.size)[ranks.rank]
        # A rank without rows runs one row with weight 0, so that the collectives match.
        weight = 1.0 if len(own) else 0.0
        batch = self.collator(item.train, own if len(own) else rows[:1]).to(self.precision.device)
        total = torch.zeros((), device=self.precision.device)
        terms = self.objective(self.parallel.forward, item.task, batch)
        for number in range(1, self.objective.terms + 1):
            final = last and number == self.objective.terms
            with contextlib.nullcontext() if final else self.parallel.accumulating():
                with self.precision.autocast:  # forward passes alone
                    loss = next(terms)
                loss = loss * weight / units
                self.precision.scaler.scale(loss * ranks.size).backward()  # torch takes the mean over processes
            total += loss.detach()
        return total

    def _problem(self, loss: float, grad_norm: float, draw: Draw, step: int) -> str:
        uids = ", ".join(self.data[draw.task].train.uids[i] for i in draw.rows)
        return (
            f"update {step}, task {draw.task}: loss {loss}, gradient norm {grad_norm}; the update was not applied. "
            f"uids: {uids}"
        )
