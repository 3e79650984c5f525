"""Features and encoder are held together before training: lengths, vocabulary, tokens that were added."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import predict
import prepro_std
import train
from data_utils.errors import InputError
from data_utils.features import FeatureSet
from module.encoder import Encoder
from mt_dnn.data import check_fits_encoder
from tests.conftest import Workshop
from tests.tiny_models import SHAPE

Make = Callable[..., FeatureSet]


def encoder(model_type: str = "roberta-prelayernorm") -> Encoder:
    config = transformers.AutoConfig.for_model(
        model_type, vocab_size=60, max_position_embeddings=66, pad_token_id=1, **SHAPE
    )
    torch.manual_seed(0)
    return Encoder(transformers.AutoModel.from_config(config))


def check(features: FeatureSet, tmp_path: Path, encoder: Encoder, max_seq_len: int) -> None:
    check_fits_encoder([features], encoder, None, data_dir=str(tmp_path), init_checkpoint="x", max_seq_len=max_seq_len)


def row(length: int) -> np.ndarray:
    return np.arange(length) % 50 + 5


def test_rows_that_are_longer_than_a_type_that_counts_after_padding_takes(make_features: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^--max_seq_len 66: the encoder takes at most 64 tokens; ask for that$"):
        check(make_features([row(9), row(66)]), tmp_path, encoder(), 66)
    check(make_features([row(9), row(66)]), tmp_path, encoder(), 64)
    check(make_features([row(9), row(64)]), tmp_path, encoder(), 66)


def test_a_length_that_only_trying_finds(make_features: Make, tmp_path: Path) -> None:
    """As a type would need it that limits its rows otherwise than by `max_position_embeddings`."""
    odd = encoder()
    odd.config.max_position_embeddings = 512
    with pytest.raises(InputError, match="^--init_checkpoint x: rows of 70 .*, rows of 64 can: --max_seq_len 64 "):
        check(make_features([row(9), row(70)]), tmp_path, odd, 512)
    check(make_features([row(9), row(64)]), tmp_path, odd, 512)


@pytest.fixture
def with_added_tokens(workshop: Workshop, tmp_path: Path) -> Path:
    """The workshop's encoder with two tokens more in its tokenizer only."""
    folder = tmp_path / "added"
    tokenizer = transformers.AutoTokenizer.from_pretrained(workshop.encoder)
    tokenizer.add_tokens(["[E1]", "[E2]"])
    tokenizer.save_pretrained(folder)
    transformers.AutoModel.from_pretrained(workshop.encoder).save_pretrained(folder)
    return folder


def test_an_encoder_with_tokens_added_since_is_not_called_another(
    workshop: Workshop, with_added_tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--train_datasets", "sst", "--init_checkpoint", str(with_added_tokens)]
    assert train.main(workshop.flags(tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err
    assert f"to which {with_added_tokens} has added 2 ([E1], [E2]): run prepro_std.py --model" in error
    assert not (tmp_path / "run").exists()


def prepared(encoder: Path, workshop: Workshop, folder: Path, end: str) -> list[str]:
    """SST's rows with `end` behind each text, as features for `encoder`; the flags of a run on them."""
    for name in ("sst_train.tsv", "sst_dev.tsv"):
        lines = (workshop.data_dir.parent / name).read_text().splitlines()
        (folder / name).write_text("".join(f"{line}{end}\n" for line in lines))
    flags = ["--model", str(encoder), "--root_dir", str(folder), "--workers", "1", "--tasks", "sst"]
    assert prepro_std.main([*flags, "--task_def", "experiments/glue/glue_task_def.yml"]) == 0
    more = ["--train_datasets", "sst", "--epochs", "1", "--init_checkpoint", str(encoder)]
    return workshop.flags(folder / "run", *more, "--data_dir", str(folder / encoder.name))


@pytest.mark.parametrize("resized", [False, True])
def test_tokens_added_to_the_tokenizer_only(
    resized: bool, workshop: Workshop, with_added_tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cure in the message is carried out, and works."""
    if resized:
        model = transformers.AutoModel.from_pretrained(with_added_tokens)
        model.resize_token_embeddings(len(transformers.AutoTokenizer.from_pretrained(with_added_tokens)))
        model.save_pretrained(with_added_tokens)
    code = train.main(prepared(with_added_tokens, workshop, tmp_path, " [E2]"))
    error = capsys.readouterr().err
    assert code == (0 if resized else 2), error
    if not resized:
        assert "sst_train holds token id" in error
        assert (
            "tokens were added to the tokenizer only. Add them to the encoder with model.resize_token_embeddings("
            in error
        )


def test_a_text_with_a_token_that_the_encoder_does_not_know(
    workshop: Workshop, with_added_tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No row of the training data held it, so that training went well."""
    assert train.main(prepared(with_added_tokens, workshop, tmp_path, "")) == 0
    (tmp_path / "new.txt").write_text("one\n[E1] more\n")
    capsys.readouterr()
    assert predict.main(["--checkpoint", str(tmp_path / "run"), "--texts", str(tmp_path / "new.txt")]) == 2
    assert capsys.readouterr().err.startswith("error: a text holds token id ")
