"""Perturbations of a batch's word embeddings, token by token: what SMART and FreeLB share.

A perturbation is kept as (tokens, width), sequence by sequence, whatever the batch looks like: padding has none, and
several rows on a line are still several. So norms are over sequences, and packed rows are perturbed as padded ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mt_dnn.batching import Batch


@dataclass(frozen=True)
class Tokens:
    """Where a batch's tokens lie.

    Attributes:
        places: (tokens,) of each among all lines * length places, sequence by sequence.
        lengths: (sequences,) tokens of each sequence.
        shape: lines and their length.
    """

    places: Tensor
    lengths: Tensor
    shape: torch.Size

    @classmethod
    def of(cls, batch: Batch) -> Tokens:
        """Those of a batch, padded or packed."""
        ids = batch.inputs["input_ids"]
        lengths = torch.from_numpy(batch.layout.lengths).to(ids.device, non_blocking=True)
        count, total = len(batch.layout.lengths), int(batch.layout.lengths.sum())
        first = batch.inputs.get("first_tokens")
        if first is None:  # padded: a sequence a line
            first = torch.arange(count, device=ids.device) * ids.shape[1]
        begins = lengths.cumsum(0) - lengths
        shift = torch.repeat_interleave(first - begins, lengths, output_size=total)
        return cls(torch.arange(total, device=ids.device) + shift, lengths, ids.shape)

    def to_lines(self, values: Tensor) -> Tensor:
        """(tokens, width) to (lines, length, width), zero where there is no token."""
        lines = values.new_zeros((self.shape.numel(), values.shape[1]))
        return lines.index_copy(0, self.places, values).unflatten(0, self.shape)

    def norms(self, values: Tensor, order: str, level: str) -> Tensor:
        """The norm of (tokens, width) over each token's numbers or over those of its whole sequence.

        Args:
            values: see above.
            order: "l2", or "inf" for the largest magnitude.
            level: "token" or "sequence".

        Returns:
            (tokens, 1).
        """
        if order == "inf":
            norms = values.abs().amax(dim=1)
        else:
            norms = torch.linalg.vector_norm(values, dim=1)
        if level == "sequence":
            norms = self._of_sequences(norms, order).repeat_interleave(self.lengths, output_size=len(norms))
        return norms.unsqueeze(1)

    def _of_sequences(self, norms: Tensor, order: str) -> Tensor:
        """Norms of tokens (tokens,) to norms of sequences (sequences,)."""
        if order == "inf":
            return torch.segment_reduce(norms, "max", lengths=self.lengths, unsafe=True)
        return torch.segment_reduce(norms.square(), "sum", lengths=self.lengths, unsafe=True).sqrt()

    def direction(self, gradient: Tensor, order: str, level: str) -> Tensor:
        """The gradient (tokens, width) divided by its norms, however small it is; zero where it is zero."""
        tiny = torch.finfo(gradient.dtype).tiny
        # By the largest number first: squares of small ones would be zero, and so the norm of what is none.
        whole = gradient / self.norms(gradient, "inf", level).clamp(min=tiny)
        return whole if order == "inf" else whole / self.norms(whole, order, level).clamp(min=tiny)

    def within(self, values: Tensor, most: float, order: str, level: str) -> Tensor:
        """The nearest (tokens, width) with norms of at most `most`."""
        if order == "inf":
            return values.clamp(-most, most)
        norms = self.norms(values, order, level)
        return values * (most / norms.clamp(min=most))


def moved(batch: Batch, perturbation: Tensor) -> Batch:
    """The batch with (lines, length, width) to be added to its word embeddings."""
    return batch._replace(inputs={**batch.inputs, "perturbation": perturbation})
