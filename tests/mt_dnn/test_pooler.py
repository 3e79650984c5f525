"""`--pooler new`: a fresh pooler with dropout, as in MT-DNN, for the checkpoint's, from training to prediction."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

import predict
import train
from data_utils.task_def import DataFormat, TaskDef, TaskType
from module.optim import encoder_param_groups
from mt_dnn.model import HEADS_FILE, MTDNN, build_model, holds_pooler
from tests.conftest import Workshop

COLA = TaskDef(name="cola", data_format=DataFormat.PremiseOnly, task_type=TaskType.Classification)
STSB = TaskDef(name="stsb", data_format=DataFormat.PremiseAndOneHypothesis, task_type=TaskType.Regression)
IDS = torch.tensor([[2, 7, 8, 9, 3]])
TEXT = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
OWN = {
    "bert": transformers.BertConfig(**TEXT),
    "albert": transformers.AlbertConfig(**TEXT, embedding_size=16),
    "big_bird": transformers.BigBirdConfig(**TEXT),
    "mpnet": transformers.MPNetConfig(**TEXT),
    "longformer": transformers.LongformerConfig(**TEXT, attention_window=4),
    "distilbert": transformers.DistilBertConfig(vocab_size=60, dim=32, n_layers=1, n_heads=2, hidden_dim=48),
}


def build(source: Path, pooler: str, seed: int = 3) -> MTDNN:
    return build_model(str(source), [COLA], dropout_p=0.25, seed=seed, pooler=pooler)


def weight(model: MTDNN) -> torch.Tensor:
    assert model.encoder.pooler is not None
    return model.encoder.pooler.dense.weight


@pytest.mark.parametrize("model_type", OWN)
def test_the_new_pooler_is_dropout_dense_tanh_and_the_only_one(model_type: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    transformers.AutoModel.from_config(OWN[model_type]).save_pretrained(tmp_path)
    model = build(tmp_path, "new")
    encoder = model.encoder.eval()
    with torch.no_grad():
        encoded = encoder(IDS, attention_mask=torch.ones_like(IDS))
        expected = torch.tanh(nn.functional.linear(encoded.last_hidden_state[:, 0], weight(model)))
    torch.testing.assert_close(encoded.pooled, expected)  # its bias begins at zero
    assert encoder.pooler is not None and encoder.pooler.dropout.p == 0.25
    assert not [name for name, _ in encoder.model.named_parameters() if "pooler" in name], (
        "the old one would be trained"
    )
    groups = {name: group["perturb"] for group in encoder_param_groups(model) for name in group["names"]}
    assert groups["encoder.pooler.dense.weight"] is False


def test_its_dropout_works_in_training_only(workshop: Workshop) -> None:
    encoder = build(workshop.encoder, "new").encoder
    assert encoder.pooler is not None
    ones = torch.ones(1, 32)
    assert not torch.equal(encoder.pooler.train()(ones), encoder.pooler(ones))
    assert torch.equal(encoder.pooler.eval()(ones), encoder.pooler(ones))


def test_it_comes_from_the_seed_and_leaves_the_rest_as_it_is(workshop: Workshop) -> None:
    first, again, other = (build(workshop.encoder, "new", seed) for seed in (1, 1, 2))
    assert torch.equal(weight(first), weight(again))
    assert not torch.equal(weight(first), weight(other))
    kept = build(workshop.encoder, "checkpoint", 1).state_dict()
    assert "encoder.pooler.dense.weight" not in kept
    for name, value in first.state_dict().items():
        assert name.startswith("encoder.pooler.") or torch.equal(value, kept[name]), name


@pytest.fixture(scope="module")
def run(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "new"
    flags = ["--train_datasets", "stsb", "--epochs", "1", "--pooler", "new", "--learning_rate", "1e-3"]
    assert train.main(workshop.flags(folder, *flags, "--dev_predictions")) == 0
    return folder


def test_a_trained_one_predicts_what_was_evaluated(run: Path, workshop: Workshop, tmp_path: Path) -> None:
    assert not [name for name in load_file(run / "best" / "encoder" / "model.safetensors") if "pooler" in name]
    flags = ["--checkpoint", str(run), "--data_dir", str(workshop.data_dir), "--split", "dev"]
    assert predict.main([*flags, "--output", str(tmp_path / "out.tsv")]) == 0
    rows = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()[1:]]
    (evaluated,) = json.loads((run / "dev_predictions.json").read_bytes())["stsb"]["dev"]["predictions"].values()
    assert len(set(evaluated)) > 1
    np.testing.assert_allclose([float(value) for _, value in rows], evaluated, rtol=1e-4)


def test_training_on_takes_it_over_or_takes_another(run: Path) -> None:
    """`checkpoint` is the run's pooler; `new` is new there, too."""
    assert holds_pooler(str(run)) and holds_pooler(str(run / "best"))
    saved = load_file(run / "best" / HEADS_FILE)
    kept, new = (build_model(str(run), [STSB], dropout_p=0.1, seed=1, pooler=how) for how in ("checkpoint", "new"))
    assert torch.equal(weight(kept), saved["encoder.pooler.dense.weight"])
    assert not torch.equal(weight(new), saved["encoder.pooler.dense.weight"])
    for model in (kept, new):
        assert torch.equal(model.heads["stsb"].linear.weight, saved["heads.stsb.linear.weight"])


def test_a_run_with_it_resumes_to_the_same_bits(run: Path, workshop: Workshop, tmp_path: Path) -> None:
    flags = ["--train_datasets", "stsb", "--pooler", "new", "--epochs", "2", "--keep_checkpoints", "9", "--resume"]
    assert train.main(workshop.flags(tmp_path / "whole", *flags)) == 0
    (tmp_path / "whole" / "results.json").unlink()
    first, last = sorted((tmp_path / "whole" / "checkpoints").iterdir())
    whole = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    shutil.rmtree(last)
    assert train.main(workshop.flags(tmp_path / "whole", *flags)) == 0
    assert sorted((tmp_path / "whole" / "checkpoints").iterdir()) == [first, last]
    assert whole
    assert whole == {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


def test_the_plan_says_which_pooler_heads_read(
    run: Path, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers.BertModel.from_pretrained(workshop.encoder, add_pooling_layer=False).save_pretrained(tmp_path / "none")
    cases = {
        (str(workshop.encoder), "checkpoint"): "the checkpoint's",
        (str(workshop.encoder), "new"): "new: dropout 0.1, dense, tanh (--pooler new)",
        (str(tmp_path / "none"), "checkpoint"): "new: the encoder's own, not in the checkpoint",
        (str(run), "checkpoint"): "dense, tanh, taken over with the heads",
    }
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(workshop.encoder / name, tmp_path / "none")
    for (checkpoint, pooler), words in cases.items():
        more = ["--train_datasets", "stsb", "--dry_run", "--init_checkpoint", checkpoint, "--pooler", pooler]
        assert train.main(workshop.flags(tmp_path / "run", *more)) == 0, capsys.readouterr().err
        assert f"\npooler   {words}\n" in capsys.readouterr().out


def test_a_pooler_that_does_not_exist(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(workshop.flags(tmp_path / "run", "--train_datasets", "stsb", "--pooler", "fresh")) == 2
    assert "--pooler: unknown 'fresh'; allowed: checkpoint, new" in capsys.readouterr().err
