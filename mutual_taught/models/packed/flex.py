"""Whether flex_attention is used: on GPUs, where it is faster and agrees with our products."""

import os
import sys
from functools import cache

import torch
from torch import Tensor
from transformers import PretrainedConfig

from mutual_taught.errors import InputError
from mutual_taught.models.packed import attention
from mutual_taught.models.packed.rows import Group, PackedRow, pack

SWITCH = "MUTUAL_TAUGHT_FLEX"
# Both begin with the same 20 tokens.
GROUPS = [
    Group([0] * 150, [[0] * 90, [0] * 60]),
    Group([0] * 20 + [1] * 10, [[0] * 200, [0] * 7]),
]
TOLERANCE = {torch.float32: 1e-2, torch.bfloat16: 5e-2}  # float32 may be computed in TF32


def fits(config: PretrainedConfig, where: torch.device) -> bool:
    """Say whether packed rows of a model are to attend by flex_attention.

    On GPUs, where a small row gives what matrix products give (`attention.attend` with a layout),
    forward and backward. The comparison is made once a process and shape, and takes seconds. In
    bfloat16 it is used unless MUTUAL_TAUGHT_FLEX is 0: a step of a 1B model took a seventh of the
    time (bench/gpu.py). In float32, where products are faster, only if that is 1.

    Args:
        config: of the model.
        where: its device.

    Raises:
        InputError: MUTUAL_TAUGHT_FLEX is neither 0 nor 1.
    """
    # An environment variable and no parameter: it decides how fast a row is read, not what the
    # method does, so another value must not run a stage again.
    wanted = asked()
    if wanted is False or where.type != "cuda":
        return False
    config = config.get_text_config()
    autocast = torch.is_autocast_enabled(where.type)
    kind = torch.get_autocast_dtype(where.type) if autocast else config.dtype
    if kind == torch.float32 and not wanted:
        return False
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return agrees(heads, shared, size, kind, where, getattr(config, "attn_logit_softcapping", None))


def asked() -> bool | None:
    """Say whether MUTUAL_TAUGHT_FLEX asks for flex_attention; None where nothing is said."""
    value = os.environ.get(SWITCH)
    if value not in (None, "0", "1"):
        raise InputError(
            f"{SWITCH} is {value!r}; expected 1 for flex_attention on GPUs, or 0 for none; unset "
            "it for flex_attention in bfloat16"
        )
    return None if value is None else value == "1"


@cache
def agrees(
    heads: int,
    shared: int,
    size: int,
    kind: torch.dtype,
    where: torch.device,
    cap: float | None = None,
) -> bool:
    """Compare flex_attention with our products on a small packed row; say what is wrong.

    Args:
        heads: query heads.
        shared: key-value heads.
        size: of a head.
        kind: number format.
        where: device.
        cap: on scores, if the model has one.
    """
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(where.type, enabled=False),
        ):
            found, expected = (
                outputs(pack(GROUPS, where, flex), heads, shared, size, kind, cap)
                for flex in (True, False)
            )
    except Exception as error:  # a compiler's: of many kinds, none of them ours to know
        wrong = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    else:
        off = max(
            float((mine - right).abs().max() / right.abs().max())
            for mine, right in zip(found, expected, strict=True)
        )
        if off <= TOLERANCE.get(kind, 5e-2):
            return True
        wrong = f"off by {off:.2g} of the largest value"
    print(f"flex_attention is left out, plain products are used: {wrong}", file=sys.stderr)
    return False


def outputs(
    row: PackedRow, heads: int, shared: int, size: int, kind: torch.dtype, cap: float | None = None
) -> list[Tensor]:
    """Attend from random states; give the result and, on a GPU, the gradients.

    flex_attention has no backward pass on a CPU.
    """
    where = row.input_ids.device
    chance = torch.Generator("cpu").manual_seed(0)
    shapes = [(1, count, row.input_ids.shape[1], size) for count in (heads, shared, shared)]
    states = [torch.randn(shape, generator=chance).to(where, kind) for shape in shapes]
    learns = where.type == "cuda"
    for state in states:
        state.requires_grad_(learns)
    query, key, value = states
    if row.layout is None:
        found, _ = attention.attend(torch.nn.Module(), query, key, value, row.mask, softcap=cap)
    else:
        found = attention.attend_row(query, key, value, row.layout, softcap=cap)
    if not learns:
        return [found]
    return [found, *torch.autograd.grad(found.float().square().sum(), states)]
