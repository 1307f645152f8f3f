"""The vllm engine, run for real: keyed responses, swapped weights, the contract of its columns."""

import gc
import shutil
import weakref
from pathlib import Path

import pytest

from mutual_taught.errors import InputError
from mutual_taught.models.load import load_policy
from mutual_taught.models.packed.forward import reference_logps
from mutual_taught.models.packed.rows import Group
from mutual_taught.sampling.keyed import Decode, Draw, Request, moved
from mutual_taught.sampling.vllm import Vllm
from mutual_taught.terminal.progress import Moved
from tests.whole.vllm.conftest import CONTEXT, SETTINGS

DECODE = Decode(0.8, 0.95, 12)
SHARDS = {
    0: [Request([5, 6, 7], [1, 2, 3]), Request([9, 8, 7, 6, 5, 4, 3, 9, 8], [4, 5, 6])],
    1: [Request([5, 6, 7, 8], [7, 8]), Request([4] * 20, [9, 2**63 - 1])],
}

Responses = list[list[Draw]]


def responses(engine: Vllm, *shards: int, decode: Decode = DECODE) -> dict[int, Responses]:
    """Draw shards in the order they are named."""
    return dict(engine.answer({number: SHARDS[number] for number in shards}, decode))


def draws(engine: Vllm, decode: Decode = DECODE) -> list[Draw]:
    """Draw both shards and list all responses."""
    found = responses(engine, 0, 1, decode=decode)
    return [draw for number in (0, 1) for request in found[number] for draw in request]


def test_same_seeds_give_the_same_responses_and_others_differ(engine: Vllm) -> None:
    found = draws(engine)
    assert draws(engine) == found
    assert len({tuple(draw.token_ids) for draw in found}) == len(found)


def test_equal_seeds_give_equal_tokens(engine: Vllm) -> None:
    [(_, [[one, other]])] = engine.answer({0: [Request([5, 6, 7], [1, 1])]}, DECODE)
    assert one.token_ids == other.token_ids


def test_consecutive_seeds_share_no_noise(engine: Vllm) -> None:
    # were one request asked for n responses, its k-th would be drawn with seed + k
    requests = [Request([5, 6, 7], [1, 2]), Request([5, 6, 7], [2, 3])]
    [(_, [[_, two], [again, three]])] = engine.answer({0: requests}, DECODE)
    assert two.token_ids == again.token_ids
    assert two.token_ids != three.token_ids


def test_each_response_is_told_when_it_ends(engine: Vllm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "stop_ids", frozenset(range(0, 300, 5)))
    told: list[Moved] = []
    [(_, found)] = engine.answer({0: SHARDS[0]}, DECODE, told.append)
    each = [moved([draw]) for draws in found for draw in draws]
    assert len({one.tokens for one in each}) > 1
    assert sorted(told) == sorted(each)
    assert told == sorted(told, key=lambda one: one.tokens)  # all began together


def test_responses_do_not_depend_on_which_other_shards_are_asked_for(engine: Vllm) -> None:
    both = responses(engine, 0, 1)
    assert responses(engine, 1) == {1: both[1]}
    assert responses(engine, 1, 0) == both


def test_log_prob_is_that_of_transformers(engine: Vllm, first: Path) -> None:
    found = responses(engine, 0, 1)
    requests = [request for number in (0, 1) for request in SHARDS[number]]
    drawn = [draws for number in (0, 1) for draws in found[number]]
    groups = [
        Group(request.tokens, [draw.token_ids for draw in draws])
        for request, draws in zip(requests, drawn, strict=True)
    ]
    reference = reference_logps(load_policy(first, "float32"), groups, "float32", 64)
    for draws, logps in zip(drawn, reference, strict=True):
        assert [draw.logprob for draw in draws] == pytest.approx(logps, abs=2e-4)


def test_swapped_weights_answer_as_a_fresh_engine_does(
    engine: Vllm, first: Path, second: Path
) -> None:
    before = draws(engine)
    engine.load(second)
    swapped = draws(engine)
    engine.load(first)
    assert draws(engine) == before
    engine.close()
    engine.load(second)
    assert draws(engine) == swapped
    assert [a.token_ids for a in swapped] != [b.token_ids for b in before]


def test_changed_weights_are_refused(engine: Vllm, first: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "policy"
    shutil.copytree(first, spoilt)
    weights = bytearray((spoilt / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (spoilt / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=r"model\.safetensors: sha256 is .*; expected "):
        engine.load(spoilt)


def test_stop_tokens_are_those_of_the_transformers_engine(engine: Vllm, first: Path) -> None:
    assert engine.stop_ids == load_policy(first, "float32").stop_ids


def test_stop_token_ends_a_response_and_is_part_of_it(engine: Vllm) -> None:
    engine.stop_ids = frozenset()
    endless = draws(engine)
    assert {(len(draw.token_ids), draw.finish_reason) for draw in endless} == {(12, "length")}
    stops = engine.stop_ids = frozenset(range(0, 300, 5))
    for found, whole in zip(draws(engine), endless, strict=True):
        ends = [place for place, token in enumerate(whole.token_ids) if token in stops]
        end = ends[0] + 1 if ends else len(whole.token_ids)
        assert found.token_ids == whole.token_ids[:end]
        assert found.finish_reason == ("stop" if ends else "length")


def test_stop_at_the_last_token_is_a_stop(engine: Vllm) -> None:
    engine.stop_ids = frozenset()
    whole = draws(engine)[0].token_ids
    engine.stop_ids = frozenset({whole[-1]})
    room = whole.index(whole[-1]) + 1
    found = draws(engine, DECODE._replace(max_new_tokens=room))[0]
    assert (found.token_ids, found.finish_reason) == (whole[:room], "stop")


def test_longest_prompt_has_room_for_the_longest_response(engine: Vllm) -> None:
    engine.stop_ids = frozenset()
    longest = Request([5] * (CONTEXT - DECODE.max_new_tokens), [1])
    [(_, [[found]])] = engine.answer({0: [longest]}, DECODE)
    assert (len(found.token_ids), found.finish_reason) == (DECODE.max_new_tokens, "length")


def test_limits_beyond_the_model_are_one_line(first: Path) -> None:
    beyond = Vllm(SETTINGS, 4096)
    with pytest.raises(InputError, match="vllm cannot hold it") as caught:
        beyond.load(first)
    assert "\n" not in str(caught.value)


def test_closing_frees_the_model(engine: Vllm) -> None:
    worker = engine.llm.llm_engine.model_executor.driver_worker.worker
    held = weakref.ref(worker.model_runner.model)
    del worker
    engine.close()
    gc.collect()
    assert held() is None
