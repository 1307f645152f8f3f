"""Packed rows: who sees whom and positions by hand; the same numbers as one sequence at a time."""

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AutoModelForCausalLM,
    GptOssConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from mutual_taught.models.packed import attention, pieces
from mutual_taught.models.packed import rows as packing
from mutual_taught.models.packed.forward import packed_logps, packed_rewards
from mutual_taught.models.packed.pieces import Layout
from mutual_taught.models.packed.pooled import scores_packed
from mutual_taught.models.packed.rows import (
    Group,
    PackedRow,
    branch_logps,
    fill,
    pack,
    share_prefix,
)

if TYPE_CHECKING:
    from torch import Tensor

CPU = torch.device("cpu")
GROUPS = [
    Group([5, 9, 2], [[7, 1], [3], [7, 8, 4, 6]]),
    Group([1], [[1, 1], [2, 9, 9]]),
    Group([4, 4, 4, 4, 4, 4], [[5]]),
]
# all begin with 5 9; the first and the last have the same prompt
ALIKE = [
    Group([5, 9], [[7, 1], [3], [7, 8, 4, 6]]),
    Group([5, 9, 2, 2], [[1, 1], [2, 9, 9]]),
    Group([5, 9], [[5]]),
]


def config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        num_labels=1,
        pad_token_id=0,
        attn_implementation=attention.NAME,
    )


@pytest.fixture(scope="module")
def language_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(config()).eval()


@pytest.fixture(scope="module")
def classifier() -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    return LlamaForSequenceClassification(config()).eval()


def seen(row: PackedRow) -> list[list[int]]:
    """Say which tokens (columns) each token of a row (rows) sees, by its layout."""
    assert row.layout
    found = torch.zeros(*[row.input_ids.shape[1]] * 2, dtype=torch.int)
    queries, sights = [], []
    for part in row.layout.parts:
        queries += part.queries.flatten().tolist()
        for keys, hidden in zip(part.keys, part.hidden, strict=True):
            sights += [keys[~line] for line in hidden]
    for token, place in enumerate(row.layout.place.tolist()):
        assert queries[place] == token
        assert len(set(sights[place].tolist())) == len(sights[place])
        found[token, sights[place]] = 1
    return found.tolist()


def test_branch_sees_its_prefix_and_itself_and_nothing_later() -> None:
    row = pack([Group([1, 2], [[3], [4, 5]])])
    assert row.input_ids.tolist() == [[1, 2, 3, 4, 5]]
    assert seen(row) == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_positions_of_every_branch_go_on_from_the_prefix() -> None:
    row = pack([Group([1, 2], [[3], [4, 5]]), Group([6], [[7, 8]])])
    assert row.position_ids.tolist() == [[0, 1, 2, 2, 3, 0, 1, 2]]


def test_groups_attend_apart() -> None:
    row = pack([Group([1], [[2], [3]]), Group([4], [[5]])])
    assert seen(row) == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]


def test_prefixes_are_one_part_and_branches_another_each_padded_to_its_longest() -> None:
    # 1 | 2 | 3 3 and 4 5 | 6: tokens 0 to 6
    row = pack([Group([1], [[2], [3, 3]]), Group([4, 5], [[6]])])
    assert row.layout
    prefixes, branches = row.layout.parts
    assert prefixes.queries.tolist() == [[0, 0], [4, 5]]
    assert prefixes.keys.tolist() == [[0, 0], [4, 5]]
    assert branches.queries.tolist() == [[1, 0], [2, 3], [6, 0]]
    assert branches.keys.tolist() == [[0, 0, 1, 0], [0, 0, 2, 3], [4, 5, 6, 0]]
    assert branches.hidden.int()[0].tolist() == [[0, 1, 0, 1], [0, 1, 0, 0]]
    assert row.layout.place.tolist() == [0, 4, 6, 7, 2, 3, 8]


def test_what_all_prefixes_begin_with_stands_once_and_is_seen_by_all() -> None:
    # the second group is 1 2 5 | 6 with its 1 2 in the first group's place
    row = pack([Group([1, 2], [[3], [4]]), Group([1, 2, 5], [[6]])])
    assert row.input_ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert row.position_ids.tolist() == [[0, 1, 2, 2, 2, 3]]
    assert seen(row) == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]
    assert row.layout
    assert [part.queries.tolist() for part in row.layout.parts] == [
        [[0, 1]],
        [[4]],  # the first prefix is no more than the beginning
        [[2], [3], [5]],
    ]
    # 3 and 4 are predicted by the 2 at place 1, 6 by the 5 at place 4
    assert row.predict.tolist() == [1, 1, 4]
    assert row.targets.tolist() == [3, 4, 6]
    assert row.last.tolist() == [2, 3, 5]


def test_row_that_the_page_on_packed_rows_draws() -> None:
    row = pack([Group([5, 9], [[7, 1], [3]]), Group([5, 4], [[8]])])
    assert row.input_ids.tolist() == [[5, 9, 7, 1, 3, 4, 8]]
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 2, 1, 2]]
    assert row.predict.tolist() == [1, 2, 1, 5]
    assert row.last.tolist() == [3, 4, 6]
    assert row.layout
    assert [part.queries.tolist() for part in row.layout.parts] == [
        [[0]],
        [[1], [5]],
        [[2, 3], [4, 0], [6, 0]],
    ]
    assert [part.keys.tolist() for part in row.layout.parts] == [
        [[0]],
        [[0, 1], [0, 5]],
        [[0, 1, 2, 3], [0, 1, 4, 0], [0, 5, 6, 0]],
    ]
    assert row.layout.place.tolist() == [0, 1, 3, 4, 5, 2, 7]
    assert sum(map(sum, seen(row))) == 18


def test_what_only_some_prefixes_begin_with_stands_in_each() -> None:
    row = pack([Group([1, 2], [[3]]), Group([1, 2], [[4]]), Group([2, 1], [[5]])])
    assert row.input_ids.tolist() == [[1, 2, 3, 1, 2, 4, 2, 1, 5]]


def test_the_same_prompt_twice_stands_once() -> None:
    row = pack([Group([1, 2], [[3]]), Group([1, 2], [[4, 5]])])
    assert row.input_ids.tolist() == [[1, 2, 3, 4, 5]]
    assert row.predict.tolist() == [1, 1, 3]


@pytest.mark.parametrize("groups", [GROUPS[:1], GROUPS, ALIKE])
def test_attention_in_bfloat16_has_the_gradient_of_the_fused_kernel(
    language_model: LlamaForCausalLM, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = torch.tensor(seen(pack(groups)), dtype=torch.bool)

    def fused(
        query: "Tensor", key: "Tensor", value: "Tensor", _: Layout, __: float | None
    ) -> "Tensor":
        query, key, value = (rows.transpose(0, 1)[None] for rows in (query, key, value))
        found = scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=1, enable_gqa=True
        )
        return found[0].transpose(0, 1)

    found: list[Tensor] = []
    for kernel in (pieces.Attend.apply, fused):
        monkeypatch.setattr(pieces.Attend, "apply", kernel)
        language_model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = torch.cat(packed_logps(language_model, groups, CPU)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        grads = [p.grad.clone() for p in language_model.parameters() if p.grad is not None]
        found.append(torch.cat([grad.flatten() for grad in grads]))
    language_model.zero_grad()
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 0.05


@pytest.mark.parametrize("limit", [1, 30, 100])  # a query, some of a piece, a piece at a time
@pytest.mark.parametrize("groups", [GROUPS, ALIKE])
def test_pieces_attend_alike_few_at_a_time_and_all_at_once(
    groups: list[Group], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, chance = pack(groups), torch.Generator().manual_seed(0)
    shapes = [(1, heads, row.input_ids.shape[1], 8) for heads in (4, 2, 2)]
    query, key, value = states = [
        torch.randn(shape, generator=chance, requires_grad=True) for shape in shapes
    ]
    found = []
    for scores in (pieces.SCORES, {"cpu": limit}):
        monkeypatch.setattr(pieces, "SCORES", scores)
        assert row.layout
        result = attention.attend_row(query, key, value, row.layout)
        found.append([result, *torch.autograd.grad(result.square().sum(), states)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_model_without_packed_attention_is_refused() -> None:
    plain = LlamaForCausalLM(LlamaConfig(**{**config().to_dict(), "vocab_size": 16}))
    plain.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="attention is sdpa; expected packed_sdpa"):
        packed_logps(plain, GROUPS, CPU)


def test_model_with_attention_sinks_is_refused() -> None:
    sinks = GptOssConfig(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        head_dim=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    with pytest.raises(ValueError, match="scaled_dot_product_attention"):
        AutoModelForCausalLM.from_config(sinks, attn_implementation=attention.NAME)


def test_first_token_of_a_branch_is_predicted_at_the_end_of_the_prefix() -> None:
    # places: 1 2 | 3 | 4 5 and then 6 | 7 8; the prefixes end at 1 and at 5
    row = pack([Group([1, 2], [[3], [4, 5]]), Group([6], [[7, 8]])])
    assert row.predict.tolist() == [1, 1, 3, 5, 6]
    assert row.targets.tolist() == [3, 4, 5, 7, 8]
    assert row.lengths == [1, 2, 2]
    assert row.last.tolist() == [2, 4, 7]


def test_size_counts_the_prefix_once() -> None:
    # 3 + 2 + 1 + 4
    assert GROUPS[0].size == 10


@pytest.mark.parametrize(
    ("sequences", "group"),
    [
        ([[1, 2, 3], [1, 2, 4, 5]], Group([1, 2], [[3], [4, 5]])),
        ([[1, 2], [1, 2]], Group([1], [[2], [2]])),
        ([[1, 2], [1, 2, 3]], Group([1], [[2], [2, 3]])),
        ([[1, 2, 3]], Group([1, 2], [[3]])),
        ([[1, 2], [3, 2]], Group([], [[1, 2], [3, 2]])),
        ([[1], [1]], Group([], [[1], [1]])),
        ([[], [1]], Group([], [[], [1]])),
    ],
)
def test_shared_prefix_leaves_every_branch_a_token(
    sequences: list[list[int]], group: Group
) -> None:
    assert share_prefix(sequences) == group


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=4))
def test_prefix_and_branch_make_up_the_sequence(sequences: list[list[int]]) -> None:
    prefix, branches = share_prefix(sequences)
    assert [[*prefix, *branch] for branch in branches] == sequences
    assert all(branches)


def test_runs_stay_under_the_budget_and_a_larger_item_goes_alone() -> None:
    # 3 + 3 fit in 6, then 5, then 9 is too large for any, then 1 + 2
    runs = fill("abcdef", [3, 3, 5, 9, 1, 2], 6)
    assert list(runs) == [["a", "b"], ["c"], ["d"], ["e", "f"]]


def test_nothing_fills_no_run() -> None:
    assert list(fill([], [], 6)) == []


@given(st.lists(st.integers(1, 9)), st.integers(1, 12))
def test_runs_hold_all_items_in_order(sizes: list[int], budget: int) -> None:
    runs = list(fill(range(len(sizes)), sizes, budget))
    assert [item for run in runs for item in run] == list(range(len(sizes)))
    for run in runs:
        assert len(run) == 1 or sum(sizes[item] for item in run) <= budget


def test_log_probs_of_branches_by_hand() -> None:
    # softmax of (0, ln 3) is (1/4, 3/4); the first branch is token 0, the second token 1
    row = pack([Group([1], [[0], [1]])])
    found = branch_logps(torch.tensor([[1.0, 3.0]] * 2).log(), row)
    assert torch.cat(found).exp().tolist() == pytest.approx([1 / 4, 3 / 4])


@pytest.mark.parametrize(("kind", "off"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("rows", [64, 2])
def test_log_probs_and_their_gradient_are_those_of_log_softmax(
    kind: torch.dtype, off: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "ROWS", rows)
    row = pack([Group([1], [[0, 4, 2], [3, 3]])])
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).to(kind)
    weights = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.5])
    leaf, exact = (logits.clone().to(as_).requires_grad_() for as_ in (kind, torch.float32))
    found = torch.cat(branch_logps(leaf * 1, row))  # writes over what it is given
    expected = exact.log_softmax(dim=1)[range(5), row.targets]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=off, rtol=off)
    (found * weights).sum().backward()  # type: ignore[no-untyped-call]
    (expected * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad.float(), exact.grad, atol=off, rtol=off)


def test_a_second_backward_pass_over_logits_that_are_gone_is_refused() -> None:
    row = pack([Group([1], [[0]])])
    logits = torch.randn(1, 6, requires_grad=True)
    total = branch_logps(logits * 1, row)[0].sum()
    total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()  # type: ignore[no-untyped-call]


@torch.inference_mode()
def one_by_one(model: LlamaForCausalLM, group: Group) -> "list[Tensor]":
    found = []
    for branch in group.branches:
        ids = torch.tensor([[*group.prefix, *branch]])
        logps = model(input_ids=ids).logits[0].log_softmax(dim=-1)
        start = len(group.prefix)
        found.append(logps[range(start - 1, ids.shape[1] - 1), ids[0, start:]])
    return found


@pytest.mark.parametrize("groups", [GROUPS, ALIKE])
def test_packed_log_probs_are_those_of_one_sequence_at_a_time(
    language_model: LlamaForCausalLM, groups: list[Group]
) -> None:
    with torch.inference_mode():
        packed = packed_logps(language_model, groups, CPU)
    alone = [logps for group in groups for logps in one_by_one(language_model, group)]
    for one, other in zip(packed, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("groups", [GROUPS[:1], GROUPS, ALIKE])
def test_packed_log_probs_have_the_gradient_of_one_sequence_at_a_time(
    language_model: LlamaForCausalLM, groups: list[Group]
) -> None:
    weight = language_model.model.layers[0].self_attn.k_proj.weight
    total = torch.cat(packed_logps(language_model, groups, CPU)).sum()
    total.backward()  # type: ignore[no-untyped-call]
    packed, weight.grad = weight.grad.clone(), None
    for prefix, branch in [(group.prefix, tokens) for group in groups for tokens in group.branches]:
        ids = torch.tensor([[*prefix, *branch]])
        logps = language_model(input_ids=ids).logits[0].log_softmax(dim=-1)
        start = len(prefix)
        logps[range(start - 1, ids.shape[1] - 1), ids[0, start:]].sum().backward()
    torch.testing.assert_close(packed, weight.grad, atol=1e-4, rtol=1e-4)
    language_model.zero_grad()


@pytest.mark.parametrize("groups", [GROUPS, ALIKE])
@torch.inference_mode()
def test_packed_rewards_are_those_of_one_sequence_at_a_time(
    classifier: LlamaForSequenceClassification, groups: list[Group]
) -> None:
    packed = packed_rewards(scores_packed(deepcopy(classifier)), groups, CPU)
    alone = [
        classifier(input_ids=torch.tensor([[*group.prefix, *branch]])).logits[0, 0]
        for group in groups
        for branch in group.branches
    ]
    torch.testing.assert_close(packed, torch.stack(alone), atol=1e-5, rtol=0)


TOKENS = st.integers(1, 15)
ROWS = st.lists(
    st.tuples(
        st.lists(TOKENS, min_size=1, max_size=4),
        st.lists(st.lists(TOKENS, min_size=1, max_size=3), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(TOKENS, max_size=3), ROWS)
def test_layout_and_blocks_let_see_the_same(beginning: list[int], rows: list[Any]) -> None:
    groups = [Group([*beginning, *prefix], branches) for prefix, branches in rows]
    blocks, places = pack(groups, flex=True), torch.arange(pack(groups).input_ids.shape[1])
    zero = torch.tensor(0)
    sees = blocks.mask.mask_mod(zero, zero, places[:, None], places[None, :])
    assert seen(pack(groups)) == sees.int().tolist()


@settings(max_examples=25, deadline=None)
@given(st.lists(TOKENS, max_size=3), ROWS)
def test_any_groups_have_the_rewards_and_gradients_they_have_alone(
    classifier: LlamaForSequenceClassification, beginning: list[int], rows: list[Any]
) -> None:
    groups = [Group([*beginning, *prefix], branches) for prefix, branches in rows]
    model = scores_packed(deepcopy(classifier))
    rewards, grads = [], []
    for runs in ([groups], [[group] for group in groups]):
        model.zero_grad()
        found = torch.cat([packed_rewards(model, run, CPU) for run in runs])
        found.square().sum().backward()  # type: ignore[no-untyped-call]
        rewards.append(found.detach())
        grads.append([weight.grad.clone() for weight in model.parameters()])
    torch.testing.assert_close(*rewards, atol=1e-5, rtol=1e-4)
    together, alone = (torch.cat([grad.flatten() for grad in found]) for found in grads)
    largest = float(alone.abs().max())  # small elements may be what large ones leave
    torch.testing.assert_close(together, alone, atol=1e-5 * largest, rtol=1e-4)


@torch.inference_mode()
def test_sequences_that_share_nothing_are_rewarded_as_alone(
    classifier: LlamaForSequenceClassification,
) -> None:
    group = share_prefix([[1, 2, 3], [4, 2]])
    packed = packed_rewards(scores_packed(deepcopy(classifier)), [GROUPS[1], group], CPU)[2:]
    alone = [classifier(input_ids=torch.tensor([ids])).logits[0, 0] for ids in ([1, 2, 3], [4, 2])]
    torch.testing.assert_close(packed, torch.stack(alone), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_reward_is_read_at_the_last_token_even_if_it_is_the_padding(
    classifier: LlamaForSequenceClassification,
) -> None:
    # the stock head would skip a trailing 0, the padding token; after 0 comes a causal 5 unseen
    packed = packed_rewards(scores_packed(deepcopy(classifier)), [Group([3, 1], [[2, 0]])], CPU)
    hidden = classifier.model(input_ids=torch.tensor([[3, 1, 2, 0, 5]])).last_hidden_state[0, 3]
    torch.testing.assert_close(packed[0], classifier.score(hidden)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_attention_of_one_token_a_row_is_that_of_the_fused_kernel(
    masked: bool, dtype: torch.dtype, near: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, 1, 8, generator=generator).to(dtype)
    key, value = (torch.randn(3, 2, 7, 8, generator=generator).to(dtype) for _ in range(2))
    mask = torch.ones(3, 1, 1, 7, dtype=torch.bool)
    mask[0, ..., :3] = mask[2, ..., 2:5] = False
    seen = mask if masked else None
    with torch.inference_mode():
        found, _ = attention.attend(torch.nn.Identity(), query, key, value, seen)
    keys, values = (states.repeat_interleave(2, dim=1) for states in (key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(query, keys, values, seen)
    torch.testing.assert_close(found, expected.transpose(1, 2), rtol=near, atol=near)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_one_token_attends_without_copies_of_keys_as_with_them(
    masked: bool, scaling: float | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 6, 1, 8, generator=generator)
    key = torch.randn(3, 2, 7, 8, generator=generator)
    value = torch.randn(3, 2, 7, 4, generator=generator)
    mask = torch.ones(3, 1, 1, 7, dtype=torch.bool)
    mask[0, ..., :3] = mask[2, ..., 2:5] = False
    seen = mask if masked else None
    found = attention.attend_one(query, key, value, seen, scaling)
    keys, values = (states.repeat_interleave(3, dim=1) for states in (key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, keys, values, seen, scale=scaling
    )
    torch.testing.assert_close(found, expected.transpose(1, 2), rtol=1e-6, atol=1e-6)
