"""Judges asked over HTTP, of a server in a thread that answers by rule, or fails."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from mutual_taught.config.judging import Endpoint, Prices
from mutual_taught.errors import EndpointError, InputError
from mutual_taught.evaluation.judges import verdict_tables
from mutual_taught.evaluation.judges.asking import Sent, ask_all, dollars
from mutual_taught.evaluation.judges.endpoint import read_reply
from mutual_taught.evaluation.judges.reply import Reply
from mutual_taught.evaluation.judges.request import Spec
from mutual_taught.evaluation.judges.store import opened
from mutual_taught.evaluation.judges.verdict_tables import Comparison
from tests.judge_server import Body, Server, said, serving

SPEC = Spec("alpaca_eval", "tiny", None)
KEY = "sk-secret-0123456789"


def compared(count: int = 4) -> list[Comparison]:
    """Comparisons whose own response is the longer one where the number is even."""
    asked = [{"role": "user", "content": "Name a sea."}]
    responses = [
        ("A long answer.", "Short.") if n % 2 == 0 else ("Short.", "A long answer.")
        for n in range(count)
    ]
    return [
        Comparison("base", f"{n:032x}", 0, [*asked, {"role": "user", "content": str(n)}], *both)
        for n, both in enumerate(responses)
    ]


def endpoint(server: Server | str, **changes: Any) -> Endpoint:
    values = {
        "base_url": server if isinstance(server, str) else server.address,
        "key_variable": None,
        "concurrency": 4,
        "requests_per_minute": None,
        "timeout_seconds": 5.0,
        "retries": 3,
        "prices": None,
    }
    return Endpoint.model_validate(values | changes)


def ask(server: Server, place: Path, spec: Spec = SPEC, **changes: Any) -> Sent:
    with opened(place / "verdicts.jsonl") as store:
        requests = verdict_tables.requests(spec, compared())
        return ask_all(requests, store, endpoint(server, **changes))


def test_both_orders_of_every_comparison_are_asked_and_read(tmp_path: Path) -> None:
    with serving() as server, opened(tmp_path / "v.jsonl") as store:
        asked = ask_all(verdict_tables.requests(SPEC, compared()), store, endpoint(server))
        data = verdict_tables.verdicts(SPEC, compared(), store.replies)
    assert asked == Sent(8, 800, 8, {})
    assert data["preference"].to_pylist() == [1, 1, 0, 0, 1, 1, 0, 0]
    assert data["verdict"].to_pylist() == ["m", "M", "M", "m", "m", "M", "M", "m"]
    body = server.asked[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0, 8)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)


def test_what_is_stored_is_not_asked_again_nor_is_the_server_needed(tmp_path: Path) -> None:
    with serving() as server:
        ask(server, tmp_path)
    assert ask(server, tmp_path) == Sent(0, 0, 0, {})  # it is gone


def test_a_changed_response_asks_only_about_itself(tmp_path: Path) -> None:
    with serving() as server:
        ask(server, tmp_path)
        changed = [compared()[0]._replace(own="Another."), *compared()[1:]]
        with opened(tmp_path / "verdicts.jsonl") as store:
            again = ask_all(verdict_tables.requests(SPEC, changed), store, endpoint(server))
    assert again.requests == 2
    assert server.twice == []


def test_responses_of_the_same_text_are_even_and_nobody_is_asked() -> None:
    alike = [compared()[0]._replace(other="A long answer.")]
    assert verdict_tables.requests(SPEC, alike) == []
    data = verdict_tables.verdicts(SPEC, alike, {})
    assert data["preference"].to_pylist() == [0.5, 0.5]
    assert data["reason"].to_pylist() == ["same_text", "same_text"]


@pytest.mark.parametrize("fault", ["429", "500", "cut", "nonsense", "html"])
def test_a_server_that_fails_now_and_then_is_asked_again(fault: str, tmp_path: Path) -> None:
    with serving(fault=fault, every=3) as server:
        assert ask(server, tmp_path, concurrency=1).requests == 8
    # Requests 1, 4, 7, 10 fail: eight good ones take twelve.
    assert server.requests == 12
    assert server.twice == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("429", "lower judge.endpoint.concurrency"),
        ("500", "look whether the server is up"),
        ("nonsense", "2 answers were none of an OpenAI-compatible server"),
        ("404 no such model", "look at judge.model"),
        ("400 too long", r"refuses all of 8 requests .*too long"),
    ],
)
def test_a_server_that_only_fails_is_given_up_in_one_line(
    fault: str, said: str, tmp_path: Path
) -> None:
    with serving(fault=fault) as server, pytest.raises(EndpointError, match=said) as failed:
        ask(server, tmp_path, retries=1)
    assert "\n" not in str(failed.value)


def test_verdicts_before_a_failure_are_kept(tmp_path: Path) -> None:
    with serving() as server:
        kept = verdict_tables.requests(SPEC, compared())[:6]
        with opened(tmp_path / "verdicts.jsonl") as store:
            ask_all(kept, store, endpoint(server))
    with serving(fault="500") as server, pytest.raises(EndpointError):
        ask(server, tmp_path, retries=0, concurrency=1)
    assert server.requests == 1  # the second of the two is not begun
    with serving() as server:
        assert ask(server, tmp_path).requests == 2


def test_a_server_that_is_slow_is_given_up_after_the_time_out(tmp_path: Path) -> None:
    with serving(fault="slow") as server:
        began = time.monotonic()
        with pytest.raises(EndpointError, match="APITimeoutError"):
            ask(server, tmp_path, timeout_seconds=0.2, retries=0, concurrency=1)
    assert time.monotonic() - began < 1.4  # it would answer after 1.5 s


def test_a_request_that_is_refused_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    def rule(body: Body) -> Body:
        return said("m")

    with (
        serving(rule, "413 too long", every=8) as server,
        opened(tmp_path / "v.jsonl") as store,
    ):
        requests = verdict_tables.requests(SPEC, compared())
        asked = ask_all(requests, store, endpoint(server, concurrency=1))
        data = verdict_tables.verdicts(SPEC, compared(), store.replies, asked.refused)
    assert list(asked.refused.values()) == ["Error code: 413 - too long"]
    assert data["reason"].to_pylist() == ["refused", *[""] * 7]
    found = verdict_tables.metrics(data, SPEC, 1)
    assert found["win_rate.vs_base.alpaca_eval.tiny.failures"] == 1


@pytest.mark.parametrize("word", ["logprobs", "max_tokens", "temperature"])
def test_a_model_that_does_not_take_a_setting_is_asked_without_it(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(fault=f"400 Unsupported parameter: {word}", every=1000) as server:
        assert ask(server, tmp_path, concurrency=1, retries=0).requests == 8
    assert word not in server.asked[0]
    assert ("max_completion_tokens" in server.asked[0]) == (word == "max_tokens")
    assert "tiny does not take" in capsys.readouterr().err


def test_log_probs_of_the_server_decide_and_nonsense_in_them_does_not(tmp_path: Path) -> None:
    def rule(body: Body) -> Body:
        if "content': '0'" in str(body):
            return said("M", {"m": math.nan})
        return said("m", {"m": math.log(0.6), "M": math.log(0.2)})

    with serving(rule) as server, opened(tmp_path / "v.jsonl") as store:
        ask_all(verdict_tables.requests(SPEC, compared()), store, endpoint(server))
        data = verdict_tables.verdicts(SPEC, compared(), store.replies)
    # Of the first response 0.75 whichever it is: a judge with a bent for what comes first.
    assert data["preference"].to_pylist()[2:4] == pytest.approx([0.75, 0.25])
    name = "win_rate.vs_base.alpaca_eval.tiny"
    assert verdict_tables.metrics(data, SPEC, 1)[f"{name}.mean"] == pytest.approx(0.5)
    again = verdict_tables.verdicts(SPEC, compared(), *verdict_tables.read_again(data))
    assert again.equals(data)


def test_no_more_requests_are_under_way_than_asked_for_and_a_rate_spreads_them(
    tmp_path: Path,
) -> None:
    with serving() as server:
        server.delay = 0.05
        ask(server, tmp_path, concurrency=3, requests_per_minute=3000)
    assert server.busiest <= 3
    assert server.times[-1] - server.times[0] >= 7 * 60 / 3000 - 0.005  # eight starts, seven gaps


def test_a_key_is_taken_from_the_environment_and_told_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving() as server:
        ask(server, tmp_path, key_variable="JUDGE_KEY")
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    told = " ".join(server.headers[0]).lower()
    assert "stainless-os" not in told
    assert "stainless-arch" not in told
    with serving(fault="401") as server, pytest.raises(EndpointError, match="right key") as failed:
        ask(server, tmp_path / "other", key_variable="JUDGE_KEY")
    assert KEY not in str(failed.value) + capsys.readouterr().err
    assert all(KEY not in path.read_text() for path in tmp_path.rglob("*.jsonl"))


def test_a_key_that_a_server_says_back_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving(lambda _: said(f"m: {KEY}", {KEY: -0.5})) as server:
        ask(server, tmp_path, key_variable="JUDGE_KEY")
    with opened(tmp_path / "verdicts.jsonl") as store:
        reply = next(iter(store.replies.values()))
    assert (reply.text, reply.logprobs) == ("m: ***", {"***": -0.5})
    assert all(KEY not in path.read_text() for path in tmp_path.rglob("*.jsonl"))


def test_a_key_too_short_to_be_secret_leaves_verdicts_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "m")
    with serving(lambda _: said("m")) as server:
        ask(server, tmp_path, key_variable="JUDGE_KEY")
    with opened(tmp_path / "verdicts.jsonl") as store:
        assert {reply.text for reply in store.replies.values()} == {"m"}


def test_a_short_key_is_not_shown_in_errors_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "k-7")
    with serving(fault="401") as server, pytest.raises(EndpointError, match=r"\*\*\*") as failed:
        ask(server, tmp_path, key_variable="JUDGE_KEY")
    assert "k-7" not in str(failed.value)


def test_a_key_that_is_not_set_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with serving() as server, pytest.raises(InputError, match="JUDGE_KEY is not set"):
        ask(server, tmp_path, key_variable="JUDGE_KEY")
    assert server.requests == 0


def test_a_server_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with serving() as server:
        pass
    began = time.monotonic()
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1.*; expected an answer; look whether"):
        ask(server, tmp_path)
    assert time.monotonic() - began < 2


def test_tokens_cost_what_their_prices_say() -> None:
    # 2 million read at 2.5, half a million written at 10: 5 + 5.
    assert dollars(Prices(prompt=2.5, completion=10.0), 2_000_000, 500_000) == 10.0


def test_half_a_character_and_counts_beyond_belief_fit_the_table(tmp_path: Path) -> None:
    body = {
        "choices": [{"message": {"content": "m \ud800"}}],
        "usage": {"prompt_tokens": 10**30, "completion_tokens": 2},
    }
    assert read_reply(json.dumps(body)) == Reply("m ?", None, 0, 2)


@pytest.mark.parametrize("key", ["ключ", "one\ntwo"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    with serving() as server, pytest.raises(InputError, match="JUDGE_KEY holds letters") as failed:
        ask(server, tmp_path, key_variable="JUDGE_KEY")
    assert key not in str(failed.value)
    assert server.requests == 0
