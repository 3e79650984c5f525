"""What is read of a finished run: how long its rows were, and which encoder it began with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_utils.errors import InputError
from mt_dnn.record.finished import first_encoder, longest_row


def test_the_log_says_how_long_rows_were_and_settings_where_it_does_not(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("max_seq_len: 64\n")
    assert longest_row(tmp_path, 512) == 64
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"event": "start", "max_seq_len": 32}) + "\n")
    assert longest_row(tmp_path, 512) == 32
    (tmp_path / "config.yaml").write_text("max_seq_len: [\n")
    assert longest_row(tmp_path, 16) == 16
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="config.yaml"):
        longest_row(tmp_path, 512)


def test_the_first_encoder_is_found_through_runs_that_went_on_from_one_another(tmp_path: Path) -> None:
    for name, model in {"one": "a/bert", "two": "one/best", "circle": "circle"}.items():
        (tmp_path / name / "best" / "encoder").mkdir(parents=True)
        model = model if model == "a/bert" else str(tmp_path / model)
        (tmp_path / name / "config.yaml").write_text(f"init_checkpoint: {model}\n")
    for model in ("one", "one/best", "one/best/encoder", "two"):
        assert first_encoder(model, tmp_path) == "a/bert"
    assert first_encoder("a/bert", tmp_path) == "a/bert" and first_encoder("", tmp_path) == ""
    assert first_encoder("circle", tmp_path) == str(tmp_path / "circle")
