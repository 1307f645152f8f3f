"""The graph: names, declared deps and params, and exactly what a change runs again."""

import ast
import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from mutual_taught.config import blocks
from mutual_taught.planning import graph, stale
from tests import project
from tests.imports import deciding

ROOT = project.ROOT
GRAPH = project.load_yaml(ROOT / "dvc.yaml")["stages"]
STAGES = (
    "answer_previous",
    "sample",
    "score",
    "rank_pairs",
    "dpo",
    "duel",
    "select_policy",
    "answer",
    "build_pairs",
    "train_rm",
    "eval",
    "report",
)
PREPARE = (
    "prepare_prompts",
    "prepare_policy",
    "prepare_reward_model",
    "eval_base",
    "report_base",
)


BENCHMARKS = {
    *(f"benchmark_base@{name}" for name in ("pairs", "best-of-n")),
    *(f"benchmark@{t}-{name}" for t in (1, 2) for name in ("pairs", "best-of-n")),
}


def every(*iterations: int) -> set[str]:
    return {f"{stage}@{t}" for stage in STAGES for t in iterations}


def after(stage: str, t: int) -> set[str]:
    """The stages of iteration t from a stage on, in the order of STAGES."""
    return {f"{name}@{t}" for name in STAGES[STAGES.index(stage) :]}


def body(stage: str) -> dict[str, list[str]]:
    return dict(GRAPH[stage].get("do", GRAPH[stage]))


@pytest.mark.parametrize("stage", GRAPH)
def test_a_stage_depends_on_exactly_the_modules_that_decide_its_result(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    listed = [dep for dep in body(stage)["deps"] if dep.startswith(("mutual_taught/", "stages/"))]
    assert listed == deciding(stage)


@pytest.mark.parametrize("stage", GRAPH)
def test_a_stage_lists_exactly_the_params_it_reads(stage: str) -> None:
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    read = set()
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "params"):
            continue
        if node.func.attr == "seed":
            read.add("seed")
        if node.func.attr == "gold_pairs":
            read.add("eval.gold_pairs")
        if node.func.attr == "judge":
            read.add("select_policy.judge")
        if node.func.attr == "judge_model":
            read.add("select_policy.judge_model")
        if node.func.attr == "longest_response":
            drawing = ("sample", "duel", "answer", "eval")
            read |= {f"{name}.max_new_tokens" for name in drawing}
        if node.func.attr == "load":
            block = getattr(blocks, ast.unparse(node.args[0]).split(".")[-1])
            name = block.key
            admits = stage == "prepare_prompts"  # where tokens.max_prompt_tokens decides
            single = block.free and not admits
            read |= {f"{name}.{key}" for key in block.decisive()} if single else {name}
            if len(node.args) > 1:
                read.add(f"iterations.${{key}}.{name}")
    listed = {
        name.replace(".policy", "").replace(".reward_model", "") for name in body(stage)["params"]
    }
    assert set(listed) == read


@pytest.mark.parametrize("stage", GRAPH)
def test_every_path_in_a_command_is_declared(stage: str) -> None:
    words = str(body(stage)["cmd"]).split()
    given = {word for word in words if word.startswith(("run/", "data/"))}
    declared = list(body(stage)["deps"]) + [str(o) for o in body(stage)["outs"]]
    for path in given - {"run/0", "run/${key}", "run/${item.prev}", "run/${item.t}"}:
        assert any(str(d).startswith(path) for d in declared), path


def test_help_of_every_command_starts_without_torch() -> None:
    modules = ["mutual_taught.cli", *(f"stages.{stage}" for stage in GRAPH)]
    code = (
        f"import importlib, sys\nfor name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'transformers', 'trl', 'vllm', 'datasets'} & set(sys.modules)\n"
        "    assert not heavy, (name, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_unquoted_iteration_keys_are_refused_before_dvc_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from mutual_taught.cli import main

    text = (ROOT / "presets" / "tiny.yaml").read_text().replace("'1': {", "1: {")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["run"])
    assert result.exit_code == 1
    assert "iterations has the key 1; expected it quoted" in result.output


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose stages are fakes, run once and committed."""
    repo = project.copy(tmp_path_factory.mktemp("fake") / "repo", "laptop", fake=True)
    assert project.ran(project.dvc(repo, "repro")) == {*PREPARE, *every(1, 2)}
    project.git(repo, "add", "-A")
    project.git(repo, "commit", "-qm", "run")
    return repo


@pytest.mark.slow
def test_the_graph_has_the_names_of_the_method(repo: Path) -> None:
    assert sorted(project.stages(repo)) == sorted([*PREPARE, *every(1, 2)])


@pytest.mark.slow
def test_a_second_repro_runs_nothing(repo: Path) -> None:
    output = project.dvc(repo, "repro")
    assert project.ran(output) == set()
    assert "up to date" in output


@pytest.mark.slow
def test_benchmarks_are_stages_of_their_own_and_run_nothing_else(repo: Path) -> None:
    kept = (repo / "params.yaml").read_bytes()
    for name in ("pairs", "best-of-n"):
        (repo / "benchmarks" / name).mkdir(parents=True)
        (repo / "benchmarks" / name / "mine.jsonl").write_text("{}")
    project.set_param(repo / "params.yaml", "benchmarks", ["pairs", "best-of-n"])
    try:
        assert set(project.stages(repo)) == {*PREPARE, *every(1, 2), *BENCHMARKS}
        assert project.planned(repo) == BENCHMARKS
        nodes = graph.read(repo / "dvc.yaml", repo / "params.yaml")
        assert {node.name for node in nodes} == set(project.stages(repo))
        last = next(node for node in nodes if node.name == "benchmark@2-best-of-n")
        assert last.outs == ("run/2/benchmarks/best-of-n",)
        assert last.deps[:3] == ("run/2/policy", "run/2/reward_model", "benchmarks/best-of-n")
    finally:
        (repo / "params.yaml").write_bytes(kept)
        shutil.rmtree(repo / "benchmarks")


# What a change may run. Sampling, and the answers of pi_{t-1}, depend on policies, not on reward
# models; these answers do not depend on the selection of t either.
NOT_BY_REWARDS = {"answer_previous@2", "sample@2"}
REPORTS = {"report_base", "report@1", "report@2"}
CHANGES: dict[tuple[str, object], set[str]] = {
    ("select_policy.win_rate_threshold", 0.7): after("select_policy", 1) | every(2),
    ("select_policy.judge", "verifiable"): after("duel", 1) | every(2),
    ("select_policy.ties", "loss"): after("select_policy", 1) | every(2),
    ("rank_pairs.chosen", "shortest_above_mean"): after("rank_pairs", 1) | every(2),
    ("rank_pairs.length_neutral", False): after("rank_pairs", 1) | every(2),
    ("rank_pairs.ended_only", True): after("rank_pairs", 1) | every(2),
    ("rank_pairs.reference", "base"): after("rank_pairs", 1) | every(2),
    ("build_pairs.filter", "none"): after("build_pairs", 1) | every(2) - NOT_BY_REWARDS,
    ("build_pairs.labels", "verifiable"): after("build_pairs", 1) | every(2) - NOT_BY_REWARDS,
    ("build_pairs.accumulate", "all"): after("build_pairs", 1) | every(2) - NOT_BY_REWARDS,
    ("build_pairs.weights", "calibrated"): after("build_pairs", 1) | every(2) - NOT_BY_REWARDS,
    ("train_rm.average", 0.5): after("train_rm", 1) | every(2) - NOT_BY_REWARDS,
    ("train_rm.learning_rate", 3e-5): after("train_rm", 1) | every(2) - NOT_BY_REWARDS,
    ("dpo.learning_rate", 3e-5): after("dpo", 1) | every(2),
    ("iterations.2.dpo.beta", 0.2): after("dpo", 2),
    ("iterations.2.dpo.start", "base"): after("dpo", 2),
    ("iterations.1.sample.temperature", 1.0): every(1, 2) - {"answer_previous@1"},
    ("answer.previous", "reuse"): {"answer_previous@1", *after("answer", 1)}
    | every(2) - {"sample@2"},
    ("answer.against", "base"): {"answer_previous@1", *after("answer", 1)}
    | every(2) - {"sample@2"},
    ("eval.responses_per_prompt", 3): {"eval_base", "eval@1", "eval@2", *REPORTS},
    ("engine.workers", "ray"): set(),
    ("judge.iterations", "2 by a judge"): {"judge@2"},
    ("judge.endpoint.concurrency", 1): set(),
    ("training.resume_steps", 7): set(),
    ("report.examples", 1): REPORTS,
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[0])
def test_a_change_runs_exactly_the_stages_it_must(repo: Path, change: tuple[str, object]) -> None:
    kept = (repo / "params.yaml").read_bytes()
    name, value = change
    if name == "judge.iterations":  # it needs a name and an address beside
        value = {"2": {"prev": "1"}}
        set_params(repo, {"judge.model": "a-judge", "judge.endpoint.base_url": "http://[::1]/v1"})
    project.set_param(repo / "params.yaml", name, value)
    try:
        assert project.planned(repo) == CHANGES[change]
    finally:
        (repo / "params.yaml").write_bytes(kept)


@pytest.mark.slow
def test_bad_rows_that_come_and_go_run_only_what_counts_them(tmp_path: Path) -> None:
    repo = project.copy(tmp_path / "repo", "tiny", fake=True)
    graph = project.load_yaml(repo / "dvc.yaml")
    graph["stages"]["prepare_prompts"] = GRAPH["prepare_prompts"]
    (repo / "dvc.yaml").write_text(json.dumps(graph))  # YAML, too
    changes: dict[str, object] = {"data.source": "file", "data.path": "data/mine.jsonl"}
    for name in ("policy", "reward", "selection", "eval"):
        changes[f"data.splits.{name}"] = {"share": 0.25, "prompts": None}
    changes["iterations"] = {"1": {"prev": "0", "sample": {}, "dpo": {}, "train_rm": {}}}
    set_params(repo, changes)
    rows = [json.dumps({"prompt": f"Question {number} about boats?"}) for number in range(60)]
    (repo / "data" / "mine.jsonl").write_text("\n".join(rows))
    assert project.ran(project.dvc(repo, "repro")) == {*PREPARE, *every(1)}
    (repo / "data" / "mine.jsonl").write_text("\n".join(['{"prompt": ""}', *rows, rows[0]]))
    assert project.ran(project.dvc(repo, "repro")) == {"prepare_prompts", "report@1"}
    (repo / "data" / "notes.txt").write_text("of no stage")
    set_params(repo, {"tokens.max_prompt_tokens": 200, "data.max_dropped_share": 0.2})
    with contextlib.chdir(repo):
        why = next(todo.why for todo in stale.find() if todo.stage == "prepare_prompts")
    assert why == ("params data.max_dropped_share, tokens.max_prompt_tokens", "data is changed")
    assert project.ran(project.dvc(repo, "repro")) == {"prepare_prompts"}  # all are shorter


def set_params(repo: Path, changes: dict[str, object]) -> None:
    for name, value in changes.items():
        project.set_param(repo / "params.yaml", name, value)


@pytest.mark.slow
def test_another_threshold_runs_from_selection_on(repo: Path) -> None:
    value = "select_policy.win_rate_threshold"
    output = project.dvc(repo, "exp", "run", "--temp", "-S", f"{value}=0.7")
    assert project.ran(output) == after("select_policy", 1) | every(2)
    kept = (repo / "params.yaml").read_bytes()
    project.set_param(repo / "params.yaml", value, 0.7)
    try:  # what ran in the temporary folder is not run again, and the plan knows
        assert project.planned(repo) == set()
        assert project.planned(repo, "restore") == after("select_policy", 1) | every(2)
    finally:
        (repo / "params.yaml").write_bytes(kept)


@pytest.mark.slow
def test_plan_names_the_changed_parameter_file_and_what_follows(repo: Path) -> None:
    kept = (repo / "params.yaml").read_bytes()
    project.set_param(repo / "params.yaml", "dpo.beta", 0.3)
    module = repo / "mutual_taught" / "method" / "selection.py"
    source = module.read_bytes()
    module.write_bytes(source + b"# more\n")
    (repo / "run" / "1" / "rewards.parquet").unlink()
    try:
        with contextlib.chdir(repo):
            why = {todo.stage: (todo.action, todo.why) for todo in stale.find()}
    finally:
        (repo / "params.yaml").write_bytes(kept)
        module.write_bytes(source)
        project.dvc(repo, "checkout")
    assert why["dpo@1"] == ("run", ("params dpo.beta",))
    assert why["eval_base"] == ("run", ("mutual_taught/method/selection.py is changed",))
    assert why["sample@2"] == ("run", ("after select_policy@1",))
    assert why["score@1"] == ("restore", ("run/1/rewards.parquet is not here",))
    assert why["rank_pairs@1"] == ("keep", ())


@pytest.mark.slow
def test_forced_stages_run_with_all_before_them_or_alone(repo: Path) -> None:
    def forced(single: bool) -> list[tuple[str, tuple[str, ...]]]:
        with contextlib.chdir(repo):
            listed = stale.find(("score",), stale.Flags(force=True, single=single))
        return [(todo.stage, todo.why) for todo in listed if todo.action == "run"]

    assert forced(single=True) == [("score@1", ("--force",)), ("score@2", ("--force",))]
    before = [stage for stage, _ in forced(single=False)]
    assert set(before) > {"prepare_prompts", "sample@1", "score@1", "dpo@1", "score@2"}
    assert "dpo@2" not in before


@pytest.mark.slow
def test_plan_beside_a_run_is_made_at_once(repo: Path) -> None:
    from dvc.repo import Repo

    with Repo(str(repo)) as opened, opened.lock:  # which a repro holds
        assert project.planned(repo) == set()


@pytest.mark.slow
def test_a_third_iteration_runs_only_its_own_stages(repo: Path) -> None:
    third = '+iterations.3={prev: "2", sample: {}, dpo: {}, train_rm: {}}'
    apply_overrides(str(repo / "params.yaml"), [third])  # as `dvc exp run -S` does
    try:
        assert project.planned(repo) == every(3)
        assert project.ran(project.dvc(repo, "repro")) == every(3)
    finally:
        project.git(repo, "checkout", "--", "params.yaml", "dvc.lock")
        shutil.rmtree(repo / "run" / "3", ignore_errors=True)


@pytest.mark.slow
def test_pushed_and_pulled_results_are_up_to_date_in_another_clone(
    repo: Path, tmp_path: Path
) -> None:
    project.dvc(repo, "remote", "add", "-f", "-d", "shared", str(tmp_path / "remote"))
    project.dvc(repo, "remote", "modify", "shared", "verify", "true")
    project.dvc(repo, "push")
    clone = tmp_path / "clone"
    project.git(tmp_path, "clone", "-q", str(repo), str(clone))
    project.dvc(clone, "remote", "add", "-f", "-d", "shared", str(tmp_path / "remote"))
    assert project.ran(project.dvc(clone, "repro", "--allow-missing", "--dry")) == set()
    assert project.planned(clone, "pull") == {*PREPARE, *every(1, 2)}
    with contextlib.chdir(clone):  # without --pull what is not here runs
        assert {todo.action for todo in stale.find((), stale.Flags())} == {"run"}
    project.dvc(clone, "pull")
    assert project.planned(clone, "keep") == {*PREPARE, *every(1, 2)}
    assert project.ran(project.dvc(clone, "repro")) == set()
