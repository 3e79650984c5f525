"""Separate random streams from one `--seed`, so that changing one thing does not reshuffle the others."""

from __future__ import annotations

import hashlib


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names`, such as `("order", epoch, task)`.

    Equal on every machine and in every run with the same `seed`; streams of different names are independent.
    """
    key = "\x1f".join(map(str, (seed, *names))).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
