"""`mutual-taught verify` finds any single altered value, and says nothing of a sound run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import files, tables
from mutual_taught.audit.verify import verify
from mutual_taught.cli import main
from mutual_taught.config import params
from tests.project import ROOT

ALL = {
    table.name: table
    for table in (
        tables.ALL_PROMPTS,
        tables.RESPONSES,
        tables.REWARDS,
        tables.RANKED_PAIRS,
        tables.DUELS,
        tables.PREVIOUS_ANSWERS,
        tables.ANSWERS,
        tables.ANSWER_REWARDS,
        tables.PSEUDO_PAIRS,
        tables.REWARD_PAIRS,
        tables.GENERATIONS,
        tables.JUDGEMENTS,
        tables.RM_SCORES,
        tables.REWARD_TRAINING,
    )
}


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run (weights linked), the working directory around it."""
    shutil.copytree(finished, tmp_path / "run", copy_function=files.link)
    shutil.copy(finished.parent / "params.yaml", tmp_path)
    shutil.copytree(finished.parent / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return Path("run")


def other(value: Any) -> Any:
    """Give a value of the same type that is not the same."""
    if value is None:
        return "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return [*value, *(value[:1] or ["x"])]


def corrupt(path: Path, column: str, row: int, honest: bool) -> None:
    """Alter one value; `honest` writes new digests over the table, as a forger would."""
    data = pq.read_table(path)
    values = data[column].to_pylist()
    values[row] = other(values[row])
    place = data.schema.get_field_index(column)
    field = data.schema.field(place)
    forged = data.set_column(place, field, pa.array(values, field.type))
    path.unlink()
    if not honest:
        pq.write_table(forged.replace_schema_metadata(data.schema.metadata), path)
        return
    table = ALL[path.stem] if path.stem in ALL else tables.renamed(tables.PROMPTS, path.stem)
    tables.write(path.parent, table, forged, tables.provenance(data))


def found() -> list[str]:
    return [str(fault) for fault in verify(Path("run"))]


def test_sound_run_has_no_fault(run: Path) -> None:
    assert found() == []


def test_stopped_run_has_no_fault(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stopped.parent)
    assert found() == []


EVERY_TABLE = [
    f"{folder}/{name}"
    for folder, names in {
        "run/0": ("prompts",),
        "run/0/splits": ("policy", "reward", "selection", "eval"),
        "run/1": (
            "responses",
            "rewards",
            "ranked_pairs",
            "duels",
            "previous_answers",
            "answers",
            "answer_rewards",
            "pseudo_pairs",
            "reward_pairs",
            "reward_training",
        ),
        "run/2/eval": ("generations", "judgements", "rm_scores"),
    }.items()
    for name in names
]


@pytest.mark.parametrize("table", EVERY_TABLE)
def test_altered_value_is_found_and_its_column_named(run: Path, table: str) -> None:
    path = Path(f"{table}.parquet")
    columns = pq.read_schema(path).names
    for column in columns:
        corrupt(path, column, 0, honest=False)
    said = found()
    for column in columns:
        fault = f"{path}: column {column} is altered since it was written; expected its digest"
        assert fault in said


FORGED: list[tuple[str, str, str]] = [
    ("run/0/prompts", "split", "split"),
    ("run/0/splits/eval", "source", "source"),
    ("run/1/responses", "length_tokens", "the number of its token_ids"),
    ("run/1/responses", "seed", "that of sample at iteration 1"),
    ("run/1/responses", "response", "the text of its tokens"),
    ("run/1/responses", "finish_reason", "stop after a stop token"),
    ("run/1/rewards", "reward", "provenance rewards"),
    ("run/1/ranked_pairs", "chosen_index", "chosen_index"),
    ("run/1/ranked_pairs", "rejected_index", "rejected_index"),
    ("run/1/ranked_pairs", "reward_chosen", "reward_chosen"),
    ("run/1/ranked_pairs", "reference_chosen_logps", "made_by.ranked_pairs"),
    ("run/1/ranked_pairs", "kept", "kept"),
    ("run/1/ranked_pairs", "reason", "reason"),
    ("run/1/duels", "outcome", "outcome"),
    ("run/1/duels", "previous_reward", "previous_reward"),
    ("run/1/duels", "previous_response", "previous_response"),
    ("run/1/duels", "seed", "that of duel at iteration 1"),
    ("run/1/duels", "previous_seed", "that of duel_previous at iteration 1"),
    ("run/1/previous_answers", "seed", "that of answer_previous at iteration 1"),
    ("run/1/previous_answers", "response", "provenance previous_answers"),
    ("run/1/answers", "seed", "that of answer at iteration 1"),
    ("run/1/answers", "response", "the text of its tokens"),
    ("run/1/answer_rewards", "reward", "pseudo_pairs.parquet"),
    ("run/1/answer_rewards", "previous_reward", "tolerance"),
    ("run/1/pseudo_pairs", "reward_margin", "reward_margin"),
    ("run/1/pseudo_pairs", "kept", "kept"),
    ("run/1/reward_pairs", "chosen", "chosen"),
    ("run/1/reward_pairs", "kind", "kind"),
    ("run/1/reward_pairs", "pair_id", "pair_id"),
    ("run/1/reward_training", "reward_chosen", "reward_margin"),
    ("run/1/reward_training", "reward_margin", "reward_margin"),
    ("run/1/reward_training", "correct", "correct"),
    ("run/1/reward_training", "step", ": step 1 is of "),
    ("run/1/reward_training", "epoch", "epoch"),
    ("run/1/reward_training", "pair_id", "every pair of the mix once"),
    ("run/2/eval/generations", "gold", "gold"),
    ("run/2/eval/generations", "reward_r0", "raw_a"),
    ("run/2/eval/judgements", "outcome", "outcome"),
    ("run/2/eval/rm_scores", "reward_chosen", "reward_model."),
]


@pytest.mark.slow
@pytest.mark.parametrize(("table", "column", "said"), FORGED, ids=lambda value: value)
def test_forged_value_with_its_own_digests_is_found_by_what_depends_on_it(
    run: Path, table: str, column: str, said: str
) -> None:
    corrupt(Path(f"{table}.parquet"), column, 0, honest=True)
    assert any(said in line for line in found()), found()


def test_altered_text_of_a_prompt_is_found(run: Path) -> None:
    path = run / "0" / "prompts.parquet"
    data = pq.read_table(path)
    rows = data.to_pylist()
    rows[0]["messages"][0]["content"] += " Please."
    path.unlink()
    tables.write(
        path.parent, tables.ALL_PROMPTS, pa.Table.from_pylist(rows), tables.provenance(data)
    )
    assert any("the hash of its messages" in line for line in found())


def _edit_json(path: Path, change: Callable[[Any], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.unlink()
    path.write_text(json.dumps(values))


NUMBERS = [
    ("sample", "length_tokens_mean"),
    ("score", "reward_std"),
    ("rank_pairs", "kept"),
    ("select_policy", "win_rate"),
    ("build_pairs", "tolerance"),
    ("eval", "policy.gold.mean"),
    ("eval", "reward_model.gold_pairs.log_loss"),
    ("train_rm", "accuracy_first_epoch"),
]


@pytest.mark.parametrize(("stage", "name"), NUMBERS)
def test_altered_metric_is_found(run: Path, stage: str, name: str) -> None:
    path = run / "1" / "metrics" / f"{stage}.json"
    _edit_json(path, lambda values: values.update({name: values[name] + 0.01}))
    assert any(line.startswith(f"{path}: {name} is ") for line in found())


def test_another_decision_is_found(run: Path) -> None:
    _edit_json(run / "1" / "decision.json", lambda values: values.update(policy_from="0"))
    assert any("decision.json: the decision is" in line for line in found())


def test_altered_weights_are_found(run: Path) -> None:
    path = run / "2" / "policy" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)
    assert any(line.startswith(f"{path}: sha256 is ") for line in found())
    assert not list(verify(run, models=False))


def test_exchanged_checkpoint_is_found(run: Path) -> None:
    shutil.rmtree(run / "1" / "policy")
    shutil.copytree(run / "0" / "policy", run / "1" / "policy")
    assert any("1/policy: the selected policy is" in line for line in found())


def test_missing_table_is_a_fault_and_the_rest_is_still_checked(run: Path) -> None:
    (run / "1" / "rewards.parquet").unlink()
    corrupt(run / "2" / "duels.parquet", "outcome", 0, honest=True)
    said = found()
    assert any("run/1/rewards.parquet does not exist" in line for line in said)
    assert any("run/2/duels.parquet: row step" in line for line in said)


def test_other_params_than_the_run_had_are_found(run: Path) -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("filter: tolerance", "filter: positive"))
    params._parse.cache_clear()
    assert any("pseudo_pairs.parquet" in line for line in found())


def test_command_says_what_it_found_and_fails(run: Path) -> None:
    assert CliRunner().invoke(main, ["verify"]).exit_code == 0
    corrupt(run / "1" / "duels.parquet", "outcome", 0, honest=True)
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == 1
    assert "outcome is" in result.output
    assert result.output.splitlines()[-1].startswith("Error: ")


def test_shards_drawn_again_are_bit_equal(run: Path) -> None:
    result = CliRunner().invoke(main, ["verify", "--resample", "100"])
    assert result.exit_code == 0, result.output
    shards = [line for line in result.output.splitlines() if ": shard " in line]
    assert len(shards) >= 8
    assert all(line.endswith("bit-equal") for line in shards)


def test_altered_response_is_found_by_drawing_it_again(run: Path) -> None:
    path = run / "1" / "answers.parquet"
    data = tables.read(path, tables.ANSWERS)
    tokens = data["token_ids"].to_pylist()
    tokens[0] = tokens[0][::-1]
    place = data.schema.get_field_index("token_ids")
    forged = data.set_column(place, data.schema.field(place), pa.array(tokens, tables.TOKENS))
    tables.write(path.parent, tables.ANSWERS, forged, tables.provenance(data))
    result = CliRunner().invoke(main, ["verify", "--resample", "100"])
    assert result.exit_code == 1
    assert "run/1/answers.parquet: shard 0: " in result.output
    assert "answers have the same tokens" in result.output


@pytest.mark.parametrize("options", [[], ["--resample", "1"]])
@pytest.mark.parametrize("present", [True, False])
def test_a_folder_without_a_run_is_one_line(
    options: list[str], present: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "presets" / "tiny.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    if present:
        Path("run").mkdir()
    result = CliRunner().invoke(main, ["verify", *options])
    assert result.exit_code == 1
    assert result.output == "Error: run: holds no iteration; run dvc repro first\n"
