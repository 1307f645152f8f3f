"""`mutual-taught judge`: files that do not fit are refused, those that fit are compared."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from mutual_taught.artifacts import files, tables
from mutual_taught.cli import main
from mutual_taught.config import params
from tests import project
from tests.judge_server import Server, serving

PROMPTS = ["Name a sea.", "Name a lake.", "Name a river."]
OWN = [{"prompt": text, "response": f"{text} It is the long one."} for text in PROMPTS]
OTHER = [{"instruction": text, "output": "Short.", "generator": "b"} for text in PROMPTS]
NO_COMMA = {
    "instruction_ids": ["punctuation:no_comma"],
    "instruction_kwargs": ["{}"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "params.yaml").write_bytes((project.ROOT / "presets/tiny.yaml").read_bytes())
    params._parse.cache_clear()
    write("own.jsonl", OWN)
    Path("other.json").write_text(json.dumps(OTHER))
    return tmp_path


def write(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def judge(*words: str) -> Result:
    return CliRunner().invoke(main, ["judge", *words, "--out", "judged"])


def ask(server: Server, *words: str) -> Result:
    options = ("--model", "a-judge", "--base-url", server.address, "--key-variable", "")
    return judge("own.jsonl", "other.json", *options, *words)


def test_a_language_model_compares_files_of_two_formats(here: Path) -> None:
    write("own.jsonl", OWN[::-1])  # joined by prompt, never by position
    with serving() as server:
        done = ask(server)
        assert done.exit_code == 0, done.output
        assert "asked 6; 600 tokens read, 6 written" in done.output
        assert "win_rate.vs_other.alpaca_eval.a-judge: 1.000 [1.000, 1.000], n 3" in done.output
        again = ask(server)
    assert "nobody was asked" in again.output
    assert server.requests == 6
    found = files.read_json(Path("judged/metrics.json"))
    assert found["win_rate.vs_other.alpaca_eval.a-judge.consistency"] == 1
    data = tables.read(Path("judged/verdicts.parquet"), tables.VERDICTS)
    assert data["preference"].to_pylist() == [1.0] * 6


def test_arena_hard_is_asked_in_its_own_words_and_prices_are_summed(here: Path) -> None:
    prices = {"prompt": 1000.0, "completion": 10000.0}  # dollars a million tokens
    project.set_param(Path("params.yaml"), "judge.endpoint.prices", prices)
    with serving() as server:
        done = ask(server, "--judge", "arena_hard")
    # 600 tokens at 0.001 and 6 at 0.01 dollars.
    assert "6 written, $0.66" in done.output
    assert "vs_other.arena_hard.a-judge: 1.000" in done.output
    assert server.asked[0]["max_tokens"] == 4096
    assert "logprobs" not in server.asked[0]


def test_gold_judges_prompts_that_have_instructions(here: Path) -> None:
    write("own.jsonl", [{**row, **NO_COMMA} for row in OWN])
    write("b.jsonl", [{**row, "response": "One, two."} for row in OWN[:2]] + OWN[2:])
    done = judge("own.jsonl", "b.jsonl", "--judge", "verifiable")
    assert done.exit_code == 0, done.output
    # Two of three responses have a comma where the first file's have none; the third is the same.
    name = "win_rate.vs_b.verifiable.gold"
    found = files.read_json(Path("judged/metrics.json"))
    assert found[f"{name}.mean"] == pytest.approx(2.5 / 3)
    assert (found[f"{name}.n"], found[f"{name}.ties"]) == (3, 1)


def test_a_reward_model_judges_by_its_rewards(here: Path, reward_folder: Path) -> None:
    swapped = [{"prompt": row["instruction"], "response": row["output"]} for row in OTHER]
    write("b.jsonl", swapped)
    means = []
    for pair in (("own.jsonl", "b.jsonl"), ("b.jsonl", "own.jsonl")):
        done = judge(*pair, "--judge", "reward_model", "--reward-model", str(reward_folder))
        assert done.exit_code == 0, done.output
        found = files.read_json(Path("judged/metrics.json"))
        means.append(next(value for name, value in found.items() if name.endswith(".mean")))
    assert math.isclose(sum(means), 1)
    said = pq.read_table("judged/verdicts.parquet")["verdict"].to_pylist()
    assert all(" : " in text for text in said)


def test_an_iteration_stands_for_its_responses_and_the_run_for_its_prompts(
    here: Path, finished: Path
) -> None:
    done = judge(str(finished / "2"), str(finished / "0"), "--judge", "verifiable")
    assert done.exit_code == 0, done.output
    assert "8 comparisons" in done.output  # four prompts, two responses each


REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "another data set": (
        [*OWN, {"prompt": "Name a hill.", "response": "x"}],
        "own.jsonl: row 4 answers a prompt that PROMPTS does not have (Name a hill.)",
    ),
    "too few": (OWN[:2], "own.jsonl: answers 2 of 3 prompts of PROMPTS, not 'Name a river.'"),
    "uneven": (
        [*OWN, {**OWN[0], "response_index": 1}],
        "other.json: has no answer 1 to the prompt of row 4 of own.jsonl",
    ),
    "twice": ([*OWN, OWN[1]], "own.jsonl: row 4: answers the prompt of row 2 again"),
    "no text": ([*OWN[:2], {**OWN[2], "response": None}], "row 3: has no text in 'response'"),
    "no prompt": ([*OWN[:2], {**OWN[2], "prompt": " "}], "row 3: nothing visible in a turn"),
    "no columns": ([{"text": "x"}], "own.jsonl: has text; expected an answer (response,"),
    "bad index": ([{**OWN[0], "response_index": "x"}], "row 1: has response_index x"),
    "half a character": (
        [{**OWN[0], "response": "a \ud800"}],
        "own.jsonl: row 1: has half of a character",
    ),
    "an index that no table takes": (
        [{**OWN[0], "response_index": 2**40}],
        "own.jsonl: row 1: has response_index 1099511627776; expected a number from 0",
    ),
    "ids alone": ([{"prompt_id": "0" * 32, "response": "x"}], "name it with --prompts"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_rows_that_do_not_fit_are_refused_with_the_row_named(fault: str, here: Path) -> None:
    rows, said = REFUSED[fault]
    write("own.jsonl", rows)
    write("PROMPTS.jsonl", [{"prompt": text} for text in PROMPTS])
    named = [] if fault == "ids alone" else ["--prompts", "PROMPTS.jsonl"]
    done = judge("own.jsonl", "other.json", "--judge", "verifiable", *named)
    assert done.exit_code == 1
    assert said.replace("PROMPTS", "PROMPTS.jsonl") in done.output
    assert done.output.count("\n") == 1
    assert not Path("judged").exists()


def test_both_files_must_answer_all_prompts(here: Path) -> None:
    write("P.jsonl", [{"prompt": text} for text in [*PROMPTS, "Name a hill."]])
    done = judge("own.jsonl", "other.json", "--prompts", "P.jsonl", "--judge", "verifiable")
    assert "own.jsonl: answers 3 of 4 prompts of P.jsonl, not 'Name a hill.'" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no judge is named; expected --model, or judge.model"),
        (("--model", "x"), "judge.endpoint.base_url is None; expected the address"),
        (("--model", "x", "--base-url", "localhost"), "base_url: expected an address such as"),
        (("--model", "x", "--base-url", "http://[::1]/v1"), "OPENAI_API_KEY is not set"),
        (("--judge", "reward_model"), "expected --reward-model"),
        (("--model", "x", "--key-variable", "sk-proj-0123abc"), "never the key itself"),
        (
            ("--model", "x", "--base-url", "http://[::1]/v1", "--key-variable", "gsk_0123abc"),
            "key_variable: the variable that it names is not set",
        ),
        (("--judge", "verifiable"), "3 of 3 prompts have no instructions"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_refused_in_one_line(
    words: tuple[str, ...], said: str, here: Path
) -> None:
    done = judge("own.jsonl", "other.json", *words)
    assert done.exit_code == 1
    assert said in done.output
    assert "0123abc" not in done.output  # a key in place of its variable's name
    assert done.output.count("\n") == 1


def test_a_model_in_place_of_responses_is_refused_with_the_way_to_draw_them(
    here: Path, policy_folder: Path
) -> None:
    done = judge(str(policy_folder), "other.json")
    assert (
        "a model; expected a file of answers; draw them first: mutual-taught sample" in done.output
    )


def test_an_index_in_csv_is_a_number_like_any_other(here: Path) -> None:
    for name, text in (("a.csv", "No."), ("b.csv", "One, two.")):
        cells = f"0,{text}" if name == "a.csv" else f'0,"{text}"'
        rows = f'"Say no.","[""punctuation:no_comma""]","[""{{}}""]",{cells}\n'
        header = "prompt,instruction_ids,instruction_kwargs,response_index,response\n"
        Path(name).write_text(header + rows)
    write("P.jsonl", [{"prompt": "Say no.", **NO_COMMA}])
    done = judge("a.csv", "b.csv", "--judge", "verifiable", "--prompts", "P.jsonl")
    assert done.exit_code == 0, done.output
    assert "win_rate.vs_b.verifiable.gold: 1.000" in done.output


def test_a_file_in_a_folder_called_eval_is_of_no_run(here: Path) -> None:
    Path("eval").mkdir()
    write("eval/own.jsonl", [{**row, **NO_COMMA} for row in OWN])
    done = judge("eval/own.jsonl", "other.json", "--judge", "verifiable")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("out", [".", "taken"])
def test_numbers_of_something_else_are_not_written_over(out: str, here: Path) -> None:
    Path("taken").mkdir()
    Path("taken/metrics.json").write_text("{}")
    words = ["judge", "own.jsonl", "other.json", "--judge", "verifiable", "--out", out]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert f"{out}: holds other things than verdicts; expected a new folder" in done.output
    assert Path("taken/metrics.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("verifiable", "--reward-model", "run/2/reward_model"),
        ("verifiable", "--key-variable", ""),
        ("reward_model", "--model", "a-judge"),
        ("alpaca_eval", "--max-length", "64"),
    ],
)
def test_options_of_another_judge_are_refused(
    kind: str, option: str, value: str, here: Path
) -> None:
    done = judge("own.jsonl", "other.json", "--judge", kind, option, value)
    assert done.exit_code == 2
    assert f"{option} is of another judge; expected none with --judge {kind}" in done.output
    assert not Path("judged").exists()
