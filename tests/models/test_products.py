"""Products of bfloat16 without instructions for it: those of float32, rounded once."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mutual_taught.models import precision, products

ROWS, OTHERS = torch.randn(2, 5, 8, 16, generator=torch.Generator().manual_seed(0))
START = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def replaced() -> Iterator[None]:
    """Compute with ours, on processors that have the instructions, too; afterwards as before."""
    products.in_float32.cache_clear()
    products.in_float32()
    yield
    products.in_float32.cache_clear()


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b, _: a[0] @ b[0].T,
        lambda a, b, _: torch.matmul(a, b.transpose(1, 2)),
        lambda a, b, c: torch.addmm(c, a[0], b[0].T, beta=0.5, alpha=2.0),
        lambda a, b, c: torch.baddbmm(c.expand(5, 8, 8), a, b.transpose(1, 2)),
    ],
)
def test_product_is_that_of_float32_rounded_once(product: Callable[..., Tensor]) -> None:
    low = [values.bfloat16() for values in (ROWS, OTHERS, START)]
    found = product(*low)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, product(*(values.float() for values in low)).bfloat16())


def test_other_formats_stay_as_they_are() -> None:
    found = [ROWS @ OTHERS.transpose(1, 2), ROWS[0].double() @ OTHERS[0].double().T]
    products.in_float32.cache_clear()
    assert torch.equal(found[0], ROWS @ OTHERS.transpose(1, 2))
    assert torch.equal(found[1], ROWS[0].double() @ OTHERS[0].double().T)


def test_two_formats_are_refused_as_ever() -> None:
    with pytest.raises(RuntimeError, match="same dtype"):
        ROWS[0].bfloat16() @ OTHERS[0].T


def learned(states: Tensor, kind: torch.dtype) -> list[Tensor]:
    """Compute a layer with a bias and attention on it, and the way back."""
    layer = nn.Linear(16, 16)
    with torch.no_grad():
        layer.weight.copy_(OTHERS[:2].reshape(16, 16) / 4)
        layer.bias.copy_(OTHERS[2, 0])
    layer.to(kind)
    start = states.to(kind).requires_grad_()
    query = layer(start)[None]
    found = scaled_dot_product_attention(query, query, query, is_causal=True)
    taught = (start, layer.weight, layer.bias)
    return [found, *torch.autograd.grad(found.float().square().sum(), taught)]


def test_a_layer_and_attention_learn_as_in_float32_but_for_rounding() -> None:
    for low, exact in zip(learned(ROWS, torch.bfloat16), learned(ROWS, torch.float32), strict=True):
        assert low.dtype == torch.bfloat16
        assert (low.float() - exact).norm() < 0.02 * exact.norm()


def test_products_are_replaced_only_where_torch_has_no_kernels_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(products, "in_float32", lambda: asked.append("replaced"))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert precision.to_compute_in("bfloat16") == torch.bfloat16
    assert not asked
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert precision.to_compute_in("float32") == torch.float32
    assert not asked
    assert precision.to_compute_in("bfloat16") == torch.bfloat16
    assert asked
