"""Stage judge on a finished tiny run: asked once, checked without asking, gone on with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import judged
from mutual_taught.audit.run import CheckedIteration, Run
from mutual_taught.config import params
from mutual_taught.planning import graph
from stages import judge as stage
from tests import in_process, project
from tests.audit.test_verify_whole import copy
from tests.judge_server import Server, serving

ON: dict[str, Any] = {
    "iterations": {"1": {"prev": "0"}, "2": {"prev": "1"}},
    "style": "alpaca_eval",
    "model": "tiny/judge 1",
    "responses_per_prompt": 2,
    "max_tokens": None,
}
NAME = "policy.win_rate.vs_{}.alpaca_eval.tiny-judge-1"


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose policies say something else each; the tiny one's hardly learn."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    run = copy(finished, tmp_path, monkeypatch)
    rewrite(run, "1", lambda row, text: [f"{text} more", text[1:], text][row % 3])
    rewrite(run, "2", lambda row, text: f"{text} more" if row % 2 else text[2:])
    return run


def rewrite(run: Path, key: str, change: Callable[[int, str], str]) -> None:
    """Change an iteration's held-out responses, row by row."""
    path = run / key / "eval" / "generations.parquet"
    data = tables.read(path, tables.GENERATIONS)
    texts = [change(row, text) for row, text in enumerate(data["response"].to_pylist())]
    place = data.schema.get_field_index("response")
    changed = data.set_column(place, data.schema.field(place), pa.array(texts))
    path.unlink()  # it is a link into another test's run
    tables.write(path.parent, tables.GENERATIONS, changed, tables.provenance(data))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as lent:
        yield lent


def turn_on(server: Server, **changes: Any) -> None:
    endpoint = params.read(params.PARAMS)["judge"]["endpoint"]
    place = {**endpoint, "base_url": server.address, "key_variable": None, "retries": 0}
    project.set_param(params.PARAMS, "judge", {**ON, "endpoint": place, **changes})
    params._parse.cache_clear()


def faults(run: Path, key: str) -> list[str]:
    params._parse.cache_clear()
    settings = params.validate(params.read(params.PARAMS))
    of = CheckedIteration(Run(run, ["0", "1", "2"]), key, settings)
    return [str(fault) for fault in judged.check(of)]


def test_no_stage_is_there_until_an_iteration_is_named(run: Path, server: Server) -> None:
    whole = project.ROOT / "dvc.yaml"
    before = [node.name for node in graph.read(whole)]
    assert len(before) == 29
    turn_on(server, iterations={"2": {"prev": "1"}})
    assert [node.name for node in graph.read(whole)] == [*before, "judge@2"]


def test_responses_are_compared_with_those_of_the_base_and_the_previous_policy(
    run: Path, server: Server
) -> None:
    turn_on(server)
    in_process.run_one("judge", "1")
    data = tables.read(run / "1" / "verdicts.parquet", tables.VERDICTS)
    # Four prompts, two responses each, against two, in two orders.
    assert len(data) == 32
    base, previous = (data.slice(start, 16).drop_columns(["against"]) for start in (0, 16))
    assert base.equals(previous)  # pi_0 is both, and was asked about once
    asked = sum(reason == "" for reason in base["reason"].to_pylist())
    assert len(server.asked) == asked > 0
    numbers = files.read_json(run / "1" / "metrics" / "judge.json")
    own = tables.read(run / "1" / "eval" / "generations.parquet", tables.GENERATIONS)
    other = tables.read(run / "0" / "eval" / "generations.parquet", tables.GENERATIONS)
    assert numbers[f"{NAME.format('base')}.mean"] == share_longer(own, other)
    assert numbers[f"{NAME.format('previous')}.mean"] == numbers[f"{NAME.format('base')}.mean"]
    assert faults(run, "1") == []


def share_longer(own: pa.Table, other: pa.Table) -> float:
    """The server's rule: the longer response is better, else the first that is shown."""
    both = zip(own["response"].to_pylist(), other["response"].to_pylist(), strict=True)
    worth = [0.5 + 0.5 * ((len(a) > len(b)) - (len(a) < len(b))) for a, b in both]
    return sum(worth) / len(worth)


def test_a_second_run_asks_nothing_and_a_changed_response_only_about_itself(
    run: Path, server: Server
) -> None:
    turn_on(server)
    in_process.run_one("judge", "2")
    first, honest = len(server.asked), (run / "2" / "verdicts.parquet").read_bytes()
    in_process.run_one("judge", "2")
    assert len(server.asked) == first
    assert (run / "2" / "verdicts.parquet").read_bytes() == honest
    rewrite(run, "2", lambda row, text: text if row else "a new answer")
    in_process.run_one("judge", "2")
    assert len(server.asked) == first + 4  # against both, in both orders
    assert server.twice == []


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("preference", 0.25, "preference is 0.25"),
        ("key", "0" * 64, "key is '0000"),
        ("weight", 3, "weight is 3"),
        ("verdict", "M", "preference is"),
        ("prompt_tokens", 7, ""),  # only the judge can tell
    ],
)
def test_verify_finds_what_does_not_follow_from_the_stored_verdicts_and_asks_nobody(
    column: str, value: object, said: str, run: Path, server: Server
) -> None:
    turn_on(server)
    in_process.run_one("judge", "2")
    asked = server.requests
    path = run / "2" / "verdicts.parquet"
    data = tables.read(path, tables.VERDICTS)
    row = data["verdict"].to_pylist().index("m")
    values = data[column].to_pylist()
    values[row] = value
    place = data.schema.get_field_index(column)
    field = data.schema.field(place)
    forged = data.set_column(place, field, pa.array(values, field.type))
    tables.write(path.parent, tables.VERDICTS, forged, tables.provenance(data))
    found = faults(run, "2")
    assert any(said in line for line in found) if said else not found
    assert server.requests == asked


def test_verify_finds_verdicts_of_another_judge_or_of_other_numbers(
    run: Path, server: Server
) -> None:
    turn_on(server)
    in_process.run_one("judge", "2")
    numbers = files.read_json(run / "2" / "metrics" / "judge.json")
    files.write_json(run / "2" / "metrics" / "judge.json", {**numbers, "active": 0.0})
    assert any("judge.json: active is 0.0; expected 1.0" in line for line in faults(run, "2"))
    turn_on(server, model="another")
    assert any("provenance model is tiny/judge 1" in line for line in faults(run, "2"))


def test_a_stopped_iteration_has_no_verdicts(
    stopped: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy(stopped, tmp_path, monkeypatch)
    turn_on(server)
    in_process.run_one("judge", "1")
    assert server.requests == 0
    assert files.read_json(run / "1" / "metrics" / "judge.json") == {"active": 0.0}
    assert faults(run, "1") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "expected judge.model, because judge.iterations is not empty"),
        ({"responses_per_prompt": 3}, "judge.responses_per_prompt is 3; expected at most 2"),
        ({"iterations": {"3": {"prev": "2"}}}, "judge.iterations as iterations are (it has '3')"),
        ({"iterations": {"2": {"prev": "0"}}}, "judge.iterations as iterations are (it has '2')"),
        ({"style": "vibes"}, "judge.style is 'vibes'; expected 'alpaca_eval' or 'arena_hard'"),
    ],
)
def test_a_judge_that_is_not_whole_is_refused_in_one_line(
    changes: dict[str, Any], said: str, run: Path, server: Server
) -> None:
    turn_on(server, **changes)
    names = {"generations", "base", "previous", "decision", "prompts", "out"}
    arguments = [word for name in names for word in (f"--{name}", str(run / "2" / "decision.json"))]
    result = CliRunner().invoke(stage.main, arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("127.0.0.1:8000", "no http:// or https://"),
        ("http://user:key@host/v1", "a name or key before the host"),
        ("https://host/v1?key=1", "a query"),
        ("http://:80/v1", "no host"),
        ("http://host:port/v1", "no host and port"),
    ],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused_without_showing_it_whole(
    address: str, fault: str, run: Path, server: Server
) -> None:
    turn_on(server)
    project.set_param(params.PARAMS, "judge.endpoint.base_url", address)
    params._parse.cache_clear()
    with pytest.raises(ValueError, match="expected an address such as") as refused:
        params.validate(params.read(params.PARAMS))
    assert fault in str(refused.value)
    assert "user:key" not in str(refused.value)
