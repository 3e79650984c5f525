"""Fine-tune one shared encoder on one or many tasks.

    python train.py --data_dir data/canonical_data/bert-base-uncased --init_checkpoint bert-base-uncased \
        --train_datasets rte --optim pats_adamax --learning_rate 1e-4 --output_dir runs/rte

Several processes: torchrun --nproc_per_node 4 train.py … with the same flags. Exit codes: 0 done; 2 the input is wrong
(one message says how); 3 a signal has stopped it, and `--resume` goes on; 4 another run is writing to its folder; 1
anything else, such as a number that is not finite or a full disk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.errors import StoppedError, entry_point
from data_utils.fingerprints import damage
from data_utils.model_folder import BEST
from mt_dnn.allocator import keep_freed_memory
from mt_dnn.config import TrainConfig, load_config
from mt_dnn.distributed import Ranks, session
from mt_dnn.memory import told_when_full
from mt_dnn.record.checkpoint import Checkpoints
from mt_dnn.record.results import read_results, summary
from mt_dnn.record.run_log import say

LOWER = (
    "lower --batch_size (with --grad_accumulation_step an update has as many rows), --batch_size_eval or "
    "--max_seq_len, or take --bf16, in a new --output_dir"
)
"""What to change where memory is full; a run's settings stay, so it is another run."""


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code."""
    config = load_config(argv, "Fine-tune one shared encoder on one or many tasks.")
    keep_freed_memory()
    with session(gpus=config.loop.device != "cpu") as ranks:
        return run(config, ranks)


def run(config: TrainConfig, ranks: Ranks) -> int:
    """Train, or show the plan, or show the results of a run that is done. Of several processes the first one speaks."""
    tell = say if ranks.first else lambda line: None
    folder = Path(config.output.output_dir)
    results_file, best = folder / "results.json", folder / BEST
    if ranks.broadcast(config.output.resume and os.path.isfile(results_file)):
        with ranks.together():
            whole = not ranks.first or show_done(folder)
        if ranks.broadcast(whole):
            return 0
    from mt_dnn.setup import build_trainer  # seconds to import, for which nobody should wait who has mistyped a flag

    with told_when_full(LOWER):
        trainer = build_trainer(config, ranks)
        tell(trainer.plan)
        if config.output.dry_run:
            return 0
        tell("")
        results = trainer.run()
    tell(f"\n{summary(results)}\n\nwritten: {results_file}, {best}")
    return 0


def show_done(folder: Path) -> bool:
    """Show the results of a run that is done; returns whether its `best/` is there, as far as sizes say.

    Raises:
        StoppedError: it is not, and there is no checkpoint to write it from.
    """
    say(f"{folder} is done\n\n{summary(read_results(folder / 'results.json'))}")
    reason = damage(folder / BEST, contents=False)  # hashing a large model would take seconds
    if reason is None:
        return True
    lost = f"{folder / BEST} is not whole ({reason})"
    if not Checkpoints(folder / "checkpoints", 1).any():  # without one the run would begin anew, and clear the folder
        raise StoppedError(f"{lost}, and there is no checkpoint; for the model start anew in another --output_dir")
    say(f"\n{lost}; it is written again if a checkpoint has its weights\n")
    return False


if __name__ == "__main__":
    sys.exit(main())
