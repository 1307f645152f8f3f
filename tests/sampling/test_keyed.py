"""Sampling: responses depend on their own seeds alone."""

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from bench import architectures
from mutual_taught.models.packed import attention
from mutual_taught.models.packed.forward import reference_logps
from mutual_taught.models.packed.rows import Group
from mutual_taught.sampling.keyed import (
    Decode,
    Draw,
    Request,
    sample,
)
from mutual_taught.terminal.progress import Moved

if TYPE_CHECKING:
    from mutual_taught.models.load import Policy

DECODE = Decode(0.8, 0.95, 12)
SHORT, LONG = [5, 6, 7], [9, 8, 7, 6, 5, 4, 3, 9, 8]
# of different lengths and beginnings; all beginning alike, one of them whole; the same twice
PROMPTS = [[SHORT, LONG, [4] * 20], [SHORT, [*SHORT, 3, 2], [5, 6, 9, 9, 9]], [LONG, LONG]]


def test_same_seeds_give_the_same_responses(policy: "Policy") -> None:
    requests = [Request(SHORT, [1, 2]), Request(LONG, [3])]
    assert sample(policy, requests, DECODE) == sample(policy, requests, DECODE)


def test_equal_seeds_give_equal_responses_and_others_differ(policy: "Policy") -> None:
    first, second, third = sample(policy, [Request(SHORT, [1, 1, 2])], DECODE)[0]
    assert first.token_ids == second.token_ids
    assert first.token_ids != third.token_ids


def tokens(draws: list[list[Draw]]) -> list[list[list[int]]]:
    return [[draw.token_ids for draw in responses] for responses in draws]


def test_response_does_not_depend_on_the_seeds_beside_it(policy: "Policy") -> None:
    one = sample(policy, [Request(SHORT, [1, 2]), Request(LONG, [3])], DECODE)
    other = sample(policy, [Request(SHORT, [1, 99]), Request(LONG, [77])], DECODE)
    assert one[0][0].token_ids == other[0][0].token_ids


@pytest.mark.parametrize("prompts", PROMPTS)
def test_response_does_not_depend_on_the_requests_beside_it(
    policy: "Policy", prompts: list[list[int]]
) -> None:
    requests = [Request(prompt, [n, n + 10]) for n, prompt in enumerate(prompts)]
    together = sample(policy, requests, DECODE)
    alone = [sample(policy, [request], DECODE)[0] for request in requests]
    assert tokens(together) == tokens(alone)


def test_window_of_attention_counts_no_padding(policy: "Policy") -> None:
    # a short prompt's responses must see what they see alone: 8 tokens, padding or none
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
        initializer_range=0.5,
        attn_implementation=attention.NAME,
    )
    windowed = policy._replace(model=MistralForCausalLM(config).eval())
    requests = [Request([5, 6, 7], [1, 2]), Request([5, 6, *LONG, *LONG], [3])]
    together = sample(windowed, requests, DECODE)
    assert tokens(together) == tokens([sample(windowed, [one], DECODE)[0] for one in requests])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [8, 12, 32])  # of values, where keys have 16
def test_values_of_another_width_than_keys_are_sampled(
    policy: "Policy", width: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    config = DeepseekV3Config(
        **{**architectures.SMALL, **architectures.LATENT, "v_head_dim": width},
        vocab_size=400,
        attn_implementation=attention.NAME,
    )
    latent = policy._replace(model=DeepseekV3ForCausalLM(config).eval().to(dtype))
    requests = [Request(SHORT, [1, 2]), Request(LONG, [3])]
    with torch.inference_mode():
        for request, draws in zip(requests, sample(latent, requests, DECODE), strict=True):
            for draw in draws:
                ids = torch.tensor([[*request.tokens, *draw.token_ids]])
                logps = latent.model(input_ids=ids).logits[0, :-1].float().log_softmax(dim=1)
                own = logps[-len(draw.token_ids) :].gather(1, ids[0, -len(draw.token_ids) :, None])
                near = 1e-3 if dtype == torch.float32 else 0.5
                assert draw.logprob == pytest.approx(float(own.sum()), abs=near)


def test_draws_are_in_the_order_of_requests_and_seeds(policy: "Policy") -> None:
    ahead = sample(policy, [Request(SHORT, [1, 2, 3]), Request(LONG, [4])], DECODE)
    back = sample(policy, [Request(LONG, [4]), Request(SHORT, [3, 2, 1])], DECODE)
    assert tokens(ahead) == tokens([back[1][::-1], back[0]])


def test_response_without_a_stop_token_has_its_full_length(policy: "Policy") -> None:
    endless = policy._replace(stop_ids=frozenset({10**6}))
    found = sample(endless, [Request(SHORT, [1, 2])], DECODE)[0]
    assert [(len(draw.token_ids), draw.finish_reason) for draw in found] == [(12, "length")] * 2


def test_stop_token_ends_a_response_and_is_part_of_it(policy: "Policy") -> None:
    every = policy._replace(stop_ids=frozenset(range(400)))
    found = sample(every, [Request(SHORT, [1, 2])], DECODE)[0]
    assert [(len(draw.token_ids), draw.finish_reason) for draw in found] == [(1, "stop")] * 2


def test_responses_that_end_leave_the_others_as_they_would_be(policy: "Policy") -> None:
    # with every fifth token a stop, responses are the endless ones cut after their first stop
    stops = frozenset(range(0, 400, 5))
    requests = [Request(SHORT, list(range(6))), Request(LONG, list(range(6, 12)))]
    endless = sample(policy._replace(stop_ids=frozenset({10**6})), requests, DECODE)
    found = sample(policy._replace(stop_ids=stops), requests, DECODE)
    expected = []
    for draw in (draw for responses in endless for draw in responses):
        ends = [place for place, token in enumerate(draw.token_ids) if token in stops]
        end = ends[0] + 1 if ends else len(draw.token_ids)
        expected.append((draw.token_ids[:end], "stop" if ends else "length"))
    assert len({len(token_ids) for token_ids, _ in expected}) > 2
    assert [
        (draw.token_ids, draw.finish_reason) for responses in found for draw in responses
    ] == expected


def test_each_token_tells_how_many_responses_drew_one_ended_and_were_cut(policy: "Policy") -> None:
    stops = frozenset(range(0, 400, 5))
    requests = [Request(SHORT, list(range(6))), Request(LONG, list(range(6, 12)))]
    told: list[Moved] = []
    found = sample(policy._replace(stop_ids=stops), requests, DECODE, told.append)
    lengths = [(len(d.token_ids), d.finish_reason) for draws in found for d in draws]
    assert {reason for _, reason in lengths} == {"stop", "length"}
    assert told == [
        Moved(
            tokens=sum(length >= time for length, _ in lengths),
            ended=sum(length == time for length, _ in lengths),
            cut=sum(length == time and reason == "length" for length, reason in lengths),
        )
        for time in range(1, 13)
    ]


def test_stop_at_the_last_token_is_a_stop(policy: "Policy") -> None:
    [[endless]] = sample(policy._replace(stop_ids=frozenset({10**6})), [Request(LONG, [1])], DECODE)
    last = endless.token_ids[-1]
    room = endless.token_ids.index(last) + 1
    stopping = policy._replace(stop_ids=frozenset({last}))
    [[found]] = sample(stopping, [Request(LONG, [1])], DECODE._replace(max_new_tokens=room))
    assert (len(found.token_ids), found.finish_reason) == (room, "stop")


@pytest.mark.parametrize("prompts", PROMPTS)
def test_log_prob_is_that_of_the_packed_reference(
    policy: "Policy", prompts: list[list[int]]
) -> None:
    requests = [Request(prompt, [n, n + 10, n + 20]) for n, prompt in enumerate(prompts)]
    found = sample(policy, requests, DECODE)
    groups = [
        Group(request.tokens, [draw.token_ids for draw in responses])
        for request, responses in zip(requests, found, strict=True)
    ]
    reference = reference_logps(policy, groups, "float32", 64)
    for responses, logps in zip(found, reference, strict=True):
        assert [draw.logprob for draw in responses] == pytest.approx(logps, abs=1e-4)
