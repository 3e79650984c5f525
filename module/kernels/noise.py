"""PATS's noise in a kernel: Philox, keyed by seed, step, position of the tensor, and element.

One call of Philox4x32-10 serves two elements that lie `PAIR_DISTANCE` apart: two words make two normals (Box and
Muller), two decide whether the elements are perturbed. The distance is part of the noise's definition; the size of a
program's block is not.
"""

import triton
import triton.language as tl

PAIR_DISTANCE = tl.constexpr(1024)


@triton.jit
def pairs_of(block, BLOCK: tl.constexpr):
    """Return for each pair in a block its number in the tensor, and the offsets of its two elements.

    `BLOCK` is a multiple of `2 * PAIR_DISTANCE`.
    """
    k = tl.arange(0, BLOCK // 2)
    first = block * BLOCK + (k // PAIR_DISTANCE) * (2 * PAIR_DISTANCE) + k % PAIR_DISTANCE
    return block * (BLOCK // 2) + k, first, first + PAIR_DISTANCE


@triton.jit
def bernoulli_normal(seed, step, position, pair, p):
    """Return `z ⊙ n` for both elements of each pair: standard normals with probability `p`, else zero."""
    counter = pair.to(tl.uint32)
    zeros = counter * 0
    low, high = position.to(tl.uint32), (position >> 32).to(tl.uint32)
    a, b, c, d = tl.philox(seed, counter, zeros + step.to(tl.uint32), zeros + low, zeros + high)
    n1, n2 = tl.pair_uniform_to_normal(tl.uint_to_uniform_float(a), tl.uint_to_uniform_float(b))
    z1, z2 = tl.uint_to_uniform_float(c) < p, tl.uint_to_uniform_float(d) < p
    return tl.where(z1, n1, 0.0), tl.where(z2, n2, 0.0)


@triton.jit
def noise_kernel(out_ptr, size, seed, step, position, p, BLOCK: tl.constexpr):
    """Write the noise of one tensor: what the optimizers' kernels add, for tests and inspection."""
    pair, first, second = pairs_of(tl.program_id(0), BLOCK)
    n1, n2 = bernoulli_normal(seed, tl.cast(step, tl.int64), tl.cast(position, tl.int64), pair, p)
    tl.store(out_ptr + first, n1, mask=first < size)
    tl.store(out_ptr + second, n2, mask=second < size)
