"""A full memory is one message that says what to change, and the last checkpoint stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import predict
import train
from mt_dnn.memory import told_when_full
from mt_dnn.model import MTDNN
from tests.conftest import Workshop

FULL = {
    "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has a total capacity of …"),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried …"),
}


@pytest.mark.parametrize("where", FULL)
def test_training_and_predicting_tell_it(
    where: str,
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forward, passes = MTDNN.forward, 0

    def fills(*given: Any, **named: Any) -> torch.Tensor:
        nonlocal passes
        passes += 1
        if passes > 40:
            raise FULL[where]
        return forward(*given, **named)

    monkeypatch.setattr(MTDNN, "forward", fills)
    flags = workshop.flags(tmp_path / "run", "--train_datasets", "cola", "--epochs", "20", "--max_seq_len", "16")
    assert train.main(flags) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"stopped: the {where}'s memory is full: lower --batch_size (") and told.count("\n") == 1
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    (tmp_path / "texts").write_text("a sentence\n")
    where_to = ["--output", str(tmp_path / "found.tsv")]
    assert predict.main(["--checkpoint", str(tmp_path / "run"), "--texts", str(tmp_path / "texts"), *where_to]) == 1
    assert f"the {where}'s memory is full: lower --batch_size_eval or --max_seq_len (" in capsys.readouterr().err
    assert not (tmp_path / "found.tsv").exists()


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="a bug"), told_when_full("nothing"):
        raise RuntimeError("a bug")
