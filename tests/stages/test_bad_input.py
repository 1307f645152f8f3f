"""What a stage says of input it cannot use: one line, exit code 1, nothing half-written."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from mutual_taught.artifacts import tables
from tests import in_process, project

UNTIL_RANKED = (
    "prepare_prompts",
    "prepare_policy",
    "prepare_reward_model",
    "sample",
    "score",
    "rank_pairs",
)
MADE_BY = {"prepare_policy": ("run/0/policy",), "prepare_reward_model": ("run/0/reward_model",)}
Edit = Callable[[pa.Table], pa.Table]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny preset up to the ranked pairs of iteration 1."""
    repo = project.copy(tmp_path_factory.mktemp("begun") / "repo", "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repo)
        for name, key, arguments in in_process.commands(Path("params.yaml")):
            if name in UNTIL_RANKED and key in ("", "1"):
                in_process.run(name, arguments)
    return repo


@pytest.fixture
def repo(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, the working directory."""
    shutil.copytree(begun, tmp_path / "repo")
    monkeypatch.chdir(tmp_path / "repo")
    return tmp_path / "repo"


def refusal(stage: str) -> str:
    """Run a stage that must fail, as DVC does: without its former output; give what it says."""
    for folder in MADE_BY.get(stage, ()):
        shutil.rmtree(folder)
    return _says(stage)


def _says(stage: str) -> str:
    arguments = next(
        arguments
        for name, key, arguments in in_process.commands(Path("params.yaml"))
        if name == stage and key in ("", "1")
    )
    command = importlib.import_module(f"stages.{stage}").main
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 1, result.output
    said = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1, result.output
    assert result.output.splitlines()[-1] == said[0], result.output
    return said[0].removeprefix("Error: ")


def edit(path: str, table: tables.Table, change: Edit) -> None:
    rows = tables.read(Path(path), table)
    tables.write(Path(path).parent, table, change(rows), tables.provenance(rows))


def column(name: str, values: Callable[[list[object]], list[object]]) -> Edit:
    def change(rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index(name)
        field = rows.schema.field(place)
        new = pa.array(values(rows[name].to_pylist()), field.type)
        return rows.set_column(place, field, new)

    return change


def poison(folder: str, weight: str) -> None:
    path = Path(folder) / "model.safetensors"
    weights = load_file(path)
    weights[weight][:] = float("nan")
    path.unlink()
    save_file(weights, path, {"format": "pt"})


def test_output_that_is_there_already(repo: Path) -> None:
    assert _says("prepare_policy") == (
        "run/0/policy exists; expected an empty place; remove it, as dvc repro does"
    )


def test_preferences_that_are_trained_and_measured_on(repo: Path) -> None:
    columns = {"messages": "messages", "prompt": None, "chosen": "chosen", "rejected": "rejected"}
    path = "data/seed_preferences.parquet"  # whose part `heldout` is that of eval.gold_pairs, too
    given = {"path": path, "part": "heldout", "columns": columns}
    for name, value in {"given": given, "policy_parts": 1, "splits.policy.prompts": 100}.items():
        project.set_param(repo / "params.yaml", f"data.{name}", value)
    said = refusal("prepare_prompts")
    assert said.startswith("data: split policy: 100 of 100 prompts are also in ")
    assert f"{path}, part heldout, such as" in said
    assert "expected none, because models are trained on the one" in said


def test_model_folder_that_is_not_there(repo: Path) -> None:
    project.set_param(repo / "params.yaml", "models.policy.source", "path")
    project.set_param(repo / "params.yaml", "models.policy.path", "models/none")
    assert refusal("prepare_policy") == (
        "models/none holds no model (no config.json); expected models.*.path to name one"
    )


def test_model_folder_with_weights_in_another_format(repo: Path) -> None:
    shutil.copytree("run/0/policy", "models/mine")
    Path("models/mine/model.safetensors").rename("models/mine/pytorch_model.bin")
    project.set_param(repo / "params.yaml", "models.policy.source", "path")
    project.set_param(repo / "params.yaml", "models.policy.path", "models/mine")
    assert refusal("prepare_policy") == (
        "models/mine: has neither model.safetensors nor model.safetensors.index.json; "
        "expected weights in that format"
    )


def test_model_that_wants_to_run_its_own_code(repo: Path) -> None:
    config = Path("run/0/policy/config.json")
    text = config.read_text().replace('"model_type": "llama"', '"model_type": "mine"')
    text = text.replace("{", '{"auto_map": {"AutoModelForCausalLM": "mine.Model"},', 1)
    config.unlink()
    config.write_text(text)
    said = refusal("answer_previous")
    assert said.startswith("run/0/policy: cannot be loaded (")
    assert said.endswith("expected a model that transformers knows, without code of its own")


def test_weights_that_are_cut_off(repo: Path) -> None:
    path = Path("run/0/policy/model.safetensors")
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[: len(whole) // 2])
    assert refusal("answer_previous").startswith("run/0/policy: cannot be loaded (")


def test_reward_model_with_several_labels(repo: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(
        "run/0/policy", num_labels=3, trust_remote_code=False
    )
    model.save_pretrained("models/classifier")
    AutoTokenizer.from_pretrained("run/0/policy", trust_remote_code=False).save_pretrained(
        "models/classifier"
    )
    project.set_param(repo / "params.yaml", "models.reward_model.source", "path")
    project.set_param(repo / "params.yaml", "models.reward_model.path", "models/classifier")
    assert refusal("prepare_reward_model") == (
        "models/classifier: labels: 3; expected one; choose another models.reward_model"
    )


def test_policy_given_as_reward_model(repo: Path) -> None:
    project.set_param(repo / "params.yaml", "models.reward_model.source", "path")
    project.set_param(repo / "params.yaml", "models.reward_model.path", "run/0/policy")
    assert "choose another models.reward_model" in refusal("prepare_reward_model")


def test_prompt_longer_than_the_limit(repo: Path) -> None:
    project.set_param(repo / "params.yaml", "tokens.max_prompt_tokens", 8)
    assert "expected at most tokens.max_prompt_tokens 8" in refusal("sample")


def test_responses_that_all_do_not_fit_the_reward_model(repo: Path) -> None:
    project.set_param(repo / "params.yaml", "tokens.max_prompt_tokens", 20)
    project.set_param(repo / "params.yaml", "tokens.max_length", 60)
    arguments = next(
        a for n, k, a in in_process.commands(Path("params.yaml")) if n == "score" and k == "1"
    )
    in_process.run("score", arguments)
    count = tables.read(Path("run/1/ranked_pairs.parquet"), tables.RANKED_PAIRS).num_rows
    assert refusal("rank_pairs") == (
        f"run/1: no pair is left of {count} prompts (unscored {count}); "
        "expected at least one; raise tokens.max_length, or sample shorter responses"
    )


def test_reward_that_is_no_number(repo: Path) -> None:
    poison("run/0/reward_model", "score.weight")
    before = Path("run/1/rewards.parquet").read_bytes()
    assert "reward is NaN or infinite; expected a number" in refusal("score")
    assert Path("run/1/rewards.parquet").read_bytes() == before


def test_loss_that_is_no_number(repo: Path) -> None:
    poison("run/0/policy", "model.norm.weight")
    assert refusal("dpo").startswith("step 1: loss is nan on pairs ")
    assert not Path("run/1/checkpoints").exists()


def test_responses_that_all_score_alike(repo: Path) -> None:
    edit("run/1/rewards.parquet", tables.REWARDS, column("reward", lambda v: [0.5] * len(v)))
    count = tables.read(Path("run/1/ranked_pairs.parquet"), tables.RANKED_PAIRS).num_rows
    assert refusal("rank_pairs") == (
        f"run/1: no pair is left of {count} prompts (rewards_alike {count}); "
        "expected at least one; sample more responses, or look at the reward model"
    )


def test_responses_that_are_all_empty(repo: Path) -> None:
    edit("run/1/responses.parquet", tables.RESPONSES, column("response", lambda v: [""] * len(v)))
    assert "no pair is left" in refusal("rank_pairs")
    assert "(blank " in refusal("rank_pairs")


def test_one_prompt_of_equal_rewards_is_dropped_with_its_reason(repo: Path) -> None:
    rewards = tables.read(Path("run/1/rewards.parquet"), tables.REWARDS)
    first = rewards["prompt_id"][0].as_py()
    same = np.array([p == first for p in rewards["prompt_id"].to_pylist()])
    values = np.where(same, 0.25, rewards["reward"].to_numpy())
    edit("run/1/rewards.parquet", tables.REWARDS, column("reward", lambda _: list(values)))
    arguments = next(
        a for n, k, a in in_process.commands(Path("params.yaml")) if n == "rank_pairs" and k == "1"
    )
    in_process.run("rank_pairs", arguments)
    pairs = tables.read(Path("run/1/ranked_pairs.parquet"), tables.RANKED_PAIRS).to_pylist()
    dropped = {row["prompt_id"]: row["reason"] for row in pairs if not row["kept"]}
    assert dropped[first] == "rewards_alike"


def test_no_pair_left_for_the_reward_model(repo: Path) -> None:
    for name, key, arguments in in_process.commands(Path("params.yaml")):
        if key == "1" and name in NO_PAIR:
            in_process.run(name, arguments)
    project.set_param(repo / "params.yaml", "build_pairs.ranked", False)
    for table in (tables.ANSWERS, tables.PREVIOUS_ANSWERS):
        edit(f"run/1/{table.name}.parquet", table, column("response", lambda v: [""] * len(v)))
    assert refusal("build_pairs") == (
        "iteration 1: no pair is left for the reward model; expected at least one; "
        "see ranked_pairs and pseudo_pairs for the reasons, or loosen build_pairs.filter"
    )


NO_PAIR = ("answer_previous", "dpo", "duel", "select_policy", "answer")


def test_table_that_is_not_there(repo: Path) -> None:
    Path("run/1/rewards.parquet").unlink()
    assert "run/1/rewards.parquet" in refusal("rank_pairs")


def test_table_of_another_kind(repo: Path) -> None:
    shutil.copy("run/1/responses.parquet", "run/1/rewards.parquet")
    assert refusal("rank_pairs").startswith("run/1/rewards.parquet lacks column 'reward' (double)")


def test_rewards_of_other_responses(repo: Path) -> None:
    edit("run/1/rewards.parquet", tables.REWARDS, lambda rows: rows.slice(1))
    assert refusal("rank_pairs").startswith("run/1/rewards.parquet: ")


def test_table_that_is_no_parquet(repo: Path) -> None:
    Path("run/1/rewards.parquet").write_text("prompt_id,reward\n")
    assert refusal("rank_pairs").startswith("run/1/rewards.parquet: ")


def test_param_that_is_out_of_range(repo: Path) -> None:
    project.set_param(repo / "params.yaml", "rank_pairs.chosen", "best")
    assert refusal("rank_pairs").startswith("params.yaml: rank_pairs.chosen ")
