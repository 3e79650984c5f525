"""Parameter groups: which parameters PATS perturbs and SAGE adapts, and which are decayed.

The paper perturbs "the parameters of all the encoder layers except the Layer Normalization layers" (Appendix A.2):
the attention and dense weights and biases. Embeddings, pooler and heads get the plain step.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

LAYER_STACKS = r"(?:^|\.)(?:encoder\.layer|transformer\.layer|encoder\.albert_layer_groups|layers)$"
"""Names of the `ModuleList` of layers: BERT, RoBERTa, ELECTRA, MPNet, DeBERTa; DistilBERT; ALBERT; ModernBERT."""


def encoder_param_groups(
    model: nn.Module, weight_decay: float = 0.0, layers: str | None = None
) -> list[dict[str, Any]]:
    """Split a model's trainable parameters into groups for any optimizer of this package or of torch.

    Args:
        model: a Hugging Face model, or any module that holds one.
        weight_decay: for weights; biases and normalisation are never decayed.
        layers: regular expression for the name of the `nn.ModuleList` of encoder layers, where it is not one of
            `LAYER_STACKS`. Lists inside a `ModuleDict` (task heads) never count.

    Returns:
        Groups with `name`, `params`, `names`, `perturb` and `weight_decay`; each trainable parameter stands in
        exactly one, tied ones once, frozen ones in none. Groups without parameters are left out.

    Raises:
        ValueError: `layers` is not a regular expression, no stack of encoder layers was found, or all its parameters
            are frozen.
    """
    try:
        pattern = re.compile(LAYER_STACKS if layers is None else layers)
    except re.error as error:
        raise ValueError(f"layers={layers!r} is not a regular expression: {error}") from None
    modules = dict(model.named_modules())
    heads = [name + "." for name, module in modules.items() if isinstance(module, nn.ModuleDict)]
    stacks = [
        name + "."
        for name, module in modules.items()
        if isinstance(module, nn.ModuleList) and pattern.search(name) and not name.startswith(tuple(heads))
    ]
    normalised = {id(p) for module in model.modules() if _is_norm(module) for p in module.parameters(recurse=False)}
    groups: dict[tuple[bool, bool], dict[str, nn.Parameter]] = {}
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        norm = id(param) in normalised
        perturb = not norm and name.startswith(tuple(stacks))
        decay = weight_decay != 0 and not norm and not name.endswith("bias")
        groups.setdefault((perturb, decay or weight_decay == 0), {})[name] = param
    if not any(perturb for perturb, _ in groups):
        raise ValueError(
            f"no trainable encoder layers found in {type(model).__name__}; "
            "pass layers='regular expression for the name of their nn.ModuleList'"
        )
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


def _is_norm(module: nn.Module) -> bool:
    """Layer normalisation by type, or by name for the models that bring their own."""
    name = type(module).__name__
    return isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or "LayerNorm" in name or "RMSNorm" in name
