"""SAGE on Adamax and AdamW in one pass over memory; formulae and symbols as in `optim/sage.py`."""

import triton
import triton.language as tl

from .blocks import (
    COPY,
    COUNTER,
    FIRST_STATE,
    GRAD,
    PARAM,
    is_local,
    lerp,
    locate,
    one_minus_power,
    pointer,
    read,
    scalar,
    write,
)
from .descend import SECOND_STATE
from .sensitivity import SENSITIVITY, sensitivity_of


@triton.jit(do_not_specialize=["first_program", "tensors"])
def sage_kernel(
    blocks_ptr,
    spans_ptr,
    addresses_ptr,
    first_program,
    tensors,
    factor,
    found_inf,
    lr,
    weight1,
    beta2,
    weight2,
    log_beta1,
    log_beta2,
    eps,
    weight_decay,
    weight0,
    log_beta0,
    eps_squared,
    param_dtype: tl.constexpr,
    grad_dtype: tl.constexpr,
    average_dtype: tl.constexpr,
    copy_dtype: tl.constexpr,
    alignment: tl.constexpr,
    RULE: tl.constexpr,
    ADAPTS: tl.constexpr,
    FACTOR_ON_DEVICE: tl.constexpr,
    MAY_SKIP: tl.constexpr,
    LR_ON_DEVICE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Do one step of "sage_adamax" or "sage_adamw" on a block; without `ADAPTS` the factor is left out."""
    if MAY_SKIP:
        if tl.load(found_inf) != 0:
            return
    tensor, block = locate(blocks_ptr, first_program + tl.program_id(0))
    offsets = block * BLOCK + tl.arange(0, BLOCK)
    live = is_local(spans_ptr, tensor, tensors, offsets, alignment)
    param_ptr = pointer(addresses_ptr, PARAM, tensor, tensors, param_dtype, alignment)
    m_ptr = pointer(addresses_ptr, FIRST_STATE, tensor, tensors, average_dtype, alignment)
    u_ptr = pointer(addresses_ptr, SECOND_STATE, tensor, tensors, tl.float32, alignment)
    grad_ptr = pointer(addresses_ptr, GRAD, tensor, tensors, grad_dtype, alignment)
    step = tl.load(pointer(addresses_ptr, COUNTER, tensor, tensors, tl.float32, 4)).to(tl.int64)
    rate = scalar(lr, LR_ON_DEVICE)
    theta = read(param_ptr, offsets, live)
    g = scalar(factor, FACTOR_ON_DEVICE) * read(grad_ptr, offsets, live)
    m = lerp(read(m_ptr, offsets, live), g, weight1)
    u = beta2 * read(u_ptr, offsets, live)
    if RULE == "sage_adamax":
        u = tl.maximum(u, tl.abs(g) + eps)
        direction = m / (u + eps) + weight_decay * theta
    else:
        u = u + weight2 * g * g
        direction = m / (tl.sqrt_rn(u) + eps)
    write(m_ptr, offsets, live, m)
    write(u_ptr, offsets, live, u)
    if ADAPTS:
        average_ptr = pointer(addresses_ptr, SENSITIVITY, tensor, tensors, average_dtype, alignment)
        fresh = sensitivity_of(theta, g, False)
        average = lerp(read(average_ptr, offsets, live), fresh, weight0)
        write(average_ptr, offsets, live, average)
        if RULE == "sage_adamw":
            average = average / one_minus_power(log_beta0, step)
        direction *= tl.abs(fresh - average) / (average + eps_squared)
    if RULE == "sage_adamax":
        theta -= rate * direction
    else:
        step_size = rate * tl.sqrt_rn(one_minus_power(log_beta2, step)) / one_minus_power(log_beta1, step)
        theta = (theta - step_size * direction) * (1.0 - rate * weight_decay)
    write(param_ptr, offsets, live, theta)
    if copy_dtype is not None:
        write(pointer(addresses_ptr, COPY, tensor, tensors, copy_dtype, alignment), offsets, live, theta)
