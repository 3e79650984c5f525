"""`--onnx`: onnxruntime gives our logits at any number of rows and tokens, and what cannot work is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import export
from data_utils.atomic import write_folder
from data_utils.errors import InputError
from data_utils.kinds.kind import TOKEN
from mt_dnn.export.folder import write_classifier
from mt_dnn.export.onnx_file import ONNX_FILE, PACKAGES, SHAPES, check_packages, write_onnx
from mt_dnn.model import MTDNN, export_model
from tests.mt_dnn.export.test_folder import TASKS, tiny

CASES = [("bert", "mood"), ("distilbert", "mood"), ("bert", "mark"), ("bert", "choice")]
CASES += [("modernbert", "names"), ("roberta", "asked")]


@torch.no_grad()
def ours(model: MTDNN, name: str, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    places = {"token_places": torch.arange(ids.numel()).view_as(ids)} if TASKS[name].kind.level == TOKEN else {}
    outputs = model.eval()(name, {"input_ids": ids, "attention_mask": mask, **places})
    return (outputs[mask.bool()] if places else outputs).numpy()


def theirs(folder: Path, name: str, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ONNX_FILE, providers=["CPUExecutionProvider"])
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    wanted = {node.name for node in session.get_inputs()}
    three = name == "choice"
    rows = {n: (v[None] if three else v).numpy() for n, v in given.items() if n in wanted}
    found = session.run(None, rows)
    inside = mask.bool().numpy()
    if name == "asked":
        return np.stack(found, axis=-1)[inside]
    return found[0][inside] if name == "names" else found[0].reshape(len(ids), -1)


@pytest.mark.parametrize(("model_type", "name"), CASES)
def test_the_logits_are_ours_at_shapes_that_were_not_tried(model_type: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="--onnx is optional")
    model = tiny(tmp_path / "source", model_type)
    write_classifier(model, TASKS[name], tmp_path / "out")
    assert write_onnx(model, TASKS[name], tmp_path / "out") < 1e-4
    pad = model.encoder.config.pad_token_id or 0
    for lengths in ([21], [2, 13, 8], [5] * 5):
        assert tuple(lengths) not in SHAPES
        mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
        ids = torch.where(mask == 1, torch.randint(5, 60, mask.shape), pad)
        expected = ours(model, name, ids, mask)
        np.testing.assert_allclose(theirs(tmp_path / "out", name, ids, mask), expected, atol=1e-4, rtol=1e-4)


def best_of(model: MTDNN, run: Path) -> Path:
    tasks = list(TASKS.values())
    write_folder(run / "best", lambda folder: export_model(model, model.state_dict(), folder, tasks, None))
    return run


def test_a_model_that_the_exporter_cannot_trace_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = best_of(tiny(tmp_path / "source", "bert"), tmp_path / "run")

    def fails(*_: Any, **__: Any) -> None:
        raise torch.onnx.errors.OnnxExporterError("many pages") from ValueError("could not guard\non 4*u1 < 20")

    monkeypatch.setattr("torch.onnx.export", fails)
    capsys.readouterr()
    flags = ["--checkpoint", str(run), "--task", "mood", "--output", str(tmp_path / "out")]
    assert export.main([*flags, "--onnx"]) == 1
    told = capsys.readouterr().err
    assert "cannot make ONNX of this bert model; without --onnx all else is written (ValueError: could not gu" in told
    assert told.count("\n") == 1 and not (tmp_path / "out").exists()
    assert export.main(flags) == 0


def test_a_graph_that_differs_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = best_of(tiny(tmp_path / "source", "bert"), tmp_path / "run")
    monkeypatch.setattr("mt_dnn.export.write.write_onnx", lambda *_: 0.5)
    assert export.main(["--checkpoint", str(run), "--task", "mood", "--output", str(tmp_path / "o"), "--onnx"]) == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("missing", [["onnxscript"], list(PACKAGES)], ids=len)
def test_what_is_not_installed_is_named(missing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else found(name))
    with pytest.raises(InputError, match=f"--onnx needs {', '.join(missing)}: pip install {' '.join(missing)}$"):
        check_packages()
