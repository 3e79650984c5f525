"""`scripts/bench_predict.py` runs to its end on a few texts; its figures are no test's business."""

from __future__ import annotations

from pathlib import Path

import pytest

import train
from scripts import bench_predict
from tests.conftest import Workshop


def test_it_prints_every_figure(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, texts = tmp_path / "run", tmp_path / "texts.txt"
    assert train.main(workshop.flags(run, "--train_datasets", "cola", "--epochs", "1")) == 0
    flags = ["--checkpoint", str(run), "--texts", str(texts)]
    texts.write_text("\n")
    assert bench_predict.main(flags) == 2
    assert f"--texts {texts}: no text in it" in capsys.readouterr().err
    texts.write_text("a joy\n\nthe cat slept\n" * 10)
    # The products are the CPU's, so the rest must be, too; a model that moved to this GPU would raise an error.
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert bench_predict.main([*flags, "--batch_size", "4"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert "20 texts" in head
    assert [row.split()[0] for row in rows] == ["one", "together", "tokens", "products"]
    assert all(float(row.split(" ms ")[0].split()[-1]) >= 0 for row in rows)
