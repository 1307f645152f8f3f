"""`mutual-taught verify` against runs that hang together file by file, but not as a whole."""

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
from tests import project
from tests.audit.test_verify import ALL

Change = Callable[[Path], object]


def copy(source: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(source, here / "run", copy_function=files.link)
    shutil.copy(source.parent / "params.yaml", here)
    shutil.copytree(source.parent / "data", here / "data")
    monkeypatch.chdir(here)
    return Path("run")


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copy(finished, tmp_path, monkeypatch)


@pytest.fixture
def ended(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copy(stopped, tmp_path, monkeypatch)


def found(models: bool = False) -> list[str]:
    params._parse.cache_clear()
    said = [str(fault) for fault in verify(Path("run"), models)]
    assert all("\n" not in line for line in said)
    return said


def write(path: Path, text: str) -> None:
    path.unlink()  # it is a link into another test's run
    path.write_text(text)


def edit(name: str, change: Callable[[Any], object]) -> Change:
    """Change a JSON file of the run."""

    def do(run: Path) -> None:
        values = json.loads((run / name).read_text())
        change(values)
        write(run / name, json.dumps(values))

    return do


def say(name: str, **values: object) -> Change:
    return edit(name, lambda found: found.update(values))


def sign(
    name: str,
    rows: Callable[[pa.Table], pa.Table] | None = None,
    active: bool = True,
    **provenance: object,
) -> Change:
    """Write a table again with other rows or provenance, and digests that fit."""

    def do(run: Path) -> None:
        path = run / f"{name}.parquet"
        data = pq.read_table(path)
        changed = rows(data) if rows else data
        told = {**tables.provenance(data), **provenance}
        path.unlink()
        tables.write(path.parent, ALL[path.stem], changed, told, active)

    return do


def first(column: str, value: object) -> Callable[[pa.Table], pa.Table]:
    def change(data: pa.Table) -> pa.Table:
        values = [value, *data[column].to_pylist()[1:]]
        place = data.schema.get_field_index(column)
        return data.set_column(
            place, data.schema.field(place), pa.array(values, data.schema.field(place).type)
        )

    return change


def turned(column: str) -> Callable[[pa.Table], pa.Table]:
    """Give every row the value of the next one."""

    def change(data: pa.Table) -> pa.Table:
        values = pa.concat_tables([data.slice(1), data.slice(0, 1)])[column]
        return data.set_column(data.schema.get_field_index(column), column, values)

    return change


def all_of(column: str, value: str) -> Callable[[pa.Table], pa.Table]:
    return lambda data: data.set_column(
        data.schema.get_field_index(column), column, [[value] * len(data)]
    )


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Change:
    """Change a curve of the run, line by line; the first is the header."""
    return lambda run: write(
        run / name, "\n".join(change((run / name).read_text().splitlines())) + "\n"
    )


def cell(line: int, place: int, value: str) -> Callable[[list[str]], list[str]]:
    def change(rows: list[str]) -> list[str]:
        cells = rows[line].split(",")
        cells[place] = value
        return [*rows[:line], ",".join(cells), *rows[line + 1 :]]

    return change


def nothing(data: pa.Table) -> pa.Table:
    return data.slice(0, 0)


def replace(name: str, other: str) -> Change:
    def do(run: Path) -> None:
        shutil.rmtree(run / name)
        shutil.copytree(run / other, run / name)

    return do


def setting(name: str, value: object) -> Change:
    return lambda _: project.set_param(Path("params.yaml"), name, value)


def raw(name: str, text: str) -> Change:
    return lambda run: write(run / name, text)


def metadata(name: str, key: str, text: str) -> Change:
    def do(run: Path) -> None:
        path = run / f"{name}.parquet"
        data = pq.read_table(path)
        path.unlink()
        told = {**data.schema.metadata, f"mutual_taught.{key}".encode(): text.encode()}
        pq.write_table(data.replace_schema_metadata(told), path)

    return do


ATTACKS: dict[str, tuple[Change, str]] = {
    "missing iteration": (lambda run: shutil.rmtree(run / "2"), "run/2: the iteration is missing"),
    "extra iteration": (
        lambda run: shutil.copytree(run / "2", run / "3"),
        "run/3: the iteration is there",
    ),
    "evaluation of another policy": (
        sign("2/eval/generations", policy="0" * 64),
        "generations.parquet: provenance policy is 0000",
    ),
    "judged by another reward model": (
        sign("2/eval/judgements", reward_model="0" * 64),
        "judgements.parquet: provenance reward_model",
    ),
    "duels of other policies": (
        sign("2/duels", policies=["0"]),
        "duels.parquet: provenance policies is ['0']",
    ),
    "no training of r_t": (
        sign("1/reward_training", nothing, active=False),
        "reward_training.parquet: the table is 0 rows",
    ),
    "rows of an inactive table": (
        sign("1/rewards", active=False),
        "rewards.parquet: the table is ",
    ),
    "reward that is no number": (
        sign("2/eval/rm_scores", first("reward_chosen", float("nan"))),
        "reward_chosen is nan; expected a number",
    ),
    "length of a gold pair": (
        sign("2/eval/rm_scores", first("length_chosen", 1)),
        "length_chosen is 1",
    ),
    "reward of r_0 on a gold pair": (
        sign("2/eval/rm_scores", first("reward_rejected", 9.0)),
        "reward_rejected is 9.0",
    ),
    "end of a duel's answer": (
        sign("1/duels", first("finish_reason", "no")),
        "finish_reason is 'no'; expected stop after a stop token",
    ),
    "metrics of answer": (say("1/metrics/answer.json", answers=3.0), "answer.json: answers is 3.0"),
    "metrics of prepare_prompts": (
        say("0/metrics/prepare_prompts.json", prompts_eval=1.0),
        "prompts_eval is 1.0",
    ),
    "metrics of dpo": (say("1/metrics/dpo.json", loss=99.0), "dpo.json: loss is 99.0"),
    "metrics of train_rm": (
        say("1/metrics/train_rm.json", steps=99.0),
        "train_rm.json: steps is 99.0",
    ),
    "answers of other prompts": (
        sign("1/responses", turned("response")),
        "response_index 0 response is",
    ),
    "answers that all end": (
        sign("1/responses", all_of("finish_reason", "stop")),
        "finish_reason is 'stop'; expected stop after a stop token, length after 8 tokens",
    ),
    "fewer candidates than were due": (
        edit("1/checkpoints/steps.json", lambda said: said["steps"].pop()),
        "1/checkpoints/steps.json: steps is [2]; expected [2, 3], for 6 kept pairs",
    ),
    "DPO that met half of the pairs": (
        lines("1/curves/dpo.csv", lambda rows: rows[:2]),
        "1/curves/dpo.csv: the last step is 1 of 1 rows; expected 3",
    ),
    "rate of a step": (
        lines("1/curves/dpo.csv", cell(2, 2, "3e-05")),
        "1/curves/dpo.csv: step 2 learning_rate is",
    ),
    "rewards of a step": (
        lines("1/curves/dpo.csv", cell(3, 6, "9.0")),
        "1/curves/dpo.csv: step 3 rewards/margins is",
    ),
    "log-probs of a step": (
        lines("1/curves/dpo.csv", cell(3, 8, "-9.0")),
        "1/curves/dpo.csv: step 3 chosen_logp_change is",
    ),
    "loss of a step": (
        lines("1/curves/train_rm.csv", cell(2, 1, "0.25")),
        "1/curves/train_rm.csv: step 2 loss is",
    ),
    "step of a candidate": (
        edit(
            "1/checkpoints/step-000002/manifest.json",
            lambda said: said["made_by"].update(step=3),
        ),
        "step-000002/manifest.json: made_by step is 3; expected 2",
    ),
    "fewer seed preferences": (
        say("0/metrics/prepare_reward_model.json", kept=3.0),
        "prepare_reward_model.json: kept is 3.0; expected 176.0",
    ),
    "other seed preferences": (
        edit("0/reward_model/manifest.json", lambda said: said["made_by"].update(preferences="")),
        "0/reward_model/manifest.json: made_by preferences is ;",
    ),
    "row of a prompt": (
        sign("0/prompts", first("row", 1_000_000)),
        "row is 1000000; expected a row of its file",
    ),
    "metric that is true": (
        say("1/metrics/sample.json", active=True),
        "sample.json: active is True; expected 1.0",
    ),
    "what made the selected policy": (
        say("1/policy/manifest.json", parent="0" * 64),
        "run/1/policy/manifest.json: the selected policy parent is 0000",
    ),
    "outputs for benchmarks": (
        edit("1/eval/model_outputs.json", lambda rows: rows[0].update(output="x")),
        "model_outputs.json: the file is another",
    ),
    "first decision": (say("0/decision.json", policy_from="7"), "0/decision.json: the decision is"),
    "decision that is 1": (say("1/decision.json", active=1), "expected active and policy_from"),
    "candidate nobody knows": (
        lambda run: (run / "1" / "checkpoints" / "step-000099").mkdir(),
        "step-000099: the candidate is there",
    ),
    "kind of a model": (
        say("1/reward_model/manifest.json", kind="policy"),
        "manifest.json: kind is policy",
    ),
    "temperature": (setting("sample.temperature", 0.1), "responses.parquet: provenance plan is"),
    "answer length": (setting("answer.max_new_tokens", 3), "answers.parquet: provenance plan is"),
    "duel's nucleus": (setting("duel.top_p", 0.5), "duels.parquet: provenance duel is"),
    "beta": (setting("dpo.beta", 9.0), "manifest.json: made_by dpo is"),
    "where DPO starts": (
        setting("dpo.start", "base"),
        "run/2/checkpoints/step-000002/manifest.json: parent is",
    ),
    "policy that DPO names": (
        edit(
            "2/checkpoints/step-000002/manifest.json",
            lambda said: said["made_by"].update(policy="0" * 64),
        ),
        "step-000002/manifest.json: made_by policy is 0000",
    ),
    "DPO's reference": (
        setting("rank_pairs.reference", "base"),
        "run/2/ranked_pairs.parquet: provenance policy is",
    ),
    "pairs of earlier iterations": (
        setting("build_pairs.accumulate", "last"),
        "reward_pairs.parquet: provenance accumulate is none",
    ),
    "worth of a tie": (
        setting("select_policy.ties", "loss"),
        "select_policy.json: tie_counts_as is 0.5",
    ),
    "rate of the reward model": (
        setting("train_rm.learning_rate", 0.5),
        "manifest.json: made_by settings is",
    ),
    "answers an evaluation prompt": (
        setting("eval.responses_per_prompt", 7),
        "generations.parquet: provenance plan is",
    ),
    "precision of scores": (
        setting("score.dtype", "bfloat16"),
        "rewards.parquet: provenance dtype is float32",
    ),
    "metrics that are a list": (
        raw("1/metrics/sample.json", "[]"),
        "sample.json: not valid JSON (a list, not a dict)",
    ),
    "manifest of nothing": (
        say("1/reward_model/manifest.json", made_by=None),
        "manifest.json: holds",
    ),
    "steps of nothing": (raw("1/checkpoints/steps.json", "{}"), "steps.json: steps is None"),
    "steps that lead elsewhere": (
        raw("1/checkpoints/steps.json", '{"steps": ["../../0"]}'),
        "steps.json: steps is ['../../0']; expected a list of whole numbers",
    ),
    "file that leads elsewhere": (
        say("1/policy/manifest.json", files={"../../0/policy/config.json": "0" * 64}),
        "manifest.json: names the file '../../0/policy/config.json'; expected names within",
    ),
    "metadata that is a list": (
        metadata("1/rewards", "columns_sha256", "[]"),
        "mutual_taught.columns_sha256 is []",
    ),
    "no provenance": (metadata("1/rewards", "provenance", "?"), "mutual_taught.provenance is ?"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_run_that_does_not_hang_together_is_found(run: Path, name: str) -> None:
    attack, said = ATTACKS[name]
    attack(run)
    lines = found()
    assert any(said in line for line in lines), lines


STOPPED: dict[str, tuple[Change, str]] = {
    "reward model": (
        replace("2/reward_model", "0/policy"),
        "2/reward_model: the reward model is",
    ),
    "evaluation": (
        sign("2/eval/generations", first("response", "x")),
        "generations.parquet: the table is another",
    ),
    "metrics": (
        say("1/metrics/train_rm.json", active=1.0),
        "train_rm.json: active is 1.0; expected 0.0",
    ),
    "no metrics": (
        lambda run: (run / "2/metrics/sample.json").unlink(),
        "sample.json does not exist",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STOPPED)
def test_stopped_iteration_carries_on_the_previous_one(ended: Path, name: str) -> None:
    attack, said = STOPPED[name]
    attack(ended)
    lines = found()
    assert any(said in line for line in lines), lines


def test_folder_with_an_odd_number_is_no_iteration(run: Path) -> None:
    for name in ("\N{SUPERSCRIPT TWO}", "01"):
        (run / name).mkdir()
    assert found() == []


def test_own_start_of_an_iterations_reward_model_is_what_counts(run: Path) -> None:
    project.set_param(Path("params.yaml"), "iterations.2.train_rm", {"start": "previous"})
    said = [line for line in found() if "parent" in line]
    assert said == [line for line in said if "run/2/reward_model" in line]
    assert len(said) == 1


def test_duels_are_among_what_is_drawn_again(run: Path) -> None:
    sign("1/duels", first("token_ids", [1, 2]))(run)
    result = CliRunner().invoke(main, ["verify", "--no-models", "--resample", "100"])
    assert result.exit_code == 1
    assert "run/1/duels.parquet: shard 0: " in result.output
    assert "answers have the same tokens" in result.output


def test_number_of_shards_below_zero_is_refused() -> None:
    result = CliRunner().invoke(main, ["verify", "--resample", "-1"])
    assert result.exit_code == 2
    assert "-1 is not in the range x>=0" in result.output
