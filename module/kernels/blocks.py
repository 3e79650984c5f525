"""What every kernel shares: which block of which tensor a program works on, and how it reads and writes there.

A launch covers many tensors. Its tables (see `tables.py`) hold for each program a tensor and a block of it, for each
tensor where its local elements lie, and for each tensor and role (parameter, gradient, an average, …) an address.
Offsets count the elements of the whole tensor, also where it is sharded, so that the noise knows its element.
"""

import triton
import triton.language as tl

# Rows of the table of spans.
START = tl.constexpr(0)  # first local element in the whole tensor
END = tl.constexpr(1)  # one past the last
FIRST_PARTIAL = tl.constexpr(2)  # where the partial sums of the tensor's sensitivity begin
PARTIALS = tl.constexpr(3)  # how many there are
POSITION = tl.constexpr(4)  # of the tensor's first element among all elements of the optimizer
SIZE = tl.constexpr(5)  # elements of the whole tensor

# Rows of the table of addresses.
PARAM = tl.constexpr(0)
GRAD = tl.constexpr(1)
COUNTER = tl.constexpr(2)
COPY = tl.constexpr(3)  # the narrow parameter whose master copy PARAM is
FIRST_STATE = tl.constexpr(4)  # averages, in the order of the optimizer's state


@triton.jit
def locate(blocks_ptr, program):
    """Return the number of the program's tensor and of its block there."""
    return tl.load(blocks_ptr + 2 * program), tl.load(blocks_ptr + 2 * program + 1)


@triton.jit
def span(spans_ptr, row: tl.constexpr, tensor, tensors):
    """Return one entry of the table of spans."""
    return tl.load(spans_ptr + row * tensors + tensor)


@triton.jit
def is_local(spans_ptr, tensor, tensors, offsets, alignment: tl.constexpr):
    """Say which elements this rank holds: all but those past the end, where the tensor is not sharded.

    With an `alignment` of 16 the span begins and ends at multiples of 16 elements, so that no wide load is torn.
    """
    start = span(spans_ptr, START, tensor, tensors).to(tl.int32)
    end = span(spans_ptr, END, tensor, tensors).to(tl.int32)
    if alignment == 16:
        start, end = tl.multiple_of(start, 16), tl.multiple_of(end, 16)
    return (offsets >= start) & (offsets < end)


@triton.jit
def pointer(addresses_ptr, row: tl.constexpr, tensor, tensors, dtype: tl.constexpr, alignment: tl.constexpr):
    """Return where the whole tensor's first element would lie; `alignment` in bytes allows wide loads."""
    address = tl.load(addresses_ptr + row * tensors + tensor)
    return tl.multiple_of(address.to(tl.pointer_type(dtype)), alignment)


@triton.jit
def read(base, offsets, live):
    """Load elements as float32; zero where there are none."""
    return tl.load(base + offsets, mask=live, other=0.0).to(tl.float32)


@triton.jit
def write(base, offsets, live, values):
    """Round float32 values to the storage dtype and store them."""
    tl.store(base + offsets, values.to(base.dtype.element_ty), mask=live)


@triton.jit
def lerp(average, fresh, weight):
    """Return the moving average with `weight` of the fresh value."""
    return average + weight * (fresh - average)


@triton.jit
def one_minus_power(log_beta, step):
    """Return `1 - β^t`, in float64: at t = 1 and β = 0.999 float32 would lose half of its digits."""
    return (1.0 - tl.exp(log_beta * step.to(tl.float64))).to(tl.float32)


@triton.jit
def scalar(value, on_device: tl.constexpr):
    """Return a number that was passed by value or as a pointer."""
    if on_device:
        return tl.load(value).to(tl.float32)
    else:
        return value
