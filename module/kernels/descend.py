"""The base steps, PATS's second pass and RecAdam: decoupled decay, pull, step and noise, one pass over memory."""

import triton
import triton.language as tl

from .blocks import (
    COPY,
    COUNTER,
    FIRST_STATE,
    GRAD,
    PARAM,
    POSITION,
    SIZE,
    is_local,
    lerp,
    locate,
    one_minus_power,
    pointer,
    read,
    scalar,
    span,
    write,
)
from .noise import bernoulli_normal, pairs_of
from .sensitivity import SENSITIVITY, sum_of_partials

TINY = tl.constexpr(2.0**-126)
"""The least that is divided by: float32's smallest normal number."""

SECOND_STATE = tl.constexpr(FIRST_STATE.value + 1)
PRETRAINED = tl.constexpr(FIRST_STATE.value + 2)  # RecAdam's, after the base step's two averages


@triton.jit
def adamax(m, u, g, weight1, beta2, weight2, eps):
    """Return m, u and the direction m / u; see `optim/adamax.py`."""
    m = lerp(m, g, weight1)
    u = tl.maximum(beta2 * u, tl.abs(g) + eps)
    return m, u, m / u


@triton.jit
def adamw(m, v, g, weight1, beta2, weight2, root2, eps):
    """Return m, v and the direction m / (√v / √(1 - β2^t) + eps); see `optim/adamw.py`."""
    m = lerp(m, g, weight1)
    v = beta2 * v + weight2 * g * g
    return m, v, m / (tl.sqrt_rn(v) / root2 + eps)


@triton.jit
def intensity_of(average, mean, size, noise_eps, noise_gamma, SIGNED: tl.constexpr):
    """Return r / λ (Eq. 4); see `signed_ratios` and `magnitude_ratios` in `optim/pats.py`."""
    if SIGNED:
        ratio = mean / (tl.abs(average) + tl.maximum(noise_eps / size, TINY))
        ratio = tl.where(average > 0, ratio, tl.where(average < 0, -ratio, 0.0))
    else:
        ratio = mean / (average + noise_eps)
    return tl.maximum(ratio - noise_gamma, 0.0)


@triton.jit
def shares(step, anneal_k, anneal_t0, ANNEAL: tl.constexpr):
    """Return the task's share λ(t), and what is left for the pull; see `task_share` in `optim/recadam.py`."""
    t = step.to(tl.float32)
    if ANNEAL == "linear":
        share = tl.minimum(t / tl.maximum(anneal_t0, TINY), 1.0)
        return share, 1.0 - share
    else:
        exponent = anneal_k * (t - anneal_t0)
        return 1.0 / (1.0 + tl.exp(-exponent)), 1.0 / (1.0 + tl.exp(exponent))  # 1 - λ would round to 0 or 1


@triton.jit
def pulled(theta, pretrained, pull):
    """Return θ + pull (θ* - θ), exactly θ at a pull of 0 and θ* at 1, as `torch.lerp`."""
    gap = pretrained - theta
    return tl.where(pull < 0.5, theta + pull * gap, pretrained - (1.0 - pull) * gap)


@triton.jit(do_not_specialize=["first_program", "tensors", "seed"])
def descend_kernel(
    blocks_ptr,
    spans_ptr,
    addresses_ptr,
    partials_ptr,
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
    noise_scale,
    noise_gamma,
    noise_eps,
    noise_p,
    seed,
    peak,
    anneal_k,
    anneal_t0,
    pretrain_cof,
    param_dtype: tl.constexpr,
    grad_dtype: tl.constexpr,
    average_dtype: tl.constexpr,
    copy_dtype: tl.constexpr,
    alignment: tl.constexpr,
    RULE: tl.constexpr,
    NOISE: tl.constexpr,
    SIGNED: tl.constexpr,
    FOLLOWS_RATE: tl.constexpr,
    FACTOR_ON_DEVICE: tl.constexpr,
    MAY_SKIP: tl.constexpr,
    LR_ON_DEVICE: tl.constexpr,
    PEAK_ON_DEVICE: tl.constexpr,
    ANNEAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Do one step of `RULE` on a block, then add noise: `NOISE` is "none", "std" or "variance".

    With `FOLLOWS_RATE` σ is scaled by the rate as a share of `peak`. `ANNEAL` is "none", or RecAdam's "sigmoid" or
    "linear": then pull to the pretrained weights first.
    """
    if MAY_SKIP:
        if tl.load(found_inf) != 0:
            return
    tensor, block = locate(blocks_ptr, first_program + tl.program_id(0))
    param_ptr = pointer(addresses_ptr, PARAM, tensor, tensors, param_dtype, alignment)
    grad_ptr = pointer(addresses_ptr, GRAD, tensor, tensors, grad_dtype, alignment)
    m_ptr = pointer(addresses_ptr, FIRST_STATE, tensor, tensors, average_dtype, alignment)
    u_ptr = pointer(addresses_ptr, SECOND_STATE, tensor, tensors, tl.float32, alignment)
    step = tl.load(pointer(addresses_ptr, COUNTER, tensor, tensors, tl.float32, 4)).to(tl.int64)
    rate = scalar(lr, LR_ON_DEVICE)
    step_size = rate / one_minus_power(log_beta1, step)
    root2 = tl.sqrt_rn(one_minus_power(log_beta2, step))
    kept = 1.0 - rate * weight_decay
    scale = scalar(factor, FACTOR_ON_DEVICE)
    pair, first, second = pairs_of(block, BLOCK)
    if ANNEAL != "none":
        share, rest = shares(step, anneal_k, anneal_t0, ANNEAL)
        step_size *= share
        pull = tl.minimum(rate * rest * pretrain_cof, 1.0)
    if NOISE != "none":
        size = span(spans_ptr, SIZE, tensor, tensors).to(tl.float32)
        mean = sum_of_partials(spans_ptr, partials_ptr, tensor, tensors) / size
        mean = tl.where(tl.abs(mean) < float("inf"), mean, 0.0)  # a NaN among the gradients: no noise here
        if FOLLOWS_RATE:
            noise_scale *= tl.minimum(rate / tl.maximum(scalar(peak, PEAK_ON_DEVICE), TINY), 1.0)
        position = span(spans_ptr, POSITION, tensor, tensors)
        noises = bernoulli_normal(seed, step, position, pair, noise_p)
    for half in tl.static_range(2):
        offsets = first if half == 0 else second
        live = is_local(spans_ptr, tensor, tensors, offsets, alignment)
        g = scale * read(grad_ptr, offsets, live)
        m, u = read(m_ptr, offsets, live), read(u_ptr, offsets, live)
        if RULE == "adamax":
            m, u, direction = adamax(m, u, g, weight1, beta2, weight2, eps)
        else:
            m, u, direction = adamw(m, u, g, weight1, beta2, weight2, root2, eps)
        write(m_ptr, offsets, live, m)
        write(u_ptr, offsets, live, u)
        theta = kept * read(param_ptr, offsets, live)
        if ANNEAL != "none":
            pretrained_ptr = pointer(addresses_ptr, PRETRAINED, tensor, tensors, tl.float32, alignment)
            theta = pulled(theta, read(pretrained_ptr, offsets, live), pull)
        theta -= step_size * direction
        if NOISE != "none":
            average_ptr = pointer(addresses_ptr, SENSITIVITY, tensor, tensors, average_dtype, alignment)
            average = read(average_ptr, offsets, live)
            intensity = intensity_of(average, mean, size, noise_eps, noise_gamma, SIGNED)
            if NOISE == "variance":
                intensity = tl.sqrt_rn(intensity)
            theta += noise_scale * intensity * noises[half]  # Eq. 5
        write(param_ptr, offsets, live, theta)
        if copy_dtype is not None:
            write(pointer(addresses_ptr, COPY, tensor, tensors, copy_dtype, alignment), offsets, live, theta)
