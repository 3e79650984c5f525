"""What a run writes and reads again: checkpoints, events, results, and its output folder."""
