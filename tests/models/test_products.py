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


@pytest.mark.parametrize("piece", [1, 48, 100])
def test_large_matrix_is_taken_in_pieces_of_columns(
    monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    whole = ROWS[0].bfloat16() @ OTHERS[0].bfloat16().T
    monkeypatch.setattr(products, "PIECE", piece)
    torch.testing.assert_close(ROWS[0].bfloat16() @ OTHERS[0].bfloat16().T, whole)


def test_wrong_shapes_are_refused_in_pieces_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "PIECE", 1)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        ROWS[0].bfloat16() @ OTHERS[0].bfloat16()


def test_what_is_repeated_is_made_float32_once(monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = OTHERS[0].bfloat16().T.expand(5, 16, 8)
    wide = products._wide(repeated)
    assert (wide.shape, wide.dtype) == (repeated.shape, torch.float32)
    assert wide.untyped_storage().nbytes() == 4 * 16 * 8
    expected = torch.matmul(ROWS.bfloat16(), OTHERS[0].bfloat16().T)
    torch.testing.assert_close(torch.bmm(ROWS.bfloat16(), repeated), expected)


def test_other_formats_stay_as_they_are() -> None:
    found = [ROWS @ OTHERS.transpose(1, 2), ROWS[0].double() @ OTHERS[0].double().T]
    low = ROWS[0].bfloat16() @ OTHERS[0].bfloat16().T
    products.in_float32.cache_clear()
    assert torch.allclose(low, ROWS[0].bfloat16() @ OTHERS[0].bfloat16().T, rtol=0.01)
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
    asked = list[str]()
    monkeypatch.setattr(products, "in_float32", lambda: asked.append("replaced"))
    monkeypatch.setattr(products, "torch_has_them", lambda: True)
    assert precision.to_compute_in("bfloat16") == torch.bfloat16
    assert not asked
    monkeypatch.setattr(products, "torch_has_them", lambda: False)
    assert precision.to_compute_in("float32") == torch.float32
    assert not asked
    assert precision.to_compute_in("bfloat16") == torch.bfloat16
    assert asked


def test_a_build_of_torch_without_onednn_has_no_such_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not products.torch_has_them()
