"""Updates that were not applied: how many a run has had, and when they end it."""

from __future__ import annotations

from data_utils.errors import StoppedError
from mt_dnn.record.progress import Progress
from mt_dnn.update import Updated

SKIPS_IN_A_ROW = 25
"""So many one after another end a run whatever `--on_nonfinite` says: then it is not the batch."""


def count_skips(progress: Progress, updated: Updated, step: int, *, stop: bool) -> None:
    """Count update number `step` in `progress` if it was not applied.

    Args:
        progress: of the run; one that was applied ends a row of others there.
        updated: what became of the update.
        step: its number.
        stop: whether the first one that is not finite ends the run.

    Raises:
        StoppedError: that one came, or too many did, one after another; float16's scaler leaving out updates counts.
    """
    if updated.problem and stop:
        raise StoppedError(
            f"{updated.problem}. The last checkpoint stands; --on_nonfinite skip leaves such updates out"
        )
    progress.skipped += bool(updated.problem)
    progress.overflows += updated.overflow
    left_out = updated.problem or updated.overflow
    progress.skipped_in_a_row = progress.skipped_in_a_row + 1 if left_out else 0
    if progress.skipped_in_a_row < SKIPS_IN_A_ROW:
        return
    if updated.problem:
        raise StoppedError(f"{SKIPS_IN_A_ROW} updates one after another were not finite, the last: {updated.problem}")
    raise StoppedError(
        f"{SKIPS_IN_A_ROW} updates one after another overflowed in float16, the last was update {step}; "
        "use --bf16, or neither"
    )
