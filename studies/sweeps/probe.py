"""One of the processes that a layout is tried with: a run's beginning, timed, that writes nothing.

    python -m studies.sweeps.probe UPDATES <flags of train.py>

It says `ready` once everything is loaded, waits for a line, makes UPDATES updates, and says what it took as JSON.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time

WARM_UP = 2  # updates: the first ones allocate memory, and oneDNN chooses its kernels


def main(argv: list[str]) -> int:
    """Load, wait, time; exit code 0, or train.py's."""
    updates, flags = int(argv[0]), argv[1:]
    from mt_dnn.config import load_config
    from mt_dnn.setup import build_trainer

    config = load_config(flags, "")
    trainer = build_trainer(config)
    rows = sum(len(item.train) for item in trainer.state.data.values())
    draws = itertools.chain.from_iterable(map(trainer.sampler.epoch, itertools.count()))
    for draw in itertools.islice(draws, WARM_UP):
        trainer.update(draw, 0)
    print("ready", flush=True)
    sys.stdin.readline()
    started, seen = time.perf_counter(), 0
    for draw in itertools.islice(draws, updates):
        trainer.update(draw, 0)
        seen += len(draw.rows)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)
    print(json.dumps({"seconds": seconds, "rows": seen, "rows_in_all": rows * config.loop.epochs, "memory": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
