"""What training will say of a model, as far as its `config.json` tells: for those who prepare features for it."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers.utils import CONFIG_NAME

from .encoder import quiet_transformers
from .pretrained import check_config, reason_of
from .rows import longest_row


def preview(source: str, max_seq_len: int) -> str | None:
    """A remark on rows of `max_seq_len` tokens for the model at `source`, a folder or a hub name; None for none.

    A folder with a tokenizer only is nothing to remark on.
    """
    if Path(source).is_dir() and not (Path(source) / CONFIG_NAME).is_file():
        return None
    try:
        with quiet_transformers(), torch.device("meta"):  # shapes only
            config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
            check_config(config)
            longest = longest_row(transformers.AutoModel.from_config(config, trust_remote_code=False))
    except Exception as error:  # readers of foreign files raise what they happen upon: KeyError, TypeError, ...
        return f"train.py cannot train this model: {reason_of(error)}"
    if longest >= max_seq_len:
        return None
    return f"the model takes rows of at most {longest} tokens; train.py --max_seq_len {longest} cuts longer ones"
