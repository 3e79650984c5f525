"""Triton kernels of the optimizers and their launcher. Only `mode` can be imported without Triton."""
