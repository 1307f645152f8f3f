"""`trace` and `why` tell the story of a record as the tables have it."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files, tables
from mutual_taught.cli import main
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.reading import trace, trace_text


@pytest.fixture
def run(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run, the working directory around it; read it, never write."""
    monkeypatch.chdir(finished.parent)
    return Path("run")


def first(path: str, **where: object) -> dict[str, object]:
    rows = pq.read_table(path).to_pylist()
    return next(row for row in rows if all(row[k] == v for k, v in where.items()))


def test_policy_prompt_has_its_responses_rewards_pair_and_who_learnt_from_it(run: Path) -> None:
    pair = first("run/1/ranked_pairs.parquet", kept=True)
    story = trace.prompt(run, str(pair["prompt_id"]))
    told = story["iterations"]["1"]
    assert [row["response_index"] for row in told["responses"]] == list(range(5))
    assert told["ranked_pairs"] == [pair]
    assert told["learnt_by"] == ["run/1/checkpoints", "run/1/reward_model"]
    assert [row["kind"] for row in told["reward_pairs"]] == ["ranked"]


def test_reward_prompt_is_told_through_all_iterations(run: Path) -> None:
    name = str(first("run/1/pseudo_pairs.parquet")["prompt_id"])
    story = trace.prompt(run, name)
    assert list(story["iterations"]) == ["1", "2"]
    told = story["iterations"]["1"]
    now, before = (told[name][0]["response"] for name in ("answers", "previous_answers"))
    pair = told["pseudo_pairs"][0]
    assert (pair["response"], pair["previous_response"]) == (now, before)


def test_selection_prompt_names_the_selected_checkpoint(run: Path) -> None:
    name = str(first("run/1/duels.parquet")["prompt_id"])
    said = "\n".join(trace_text.lines(trace.prompt(run, name), run))
    assert said.count("(selected)") == 2
    assert "  draw " not in said  # there is only one
    assert said.count("the iteration went on") == 2


def test_beginning_of_an_id_is_enough(run: Path) -> None:
    name = str(first("run/0/prompts.parquet")["prompt_id"])
    assert trace.prompt(run, name[:10]) == trace.prompt(run, name)


def test_ranked_pair_is_explained_by_its_rewards(run: Path) -> None:
    pair = first("run/1/reward_pairs.parquet", kind="ranked")
    why = trace.pair(run, str(pair["pair_id"]))
    assert why["decided_by"]["reward_chosen"] == why["rewards"][why["decided_by"]["chosen_index"]]
    assert why["decided_by"]["reward_rejected"] == min(why["rewards"])
    assert why["learnt_by"] == ["run/1/reward_model"]


def test_pseudo_pair_is_explained_by_its_margin(run: Path) -> None:
    pair = first("run/2/reward_pairs.parquet", kind="pseudo")
    why = trace.pair(run, str(pair["pair_id"]))
    assert why["decided_by"]["reward_margin"] > -why["tolerance"]
    assert (why["chosen"], why["iteration"]) == (pair["chosen"], 2)


@pytest.mark.parametrize("command", ["trace", "why"])
def test_command_prints_lines_or_json(run: Path, command: str) -> None:
    pair = first("run/1/reward_pairs.parquet", kind="ranked")
    name = str(pair["prompt_id" if command == "trace" else "pair_id"])
    lines = CliRunner().invoke(main, [command, name])
    assert name in lines.output
    story = json.loads(CliRunner().invoke(main, [command, name, "--json"]).output)
    assert story["prompt_id"] == pair["prompt_id"]


def test_control_characters_of_a_response_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in trace_text._short("\x1b[2Jgone\x07")


@pytest.mark.parametrize("wrong", ["abc", "ABCDEF12", "run/1", "*" * 8])
def test_what_is_no_id_is_one_line(run: Path, wrong: str) -> None:
    with pytest.raises(InputError, match="is no id; expected 6 to 32 digits"):
        trace.prompt(run, wrong)
    with pytest.raises(InputError, match="is no id; expected 6 to 32 digits"):
        trace.pair(run, wrong)


def test_unknown_ids_are_one_line(run: Path) -> None:
    with pytest.raises(InputError, match="no prompt_id begins with 'ffffffffffff'"):
        trace.prompt(run, "ffffffffffff")
    with pytest.raises(InputError, match="no pair id begins with 'ffffffffffff'"):
        trace.pair(run, "ffffffffffff")


def test_no_run_is_one_line(here: Path) -> None:
    for tell in (trace.prompt, trace.pair):
        with pytest.raises(MissingFileError, match="run"):
            tell(Path("run"), "abcdef")


def test_id_that_several_begin_with_is_one_line(here: Path) -> None:
    rows = [
        {
            "prompt_id": f"abcdef{i:026x}",
            "messages": [{"role": "user", "content": str(i)}],
            "split": "eval",
            "source": "x",
            "instruction_ids": [],
            "instruction_kwargs": [],
            "chosen": None,
            "rejected": None,
            "row": i,
        }
        for i in range(3)
    ]
    tables.write(here / "run" / "0", tables.ALL_PROMPTS, pa.Table.from_pylist(rows), {})
    with pytest.raises(InputError, match="3 ids begin with 'abcdef'"):
        trace.prompt(Path("run"), "abcdef")


def own_copy(finished: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, here / "run", copy_function=files.link)
    monkeypatch.chdir(here)
    return Path("run")


def signed(run: Path, table: tables.Table, **provenance: object) -> None:
    path = run / "1" / f"{table.name}.parquet"
    data = tables.read(path, table)
    tables.write(path.parent, table, data, {**tables.provenance(data), **provenance})


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("none", "the filter none drops no margin"),
        ("positive", "the filter positive drops margins of 0 and below"),
        ("tolerance", "the filter tolerance drops margins of -"),
    ],
)
def test_pseudo_pair_is_explained_by_the_filter_that_was_used(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, said: str
) -> None:
    run = own_copy(finished, tmp_path, monkeypatch)
    signed(run, tables.PSEUDO_PAIRS, filter=rule)
    pair = first("run/1/reward_pairs.parquet", kind="pseudo")
    assert said in "\n".join(trace_text.pair_lines(trace.pair(run, str(pair["pair_id"]))))


def test_ranked_pair_is_explained_by_the_rule_that_was_used(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = own_copy(finished, tmp_path, monkeypatch)
    signed(run, tables.RANKED_PAIRS, chosen="highest")
    pair = first("run/1/reward_pairs.parquet", kind="ranked")
    told = "\n".join(trace_text.pair_lines(trace.pair(run, str(pair["pair_id"]))))
    assert "by the rule highest chosen is response" in told


def test_only_a_model_whose_training_met_a_pair_learnt_from_it(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = own_copy(finished, tmp_path, monkeypatch)
    pair = first("run/1/reward_pairs.parquet", kind="pseudo")
    name = str(pair["pair_id"])
    assert trace.pair(run, name)["learnt_by"] == ["run/1/reward_model"]
    tables.empty(run / "1", tables.REWARD_TRAINING)  # as where the reward model is fixed
    assert trace.pair(run, name)["learnt_by"] == []
    assert trace.prompt(run, str(pair["prompt_id"]))["iterations"]["1"]["learnt_by"] == []


def test_prompt_of_an_iteration_without_a_decision_is_told_so_far(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = own_copy(finished, tmp_path, monkeypatch)
    name = str(first("run/1/duels.parquet")["prompt_id"])
    (run / "2" / "decision.json").unlink()
    said = "\n".join(trace_text.lines(trace.prompt(run, name), run))
    assert said.count("no checkpoint is selected yet") == 1


@pytest.mark.parametrize("missing", ["ranked_pairs", "rewards", "responses"])
def test_missing_table_of_a_pair_is_one_line(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    run = own_copy(finished, tmp_path, monkeypatch)
    name = str(first("run/1/reward_pairs.parquet", kind="ranked")["pair_id"])
    (run / "1" / f"{missing}.parquet").unlink()
    result = CliRunner().invoke(main, ["why", name])
    assert result.exit_code == 1
    assert result.output == (
        f"Error: run/1/{missing}.parquet does not exist; run dvc repro or dvc pull "
        f"run/1/{missing}.parquet\n"
    )


@pytest.mark.parametrize("column", ["kept", "prompt_id"])
def test_table_without_a_column_is_one_line(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    run = own_copy(finished, tmp_path, monkeypatch)
    path = run / "1" / "ranked_pairs.parquet"
    data = pq.read_table(path)
    path.unlink()
    pq.write_table(data.drop_columns([column]), path)
    result = CliRunner().invoke(main, ["trace", data["prompt_id"][0].as_py()])
    assert result.exit_code == 1
    assert result.output == f"Error: {path} lacks column {column!r}; run dvc repro\n"
