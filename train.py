"""Fine-tune one shared encoder on one or many tasks.

    python train.py --data_dir data/canonical_data/bert-base-uncased --init_checkpoint bert-base-uncased \
        --train_datasets rte --optim pats_adamax --learning_rate 1e-4 --output_dir runs/rte

Exit codes: 0 done, 2 the input is wrong (one message says how), 1 anything else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.errors import entry_point
from mt_dnn.config import TrainConfig, load_config
from mt_dnn.results import summary
from mt_dnn.setup import build_trainer
from mt_dnn.update import NonFiniteError


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    try:
        return run(load_config(argv, "Fine-tune one shared encoder on one or many tasks."))
    except NonFiniteError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1


def run(config: TrainConfig) -> int:
    """Train, or show the plan, or show the results of a run that is done."""
    results_file = Path(config.output.output_dir) / "results.json"
    if config.output.resume and results_file.is_file():
        print(f"{config.output.output_dir} is done\n")
        print(summary(json.loads(results_file.read_text(encoding="utf-8"))))
        return 0
    trainer = build_trainer(config)
    print(trainer.plan, flush=True)
    if config.output.dry_run:
        return 0
    print()
    results = trainer.run()
    print()
    print(summary(results))
    print(f"\nwritten: {results_file}, {results_file.parent / 'best'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
