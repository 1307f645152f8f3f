"""Which number format this machine computes fast, for settings that leave the choice to it."""

import sys
from typing import TypeVar

import torch

from mutual_taught.config.fields import Block, Dtype
from mutual_taught.models import products

B = TypeVar("B", bound=Block)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def settle(block: B) -> B:
    """Replace every `auto` of a block: bfloat16 where the chip is faster with it, else float32.

    A chosen bfloat16 is kept where it is not, with a warning.
    """
    fast = fast_dtype()
    chosen = {name: fast for name, value in block if value == "auto"}
    slow = [name for name, value in block if value == "bfloat16" and name in FORWARD]
    if slow and fast == "float32":
        print(
            f"{block.key}.{slow[0]} is bfloat16; this machine is not known to compute it fast, "
            "and may be slower than in float32; say auto or float32",
            file=sys.stderr,
        )
    return block.model_copy(update=chosen)


FORWARD = ("dtype", "reference_dtype", "precision")


def fast_dtype() -> Dtype:
    """Name the format for forward and backward passes on the device of this process.

    Of processors, those of x86-64 with AMX are taken to be faster in bfloat16, and those with
    AVX-512 BF16, but for Intel's, which are slower in it (`python -m bench.products`).
    """
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has = torch.cpu.get_capabilities()
    vectors = has.get("avx512_bf16") and "Intel" not in str(has.get("cpu_name"))
    return "bfloat16" if vectors or has.get("amx_bf16") else "float32"


def to_compute_in(name: str) -> torch.dtype:
    """Give torch's name of a format, made ready for this process to compute in.

    A processor on which torch has no kernels for products of bfloat16 gets ours (`products`).
    """
    if name == "bfloat16" and not products.torch_has_them():
        products.in_float32()
    return DTYPES[name]
