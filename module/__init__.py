"""The shared encoder, task heads, losses and (in `module.optim`) the optimizers."""
