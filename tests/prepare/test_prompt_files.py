"""Real kinds of prompt files, from the file through a stage that reads the prompts."""

import importlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.files import read_json
from mutual_taught.audit.verify import verify
from mutual_taught.models import chat
from mutual_taught.prepare import tokenizers
from tests import in_process, project

SPLITS = ("policy", "reward", "selection", "eval")


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny preset for a file of one's own, all of whose prompts are taken."""
    place = project.copy(tmp_path / "repo", "tiny")
    monkeypatch.chdir(place)
    ask(**{"data.source": "file", "data.path": "data/mine.jsonl", "data.policy_parts": 1})
    for name in SPLITS:
        ask(**{f"data.splits.{name}": {"share": 0.25, "prompts": None}})
    return place


def ask(**values: object) -> None:
    for name, value in values.items():
        project.set_param(Path("params.yaml"), name, value)


def save(rows: Sequence[Mapping[str, Any]], name: str = "mine.jsonl") -> None:
    lines = (json.dumps(row) + "\n" for row in rows)
    (Path("data") / name).write_text("".join(lines))


def stage(name: str, key: str = "") -> str:
    """Run one stage; give what it prints."""
    arguments = next(
        found
        for stage, t, found in in_process.commands(Path("params.yaml"))
        if (stage, t) == (name, key)
    )
    command = importlib.import_module(f"stages.{name}").main
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refusal() -> str:
    arguments = next(iter(in_process.commands(Path("params.yaml"))))[2]
    command = importlib.import_module("stages.prepare_prompts").main
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 1, result.output
    return result.output.splitlines()[-1].removeprefix("Error: ")


def dropped() -> dict[int, str]:
    rows = pq.read_table("run/0/dropped_prompts.parquet").to_pylist()
    assert all(row["file"].startswith("data/mine") for row in rows)
    return {row["row"]: row["reason"] for row in rows}


def prompts() -> list[dict[str, Any]]:
    return list(tables.read(Path("run/0/prompts.parquet"), tables.ALL_PROMPTS).to_pylist())


def faults() -> Iterator[str]:
    """Name what `verify` says of the prompts; the rest of the run is not there."""
    for fault in verify(Path("run"), models=False):
        if fault.path.name in (
            "dropped_prompts.parquet",
            "prompts.parquet",
            "prepare_prompts.json",
        ):
            yield str(fault)


def questions(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Question {number} about boats?"} for number in range(count)]


def with_duplicates_and_markup() -> list[dict[str, Any]]:
    rows = questions(60)
    rows[10] = rows[3]
    rows[20] = {"prompt": " "}
    rows[30] = {"prompt": "What does <s>text</s> do in HTML, and what <br> and <|eot_id|>?"}
    rows[40] = {"prompt": f" {rows[5]['prompt']}\n"}
    rows[50] = {"prompt": "Say <|im_end|> now"}
    return rows


@pytest.mark.slow
def test_single_prompts_with_duplicates_and_markup(repo: Path) -> None:
    save(with_duplicates_and_markup())
    said = stage("prepare_prompts")
    assert "4 of 60 rows dropped (blank 1, duplicate 2, special_token 1)" in said
    assert dropped() == {11: "duplicate", 21: "blank", 41: "duplicate", 51: "special_token"}
    kept = {row["row"]: row["messages"][0]["content"] for row in prompts()}
    assert sorted(kept) == [n for n in range(1, 61) if n not in dropped()]
    assert kept[31].startswith("What does <s>text</s> do")
    metrics = read_json(Path("run/0/metrics/prepare_prompts.json"))
    assert (metrics["rows"], metrics["dropped"], metrics["dropped_duplicate"]) == (60, 4, 2)
    stage("prepare_policy")
    stage("answer_previous", "1")
    path = Path("run/1/previous_answers.parquet")
    answered = tables.read(path, tables.PREVIOUS_ANSWERS)
    assert len(answered) == metrics["prompts_reward"]


@pytest.mark.slow
def test_conversations_of_several_turns(repo: Path) -> None:
    def turns(number: int) -> list[dict[str, str]]:
        return [
            {"from": "human", "value": f"Name boat {number}"},
            {"from": "gpt", "value": "Wave."},
            {"from": "human", "value": "And a larger one?"},
        ]

    rows = [{"conversations": turns(number)} for number in range(60)]
    rows[3] = {"conversations": turns(3)[:2]}
    rows[4] = {"conversations": [{"from": "observation", "value": "x"}, *turns(4)]}
    pq.write_table(pa.Table.from_pylist(rows), "data/mine.parquet")
    ask(
        **{
            "data.path": "data/mine.parquet",
            "data.columns.messages": "conversations",
            "data.columns.prompt": None,
        }
    )
    stage("prepare_prompts")
    assert dropped() == {4: "ends_in_assistant", 5: "unknown_role"}
    assert prompts()[0]["messages"][1] == {"role": "assistant", "content": "Wave."}
    stage("prepare_policy")
    stage("sample", "1")
    drawn = tables.read(Path("run/1/responses.parquet"), tables.RESPONSES)
    asked = [row["prompt_id"] for row in prompts() if row["split"] == "policy_1"]
    assert set(drawn["prompt_id"].to_pylist()) == set(asked)


@pytest.mark.slow
def test_preference_pairs_as_messages(repo: Path) -> None:
    def pair(number: int, response: str) -> list[dict[str, str]]:
        asked = {"role": "user", "content": f"Name boat {number}"}
        return [asked, {"role": "assistant", "content": response}]

    rows = [
        {"prompt": f"Name boat {n}", "chosen": pair(n, f"Wave {n}"), "rejected": pair(n, "No")}
        for n in range(60)
    ]
    rows[7]["chosen"] = pair(8, "Wave 8")
    rows[8]["rejected"] = pair(8, "")
    rows[9]["chosen"] = pair(9, "word " * 800)
    save(rows)
    ask(
        **{
            "data.columns.chosen": "chosen",
            "data.columns.rejected": "rejected",
            "sample.source": "given",
            "rank_pairs.chosen": "given",
        }
    )
    stage("prepare_prompts")
    assert dropped() == {8: "other_prompt", 9: "no_answer", 10: "answer_too_long"}
    by_columns = {row["prompt_id"]: (row["chosen"], row["rejected"]) for row in prompts()}
    stage("prepare_policy")
    stage("sample", "1")
    drawn = tables.read(Path("run/1/responses.parquet"), tables.RESPONSES).to_pylist()
    assert {row["response"] for row in drawn if row["response_index"] == 1} == {"No"}
    assert all(
        by_columns[row["prompt_id"]][row["response_index"]] == row["response"] for row in drawn
    )
    ask(**{"data.columns.messages": "chosen", "data.columns.prompt": None})
    stage("prepare_prompts")  # the same prompts from the pairs alone
    assert {row["prompt_id"] for row in prompts()} >= set(by_columns)


@pytest.mark.slow
def test_all_that_is_wrong_with_a_file_is_one_message(repo: Path) -> None:
    rows = with_duplicates_and_markup()
    rows[55] = {"prompt": "word " * 600}
    rows[56] = {"text": "a"}
    rows[57] = {"prompt": "half of \ud83d"}
    save(rows)
    ask(**{"data.on_bad_row": "refuse"})
    said = refusal()
    assert said.startswith("data/mine.jsonl: 7 of 60 rows cannot be used: 2 duplicate (")
    for row in ("rows 11, 41", "row 21", "row 51", "row 56", "row 57", "row 58"):
        assert row in said
    assert not Path("run/0/prompts.parquet").exists()


@pytest.mark.slow
def test_prompts_are_read_with_the_reward_models_own_template(repo: Path) -> None:
    folder, brief = Path("models/strict"), {"role": "system", "content": "Be brief."}
    turns = [[{"role": "user", "content": f"{number}?"}] for number in range(60)]
    save([{"messages": [brief, *said] if n < 3 else said} for n, said in enumerate(turns)])
    ask(**{"data.columns.messages": "messages", "data.columns.prompt": None})
    stage("prepare_prompts")
    assert dropped() == {}
    strict = Path("run/0/tokenizers/policy/chat_template.jinja").read_text()
    strict = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + strict
    )
    folder.mkdir(parents=True)
    for file in Path("run/0/tokenizers/policy").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text(strict)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "notes.txt").write_text("mine")
    ask(**{"models.reward_model": {"source": "path", "path": "models/strict", "revision": None}})
    stage("prepare_prompts")
    assert dropped() == dict.fromkeys((1, 2, 3), "template_refuses")
    copied = {path.name for path in Path("run/0/tokenizers/reward_model").iterdir()}
    assert copied == {
        "chat_template.jinja",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


@pytest.mark.slow
def test_prompts_are_read_with_the_date_that_the_models_templates_will_have(repo: Path) -> None:
    save(questions(60))
    stage("prepare_prompts")
    shutil.copytree("run/0/tokenizers/policy", "models/dated")
    template = Path("models/dated/chat_template.jinja")
    template.write_text("{{ strftime_now('%d %b %Y') }}" + template.read_text())
    Path("models/dated/config.json").write_text('{"model_type": "llama"}')
    ask(**{"models.reward_model": {"source": "path", "path": "models/dated", "revision": None}})
    assert refusal().endswith("set tokens.date")
    ask(**{"tokens.date": "2026-01-31"})
    stage("prepare_prompts")
    own = Path("run/0/tokenizers/reward_model")
    _, reward_model = tokenizers.load(own.parent)
    said = chat.scored_tokens(reward_model, [{"role": "user", "content": "Hi"}], "Yes")
    assert "31 Jan 2026" in str(reward_model.decode(said))


@pytest.mark.slow
def test_splits_keep_their_bytes_when_bad_rows_come_and_go(repo: Path) -> None:
    def bytes_of_splits() -> list[bytes]:
        return [Path(f"run/0/splits/{name}.parquet").read_bytes() for name in SPLITS]

    save(questions(60))
    stage("prepare_prompts")
    before = bytes_of_splits()
    save([{"prompt": ""}, *questions(60), {"prompt": "Question 7 about boats?"}])
    stage("prepare_prompts")
    assert bytes_of_splits() == before
    assert dropped() == {1: "blank", 62: "duplicate"}


@pytest.mark.slow
def test_verify_recomputes_the_counts_of_dropped_rows(repo: Path) -> None:
    save(with_duplicates_and_markup())
    stage("prepare_prompts")
    assert list(faults()) == []
    path = Path("run/0/dropped_prompts.parquet")
    honest = tables.read(path, tables.DROPPED_PROMPTS)
    forged: dict[str, tuple[pa.Table, str]] = {
        "a row left out": (honest.slice(1), "dropped is 4"),
        "another reason": (_changed(honest, "reason", "ugly"), "expected a reason of docs/data.md"),
        "another file": (_changed(honest, "file", "data/x"), "expected data/mine.jsonl"),
        "the row of a prompt": (_changed(honest, "row", 1), "expected of no prompt"),
    }
    for name, (rows, said) in forged.items():
        path.unlink()
        tables.write(path.parent, tables.DROPPED_PROMPTS, rows, tables.provenance(honest))
        assert any(said in line for line in faults()), name
    path.unlink()
    tables.write(path.parent, tables.DROPPED_PROMPTS, honest, tables.provenance(honest))
    ask(**{"data.max_dropped_share": 0.01})
    assert any("expected at most 0.6 of 60" in line for line in faults())


def _changed(rows: pa.Table, name: str, value: object) -> pa.Table:
    first = pa.array([value, *rows[name].to_pylist()[1:]], rows.schema.field(name).type)
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), first)


def test_prompts_that_no_program_can_judge_are_refused_where_gold_is_to_decide(repo: Path) -> None:
    save([{"prompt": f"Question {number} about boats?"} for number in range(24)])
    assert "prepare_prompts" not in stage("prepare_prompts")  # by the paper's rule they are right
    ask(**{"select_policy.judge": "verifiable"})
    said = refusal()
    assert said.startswith("params.yaml: select_policy.judge is verifiable, and ")
    assert "prompts of the split selection have no instructions; expected some for each" in said
    ask(**{"select_policy.judge": "reward_model", "build_pairs.labels": "verifiable"})
    assert refusal().startswith("params.yaml: build_pairs.labels is verifiable, and ")
