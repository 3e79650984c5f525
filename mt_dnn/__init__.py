"""Multi-task training: configuration, batches, the loop, evaluation, checkpoints and logs."""
