"""An encoder's folder that is not taken for a classifier.

`AutoModelForSequenceClassification`, and with it `pipeline`, load the folder of an encoder without a word that stops
anybody, make up a random head, and predict with it. There is no setting of `config.json` against that. But they stop
where the folder's tensor of a head's name has another shape than the head: so such tensors of one number are put beside
the encoder's. `AutoModel` has no such names and leaves them out.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers.utils import CONFIG_NAME

SIGN = "this_folder_has_no_head.see_its_README_md"
"""Stands among the names that `transformers` lists when it loads the folder."""

README = """# An encoder without a head

`AutoModel.from_pretrained` loads this folder: the encoder of a model that was fine-tuned on one task or several. What
turns its states into labels, the head, is not in it. So classes that need one, such as
`AutoModelForSequenceClassification` and with it `pipeline`, refuse it, where they would otherwise predict with a random
head ("ignore_mismatched_sizes" in their error is about that).

    python export.py --checkpoint RUN --task TASK --output FOLDER       the classifier, for these classes
    python export.py --checkpoint RUN --encoder_only --output FOLDER    the encoder, to be fine-tuned with them anew
"""

AUTO_CLASSES = (
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoModelForQuestionAnswering",
    "AutoModelForMultipleChoice",
)
"""What makes up a head. Masked language models tell their loss themselves."""


def stoppers(encoder: transformers.PreTrainedModel) -> dict[str, Tensor]:
    """For each of these classes that the encoder's family has, one tensor that its head cannot take, by name."""
    own, found = {name for name, _ in encoder.named_parameters()}, {SIGN: torch.zeros(1)}
    for auto in AUTO_CLASSES:
        mapping = getattr(transformers, auto)._model_mapping
        if type(encoder.config) in mapping:
            cls = mapping[type(encoder.config)]
            with torch.device("meta"):
                whole = cls(copy.deepcopy(encoder.config))
            names = [n for n, p in whole.named_parameters() if p.dim() > 1 and not n.startswith(cls.base_model_prefix)]
            found |= {name: torch.zeros(1) for name in names[-1:] if name not in own}
    return found


def sign(folder: Path) -> None:
    """Say so in the folder, and take the class's name out of its `config.json`, on which `pipeline` would fall back."""
    (folder / "README.md").write_text(README, encoding="utf-8")
    path = folder / CONFIG_NAME
    config = json.loads(path.read_bytes())
    config.pop("architectures", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
