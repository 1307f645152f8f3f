"""The bench of GPUs, on a tiny shape and whatever device is here."""

import pytest
import torch
from transformers import LlamaForCausalLM

from bench import gpu
from bench.training import config
from mutual_taught.models.load import device
from mutual_taught.models.packed import attention, flex

SIZES = gpu.SIZES["tiny"]


def test_every_way_to_attend_gives_what_float64_gives() -> None:
    found = [*gpu.attend(SIZES, (4, 2, 16)), *gpu.one(SIZES, (4, 2, 16))]
    assert {"ours", "eager", "attend_one", "products", "sdpa"} <= {row["way"] for row in found}
    for row in found:
        assert row["error"] < (2e-6 if row["dtype"] == "float32" else 1e-2), row


def test_packed_and_padded_conversations_have_the_same_log_probs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flex, "fits", flex.fits)  # which the bench replaces
    torch.manual_seed(0)
    shape = config("135M")
    shape.update(gpu.TINY)
    shape._attn_implementation = attention.NAME
    model = LlamaForCausalLM(shape).to(device())
    model.rows = "packed"
    made = gpu.groups(SIZES)
    ours, padded = (gpu.step(model, made, way) for way in ("ours", "padded"))
    assert len(ours) == 2 * SIZES.groups
    assert ours == pytest.approx(padded, rel=1e-3)  # of bfloat16
