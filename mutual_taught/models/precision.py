"""Which number format this machine computes fast, for settings that leave the choice to it."""

import sys
from typing import TypeVar

import torch

from mutual_taught.config.fields import Block, Dtype

B = TypeVar("B", bound=Block)
INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


def settle(block: B) -> B:
    """Replace every `auto` of a block: bfloat16 where the chip has it, else float32.

    Of processors, those of x86-64 with AVX-512 BF16 or AMX are known to have it. Others compute
    bfloat16 slowly: a packed step took 278 s on one with only AVX2 (135M, 16 reward pairs, 2
    cores). A chosen bfloat16 is kept there, with a warning.
    """
    fast = fast_dtype()
    chosen = {name: fast for name, value in block if value == "auto"}
    slow = [name for name, value in block if value == "bfloat16" and name in FORWARD]
    if slow and fast == "float32":
        print(
            f"{block.key}.{slow[0]} is bfloat16; this machine is not known to compute it fast, "
            "and may be many times slower than in float32; say auto or float32",
            file=sys.stderr,
        )
    return block.model_copy(update=chosen)


FORWARD = ("dtype", "reference_dtype", "precision")


def fast_dtype() -> Dtype:
    """Name the format for forward and backward passes on the device of this process."""
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has = torch.cpu.get_capabilities()
    return "bfloat16" if any(has.get(name) for name in INSTRUCTIONS) else "float32"
