"""The book-keeping that all optimizers here share: groups, lazy state, aligned tensor lists, saving and loading.

A subclass names its state (`_state_names`), checks its own options (`_check`) and updates one bucket of aligned lists
(`_update`). The mathematics lives in functions over lists, so that a further backend is a further set of functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

# Elements that one call of the mathematics works on. On a CPU a bucket and its temporaries stay in cache from one
# operation to the next; on a GPU buckets are as large as saves launches, but bound the memory of the temporaries.
CPU_BUCKET_ELEMENTS = 2**17
DEVICE_BUCKET_ELEMENTS = 2**25

BACKENDS = ("auto", "foreach")  # what a step is computed with; "auto" takes the fastest that fits the parameters

Group = dict[str, Any]  # as torch has it: "params" and the options by name


@dataclass
class Bucket:
    """Aligned lists over parameters of one group with the same device, dtype and step count.

    `params` and `grads` are in the arithmetic's dtype: for bf16 and fp16 parameters they are float32 working copies.
    `step` is `t`, counted from 1 for the first update. `indices` count the parameters over all groups, in their order.
    """

    step: int
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    states: list[dict[str, Tensor]] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    elements: int = 0

    def state(self, name: str) -> list[Tensor]:
        """Return the named state tensors, aligned with `params`."""
        return [state[name] for state in self.states]


def state_dtype(param: Tensor) -> torch.dtype:
    """Return the dtype of a parameter's state and arithmetic: float32, or float64 for a float64 parameter."""
    if not param.is_floating_point():
        raise RuntimeError(f"only real floating-point parameters can be optimized, got {param.dtype}")
    return torch.float64 if param.dtype == torch.float64 else torch.float32


class ListOptimizer(Optimizer):
    """Base of the optimizers over tensor lists; not to be used by itself.

    Follows `torch.optim` in everything a user sees. Beyond it: state and arithmetic are float32 for bf16 and fp16
    parameters, also after `load_state_dict`, and each parameter counts its own steps: those in which it
    had a gradient. A step reads nothing back from a GPU: the step counters are kept on the CPU.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._check(defaults)
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError where an option, a default or a group's own, is out of range."""
        lr, eps, weight_decay = options["lr"], options["eps"], options["weight_decay"]
        if isinstance(lr, Tensor):
            raise ValueError("Invalid learning rate: a Tensor; it must be a float")
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i, beta in enumerate(options["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if options["backend"] not in BACKENDS:
            raise ValueError(f"Invalid backend: {options['backend']!r}; choose from {', '.join(BACKENDS)}")

    def _state_names(self, group: Group) -> tuple[str, ...]:
        """Return the names of the per-element state that `_update` needs for this group."""
        raise NotImplementedError

    def _update(self, bucket: Bucket, group: Group) -> None:
        """Update `bucket.params` and the state in place."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Perform one step over all parameters that have a gradient.

        `closure` reevaluates the model and returns the loss, as in `torch.optim`. Raises RuntimeError for a sparse
        gradient and for complex or integer parameters.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first_index = 0
        for group in self.param_groups:
            for bucket in self._collect(group, first_index):
                self._step_bucket(bucket, group)
            first_index += len(group["params"])
        return loss

    def _step_bucket(self, bucket: Bucket, group: Group) -> None:
        """Count the step and update, on float32 working copies where the parameters' own dtype is narrower."""
        # A tensor for the addend, wrapped once: adding a number would wrap it again for each counter.
        torch._foreach_add_(bucket.state("step"), torch.tensor(1.0), alpha=1.0)
        stored, dtype = bucket.params, state_dtype(bucket.params[0])
        bucket.grads = [grad if grad.dtype == dtype else grad.to(dtype) for grad in bucket.grads]
        if stored[0].dtype == dtype:
            self._update(bucket, group)
            return
        bucket.params = [param.to(dtype) for param in stored]
        self._update(bucket, group)
        torch._foreach_copy_(stored, bucket.params)

    def _collect(self, group: Group, first_index: int) -> list[Bucket]:
        """Return buckets over the group's parameters that have a gradient, with their state in place."""
        names = self._state_names(group)
        buckets: list[Bucket] = []
        filling: dict[tuple[torch.device, torch.dtype, int], Bucket] = {}
        for index, param in enumerate(group["params"], first_index):
            grad = param.grad
            if grad is None:
                continue
            if grad.is_sparse:
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
            state = self._state_of(param, names)
            step = int(state["step"].item()) + 1
            key, elements = (param.device, param.dtype, step), param.numel()
            limit = CPU_BUCKET_ELEMENTS if param.device.type == "cpu" else DEVICE_BUCKET_ELEMENTS
            bucket = filling.get(key)
            if bucket is None or bucket.elements + elements > limit:
                bucket = filling[key] = Bucket(step)
                buckets.append(bucket)
            bucket.params.append(param)
            bucket.grads.append(grad)
            bucket.states.append(state)
            bucket.indices.append(index)
            bucket.elements += elements
        return buckets

    def _state_of(self, param: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Return the parameter's state; what is missing starts at zero, on first sight."""
        state: dict[str, Tensor] = self.state[param]
        if "step" not in state:
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
        for name in names:
            if name not in state:
                state[name] = torch.zeros_like(param, dtype=state_dtype(param), memory_format=torch.preserve_format)
        return state

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as in `torch.optim`; its own options are checked like the constructor's."""
        if isinstance(param_group, dict):
            self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a copy of what `state_dict()` returned, keeping the averages' float32 and the counters on the CPU.

        torch's own method casts every state tensor to its parameter's dtype, which would cut the averages of a bf16
        parameter to 8 bits. The groups' options come from `state_dict` too, the noise seed among them.
        """
        final: dict[str, Any] = {}
        # Registered last, so it sees what the user's own hooks have made of the dict.
        with self.register_load_state_dict_pre_hook(lambda _, loaded: final.update(loaded)):
            super().load_state_dict(state_dict)
        saved = (number for group in final["param_groups"] for number in group["params"])
        params = (param for group in self.param_groups for param in group["params"])
        for number, param in zip(saved, params, strict=True):
            for name, value in final["state"].get(number, {}).items():
                if name == "step":
                    count = torch.as_tensor(value, dtype=torch.float32, device="cpu")
                    self.state[param][name] = count.clone()
                elif isinstance(value, Tensor):
                    self.state[param][name] = value.to(device=param.device, dtype=state_dtype(param), copy=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from a pickle or a state dict; options that an older one lacks take their defaults."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)


class TwoAverageOptimizer(ListOptimizer):
    """A base step that keeps two averages of each element: Adamax's and AdamW's.

    `averages` names them in the state, `rule` is the mathematics over aligned lists.
    """

    averages: ClassVar[tuple[str, str]]
    rule: ClassVar[Callable[..., None]]

    def _state_names(self, group: Group) -> tuple[str, ...]:
        return self.averages

    def _update(self, bucket: Bucket, group: Group) -> None:
        type(self).rule(
            bucket.params,
            bucket.grads,
            *map(bucket.state, self.averages),
            step=bucket.step,
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )
