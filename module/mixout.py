"""Mixout (Lee, Cho and Kang, ICLR 2020): dropout to the pretrained weights instead of to zero.

In a training forward pass each element of a weight w is its pretrained value w₀ with probability p, and what is left is
scaled up, so that the expectation is w (the paper's Eq. 6, with μ = p):

    w' = ((1 - M) w + M w₀ - p w₀) / (1 - p),  M ~ Bernoulli(p)

which is w₀ + dropout(w - w₀, p). As in the authors' code the weights of linear layers are mixed and their biases are
not, and the encoder's dropout is off: Mixout takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import FastLinear, linear
from .optim.hyperparameters import Hyperparameters, hyperparameter


@dataclass(frozen=True, kw_only=True)
class MixoutConfig(Hyperparameters):
    """Mixout."""

    p: float = hyperparameter(
        0.7,
        symbol="p",
        flag="mixout_p",
        within="[0, 1)",
        help="share of each weight's elements that are pretrained ones in a forward pass; the paper tries 0.7 to 0.9",
    )


class Mixout(nn.Module):
    """Mixes the weights of an encoder's linear layers while it is in training mode, and does nothing in evaluation.

    Make it a submodule of the model: then `train()`, `eval()` and `to()` reach it. The layers stay as they are, so the
    parameters, the state dict and what is exported are those of a plain model. Each forward pass draws a mask from
    torch's random stream, as dropout does. The pretrained weights are one more copy and not in the state dict: to go on
    with a run, save `pretrained()` beside it.

    Args:
        encoder: its weights are the pretrained ones now; its dropout is switched off. A pooler is left alone, as it may
            be new.
        p: see `MixoutConfig`.

    Raises:
        ValueError: the encoder has no linear layers, so that nothing would be mixed.
    """

    def __init__(self, encoder: nn.Module, p: float) -> None:
        # It imports transformers, which who only asks for the flags need not load.
        from .dropout import FastDropout, probabilities

        super().__init__()
        self.p = p
        self._dropout = FastDropout(p)
        self._names: list[str] = []
        for name, layer in encoder.named_modules():
            if name.split(".")[0] == "pooler":
                continue
            for attribute in probabilities(layer):
                setattr(layer, attribute, 0.0)
            if isinstance(layer, nn.Linear):
                key = name.replace(".", "/")  # a dot would be a submodule's
                self.register_buffer(key, layer.weight.detach().clone(), persistent=False)
                self._names.append(name)
                layer.forward = partial(self._linear, layer, key)  # type: ignore[method-assign]
        if not self._names:
            raise ValueError(f"Mixout mixes linear layers, and {type(encoder).__name__} has none (nn.Linear)")

    def _linear(self, layer: nn.Linear, key: str, states: Tensor) -> Tensor:
        weight = layer.weight
        if self.training and self.p > 0:
            pretrained = self.get_buffer(key)
            weight = pretrained + self._dropout(weight - pretrained)
        multiply = linear if isinstance(layer, FastLinear) else F.linear  # as the layer itself does
        return multiply(states, weight, layer.bias)

    def pretrained(self) -> dict[str, Tensor]:
        """The pretrained weights by the names of their layers, each (out, in)."""
        return {name: self.get_buffer(name.replace(".", "/")) for name in self._names}

    def load_pretrained(self, weights: Mapping[str, Tensor]) -> None:
        """Take up what `pretrained` gave; ValueError where names or shapes are others."""
        own = self.pretrained()
        if {name: value.shape for name, value in own.items()} != {name: w.shape for name, w in weights.items()}:
            raise ValueError("the pretrained weights that Mixout keeps are those of another encoder")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(weights[name])
