"""Products of bfloat16 on a processor that has no instructions for it.

But for a few rows, torch takes them there one number after another. Here they are taken in float32
and rounded once, which is what such instructions do: a product of two numbers in bfloat16 is exact
in float32, and both sum in float32. Only the order of the sums differs, as between any two
processors.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

PIECE = 2**22  # numbers made float32 at a time of a product's second matrix, such as the head


def torch_has_them() -> bool:
    """Tell whether torch has kernels of oneDNN for products of bfloat16 on this processor."""
    ops = torch.ops.mkldnn  # without operators in a build without oneDNN
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and bool(ops._is_mkldnn_bf16_supported())


@cache
def in_float32() -> Any:
    """From here on, take this process's products of bfloat16 on the processor in float32.

    Those of other formats stay as they are. The way back is made of the same products. Forms that
    write into a given tensor are left to torch, and so is its fused attention.

    Returns:
        What holds the change, for as long as the process lives.
    """
    changed: Any = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that kernels are replaced
        for name in ("mm", "addmm", "bmm", "baddbmm"):
            changed.impl(name, _rounded(getattr(torch, name)), "CPU")
    return changed


def _rounded(into: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a product by the form of it that writes into a tensor, which is left as it was.

    That form, unlike the kernel that is replaced, lets other threads work meanwhile.
    """

    def compute(*values: Any, **options: Any) -> Tensor:
        if not all(map(_is_narrow, values)):  # with two formats, torch refuses it
            return into(*values, **options, out=values[0].new_empty(0))
        if into is torch.mm and values[1].numel() > PIECE:
            return _in_pieces(*values)
        wide = [_wide(value) for value in values]
        return into(*wide, **options, out=wide[0].new_empty(0)).bfloat16()

    return compute


def _in_pieces(one: Tensor, other: Tensor) -> Tensor:
    """Multiply some columns of the second matrix at a time: a large copy costs more than it."""
    wide, found = one.float(), one.new_empty(one.shape[0], other.shape[1])
    columns = max(1, PIECE // other.shape[0])
    for into, part in zip(
        torch.split(found, columns, 1), torch.split(other, columns, 1), strict=True
    ):
        into.copy_(torch.mm(wide, part.float(), out=wide.new_empty(0)))
    return found


def _is_narrow(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def _wide(value: Tensor) -> Tensor:
    """Give a tensor in float32; what is repeated in it without a copy stays so."""
    own = value
    for dim, (size, step) in enumerate(zip(value.shape, value.stride(), strict=True)):
        if step == 0 and size > 1:
            own = own.narrow(dim, 0, 1)
    return own.float().expand(value.shape)
