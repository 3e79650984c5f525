"""PATS's first pass: the sensitivity average (Eq. 1 and 2) and what its mean over the tensor (Eq. 3) is summed from."""

import triton
import triton.language as tl

from .blocks import (
    FIRST_PARTIAL,
    FIRST_STATE,
    GRAD,
    PARAM,
    PARTIALS,
    is_local,
    lerp,
    locate,
    pointer,
    read,
    scalar,
    span,
    write,
)

SENSITIVITY = tl.constexpr(FIRST_STATE.value + 2)  # after the base step's two averages


@triton.jit
def sensitivity_of(theta, g, SIGNED: tl.constexpr):
    """Return `s = θ ⊙ g` (PATS's Algorithm 1, line 7), or its magnitude (Eq. 1)."""
    product = theta * g
    if not SIGNED:
        product = tl.abs(product)
    return product


@triton.jit(do_not_specialize=["first_program", "tensors"])
def sensitivity_kernel(
    blocks_ptr,
    spans_ptr,
    addresses_ptr,
    partials_ptr,
    first_program,
    tensors,
    factor,
    found_inf,
    weight,
    param_dtype: tl.constexpr,
    grad_dtype: tl.constexpr,
    average_dtype: tl.constexpr,
    alignment: tl.constexpr,
    SIGNED: tl.constexpr,
    FACTOR_ON_DEVICE: tl.constexpr,
    MAY_SKIP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Fold this step's sensitivity into its average and sum the average over the block."""
    if MAY_SKIP:
        if tl.load(found_inf) != 0:
            return
    program = first_program + tl.program_id(0)
    tensor, block = locate(blocks_ptr, program)
    offsets = block * BLOCK + tl.arange(0, BLOCK)
    live = is_local(spans_ptr, tensor, tensors, offsets, alignment)
    theta = read(pointer(addresses_ptr, PARAM, tensor, tensors, param_dtype, alignment), offsets, live)
    g = read(pointer(addresses_ptr, GRAD, tensor, tensors, grad_dtype, alignment), offsets, live)
    average_ptr = pointer(addresses_ptr, SENSITIVITY, tensor, tensors, average_dtype, alignment)
    g *= scalar(factor, FACTOR_ON_DEVICE)
    average = lerp(read(average_ptr, offsets, live), sensitivity_of(theta, g, SIGNED), weight)
    average = average.to(average_dtype).to(tl.float32)  # the mean is over what the second pass will read
    write(average_ptr, offsets, live, average)
    tl.store(partials_ptr + program, tl.sum(tl.where(live, average, 0.0)))


@triton.jit
def sum_of_partials(spans_ptr, partials_ptr, tensor, tensors):
    """Add up a tensor's partial sums, in an order that is the same in every program."""
    first, count = span(spans_ptr, FIRST_PARTIAL, tensor, tensors), span(spans_ptr, PARTIALS, tensor, tensors)
    lanes = tl.arange(0, 512)
    total = tl.zeros((512,), tl.float32)
    for i in range(0, count, 512):
        total += tl.load(partials_ptr + first + i + lanes, mask=i + lanes < count, other=0.0)
    return tl.sum(total)


@triton.jit
def sums_kernel(spans_ptr, partials_ptr, sums_ptr, tensors):
    """Write each tensor's sum, for ranks to add up what they hold of sharded tensors."""
    tensor = tl.program_id(0)
    tl.store(sums_ptr + tensor, sum_of_partials(spans_ptr, partials_ptr, tensor, tensors))
