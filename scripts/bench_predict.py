"""What predicting rows together saves beside one call a row, and where the time of the rows goes.

    python -m scripts.bench_predict --checkpoint runs/mtl --task sst --texts texts.txt

`texts.txt` has a text a line. The model is loaded once and warm in both cases. The last figure is the time of the
encoder's matrix products alone, at the shapes of a full batch: no batching goes below it. All is measured on the CPU,
also where there is a GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from data_utils.canonical import Row
from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, entry_point
from data_utils.features import features_in_memory
from data_utils.tokenization import RowEncoder
from module.encoder import Encoder
from mt_dnn import load
from mt_dnn.predict import TrainedModel

ONE_AT_A_TIME = 100
"""Texts that are predicted by themselves; all are predicted together."""
WARM_UP = 10


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def seconds_of_products(encoder: Encoder, tokens: int, *, bf16: bool) -> float:
    """Time that the matrix products of the encoder's layers need for so many tokens."""
    weights = [weight for name, weight in encoder.named_parameters() if weight.dim() == 2 and ".layer." in name]
    dtype = torch.bfloat16 if bf16 else torch.float32
    pairs = [(torch.randn(tokens, w.shape[1], dtype=dtype), w.detach().to(dtype).T) for w in weights]
    with torch.inference_mode():
        return min(seconds(lambda: [x @ w for x, w in pairs]) for _ in range(3))


def measure(checkpoint: str, task: str | None, texts: Sequence[str], *, bf16: bool, batch_size: int) -> list[str]:
    """The figures, a line each."""
    model = load(checkpoint, device="cpu", bf16=bf16, batch_size=batch_size)
    alone = texts[:: max(1, len(texts) // ONE_AT_A_TIME)][:ONE_AT_A_TIME]
    for text in alone[:WARM_UP]:
        model.predict([text], task)
    one = seconds(lambda: [model.predict([text], task) for text in alone]) / len(alone)
    model.predict(texts[:batch_size], task)
    together = seconds(lambda: model.predict(texts, task)) / len(texts)

    trained = TrainedModel.load(checkpoint)
    form, tokenize = trained.task(task), RowEncoder(trained.settings(512, pairs=False))
    rows = [Row(str(i), ("",), text, ()) for i, text in enumerate(texts)]
    prepared = seconds(lambda: list(form.kind.features(form, rows, tokenize))) / len(rows)
    lengths = features_in_memory(form, list(form.kind.features(form, rows, tokenize))).lengths
    tokens = round(float(lengths.mean()) * batch_size)
    products = seconds_of_products(trained.model.encoder, tokens, bf16=bf16) / batch_size
    return [
        f"{'bf16' if bf16 else 'fp32'}, {torch.get_num_threads()} threads, {len(texts):,} texts of "
        f"{tokens / batch_size:.1f} tokens, {batch_size} a pass",
        f"one at a time  {one * 1e3:7.2f} ms a row",
        f"together       {together * 1e3:7.2f} ms a row, {one / together:.1f} times as fast",
        f"  tokens       {prepared * 1e3:7.2f} ms a row",
        f"  products     {products * 1e3:7.2f} ms a row, of the encoder's layers",
    ]


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    parser = Parser(description="Predicting together beside one at a time.", allow_abbrev=False)
    parser.add_argument("--checkpoint", required=True, type=path_text, help="the --output_dir of a run, or its best/")
    parser.add_argument("--task", help="a task of single texts (default: the only one)")
    parser.add_argument("--texts", required=True, type=path_text, help="file with a text a line")
    parser.add_argument("--batch_size", type=int, default=64, help="rows a forward pass (default: 64)")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=False, help="bfloat16 autocast")
    args = parser.parse_args(argv)
    texts = [line for line in Path(args.texts).read_text(encoding="utf-8").splitlines() if line.strip()]
    if not texts:
        raise InputError(f"--texts {args.texts}: no text in it")
    print("\n".join(measure(args.checkpoint, args.task, texts, bf16=args.bf16, batch_size=args.batch_size)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
