"""Triton kernels of the optimizers and their launcher. Imports Triton: `module.optim.backends` decides when."""
