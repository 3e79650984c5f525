"""The optimizers' steps on a CPU, compiled by Numba where that is installed; otherwise nothing here is imported."""
