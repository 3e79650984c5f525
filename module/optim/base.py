"""The book-keeping that all optimizers here share: groups, lazy state, aligned tensor lists, saving and loading.

A subclass names its state (`_state_names`), checks its own options (`_check`), updates aligned lists (`_update`) and
names the kernel of the same mathematics (`_launch`). The mathematics itself lives in functions over lists, in
`kernels/` (Triton) and in `compiled/` (Numba).
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo  # as torch.compiler.disable, but without importing the compiler
from torch.optim.optimizer import Optimizer, ParamsT

from ..kernels.mode import WARM_UP
from .backends import BACKENDS, described, load_kernels, pick_backend
from .buckets import Bucket, Gradients, Lists, arithmetic_dtype, bucket_limit
from .sharding import is_sharded, sharded_like, sharding_of, whole
from .summary import Sensitive, TensorSummary, sample_magnitudes, summarize

if TYPE_CHECKING:
    from .backends import Launcher

Group = dict[str, Any]  # as torch has it: "params" and the options by name

CPU = torch.device("cpu")
NARROW_DTYPES = (torch.bfloat16, torch.float16)
KEPT_LAYOUTS = 32
STATE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Layout:
    """Buckets that are kept from step to step, and what their parameters looked like when they were put together.

    It keeps no tensor alive: who drops or replaces parameters or state, as to move them to another device for a while,
    gets their memory back at once.
    """

    def __init__(self, sight: list[Any], buckets: list[Bucket]) -> None:
        self.sight = sight
        self._kept = [(bucket.with_tensors([]), [weakref.ref(one) for one in bucket.tensors()]) for bucket in buckets]

    def buckets(self) -> list[Bucket] | None:
        """Return the buckets with their tensors; None where one of these is gone."""
        found = []
        for bucket, references in self._kept:
            tensors = [tensor for reference in references if (tensor := reference()) is not None]
            if len(tensors) < len(references):
                return None
            found.append(bucket.with_tensors(tensors))
        return found


class ListOptimizer(Optimizer):
    """Base of the optimizers over tensor lists; not to be used by itself.

    Follows `torch.optim` in everything a user sees. Beyond it: state and arithmetic are float32 for bf16 and fp16
    parameters, also after `load_state_dict`, and each parameter counts its own steps: those in which it had a gradient.
    A step reads nothing back from a GPU, but for `found_inf` with the list-wise backend: the step counters are kept
    where they are used, on the CPU for that backend and on the device for the kernels. Inside of `torch.compile` a step
    runs as it is: the lists and kernels are what a compiler would make of it, and the noise must be the same.

    All subclasses take: `backend`, "foreach" (lists of tensors), "triton" or "numba" (kernels, RuntimeError where they
    cannot be used) or "auto" (Triton's on a GPU and Numba's on a CPU where they can be used, else lists); `capturable`,
    whether steps may be captured in a CUDA graph, which needs Triton, and `lr` as a tensor where it is to change;
    `state_dtype`, "float32" or "bfloat16" for the averages that forget fast; `master_weights`, whether bf16 and fp16
    parameters get a float32 copy in the state, which is updated and rounded into them (so weights are to be loaded
    together with the state).
    """

    # State that may be stored in bf16: averages that forget within some ten steps. The slow ones would stand still
    # there: 0.999 u rounds to u.
    _narrow_state: ClassVar[frozenset[str]] = frozenset({"exp_avg", "sensitivity"})
    averages: ClassVar[tuple[str, ...]] = ()
    """The names of the averages that the base step keeps of every parameter."""

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._check(defaults)
        self._layouts: dict[Any, Layout] = {}
        self._kernels: dict[str, Launcher] = {}  # what launchers keep from step to step, made when first needed
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError where an option, a default or a group's own, is out of range."""
        lr, eps, weight_decay = options["lr"], options["eps"], options["weight_decay"]
        if isinstance(lr, Tensor):
            if lr.numel() != 1:
                raise ValueError("Tensor lr must be 1-element")
            if lr.device.type != "cpu" and not options["capturable"]:
                raise ValueError("lr as a Tensor on a GPU needs capturable=True")
            lr = lr.item() if lr.device.type == "cpu" else 0.0
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr:g}")
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        if len(options["betas"]) != 2:
            raise ValueError(f"Invalid betas: {options['betas']}; there are two")
        for i, beta in enumerate(options["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        for name, choices in (("backend", BACKENDS), ("state_dtype", tuple(STATE_DTYPES))):
            if options[name] not in choices:
                raise ValueError(f"Invalid {name}: {options[name]!r}; choose from {', '.join(choices)}")

    def _state_names(self, group: Group) -> tuple[str, ...]:
        """Return the names of the per-element averages that a step of this group needs."""
        raise NotImplementedError

    def backends(self) -> list[str]:
        """Return what steps are computed with, with versions: ["foreach", "numba 0.68.1"].

        Each backend rounds in its own way, and lists draw other noise than kernels do. RuntimeError where a step would
        raise it.
        """
        found = {self._pick(group, param) for group in self.param_groups for param in group["params"]}
        return sorted(described(backend) for backend in found)

    def _pick(self, group: Group, param: Tensor) -> str:
        """Return the backend of a parameter; RuntimeError where what is asked for cannot be used."""
        return pick_backend(group["backend"], param, **_how(group))

    def _prepare(self, lists: Lists, group: Group) -> None:
        """Do what needs whole tensors before the elementwise update; nothing, for most."""

    def _update(self, lists: Lists, group: Group) -> None:
        """Update `lists.params` and the state in place, element by element."""
        raise NotImplementedError

    def _launch(self, kernels: Launcher, bucket: Bucket, gradients: Gradients, group: Group) -> None:
        """Do the whole step with Triton or Numba."""
        raise NotImplementedError

    @_disable_dynamo
    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        closure: Callable[[], float] | None = None,
        *,
        grad_factor: float | Tensor | None = None,
        found_inf: Tensor | None = None,
    ) -> float | None:
        """Perform one step over all parameters that have a gradient.

        Args:
            closure: reevaluates the model and returns the loss, as in `torch.optim`.
            grad_factor: multiplies all gradients, which stay as they are: clipping by global norm with
                `min(1, max_norm / norm)` without a pass over memory of its own. A 0-dim tensor on the parameters'
                device is not read back.
            found_inf: a tensor of one element: where it is not zero, a gradient is not finite, and the step changes
                neither parameters nor averages nor counters. Triton's kernels look at it on the device, the other
                backends read it back, once a step.

        Raises:
            RuntimeError: a sparse gradient, complex or integer parameters; `backend="triton"` or `capturable=True`
                where Triton cannot be used (the message says why); a capture in a CUDA graph without `capturable`.
        """
        if not torch.compiler.is_compiling() and torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            self._check_capture()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        position, grad_factor, found_inf = 0, whole(grad_factor), whole(found_inf)
        if isinstance(grad_factor, Tensor):
            grad_factor = grad_factor.reshape(())
        if found_inf is not None:
            found_inf = torch.as_tensor(found_inf).reshape(())

        @functools.cache  # Triton's kernels skip by themselves; elsewhere the host has to know, and reads it once
        def skipped() -> bool:
            return found_inf is not None and bool(found_inf.item())

        for number, group in enumerate(self.param_groups):
            for bucket in self._buckets(number, group, position):
                gradients = bucket.gradients(group, grad_factor, found_inf)
                if bucket.backend == "triton" or not skipped():
                    self._step_bucket(bucket, gradients, group)
            position += sum([param.numel() for param in group["params"]])
        return loss

    def _check_capture(self) -> None:
        """Raise RuntimeError where a CUDA graph would not record a whole step: state must be there before."""
        if not all(group["capturable"] for group in self.param_groups):
            raise RuntimeError("a step can be captured in a CUDA graph with capturable=True only")
        having = [param for group in self.param_groups for param in group["params"] if param.grad is not None]
        if not all("step" in self.state.get(param, {}) for param in having):
            raise RuntimeError(WARM_UP)

    def _step_bucket(self, bucket: Bucket, gradients: Gradients, group: Group) -> None:
        """Count the step and update: with the kernels, or list-wise, a piece at a time."""
        if isinstance(group["lr"], Tensor) and (not group["capturable"] or group["lr"].device != bucket.device):
            group = {**group, "lr": float(group["lr"])}
        if bucket.for_kernels:
            if bucket.backend not in self._kernels:
                self._kernels[bucket.backend] = load_kernels(bucket.backend)
            with torch.cuda.device_of(bucket.params[0]):  # type: ignore[no-untyped-call]  # where Triton launches
                self._launch(self._kernels[bucket.backend], bucket, gradients, group)
            return
        lists = bucket.lists(gradients)
        # A tensor for the addend, wrapped once: adding a number would wrap it again for each counter.
        torch._foreach_add_(bucket.counters, torch.tensor(1.0, device="cpu"), alpha=1.0)
        self._prepare(lists, group)
        for piece in lists.pieces():
            working = piece.working()
            self._update(working, group)
            piece.store(working)

    def _buckets(self, number: int, group: Group, position: int) -> list[Bucket]:
        """Return buckets over the group's parameters that have a gradient; `position` is of its first element.

        Those of an earlier step, where everything looks as it did then: with many small tensors, putting them together
        takes as long as a good part of the mathematics.
        """
        params = group["params"]
        grads = [param.grad for param in params]
        key = (number, tuple([grad is None for grad in grads]))  # in multi-task training, heads take turns
        layout = self._layouts.get(key)
        if layout is not None:
            kept = layout.buckets() if layout.sight == self._sight(group, grads, position) else None
            if kept is not None and all([bucket.in_step() for bucket in kept]):
                return kept
            self._layouts.clear()  # the others may hold what has been replaced, too
        buckets = self._collect(group, grads, position)
        if not any(bucket.sharding for bucket in buckets):  # what a shard's tensor is, is torch's to say each time
            if len(self._layouts) == KEPT_LAYOUTS:
                self._layouts.clear()
            self._layouts[key] = Layout(self._sight(group, grads, position), buckets)
        return buckets

    def _sight(self, group: Group, grads: list[Tensor | None], position: int) -> list[Any]:
        """Return what buckets depend on; tensors by identity, which is theirs for as long as they live."""
        having = [(param, grad) for param, grad in zip(group["params"], grads, strict=True) if grad is not None]
        kinds = [(id(p), p.dtype, p.device, p.shape, p.is_contiguous(), g.dtype, g.layout) for p, g in having]
        tensors = [id(value) for param, _ in having for value in self.state[param].values()]
        options = [group[name] for name in ("backend", "capturable", "state_dtype", "master_weights")]
        return [position, self._state_names(group), options, kinds, tensors]

    def _collect(self, group: Group, grads: list[Tensor | None], position: int) -> list[Bucket]:
        """Put buckets together, and what state is missing. A bucket for the kernels is as long as the group."""
        buckets: list[Bucket] = []
        filling: dict[Any, Bucket] = {}
        for place, (param, grad) in enumerate(zip(group["params"], grads, strict=True)):
            first, position = position, position + param.numel()
            if grad is None:
                continue
            if grad.is_sparse:
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
            backend = self._pick(group, param)
            kernels = backend != "foreach"
            state: dict[str, Tensor] = self.state[param]
            if "master_param" in state and not _has_master(param.dtype, group):
                del state["master_param"]  # out of date from this step on
            counter = state.get("step")
            counted_on = param.device if kernels else CPU
            if counter is None or counter.device != counted_on:
                state["step"] = counter = _counter(counter, counted_on)
            count = None if kernels else counter.item()  # the kernels look at each parameter's own
            sharding = sharding_of(param) if is_sharded(param) else None
            # Triton loads four elements at a time where all tensors of a launch have whole lots of them.
            whole_lots = backend == "triton" and param.numel() % 16 == 0
            key = (backend, param.device, param.dtype, grad.dtype, count, sharding, whole_lots)
            bucket = filling.get(key)
            if bucket is None or not bucket.has_room(param.numel()):
                state_dtypes = self._state_dtypes(param.dtype, group)
                bucket = filling[key] = Bucket(backend, bucket_limit(param.device), state_dtypes, sharding)
                buckets.append(bucket)
            bucket.add(place, first, param, state)
        return buckets

    def _state_dtypes(self, param_dtype: torch.dtype, group: Group) -> dict[str, torch.dtype]:
        """Return what each state tensor of parameters of a dtype is stored in."""
        wide = arithmetic_dtype(param_dtype)
        narrow = STATE_DTYPES[group["state_dtype"]] if wide == torch.float32 else wide
        dtypes = {name: narrow if name in self._narrow_state else wide for name in self._state_names(group)}
        if _has_master(param_dtype, group):
            dtypes["master_param"] = wide
        return dtypes

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as in `torch.optim`; its own options are checked like the constructor's."""
        if isinstance(param_group, dict):
            self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a copy of what `state_dict()` returned, keeping the averages' float32 and the counters exact.

        torch's own method casts every state tensor to its parameter's dtype, which would cut the averages of a bf16
        parameter to 8 bits. The groups' options come from `state_dict` too, the noise seed among them; those that it
        lacks, as torch's Adamax has no `perturb`, stay as this optimizer's groups have them.

        Raises:
            ValueError: an option is out of range, is one that this optimizer does not have (`maximize`, `amsgrad`), or
                the state is that of an optimizer with other averages; nothing has been loaded then.
        """
        final: dict[str, Any] = {}

        def look(_: Optimizer, loaded: dict[str, Any]) -> None:
            self._check_loaded(loaded)
            final.update(loaded)

        # Registered last, so it sees what the user's own hooks have made of the dict.
        with self.register_load_state_dict_pre_hook(look):
            super().load_state_dict(state_dict)
        numbers = iter([number for group in final["param_groups"] for number in group["params"]])
        for group in self.param_groups:
            for param in group["params"]:
                for name, value in final["state"].get(next(numbers), {}).items():
                    if name == "step":
                        count = torch.as_tensor(value, dtype=torch.float32, device="cpu")
                        self.state[param][name] = count.clone()
                    elif isinstance(value, Tensor):
                        # What this group does not keep, another may have kept: as wide as it came.
                        dtype = self._state_dtypes(param.dtype, group).get(name, value.dtype)
                        value = sharded_like(value, param)
                        self.state[param][name] = value.to(device=param.device, dtype=dtype, copy=True)

    def _check_loaded(self, loaded: dict[str, Any]) -> None:
        """Raise ValueError where `load_state_dict` would go on as something else than what was saved."""
        name = type(self).__name__
        for own, saved in zip(self.param_groups, loaded["param_groups"], strict=False):  # torch compares their numbers
            if lacking := [option for option in ("maximize", "amsgrad") if saved.get(option)]:
                raise ValueError(f"the state dict has {lacking[0]}=True, which {name} cannot do")
            self._check({**own, **saved})
        for state in loaded["state"].values():
            if state and (missing := [average for average in self.averages if average not in state]):
                raise ValueError(
                    f"the state dict is of another optimizer: {name} needs {', '.join(missing)}, and it has "
                    f"{', '.join(map(str, state))}"
                )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from a pickle or a state dict.

        Options that it lacks are those of the groups that are there, where a state dict is loaded, else the defaults.
        """
        before = vars(self).get("param_groups") or [{}] * len(state["param_groups"])
        super().__setstate__(state)
        self._layouts, self._kernels = {}, {}
        self.defaults.pop("differentiable", None)  # torch has just added it: no option of these optimizers
        for group, own in zip(self.param_groups, before, strict=True):
            for name, value in (self.defaults | own).items():
                group.setdefault(name, value)


def _has_master(param_dtype: torch.dtype, group: Group) -> bool:
    """Whether parameters of a dtype have a float32 copy in the state."""
    return group["master_weights"] and param_dtype in NARROW_DTYPES


def _how(group: Group) -> dict[str, Any]:
    """The options that a backend must serve."""
    return {name: group[name] for name in ("capturable", "state_dtype")}


def _counter(old: Tensor | None, device: torch.device) -> Tensor:
    """Return a step counter on this device, with the old one's count."""
    return torch.zeros((), dtype=torch.float32, device=device) if old is None else old.to(device)


class TwoAverageOptimizer(ListOptimizer):
    """A base step that keeps two averages of each element: Adamax's and AdamW's.

    `averages` names them in the state, `rule` is the mathematics over aligned lists, `kernel` the same in Triton.
    """

    averages: ClassVar[tuple[str, str]]
    rule: ClassVar[Callable[..., None]]
    kernel: ClassVar[str]

    def _state_names(self, group: Group) -> tuple[str, ...]:
        return self.averages

    def _update(self, lists: Lists, group: Group) -> None:
        type(self).rule(
            lists.params,
            lists.grads,
            *(lists.state[name] for name in self.averages),
            step=lists.step,
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )

    def _launch(self, kernels: Launcher, bucket: Bucket, gradients: Gradients, group: Group) -> None:
        kernels.descend(self.kernel, bucket, gradients, group, self.averages)


class SensitivityOptimizer(ListOptimizer):
    """Base of the optimizers that keep sensitivities: PATS and SAGE."""

    @torch.no_grad()
    def sensitivity_summary(self) -> dict[str, TensorSummary]:
        """Summarize each tensor that has sensitivities, by name or, where the groups have none, by `group.place`.

        Of tensors that share a name all but the first have their place behind it: `name (group.place)`.
        It costs a few passes over them and one read-back from the device: nothing beside a hundred steps. Empty before
        the first step. Every rank must call it when parameters are sharded.
        """
        return summarize(self._sensitive(), self._noise_scales)

    @torch.no_grad()
    def sensitivity_sample(self, size: int = 2**16) -> Tensor:
        """Return the magnitudes of some `size` sensitivities, spread evenly over all elements: for a histogram.

        One-dimensional, float32, on the CPU; of sharded tensors this rank's. Empty before the first step.
        """
        return sample_magnitudes(self._sensitive(), size)

    def _noise_scales(self, average: Tensor, mean: Tensor, size: int, group: Group) -> Tensor | None:
        """Return each element's σ, None where there is no noise; `mean` and `size` are the whole tensor's."""
        return None

    def _sensitive(self) -> list[Sensitive]:
        found: dict[str, Sensitive] = {}
        for number, group in enumerate(self.param_groups):
            # "names" are `encoder_param_groups`'s, "param_names" are torch's own, which all groups must have or none.
            names = group.get("names") or group.get("param_names")
            for i, param in enumerate(group["params"]):
                if "sensitivity" in self.state.get(param, {}) and param.numel():
                    name = names[i] if names else f"{number}.{i}"
                    name = f"{name} ({number}.{i})" if name in found else name
                    found[name] = Sensitive(name, param, self.state[param]["sensitivity"], group)
        return list(found.values())
