"""The optimizers (in `optim`), and for the toolkit the shared encoder, task heads and losses.

The wheel `pats-optim` carries this package under the name `pats`, with the optimizers and their kernels alone.
"""

__version__ = "0.1.0"
