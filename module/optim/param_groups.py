"""Parameter groups: which parameters PATS perturbs and SAGE adapts, which RecAdam pulls back, and which are decayed.

The paper perturbs "the parameters of all the encoder layers except the Layer Normalization layers" (Appendix A.2):
the attention and dense weights and biases. Embeddings, pooler and heads get the plain step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

LAYER_STACKS = r"(?:^|\.)(?:encoder\.layer|transformer\.layer|encoder\.albert_layer_groups|layers)$"
"""Names of the `ModuleList` of layers: BERT, RoBERTa, ELECTRA, MPNet, DeBERTa; DistilBERT; ALBERT; ModernBERT."""

COMMON_NAME = re.compile(r"(?:^|\.)layers$")
"""The one of these names that is also given to other lists, such as a head's: it counts where there is attention."""


def encoder_param_groups(
    model: nn.Module, weight_decay: float = 0.0, layers: str | None = None
) -> list[dict[str, Any]]:
    """Split a model's trainable parameters into groups for any optimizer of this package or of torch.

    Args:
        model: a Hugging Face model, or any module that holds one or several.
        weight_decay: for weights; biases and normalisation are never decayed, nor is anything else of one dimension,
            such as layer scales.
        layers: regular expression for the name of the `nn.ModuleList` of encoder layers, where it is not one of
            `LAYER_STACKS`. Without it a list called `layers` counts where its members have attention, and none below a
            `decoder`.

    Returns:
        Groups with `name`, `params`, `names`, `perturb` and `weight_decay`; each trainable parameter stands in
        exactly one, tied ones once, frozen ones in none. Groups without parameters are left out.

    Raises:
        ValueError: `layers` is not a regular expression, no stack of encoder layers was found, or all its parameters
            are frozen.
    """
    stacks = _stacks(model, layers)
    scales = {id(param) for module in model.modules() for param in _scales(module)}
    groups: dict[tuple[bool, bool], dict[str, nn.Parameter]] = {}
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        scale = id(param) in scales
        perturb = not scale and name.startswith(tuple(stacks))
        decay = weight_decay != 0 and not scale and not name.endswith("bias")
        groups.setdefault((perturb, decay or weight_decay == 0), {})[name] = param
    if not any(perturb for perturb, _ in groups):
        raise ValueError(_nothing_found(model, stacks))
    return [
        {
            "name": ("encoder layers" if perturb else "other") + ("" if decay else ", no decay"),
            "params": list(named.values()),
            "names": list(named),
            "perturb": perturb,
            "weight_decay": weight_decay if decay else 0.0,
        }
        for (perturb, decay), named in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]


def with_recall(groups: Sequence[dict[str, Any]], is_pretrained: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Split groups such as `encoder_param_groups` gives into what RecAdam pulls back and what gets its plain step.

    Args:
        groups: each with `name`, `params`, `names` and `perturb`.
        is_pretrained: says of a parameter's name whether its weights are pretrained ones, and not a new head's.

    Returns:
        Groups with `recall` True and False; those without parameters are left out.
    """
    split = []
    for group in groups:
        for recall in (True, False):
            places = [i for i, name in enumerate(group["names"]) if is_pretrained(name) == recall]
            if places:
                own = {key: [group[key][i] for i in places] for key in ("params", "names")}
                name = group["name"] if recall or group["perturb"] else f"{group['name']}, new"
                split.append(group | own | {"name": name, "recall": recall})
    return split


def _stacks(model: nn.Module, layers: str | None) -> list[str]:
    """What the names of the parameters in encoder layers begin with."""
    try:
        pattern = re.compile(LAYER_STACKS if layers is None else layers)
    except re.error as error:
        raise ValueError(f"layers={layers!r} is not a regular expression: {error}") from None
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and pattern.search(name)
    }
    if layers is None:
        found = {
            name: module
            for name, module in found.items()
            if "decoder" not in name.split(".") and (not COMMON_NAME.search(name) or _attends(module))
        }
    return [name + "." for name in found]


def _attends(module: nn.Module) -> bool:
    return any("att" in name.lower() for name, _ in module.named_modules())


def _scales(module: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of a module that scale and shift: normalisation of any make, layer scales, DoRA's magnitudes.

    Known by their shape, as classes are many: a matrix has two dimensions, so a `weight` of one is a scale, and its
    bias a shift; any other parameter of one dimension that is not called a bias is a scale, too.
    """
    own = dict(module.named_parameters(recurse=False))
    if "weight" in own and own["weight"].dim() < 2:
        yield from own.values()
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):  # over several dimensions
        yield from own.values()
    else:
        yield from (param for name, param in own.items() if param.dim() < 2 and not name.endswith("bias"))


def _nothing_found(model: nn.Module, stacks: Sequence[str]) -> str:
    kind = type(model).__name__
    if stacks:
        found = ", ".join(stack.rstrip(".") for stack in stacks)
        if any(param.requires_grad and name.startswith(tuple(stacks)) for name, param in model.named_parameters()):
            return (
                f"no matrices found in {found} of {kind}: its trainable parameters have one dimension, as where a "
                "wrapper has flattened or partitioned them; make the groups before the model is wrapped"
            )
        return (
            f"no trainable encoder layers found in {kind}: all parameters of {found} are frozen, so there is nothing "
            "to perturb or adapt; unfreeze some, or take a plain optimizer"
        )
    return (
        f"no trainable encoder layers found in {kind}; "
        "pass layers='regular expression for the name of their nn.ModuleList'"
    )
