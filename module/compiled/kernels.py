"""The optimizers' steps, compiled for a CPU by Numba: the formulae of `kernels/`, with the same noise.

A call covers rows of a table of `work`: a tensor, and which of its elements. Sharded or not, elements are counted in
the whole tensor, so that the noise knows its element. Each row is done by one thread, alone and always in the same
order, so that results do not depend on the number of threads.

Inner loops are functions of a few arrays, as LLVM uses vector instructions only where it can tell in a few comparisons
that arrays do not overlap. Arithmetic is float32 and rounds as written: where torch's own step fuses a multiplication
and an addition, `fma` is written out, so that Adamax equals torch's to the last bit. Integers of 32 bits are cast back
after each operation, as Numba widens them to 64.

All compiled code stands in this one file: Numba keeps what it has compiled for as long as the file is the same, and
does not look at other files.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, config, njit, types
from numba.extending import intrinsic

from .on_disk import ForgivingCache

if config.DISABLE_JIT:  # Numba's switch for debugging
    raise ImportError("NUMBA_DISABLE_JIT is set")

# Rows of the table of addresses; the third of the state is the method's own.
PARAM, GRAD, FIRST, SECOND, THIRD = range(5)
SENSITIVITY = THIRD

# Columns of the table of work: a tensor, and the first and one past the last element.
TENSOR, BEGIN, END = range(3)

ADAMAX, ADAMW = range(2)

LANES = 1024
"""Sums that run beside each other over a row of work."""

PAIR_DISTANCE = 1024
"""Between the two elements that one call of Philox serves: part of the noise's definition, see `kernels/noise.py`."""

PAIRS = 512
"""Drawn before their elements are updated; so many elements and numbers fit into the first cache."""

CHUNK = 64
"""Pairs drawn between two requests to memory, for what will be updated next: drawing hides the time that takes."""

RUN = 1024
"""Elements that SAGE and RecAdam update at once."""

LINE = 16
"""Elements of a line of cache."""

float32, int32, uint32, uint64 = np.float32, np.int32, np.uint32, np.uint64


class Base(NamedTuple):
    """Numbers of the base step that all tensors share; `kept` is 1 - rate · decay."""

    rule: int
    factor: np.float32
    weight1: np.float32
    beta2: np.float32
    weight2: np.float32
    eps: np.float32
    kept: np.float32


class Noise(NamedTuple):
    """PATS's options; `scale` is what the σ of λ = 1 is multiplied by."""

    seed: np.uint64
    p: np.float32
    scale: np.float32
    gamma: np.float32
    signed: bool
    variance: bool


class Numbers(NamedTuple):
    """Numbers of each tensor, as arrays: the rate with its bias correction, which is negative, and √(1 - β2^t)."""

    step_sizes: np.ndarray
    roots: np.ndarray


class Drawing(NamedTuple):
    """What PATS needs of each tensor, as arrays: its step and position for the noise, s̄, the least denominator."""

    steps: np.ndarray
    positions: np.ndarray
    means: np.ndarray
    leasts: np.ndarray


class Adaptation(NamedTuple):
    """SAGE's numbers; without `adapts` the factor is left out. `decay` acts inside of it, `kept` outside."""

    adapts: bool
    weight0: np.float32
    eps_squared: np.float32
    decay: np.float32


def compiled(function: Any) -> Any:
    """Compile a function at its first call, and keep it on disk where Numba finds a place to write to."""
    how = {"nogil": True, "error_model": "numpy"}  # division as in IEEE 754, without a check
    # What is kept imports this module again, by its name, and a clone's file has two: `module` and, installed in place,
    # `pats`. Numba keeps it by the function's name.
    function.__qualname__ = f"{__package__}.{function.__qualname__}"
    try:
        kept = njit(cache=True, **how)(function)
    except RuntimeError:  # neither beside this file nor in the user's cache folder
        return njit(**how)(function)
    kept._cache = ForgivingCache(kept._cache)  # Numba has no public way, and would end the step where a disk is full
    return kept


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a·b + c, rounded once."""
    return types.float32(types.float32, types.float32, types.float32), lambda _, llvm, __, args: llvm.fma(*args)


@intrinsic
def bits_of(typing: Any, x: Any) -> Any:
    """Return a float32's bits."""
    return types.int32(types.float32), lambda _, llvm, __, args: llvm.bitcast(args[0], ir.IntType(32))


@intrinsic
def of_bits(typing: Any, x: Any) -> Any:
    """Return the float32 of these bits."""
    return types.float32(types.int32), lambda _, llvm, __, args: llvm.bitcast(args[0], ir.FloatType())


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    """Return an address as a pointer."""
    kind = types.voidptr
    return kind(types.int64), lambda _, llvm, __, args: llvm.inttoptr(args[0], ir.IntType(8).as_pointer())


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for a line of memory; any address will do."""

    def generate(context: Any, llvm: Any, _: Any, args: Any) -> Any:
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        name = "llvm.prefetch.p0"
        function = llvm.module.globals.get(name) or ir.Function(llvm.module, kind, name)
        for_reading, keep, data = ir.Constant(number, 0), ir.Constant(number, 3), ir.Constant(number, 1)
        llvm.call(function, [llvm.inttoptr(args[0], byte), for_reading, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@compiled
def floats(addresses, role, tensor, first, size):
    """Return `size` elements of a tensor as an array that shares its memory."""
    return carray(pointer(addresses[role, tensor] + 4 * first), size, np.float32)


@compiled
def lerp(average, fresh, weight):
    """Return the moving average with `weight` of the fresh value, as torch computes it."""
    if abs(weight) < float32(0.5):
        return fma(weight, fresh - average, average)
    return fma(weight - float32(1), fresh - average, fresh)


# The noise: Philox4x32-10 (Salmon et al. 2011), Box and Muller, Bernoulli.

LOW = uint64(0xFFFFFFFF)
HALF_WORD = uint64(32)


@compiled
def philox(words, first_pair, pairs, seed, step, position):
    """Draw four words for each pair."""
    for k in range(pairs):
        c0, c1, c2, c3 = uint64(first_pair + k), step, position & LOW, position >> HALF_WORD
        key0, key1 = seed & LOW, seed >> HALF_WORD
        for _ in range(10):
            # High halves may hold anything: the next product takes the low ones alone.
            product0, product1 = uint64(0xD2511F53) * (c0 & LOW), uint64(0xCD9E8D57) * (c2 & LOW)
            c0, c1 = (product1 >> HALF_WORD) ^ c1 ^ key0, product1
            c2, c3 = (product0 >> HALF_WORD) ^ c3 ^ key1, product0
            key0, key1 = key0 + uint64(0x9E3779B9), key1 + uint64(0xBB67AE85)
        words[0, k], words[1, k] = uint32(c0 & LOW), uint32(c1 & LOW)
        words[2, k], words[3, k] = uint32(c2 & LOW), uint32(c3 & LOW)


@compiled
def uniform(word):
    """Return a number in [0, 1], as Triton makes it of a word."""
    signed = int32(word)
    return float32(int32(signed ^ int32(signed >> int32(31)))) * float32(4.6566127342e-10)


@compiled
def log(x):
    """Return ln x of a normal x > 0, with a relative error below 2e-7: also near 1, where it goes to zero."""
    bits = bits_of(x)
    exponent = int32(int32(bits - int32(0x3F3504F3)) >> int32(23))  # x = 2^exponent · (1 + f), 1 + f in [√½, √2)
    f = of_bits(int32(bits - int32(exponent << int32(23)))) - float32(1)
    series = fma(f, float32(0.08734841), float32(-0.14307521))
    series = fma(f, series, float32(0.14917974))
    series = fma(f, series, float32(-0.16570508))
    series = fma(f, series, float32(0.19962072))
    series = fma(f, series, float32(-0.25001755))
    series = fma(f, series, float32(0.3333395))
    series = fma(f, series, float32(-0.49999992))
    power = float32(exponent)  # times ln 2 in two parts, the first of few bits
    return fma(power, float32(0.693359375), f + fma(f * f, series, power * float32(-2.1219444e-4)))


@compiled
def normals(firsts, seconds, words, pairs, p):
    """Make `z ⊙ n` of the words, for both elements of each pair."""
    for k in range(pairs):
        u = uniform(words[0, k])
        radius = math.sqrt(float32(-2) * log(u if u > float32(1e-7) else float32(1e-7)))
        turns = uniform(words[1, k])
        quarter = int32(fma(turns, float32(4), float32(0.5)))
        rest = fma(float32(quarter), float32(-0.25), turns)  # an eighth of a turn at most, exact
        square = rest * rest
        sine = fma(square, float32(-75.40206791), float32(81.59255354))
        sine = rest * fma(square, fma(square, sine, float32(-41.34166263)), float32(6.28318529))
        cosine = fma(square, float32(59.2459642), float32(-85.44374173))
        cosine = fma(square, fma(square, cosine, float32(64.93932647)), float32(-19.73920869))
        cosine = fma(square, cosine, float32(1))
        odd = int32(quarter & int32(1)) != int32(0)
        first, second = (sine, cosine) if odd else (cosine, sine)
        # The cosine is negative in the quarters 1 and 2, the sine in 2 and 3.
        minus1 = int32(int32(int32(quarter + int32(1)) & int32(2)) << int32(30))
        minus2 = int32(int32(quarter & int32(2)) << int32(30))
        first = radius * of_bits(int32(bits_of(first) ^ minus1))
        second = radius * of_bits(int32(bits_of(second) ^ minus2))
        firsts[k] = first if uniform(words[2, k]) < p else float32(0)
        seconds[k] = second if uniform(words[3, k]) < p else float32(0)


# PATS's first pass


@compiled
def fold(average, theta, gradient, lanes, size, factor, weight, signed):
    """Fold `s` into its moving average (Eq. 2); add that to the sums."""
    for i in range(size):
        fresh = theta[i] * (factor * gradient[i])
        fresh = fresh if signed else abs(fresh)
        value = lerp(average[i], fresh, weight)
        average[i] = value
        lanes[i] += value


@compiled
def average_sensitivity(work, low, high, addresses, partials, factor, weight, signed):
    """Update the sensitivities of rows `low` to `high` of the work, and note each row's sum."""
    lanes = np.empty(LANES, np.float64)  # signed sensitivities all but cancel
    for row in range(low, high):
        tensor, begin, end = work[row, TENSOR], work[row, BEGIN], work[row, END]
        lanes[:] = 0.0
        for first in range(begin, end, LANES):
            size = min(LANES, end - first)
            average = floats(addresses, SENSITIVITY, tensor, first, size)
            theta = floats(addresses, PARAM, tensor, first, size)
            gradient = floats(addresses, GRAD, tensor, first, size)
            fold(average, theta, gradient, lanes, size, factor, weight, signed)
        total = 0.0
        for lane in lanes[: min(LANES, end - begin)]:
            total += lane
        partials[row] = total


# Base steps


@compiled
def adamax(theta, gradient, m, u, size, base, step_size):
    """Do a step of Adamax; see `optim/adamax.py`."""
    for i in range(size):
        g = base.factor * gradient[i]
        m[i] = lerp(m[i], g, base.weight1)
        old, new = base.beta2 * u[i], abs(g) + base.eps
        u[i] = old if old > new else new
        theta[i] = base.kept * theta[i] + step_size * m[i] / u[i]


@compiled
def adamw(theta, gradient, m, v, size, base, step_size, root2):
    """Do a step of AdamW; see `optim/adamw.py`."""
    for i in range(size):
        g = base.factor * gradient[i]
        m[i] = lerp(m[i], g, base.weight1)
        v[i] = fma(base.weight2 * g, g, base.beta2 * v[i])
        theta[i] = base.kept * theta[i] + step_size * m[i] / (math.sqrt(v[i]) / root2 + base.eps)


@compiled
def descend(addresses, tensor, first, size, base, step_size, root2):
    """Do a base step on a run of elements."""
    theta = floats(addresses, PARAM, tensor, first, size)
    gradient = floats(addresses, GRAD, tensor, first, size)
    m, u = floats(addresses, FIRST, tensor, first, size), floats(addresses, SECOND, tensor, first, size)
    if base.rule == ADAMAX:
        adamax(theta, gradient, m, u, size, base, step_size)
    else:
        adamw(theta, gradient, m, u, size, base, step_size, root2)


@compiled
def plain_steps(work, low, high, addresses, base, numbers):
    """Do the base step for rows `low` to `high` of the work."""
    for row in range(low, high):
        tensor, begin = work[row, TENSOR], work[row, BEGIN]
        size = work[row, END] - begin
        descend(addresses, tensor, begin, size, base, numbers.step_sizes[tensor], numbers.roots[tensor])


# RecAdam; symbols as in `optim/recadam.py`.


@compiled
def draw_back(theta, pretrained, size, kept, pull):
    """Decay, and go so far to the pretrained weights."""
    for i in range(size):
        theta[i] = lerp(kept * theta[i], pretrained[i], pull)


@compiled
def pulled_steps(work, low, high, addresses, base, numbers, kept, pulls):
    """Draw the weights back and do the base step for rows `low` to `high` of the work."""
    for row in range(low, high):
        tensor, begin, end = work[row, TENSOR], work[row, BEGIN], work[row, END]
        for first in range(begin, end, RUN):
            size = min(RUN, end - first)
            theta = floats(addresses, PARAM, tensor, first, size)
            draw_back(theta, floats(addresses, THIRD, tensor, first, size), size, kept, pulls[tensor])
            descend(addresses, tensor, first, size, base, numbers.step_sizes[tensor], numbers.roots[tensor])


# PATS's second pass


@compiled
def perturb(theta, average, drawn, size, mean, noise, least):
    """Add noise by sensitivity (Eq. 4 and 5); see `signed_ratios` and `magnitude_ratios` in `optim/pats.py`."""
    for i in range(size):
        if noise.signed:
            ratio = mean / (abs(average[i]) + least)
            ratio = ratio if average[i] > float32(0) else (-ratio if average[i] < float32(0) else float32(0))
        else:
            ratio = mean / (average[i] + least)
        ratio -= noise.gamma
        intensity = ratio if ratio > float32(0) else float32(0)
        sigma = math.sqrt(intensity) if noise.variance else intensity
        theta[i] += noise.scale * sigma * drawn[i]


@compiled
def fetch(addresses, tensor, first, size):
    """Ask for what PATS's second pass needs of these elements."""
    for i in range(first, first + size, LINE):
        for role in range(SENSITIVITY + 1):
            prefetch(addresses[role, tensor] + 4 * i)


@compiled
def noisy_steps(work, low, high, addresses, base, numbers, noise, drawing):
    """Do the base step and add noise for rows `low` to `high` of the work, some pairs of elements at a time."""
    words, drawn = np.empty((4, CHUNK), np.uint32), np.empty(2 * PAIRS, np.float32)
    for row in range(low, high):
        tensor, begin, end = work[row, TENSOR], work[row, BEGIN], work[row, END]
        step, position = uint64(drawing.steps[tensor]), uint64(drawing.positions[tensor])
        mean, least = drawing.means[tensor], drawing.leasts[tensor]
        for pair in range(begin // (2 * PAIR_DISTANCE) * PAIR_DISTANCE, end, PAIRS):
            edge = 2 * pair - pair % PAIR_DISTANCE  # the first elements of these pairs
            if edge >= end:
                break
            following = 2 * (pair + PAIRS) - (pair + PAIRS) % PAIR_DISTANCE
            for k in range(0, min(PAIRS, end - edge), CHUNK):
                fetch(addresses, tensor, following + k, CHUNK)
                fetch(addresses, tensor, following + PAIR_DISTANCE + k, CHUNK)
                philox(words, pair + k, CHUNK, noise.seed, step, position)
                normals(drawn[k:], drawn[PAIRS + k :], words, CHUNK, noise.p)
            for half in range(2):
                start = edge + half * PAIR_DISTANCE
                first = max(start, begin)
                size = min(start + PAIRS, end) - first
                if size > 0:
                    descend(addresses, tensor, first, size, base, numbers.step_sizes[tensor], numbers.roots[tensor])
                    theta = floats(addresses, PARAM, tensor, first, size)
                    average = floats(addresses, SENSITIVITY, tensor, first, size)
                    perturb(theta, average, drawn[half * PAIRS + first - start :], size, mean, noise, least)


@compiled
def draw_noise(out, p, seed, step, position):
    """Write the noise of one tensor: what `noisy_steps` adds before scaling, for tests and inspection."""
    words, drawn = np.empty((4, CHUNK), np.uint32), np.empty(2 * CHUNK, np.float32)
    for pair in range(0, out.size, CHUNK):
        edge = 2 * pair - pair % PAIR_DISTANCE
        philox(words, pair, CHUNK, seed, step, position)
        normals(drawn, drawn[CHUNK:], words, CHUNK, p)
        for half in range(2):
            start = edge + half * PAIR_DISTANCE
            for i in range(max(0, min(CHUNK, out.size - start))):
                out[start + i] = drawn[half * CHUNK + i]


# SAGE; formulae and symbols as in `optim/sage.py`.


@compiled
def sage_factors(factors, average, theta, gradient, size, base, adaptation, correction):
    """Fold `I` into its moving average, and write `|I - Î'| / (Î' + eps²)`."""
    for i in range(size):
        fresh = abs(theta[i] * (base.factor * gradient[i]))
        value = lerp(average[i], fresh, adaptation.weight0)
        average[i] = value
        value = value / correction
        factors[i] = abs(fresh - value) / (value + adaptation.eps_squared)


@compiled
def sage_adamax(directions, gradient, m, u, size, base):
    """Update both averages, and write m / (u + eps)."""
    for i in range(size):
        g = base.factor * gradient[i]
        m[i] = lerp(m[i], g, base.weight1)
        old, new = base.beta2 * u[i], abs(g) + base.eps
        u[i] = old if old > new else new
        directions[i] = m[i] / (u[i] + base.eps)


@compiled
def sage_adamw(directions, gradient, m, v, size, base):
    """Update both averages, and write m / (√v + eps)."""
    for i in range(size):
        g = base.factor * gradient[i]
        m[i] = lerp(m[i], g, base.weight1)
        v[i] = fma(base.weight2 * g, g, base.beta2 * v[i])
        directions[i] = m[i] / (math.sqrt(v[i]) + base.eps)


@compiled
def sage_update(theta, directions, factors, size, step_size, decay, kept):
    """Go along the directions."""
    for i in range(size):
        theta[i] = kept * (theta[i] + step_size * ((directions[i] + decay * theta[i]) * factors[i]))


@compiled
def sage_steps(work, low, high, addresses, base, numbers, adaptation, corrections):
    """Do a step of SAGE for rows `low` to `high` of the work."""
    factors, directions = np.ones(RUN, np.float32), np.empty(RUN, np.float32)
    for row in range(low, high):
        tensor, begin, end = work[row, TENSOR], work[row, BEGIN], work[row, END]
        for first in range(begin, end, RUN):
            size = min(RUN, end - first)
            theta = floats(addresses, PARAM, tensor, first, size)
            gradient = floats(addresses, GRAD, tensor, first, size)
            m, u = floats(addresses, FIRST, tensor, first, size), floats(addresses, SECOND, tensor, first, size)
            if adaptation.adapts:
                average = floats(addresses, SENSITIVITY, tensor, first, size)
                sage_factors(factors, average, theta, gradient, size, base, adaptation, corrections[tensor])
            if base.rule == ADAMAX:
                sage_adamax(directions, gradient, m, u, size, base)
            else:
                sage_adamw(directions, gradient, m, u, size, base)
            sage_update(theta, directions, factors, size, numbers.step_sizes[tensor], adaptation.decay, base.kept)
