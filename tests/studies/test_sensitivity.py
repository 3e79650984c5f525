"""Sensitivities of trained models: against autograd row by row, on disk, and what is no run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import train
from data_utils.features import FeatureSet, load_features
from data_utils.task_def import load_task_defs
from mt_dnn.sampling import MultiTaskSampler, SamplingConfig
from studies.sensitivity import BATCHES_SEED, Measurement, main
from studies.sensitivity_record import GRIDS, Grid, Sensitivities
from studies.study import Run
from tests.conftest import Workshop
from tests.studies.synthetic_study import write_study

METHODS = {"adamax": [], "pats": ["--optim", "pats_adamax"]}
LAYER_TENSORS = 2 * 2 * 6  # weight and bias of six dense layers, in each of the tiny encoder's two layers


@pytest.fixture(scope="module")
def runs(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs by method, not to be written to; their scores do not move, so the first epoch's is the best."""
    root = tmp_path_factory.mktemp("runs")
    flags = ["--train_datasets", "rte", "--epochs", "2", "--learning_rate", "1e-4"]
    for name, method in METHODS.items():
        assert train.main(workshop.flags(root / name, *flags, *method)) == 0
    assert train.main(workshop.flags(root / "two tasks", "--train_datasets", "cola,stsb", "--epochs", "1")) == 0
    return {path.name: path for path in root.iterdir()}


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A run that a test may write to."""
    return Path(shutil.copytree(runs["pats"], tmp_path / "run"))


def weights(run: Path, which: str) -> dict[str, Tensor]:
    if which == "last":
        return load_file(max((run / "checkpoints").iterdir()) / "model.safetensors")
    encoder = load_file(run / "best" / "encoder" / "model.safetensors")
    return {f"encoder.model.{name}": value for name, value in encoder.items()} | load_file(
        run / "best" / "heads.safetensors"
    )


def row_losses(state: dict[str, Tensor], encoder: torch.nn.Module, rows: FeatureSet) -> Iterator[Tensor]:
    """Each row's loss, alone in its batch, without padding, packing or dropout."""
    head = [state[f"heads.{rows.task.name}.linear.{kind}"] for kind in ("weight", "bias")]
    for i, (start, end) in enumerate(zip(rows.offsets, rows.offsets[1:], strict=False)):
        tokens, types = (
            torch.tensor(part[start:end][None].astype(np.int64)) for part in (rows.token_ids, rows.type_ids)
        )
        logits = F.linear(encoder(tokens, token_type_ids=types).pooler_output, *head)
        label = torch.tensor(rows.labels[i : i + 1])
        yield F.mse_loss(logits[:, 0], label) if logits.shape[1] == 1 else F.cross_entropy(logits, label)


def brute_force(run: Path, data_dir: Path, tasks: list[str], batch_size: int, which: str = "best") -> dict[str, Tensor]:
    """The mean over batches of |θ·∇L|, in float64, from gradients that are taken row by row."""
    state = weights(run, which)
    encoder = transformers.AutoModel.from_pretrained(run / "best" / "encoder")
    own = {name.removeprefix("encoder.model."): v for name, v in state.items() if name.startswith("encoder.model.")}
    encoder.load_state_dict({name: own[name] for name in encoder.state_dict()})
    encoder.eval()
    params = {n: p for n, p in encoder.named_parameters() if n.startswith("encoder.layer") and "LayerNorm" not in n}
    defined = load_task_defs("experiments/glue/glue_task_def.yml")
    rows = {task: load_features(str(data_dir), defined[task], "train") for task in tasks}
    grads = {
        task: [torch.autograd.grad(loss, list(params.values())) for loss in row_losses(state, encoder, features)]
        for task, features in rows.items()
    }
    draws = MultiTaskSampler({t: len(f) for t, f in rows.items()}, batch_size, SamplingConfig(), BATCHES_SEED).epoch(0)
    totals = {name: torch.zeros(param.shape, dtype=torch.float64) for name, param in params.items()}
    for draw in draws:
        for place, (name, param) in enumerate(params.items()):
            mean = torch.stack([grads[draw.task][row][place].double() for row in draw.rows]).mean(0)
            totals[name] += (param.detach().double() * mean).abs() / len(draws)
    return {f"encoder.model.{name}": total for name, total in totals.items()}


@pytest.mark.parametrize(
    ("name", "tasks", "batch_size", "which"),
    [
        ("adamax", ["rte"], 10, "best"),
        ("pats", ["rte"], 10, "best"),
        ("pats", ["rte"], 1, "last"),
        ("two tasks", ["cola", "stsb"], 32, "best"),
    ],
)
def test_it_is_the_mean_over_batches_of_theta_times_gradient(
    name: str, tasks: list[str], batch_size: int, which: str, runs: dict[str, Path], workshop: Workshop
) -> None:
    measurement = Measurement(which, batch_size)
    tensors, measured = measurement.tensors(runs[name]), measurement.run(runs[name])
    expected = brute_force(runs[name], workshop.data_dir, tasks, batch_size, which)
    assert set(measured.names) == tensors.keys() == expected.keys() and len(expected) == LAYER_TENSORS
    for i, tensor in enumerate(measured.names):
        value = expected[tensor]
        assert measured.count[i] == value.numel()
        torch.testing.assert_close(tensors[tensor].double(), value, rtol=1e-3, atol=1e-10)
        assert measured.mean[i] == pytest.approx(float(value.mean()), rel=1e-4, abs=1e-12), tensor
        assert measured.std[i] == pytest.approx(float(value.std(correction=0)), rel=1e-4, abs=1e-12), tensor
    every = torch.cat([expected[tensor].flatten() for tensor in measured.names])
    assert measured.overall_std == pytest.approx(float(every.std(correction=0)), rel=1e-4)
    assert measured.median == pytest.approx(float(every.quantile(0.5)), rel=1e-3)


def test_last_and_best_are_different_weights(runs: dict[str, Path]) -> None:
    results = json.loads((runs["pats"] / "results.json").read_text())["tasks"]["rte"]
    assert results["best"]["step"] < results["last"]["step"]
    best, last = (Measurement(which).run(runs["pats"]) for which in ("best", "last"))
    assert best.median != last.median


def test_twice_the_same_files_and_the_second_time_nothing_is_measured(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [run / "sensitivity.safetensors", run / "sensitivity.json"]
    assert main(["--checkpoint", str(run)]) == 0
    first = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    torch.rand(3)  # whatever else draws random numbers
    assert main(["--checkpoint", str(run)]) == 0
    assert [path.read_bytes() for path in files] == first
    capsys.readouterr()
    monkeypatch.setattr(Measurement, "run", None)  # calling it would be an error
    assert main(["--checkpoint", str(run)]) == 0
    assert "measured before" in capsys.readouterr().out
    settings = json.loads(first[1])["settings"]
    assert (settings["which"], settings["batch_size"], settings["max_rows"]) == ("last", 32, None)


def test_a_record_whose_weights_are_gone_is_kept_and_other_settings_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--checkpoint", str(run)]) == 0
    before = (run / "sensitivity.safetensors").read_bytes()
    shutil.rmtree(run / "checkpoints")
    capsys.readouterr()
    assert main(["--checkpoint", str(run)]) == 0
    assert "measured before" in capsys.readouterr().out
    assert main(["--checkpoint", str(run), "--max_rows", "4"]) == 2
    assert "has no checkpoint" in capsys.readouterr().err
    assert (run / "sensitivity.safetensors").read_bytes() == before


def test_other_settings_or_weights_are_measured_anew(run: Path, runs: dict[str, Path]) -> None:
    assert main(["--checkpoint", str(run), "--max_rows", "4"]) == 0
    few = Sensitivities.load(run)
    assert main(["--checkpoint", str(run)]) == 0
    every = Sensitivities.load(run)
    assert few is not None and every is not None and few.median != every.median
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(runs["adamax"] / "checkpoints", run / "checkpoints")
    assert main(["--checkpoint", str(run)]) == 0
    other = Sensitivities.load(run)
    assert other is not None and other.median != every.median


def test_all_finished_runs_of_a_study(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = [Run("tiny/rte", method, (), 1) for method in ("adamax", "pats", "sage")]
    study = write_study(tmp_path / "study", members)
    for member in members[:2]:
        shutil.copytree(runs[member.method], study.run_folder(member))
    assert main(["--study", str(study.folder)]) == 0
    assert "1 of 3 runs are not finished" in capsys.readouterr().out
    assert [Sensitivities.load(study.run_folder(member)) is not None for member in members] == [True, True, False]


def test_the_features_may_have_moved(run: Path, workshop: Workshop, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(workshop.data_dir, tmp_path / "features"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(workshop.data_dir), str(tmp_path / "gone")))
    assert main(["--checkpoint", str(run)]) == 2
    assert main(["--checkpoint", str(run), "--data", str(moved)]) == 0


def test_a_study_is_measured_from_any_folder(
    run: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task definitions of its runs are where the repository is, as by default."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert main(["--checkpoint", str(run)]) == 0


def break_nothing(run: Path) -> None:
    pass


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


BAD = {
    "no run": (lambda run: shutil.rmtree(run), [], "no config.yaml"),
    "never evaluated": (lambda run: shutil.rmtree(run / "best"), ["--which", "best"], "no best/manifest.json"),
    "no model": (lambda run: shutil.rmtree(run / "best"), [], "best: not a whole exported model"),
    "damaged model": (lambda run: truncate(run / "best" / "heads.safetensors"), [], "heads.safetensors is not what"),
    "no checkpoint": (lambda run: shutil.rmtree(run / "checkpoints"), [], "has no checkpoint; --which best needs none"),
    "batch size": (break_nothing, ["--batch_size", "0", "--max_rows", "0"], "--batch_size must be at least 1, got 0"),
    "no number": (break_nothing, ["--max_rows", "few"], "--max_rows"),
    "two sources": (break_nothing, ["--study", "x"], "not allowed with"),
    "damaged record": (lambda run: (run / "sensitivity.json").write_text("[1]"), [], "remove it and measure again"),
    "no GPU": (break_nothing, ["--device", "cuda"], "torch sees no CUDA device"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_measured_is_said(
    case: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, flags, message = BAD[case]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    damage(run)
    assert main(["--checkpoint", str(run), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and "Traceback" not in error
    assert not (run / "sensitivity.safetensors").exists()


def test_a_model_without_a_head_for_the_task_is_refused(
    run: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "best")
    shutil.copytree(runs["two tasks"] / "best", run / "best")
    assert main(["--checkpoint", str(run)]) == 2
    assert "no head for rte" in capsys.readouterr().err


def test_a_grid_counts_by_the_logarithm_and_leaves_out_what_is_outside() -> None:
    grid = Grid(1e-3, 1e1, 4)
    np.testing.assert_allclose(grid.edges, [1e-3, 1e-2, 1e-1, 1, 10])
    values = np.array([0, 9e-4, 2e-3, 3e-3, 0.5, 2, 10, 11], dtype=np.float32)
    assert grid.counts(values).tolist() == [2, 0, 1, 2]


def test_statistics_of_all_elements_from_those_of_tensors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {"a": rng.lognormal(-14, 1, (300, 7)), "b": rng.lognormal(-10, 2, 41), "c": np.zeros(5)}
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    record = Sensitivities.of(tensors, {"which": "best"})
    record.save(tmp_path)
    loaded = Sensitivities.load(tmp_path)
    assert loaded is not None and loaded.names == ("a", "b", "c") and loaded.settings == {"which": "best"}
    every = np.concatenate([value.reshape(-1) for value in tensors.values()]).astype(np.float64)
    assert loaded.overall_mean == pytest.approx(every.mean()) and loaded.overall_std == pytest.approx(every.std())
    for name, grid in GRIDS.items():
        inside = (every >= grid.low) & (every <= grid.high)
        assert loaded.histograms[name].sum() == inside.sum()
        assert loaded.share(name) == pytest.approx(inside.mean())
    assert loaded.summary()["median"] == pytest.approx(np.median(every), rel=1e-6)


def test_nothing_measured_is_none(tmp_path: Path) -> None:
    assert Sensitivities.load(tmp_path) is None
