"""Products of bfloat16 on a processor that has no instructions for it.

torch takes them there one number after another. Here they are taken in float32 and rounded once,
which is what such instructions do: a product of two numbers in bfloat16 is exact in float32, and
both sum in float32. Only the order of the sums differs, as between any two processors.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.library import Library, get_kernel

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


@cache
def in_float32() -> Any:
    """From here on, take this process's products of bfloat16 on the processor in float32.

    Those of other formats stay as they are. The way back is made of the same products.

    Returns:
        What holds the change, for as long as the process lives.
    """
    changed: Any = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that kernels are replaced
        for name in PRODUCTS:
            changed.impl(name, _product(getattr(torch, name)), "CPU")
        for name in (ATTENTION, f"{ATTENTION}_backward"):
            kernel = get_kernel(f"aten::{name}", "CPU")
            changed.impl(name, _attention(kernel), "CPU", with_keyset=True)
    return changed


def _product(into: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a product by the form of it that writes into a tensor, which is left as it was.

    That form, unlike the kernel that is replaced, lets other threads work meanwhile.
    """

    def compute(*values: Any, **options: Any) -> Tensor:
        if not all(map(_is_narrow, values)):  # with two formats, torch refuses it
            return into(*values, **options, out=values[0].new_empty(0))
        wide = [value.float() for value in values]
        return into(*wide, **options, out=wide[0].new_empty(0)).bfloat16()

    return compute


def _attention(kernel: Any) -> Callable[..., Any]:
    """Make the fused attention, or its way back, by torch's own kernel."""

    def compute(keys: Any, *values: Any, **options: Any) -> Any:
        if not _is_narrow(values[0]):
            return kernel.call_boxed(keys, *values, **options)
        options = {name: _wide(value) for name, value in options.items()}
        found = kernel.call_boxed(keys, *map(_wide, values), **options)
        # The sums of exponentials, which the way back asks for, are float32 in every format.
        return tuple(part.bfloat16() if part.dim() == 4 else part for part in found)

    return compute


def _is_narrow(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def _wide(value: Any) -> Any:
    return value.float() if _is_narrow(value) else value
