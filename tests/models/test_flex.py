"""flex_attention over packed rows: the numbers of plain products, or these themselves.

Uncompiled and without gradients, which is all a CPU has of it.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from transformers import LlamaConfig, LlamaForCausalLM

from mutual_taught.errors import InputError
from mutual_taught.models.packed import attention, flex
from mutual_taught.models.packed.forward import packed_logps
from mutual_taught.models.packed.rows import Group, pack

CPU = torch.device("cpu")
GROUPS = [
    Group([5, 9, 2], [[7, 1], [3], [7, 8, 4, 6]]),
    Group([5, 1], [[1, 1], [2, 9, 9]]),
]
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
Kernel = Callable[..., Tensor]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel], None]:
    def use(own: Kernel) -> None:
        monkeypatch.setattr(attention, "compiled", lambda: own)

    flex.agrees.cache_clear()
    return use


def test_blocks_let_a_branch_see_its_prefix_and_itself() -> None:
    row = pack([Group([1, 2], [[3], [4, 5]]), Group([6], [[7]])], flex=True)
    places = torch.arange(7)
    seen = row.mask.mask_mod(torch.tensor(0), torch.tensor(0), places[:, None], places[None, :])
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]


def test_blocks_let_all_groups_see_what_they_all_begin_with() -> None:
    row = pack([Group([1, 2], [[3]]), Group([1, 4], [[5]])], flex=True)
    places = torch.arange(5)
    seen = row.mask.mask_mod(torch.tensor(0), torch.tensor(0), places[:, None], places[None, :])
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize("heads", [4, 6])  # a power of two shares keys in the kernel itself
@pytest.mark.parametrize(("autocast", "off"), [(False, 1e-5), (True, 5e-2)])
def test_log_probs_are_those_of_plain_products(
    heads: int,
    autocast: bool,
    off: float,
    kernel: Callable[[Kernel], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8 * heads,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=2,
        initializer_range=0.3,
        attn_implementation=attention.NAME,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = packed_logps(model, GROUPS, CPU)
        kernel(flex_attention)
        monkeypatch.setattr(flex, "fits", lambda *_: True)
        found = packed_logps(model, GROUPS, CPU)
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), atol=off, rtol=0)


def test_a_kernel_that_gives_what_products_give_is_used(
    kernel: Callable[[Kernel], None], capsys: pytest.CaptureFixture[str]
) -> None:
    kernel(flex_attention)
    with torch.inference_mode():
        assert flex.agrees(6, 2, 16, torch.float32, CPU)
    assert capsys.readouterr().err == ""


def test_a_kernel_that_gives_something_else_is_left_out(
    kernel: Callable[[Kernel], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def causal(query: Tensor, key: Tensor, value: Tensor, scale: float, **_: object) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=True
        )

    kernel(causal)
    assert not flex.agrees(4, 2, 16, torch.float32, CPU)
    assert "flex_attention is left out, plain products are used: off by" in capsys.readouterr().err


def test_a_kernel_that_does_not_compile_is_left_out(
    kernel: Callable[[Kernel], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> Tensor:
        raise RuntimeError("Cannot find a working triton\ninstallation.")

    kernel(broken)
    assert not flex.agrees(4, 2, 16, torch.float32, CPU)
    said = capsys.readouterr().err
    assert "plain products are used: RuntimeError: Cannot find a working triton install" in said


def test_a_cpu_computes_plain_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUTUAL_TAUGHT_FLEX", "1")
    assert not flex.fits(LlamaConfig(), CPU)


LEFT_OUT = "flex_attention is left out, plain products are used"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the comparison needs no GPU to fail")
@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("0", torch.bfloat16, ""),
        (None, torch.float32, ""),
        ("1", torch.float32, LEFT_OUT),
        (None, torch.bfloat16, LEFT_OUT),
    ],
)
def test_flex_attention_is_compared_first_where_it_is_asked_for_or_faster(
    value: str | None,
    kind: torch.dtype,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MUTUAL_TAUGHT_FLEX", raising=False)
    if value is not None:
        monkeypatch.setenv("MUTUAL_TAUGHT_FLEX", value)
    flex.agrees.cache_clear()
    assert not flex.fits(LlamaConfig(dtype=kind), torch.device("cuda"))
    printed = capsys.readouterr().err
    assert said in printed if said else printed == ""  # nothing was compared


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compiled only on a GPU")
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_gpu_attends_by_flex_attention_as_by_products(kind: torch.dtype) -> None:
    flex.agrees.cache_clear()
    assert flex.agrees(32, 8, 64, kind, torch.device("cuda"))


def test_switch_that_is_neither_on_nor_off_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUTUAL_TAUGHT_FLEX", "yes")
    with pytest.raises(InputError) as refused:
        flex.fits(LlamaConfig(), CPU)
    assert str(refused.value) == (
        "MUTUAL_TAUGHT_FLEX is 'yes'; expected 1 for flex_attention on GPUs, or 0 for none; unset "
        "it for flex_attention in bfloat16"
    )
