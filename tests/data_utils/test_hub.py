"""A computer without the hub is told so without waiting for retries, and uses what was downloaded before."""

from __future__ import annotations

import http.server
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

import prepro_std
import train
from data_utils.errors import InputError
from data_utils.hub import model_source, why_no_hub
from data_utils.tokenization import load_tokenizer
from tests.conftest import Workshop


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    why_no_hub.cache_clear()
    yield
    why_no_hub.cache_clear()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept before asking once more, in seconds each time; nothing sleeps."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A port at which nobody answers as the hub, and an empty cache, whose folder it returns."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def download(cache: Path, name: str, model: Path) -> None:
    """Put a model where an earlier download would have put it."""
    folder = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")


@pytest.mark.parametrize("command", ["train", "prepro"])
def test_a_name_without_the_hub_fails_at_once(
    command: str,
    no_hub: Path,
    waits: list[float],
    workshop: Workshop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without being asked first whether the hub answers, `transformers` took 49 seconds."""
    if command == "train":
        flags = workshop.flags(tmp_path / "run", "--train_datasets", "sst", "--init_checkpoint", "bert-base-uncased")
        run, flag = train.main, "--init_checkpoint"
    else:
        flags = ["--model", "bert-base-uncased", "--root_dir", str(workshop.data_dir.parent)]
        flags += ["--task_def", "experiments/glue/glue_task_def.yml", "--tasks", "sst"]
        run, flag = prepro_std.main, "--model"
    assert run(flags) == 2
    assert not waits
    error = capsys.readouterr().err
    message = f"error: {flag}: 'bert-base-uncased' is no folder here and was not downloaded before, and http://127."
    assert error.startswith(message)
    assert "cannot be reached" in error
    assert "give the folder of the model, or try again with a network (HF_HUB_OFFLINE=1 saves the asking)" in error
    assert error.count("\n") == 1


def test_a_model_that_was_downloaded_before_is_used_without_the_hub(
    no_hub: Path, waits: list[float], workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(no_hub, "some/tiny-bert", workshop.encoder)
    more = ["--train_datasets", "sst", "--dry_run", "--init_checkpoint", "some/tiny-bert"]
    assert train.main(workshop.flags(tmp_path / "run", *more)) == 0, capsys.readouterr().err
    assert not waits
    assert load_tokenizer("some/tiny-bert").is_fast


def test_a_download_that_lacks_the_weights(
    no_hub: Path, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`prepro_std.py` downloads the tokenizer only; then the network was gone."""
    download(no_hub, "some/tiny-bert", workshop.encoder)
    (weights,) = no_hub.rglob("model.safetensors")
    weights.unlink()
    assert load_tokenizer("some/tiny-bert").is_fast
    more = ["--train_datasets", "sst", "--dry_run", "--init_checkpoint", "some/tiny-bert"]
    assert train.main(workshop.flags(tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err
    assert "no model.safetensors or pytorch_model.bin in it" in error
    assert "; this is what was downloaded before, and http://127.0.0.1:" in error
    for path in no_hub.rglob("*token*"):
        path.unlink()
    with pytest.raises(InputError, match="no tokenizer files; .*; this is what was downloaded before, and http://127"):
        load_tokenizer("some/tiny-bert")


def test_offline_by_choice(no_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: pytest.fail("asked all the same"))
    with pytest.raises(InputError, match="--model: 'a/b' is no folder .*HF_HUB_OFFLINE is set; unset it, or give the"):
        model_source("a/b", "--model")


def test_what_is_no_name_at_all(no_hub: Path) -> None:
    with pytest.raises(InputError, match="--model: 'a name/with/three parts' is no folder here"):
        model_source("a name/with/three parts", "--model")


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_any_answer_is_one(no_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that wants a token, or a mirror, decides itself what to say of a model."""
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert model_source("some/model", "--model") == "some/model"
        server.shutdown()


def test_folders_never_ask(no_hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: pytest.fail("asked all the same"))
    assert model_source(str(tmp_path), "--model") == str(tmp_path)
