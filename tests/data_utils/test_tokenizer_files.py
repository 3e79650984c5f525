"""A tokenizer that does not load: the message names what is missing, and a cure that works."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from data_utils.errors import InputError
from data_utils.tokenization import load_tokenizer
from data_utils.tokenizer_files import not_loaded
from tests.tiny_models import write_tiny_bert

HAS_SENTENCEPIECE = importlib.util.find_spec("sentencepiece") is not None
TIKTOKEN = ValueError("`tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`.")


def refusal(folder: Path) -> str:
    with pytest.raises(InputError, match="^--model: cannot load a tokenizer from ") as caught:
        load_tokenizer(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.skipif(HAS_SENTENCEPIECE, reason="sentencepiece is installed here")
@pytest.mark.parametrize(
    ("model_type", "name"),
    [("deberta-v2", "spm.model"), ("albert", "spiece.model"), ("xlm-roberta", "sentencepiece.bpe.model")],
)
def test_a_sentencepiece_file_without_its_package(model_type: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / name).write_bytes(b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02")
    message = refusal(tmp_path)
    assert message.endswith(f"its tokenizer is {name}, which takes a package to read: pip install sentencepiece")


def test_sentencepiece_is_not_asked_for_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "a SentencePiece file, which takes a package to read: pip install sentencepiece" in not_loaded(
        "a/b", TIKTOKEN
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert not_loaded("a/b", TIKTOKEN).startswith("ValueError: `tiktoken` is required")


def test_a_slow_tokenizer_whose_package_would_not_help(tmp_path: Path) -> None:
    """After `pip install sacremoses` it would be refused as a slow one."""
    (tmp_path / "config.json").write_text('{"model_type": "xlm"}')
    (tmp_path / "vocab.json").write_text('{"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "a</w>": 4}')
    (tmp_path / "merges.txt").write_text("")
    if importlib.util.find_spec("sacremoses") is None:
        assert "it is a slow tokenizer (XLMTokenizer); a fast one is needed, so take another model" in refusal(tmp_path)
    error = ImportError("You need to install sentencepiece to use BertTokenizer.")
    assert not not_loaded("a/b", error).startswith("it is a slow tokenizer"), "BERT's is a fast one"


def test_a_tokenizer_one_folder_below(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path / "0_Transformer")
    assert refusal(tmp_path).endswith("it holds no tokenizer files; 0_Transformer below it does: give that folder")


def test_a_folder_without_one(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("it holds no tokenizer files; save the model's tokenizer there too")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert refusal(tmp_path).endswith("it holds no tokenizer files; save the model's tokenizer there too")
