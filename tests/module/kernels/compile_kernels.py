"""Compile every kernel for a GPU that need not be there; prints one JSON object: name -> what its PTX has.

A process of its own, as Triton decides at import whether it interprets or compiles: `python compile_kernels.py 90`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from module.kernels.descend import descend_kernel
from module.kernels.launch import BLOCK, WARPS
from module.kernels.noise import noise_kernel
from module.kernels.sage import sage_kernel
from module.kernels.sensitivity import sensitivity_kernel, sums_kernel

TABLES = {"blocks_ptr": "*i32", "spans_ptr": "*i64", "addresses_ptr": "*i64"}
TABLES |= {"partials_ptr": "*fp32", "sums_ptr": "*fp32", "out_ptr": "*fp32"}
INTEGERS = {"first_program": "i32", "tensors": "i32", "size": "i32", "seed": "i64", "step": "i64", "position": "i64"}
ALIGNED = {"param_dtype": tl.float32, "grad_dtype": tl.float32, "average_dtype": tl.float32, "alignment": 16}
PLAIN = {**ALIGNED, "copy_dtype": None, "BLOCK": BLOCK}
PLAIN |= {"FACTOR_ON_DEVICE": False, "MAY_SKIP": False, "LR_ON_DEVICE": False}
ON_DEVICE = {**PLAIN, "copy_dtype": tl.bfloat16, "average_dtype": tl.bfloat16, "grad_dtype": tl.bfloat16}
ON_DEVICE |= {"FACTOR_ON_DEVICE": True, "MAY_SKIP": True, "LR_ON_DEVICE": True}
FIRST_PASS = {name: value for name, value in PLAIN.items() if name not in ("copy_dtype", "LR_ON_DEVICE")}
DESCENT = {"SIGNED": False, "FOLLOWS_RATE": False, "PEAK_ON_DEVICE": False, "ANNEAL": "none"}
SIGNED = {**DESCENT, "SIGNED": True}
FOLLOWING = {**SIGNED, "FOLLOWS_RATE": True}

VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "adamax": (descend_kernel, {**PLAIN, **DESCENT, "RULE": "adamax", "NOISE": "none"}),
    "adamax, unaligned": (
        descend_kernel,
        {**PLAIN, **DESCENT, "alignment": 2, "RULE": "adamax", "NOISE": "none"},
    ),
    "pats_adamax, as printed": (descend_kernel, {**PLAIN, **SIGNED, "RULE": "adamax", "NOISE": "variance"}),
    "pats_adamax, signed, std": (descend_kernel, {**PLAIN, **SIGNED, "RULE": "adamax", "NOISE": "std"}),
    "pats_adamax, magnitude": (descend_kernel, {**PLAIN, **DESCENT, "RULE": "adamax", "NOISE": "std"}),
    "pats_adamw, magnitude": (descend_kernel, {**PLAIN, **DESCENT, "RULE": "adamw", "NOISE": "variance"}),
    "pats_adamax, noise follows the rate": (
        descend_kernel,
        {**PLAIN, **FOLLOWING, "RULE": "adamax", "NOISE": "variance"},
    ),
    "pats_adamax, bf16, captured": (
        descend_kernel,
        {**ON_DEVICE, **FOLLOWING, "PEAK_ON_DEVICE": True, "RULE": "adamax", "NOISE": "variance"},
    ),
    "recadam_adamw": (descend_kernel, {**PLAIN, **DESCENT, "RULE": "adamw", "NOISE": "none", "ANNEAL": "sigmoid"}),
    "recadam_adamax, linear, bf16, captured": (
        descend_kernel,
        {**ON_DEVICE, **DESCENT, "RULE": "adamax", "NOISE": "none", "ANNEAL": "linear"},
    ),
    "sensitivity": (sensitivity_kernel, {**FIRST_PASS, "SIGNED": True}),
    "sensitivity, captured": (
        sensitivity_kernel,
        {**FIRST_PASS, "SIGNED": True, "FACTOR_ON_DEVICE": True, "MAY_SKIP": True},
    ),
    "sage_adamw, bf16, captured": (sage_kernel, {**ON_DEVICE, "RULE": "sage_adamw", "ADAPTS": True}),
    "sensitivity, magnitude": (sensitivity_kernel, {**FIRST_PASS, "SIGNED": False}),
    "sage_adamax": (sage_kernel, {**PLAIN, "RULE": "sage_adamax", "ADAPTS": True}),
    "sage_adamw": (sage_kernel, {**PLAIN, "RULE": "sage_adamw", "ADAPTS": True}),
    "sage_adamw, plain group": (sage_kernel, {**PLAIN, "RULE": "sage_adamw", "ADAPTS": False}),
    "sums": (sums_kernel, {}),
    "noise": (noise_kernel, {"BLOCK": BLOCK}),
}


def compiled(kernel: Any, constants: dict[str, Any], capability: int) -> str:
    """Return the PTX, after the assembler took it too."""
    types = {**TABLES, **INTEGERS}
    on_device = {"FACTOR_ON_DEVICE": "factor", "MAY_SKIP": "found_inf", "LR_ON_DEVICE": "lr", "PEAK_ON_DEVICE": "peak"}
    types |= {name: "*fp32" for flag, name in on_device.items() if constants.get(flag)}
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "fp32") for name in names}
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")},
    )
    binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": WARPS})
    assert binary.asm["cubin"]
    return str(binary.asm["ptx"])


def main(capability: int) -> None:
    """Compile and print."""
    found = {}
    for name, (kernel, constants) in VARIANTS.items():
        ptx = compiled(kernel, constants, capability)
        found[name] = {"wide": "v4.b32" in ptx, "float64_arrays": "ld.global.f64" in ptx}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
