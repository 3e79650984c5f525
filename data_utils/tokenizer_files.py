"""Why a tokenizer does not load, and a cure that works: `transformers` often names another package, or none."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

SENTENCEPIECE = ("spm.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model")
"""Files of SentencePiece's, as DeBERTa-v3, ALBERT and XLM-R have them."""

ANY_TOKENIZER = (*SENTENCEPIECE, "tokenizer.json", "vocab.txt", "vocab.json")


def not_loaded(source: str, error: Exception) -> str:
    """Why the tokenizer at `source`, a folder or a hub name, raised `error` when it was loaded, and what to do."""
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in ANY_TOKENIZER):
        return no_tokenizer(folder)
    text = str(error).strip()
    spm = next((name for name in SENTENCEPIECE if (folder / name).is_file()), "a SentencePiece file")
    if ("tiktoken" in text or "entencepiece" in text) and importlib.util.find_spec("sentencepiece") is None:
        return f"its tokenizer is {spm}, which takes a package to read: pip install sentencepiece"
    if isinstance(error, ImportError) and (kind := re.search(r"\b\w+Tokenizer\b", text)) and not _is_fast(kind[0]):
        return f"it is a slow tokenizer ({kind[0]}); a fast one is needed, so take another model"
    reason = f"{type(error).__name__}: {text}".split("\n")[0]
    return f"{reason}; give a folder that holds the model's tokenizer, or a hub name while the hub can be reached"


def _is_fast(class_name: str) -> bool:
    import transformers

    kind = getattr(transformers, class_name, None)
    return isinstance(kind, type) and issubclass(kind, transformers.PreTrainedTokenizerFast)


def no_tokenizer(folder: Path) -> str:
    """What to do about a folder without a tokenizer's files."""
    inner = [path.name for path in sorted(folder.iterdir()) if any((path / name).is_file() for name in ANY_TOKENIZER)]
    if inner:
        return f"it holds no tokenizer files; {' and '.join(inner)} below it does: give that folder"
    return "it holds no tokenizer files; save the model's tokenizer there too"
