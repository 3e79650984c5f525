"""An encoder with a head on its first token (dense, tanh, linear) or on every token (linear).

`export.py` of the PATS toolkit copies this file beside the weights where the class that `transformers` has for the
encoder computes something else. It needs torch and transformers alone; load it with `trust_remote_code=True`.

With labels each class gives the loss that `transformers` gives for its kind, so that `Trainer` can train it further.
Of labels that stand for no class, -100 counts for nothing.
"""

import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils import ModelOutput


class EncoderWithHeadConfig(PreTrainedConfig):
    """The encoder's own configuration as `base_config`, and how its first token is pooled.

    `own_pooler`: by the encoder's pooler; else by a dense layer and tanh.
    """

    model_type = "encoder_with_head"
    sub_configs: ClassVar[dict[str, Any]] = {"base_config": AutoConfig}

    def __init__(self, base_config: Any = None, own_pooler: bool = False, **kwargs: Any) -> None:
        if isinstance(base_config, dict):
            base_config = AutoConfig.for_model(**base_config)
        self.base_config = base_config
        self.own_pooler = own_pooler
        for name in ("hidden_size", "vocab_size", "pad_token_id"):
            kwargs.setdefault(name, getattr(base_config, name, None))
        super().__init__(**kwargs)


class EncoderWithHead(PreTrainedModel):
    """The encoder, and what all heads share."""

    config_class = EncoderWithHeadConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True
    accepts_loss_kwargs = False  # so that `Trainer` divides by the batches of an update, as it has to
    width: ClassVar[int | None] = None  # numbers an output; None: one a label
    pools = False

    def __init__(self, config: EncoderWithHeadConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.base_config)
        if not (self.pools and config.own_pooler) and hasattr(self.encoder, "pooler"):
            self.encoder.pooler = None
        hidden = config.base_config.hidden_size
        self.pooler = nn.Linear(hidden, hidden) if self.pools and not config.own_pooler else None
        self.classifier = nn.Linear(hidden, self.width or len(config.id2label or ()))
        self.sees_all = "global_attention_mask" in inspect.signature(self.encoder.forward).parameters
        self.has_types = getattr(config.base_config, "type_vocab_size", 0) > 1
        self.post_init()

    def outputs(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        options: dict[str, Any],
    ) -> tuple[Tensor, Any]:
        """Numbers for each row, or for each token, of (rows, length) token ids, and what the encoder gave.

        `options` are the encoder's, such as `position_ids` and `output_hidden_states`.
        """
        given = dict(options)
        if self.has_types and token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        if self.sees_all:  # Longformer and its like: the first token sees the whole row
            given["global_attention_mask"] = torch.zeros_like(input_ids)
            given["global_attention_mask"][:, 0] = 1
        encoded = self.encoder(input_ids, attention_mask=attention_mask, **given)
        if not self.pools:
            return self.classifier(encoded.last_hidden_state), encoded
        if self.pooler is None:
            return self.classifier(encoded.pooler_output), encoded
        return self.classifier(torch.tanh(self.pooler(encoded.last_hidden_state[:, 0]))), encoded


def _answer(kind: type[ModelOutput], encoded: Any, return_dict: bool | None, **found: Any) -> Any:
    """What `forward` returns: a record of this kind, or with `return_dict` False a tuple, as all models do."""
    states = {name: getattr(encoded, name, None) for name in ("hidden_states", "attentions")}
    record = kind(**found, **states)
    return record.to_tuple() if return_dict is False else record


class EncoderForSequenceClassification(EncoderWithHead):
    """A label, or a number, for each row."""

    pools = True

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:
        """Logits of shape (rows, labels); `labels` (rows,) are classes, or numbers of a regression."""
        logits, encoded = self.outputs(input_ids, attention_mask, token_type_ids, options)
        loss = None if labels is None else self._loss(logits, labels)
        return _answer(SequenceClassifierOutput, encoded, return_dict, loss=loss, logits=logits)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type == "regression":
            return F.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).view(-1))
        return F.cross_entropy(logits, labels.view(-1))


class EncoderForTokenClassification(EncoderWithHead):
    """A label for each token."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> TokenClassifierOutput:
        """Logits of shape (rows, length, labels); `labels` (rows, length) are classes."""
        logits, encoded = self.outputs(input_ids, attention_mask, token_type_ids, options)
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return _answer(TokenClassifierOutput, encoded, return_dict, loss=loss, logits=logits)


class EncoderForQuestionAnswering(EncoderWithHead):
    """Where the answer begins and ends."""

    width = 2

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> QuestionAnsweringModelOutput:
        """Logits of shape (rows, length), twice; positions (rows,) beyond the row count for nothing."""
        both, encoded = self.outputs(input_ids, attention_mask, token_type_ids, options)
        start, end = (part.contiguous() for part in both.unbind(-1))
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (_position_loss(start, start_positions) + _position_loss(end, end_positions)) / 2
        found = {"loss": loss, "start_logits": start, "end_logits": end}
        return _answer(QuestionAnsweringModelOutput, encoded, return_dict, **found)


def _position_loss(logits: Tensor, positions: Tensor) -> Tensor:
    length = logits.shape[1]
    return F.cross_entropy(logits, positions.view(-1).clamp(0, length), ignore_index=length)


class EncoderForMultipleChoice(EncoderWithHead):
    """A score for each option of a row."""

    width = 1
    pools = True

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> MultipleChoiceModelOutput:
        """Logits of shape (rows, options), from token ids of shape (rows, options, length); `labels` (rows,)."""
        mask, types = (None if part is None else part.flatten(0, 1) for part in (attention_mask, token_type_ids))
        scores, encoded = self.outputs(input_ids.flatten(0, 1), mask, types, options)
        logits = scores.view(input_ids.shape[:2])
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return _answer(MultipleChoiceModelOutput, encoded, return_dict, loss=loss, logits=logits)
