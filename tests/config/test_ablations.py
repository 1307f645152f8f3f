"""Every ablation is one switch: it changes the keys it names, and the whole method runs with it."""

import csv
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.audit.verify import verify
from mutual_taught.cli import main
from mutual_taught.config import params, presets
from mutual_taught.errors import InputError
from mutual_taught.evaluation.gold import gold
from mutual_taught.reading import trace, trace_text
from tests import in_process, project
from tests.audit.test_verify import corrupt

# What each changes, and the first stage (of iteration 1) that runs again for it.
ABLATIONS: dict[str, tuple[set[str], str]] = {
    "fixed-reward-model": ({"train_rm.fixed"}, "train_rm"),
    "no-selection": ({"select_policy.rule"}, "select_policy"),
    "ties-lose": ({"select_policy.ties"}, "select_policy"),
    "gold-selection": ({"select_policy.judge"}, "duel"),
    "no-filter": ({"build_pairs.filter"}, "build_pairs"),
    "positive-only": ({"build_pairs.filter"}, "build_pairs"),
    "gold-labels": ({"build_pairs.labels"}, "build_pairs"),
    "ranked-only": ({"build_pairs.pseudo"}, "build_pairs"),
    "pseudo-only": ({"build_pairs.ranked"}, "build_pairs"),
    "accumulate": ({"build_pairs.accumulate"}, "build_pairs"),
    "accumulate-all": ({"build_pairs.accumulate"}, "build_pairs"),
    "warm-start": ({"train_rm.start"}, "train_rm"),
    "reuse-answers": ({"answer.previous"}, "answer_previous"),
    "base-answers": ({"answer.against"}, "answer_previous"),
    "highest-reward": ({"rank_pairs.chosen", "rank_pairs.length_neutral"}, "rank_pairs"),
    "paper-pairs": ({"rank_pairs.chosen", "rank_pairs.length_neutral"}, "rank_pairs"),
    "random-pairs": ({"rank_pairs.chosen"}, "rank_pairs"),
    "length-neutral": ({"rank_pairs.length_neutral"}, "rank_pairs"),
    "ended-only": ({"rank_pairs.ended_only"}, "rank_pairs"),
    "sampler-logps": ({"rank_pairs.reference_logps"}, "rank_pairs"),
    "base-reference": ({"rank_pairs.reference"}, "rank_pairs"),
    "base-start": ({"dpo.start"}, "dpo"),
    "three-iterations": (
        {"iterations.3.prev", "iterations.3.sample", "iterations.3.dpo", "iterations.3.train_rm"},
        "sample",
    ),
    "offline-dpo": (
        {
            "iterations.2.prev",
            "iterations.2.sample",
            "iterations.2.dpo",
            "iterations.2.train_rm",
            "data.given",
            "data.given.path",
            "data.given.part",
            "data.given.columns.messages",
            "data.given.columns.prompt",
            "data.given.columns.chosen",
            "data.given.columns.rejected",
            "data.policy_parts",
            "sample.source",
            "rank_pairs.chosen",
            "rank_pairs.length_neutral",
            "select_policy.rule",
            "train_rm.fixed",
        },
        "prepare_prompts",
    ),
}
# Ablations whose effect shows in a third iteration only.
THREE = {"accumulate", "accumulate-all"}
# Ablations that change tables of their own share a run, which shows the effects of all.
TOGETHER = ("length-neutral", "base-answers", "gold-labels", "gold-selection")
RUNS = [
    ("fixed-reward-model", "sampler-logps", "paper-pairs"),
    ("no-selection", "positive-only", "highest-reward"),
    ("ties-lose", "ranked-only"),
    ("no-filter", "warm-start", "random-pairs"),
    ("pseudo-only", "reuse-answers"),
    ("three-iterations", "accumulate"),
    ("accumulate-all",),
    ("offline-dpo",),
    TOGETHER,
]
# Runs of starts and references, and whether DPO starts at its reference.
STARTS = [
    (("base-start",), False),
    (("base-reference",), False),
    (("base-start", "base-reference"), True),
]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def load(text: str) -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(text))


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own folder as working directory; nothing is written there."""
    monkeypatch.chdir(project.ROOT)


def test_every_ablation_is_listed_here_and_has_a_run(in_root: None) -> None:
    assert presets.names() == sorted(ABLATIONS)
    ran = [name for names in RUNS for name in names] + [
        name for (name,) in (one for one, _ in STARTS[:2])
    ]
    ran.append("ended-only")  # by itself: of tiny's random policy no response ends
    assert sorted(ran) == sorted(ABLATIONS)


@pytest.mark.parametrize("preset", ["laptop", "tiny", "single-gpu", "paper"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_changes_exactly_its_keys(in_root: None, name: str, preset: str) -> None:
    before = flat(load(Path(f"presets/{preset}.yaml").read_text()))
    after = flat(load(presets.compose(preset, [name])))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed - ABLATIONS[name][0] == set()
    named = flat(load(Path(f"presets/ablations/{name}.yaml").read_text()))
    assert {key: after.get(key) for key in named} == named
    # A preset may have by itself what an ablation makes of others.
    assert changed or name == ("length-neutral" if preset == "laptop" else "paper-pairs")


def test_ablations_add_up_in_order(in_root: None) -> None:
    both = load(presets.compose("tiny", ["no-filter", "warm-start", "positive-only"]))
    assert both["build_pairs"]["filter"] == "positive"
    assert both["train_rm"]["start"] == "previous"


def test_comments_of_the_preset_stay(in_root: None) -> None:
    text = presets.compose("laptop", ["no-filter"])
    line = next(line for line in text.splitlines() if line.startswith("  filter:"))
    assert line.split() == ["filter:", "none", "#", "tolerance", "|", "none", "|", "positive"]


def test_unknown_ablation_is_one_line(in_root: None) -> None:
    with pytest.raises(InputError) as caught:
        presets.compose("tiny", ["no-filters"])
    begin = "ablation 'no-filters' does not exist; expected one of accumulate, accumulate-all, "
    assert str(caught.value).startswith(begin)
    assert str(caught.value).endswith("; did you mean 'no-filter'")


def test_ablations_that_contradict_each_other_are_refused(in_root: None) -> None:
    with pytest.raises(InputError, match="at least one of ranked and pseudo true"):
        presets.compose("tiny", ["ranked-only", "pseudo-only"])


def test_command_writes_the_preset_and_keeps_changes_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project.ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    written = Path("params.yaml")

    def preset(*arguments: str) -> int:
        return CliRunner().invoke(main, ["preset", *arguments]).exit_code

    assert preset("tiny", "--with", "no-filter") == 0
    assert load(written.read_text())["build_pairs"]["filter"] == "none"
    assert preset("laptop") == 0
    assert written.read_bytes() == Path("presets/laptop.yaml").read_bytes()
    mine = written.read_text().replace("beta: 0.1", "beta: 0.07")
    written.write_text(mine)
    assert preset("tiny") == 1
    assert written.read_text() == mine
    assert preset("tiny", "--force") == 0


@pytest.mark.slow
@pytest.mark.parametrize("names", RUNS, ids=" ".join)
def test_whole_method_runs_and_verifies_with_the_ablation(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    beside = ["three-iterations"] if THREE & set(names) and "three-iterations" not in names else []
    in_process.enter(finished, tmp_path, monkeypatch, [*beside, *names])
    begins = {ABLATIONS[name][1] for name in names}
    if "ties-lose" in names:  # with draws of its own, pi_{t-1} hardly ever ties
        project.set_param(Path("params.yaml"), "duel.draws", "coupled")
        begins.add("duel")
    params._parse.cache_clear()
    stages = [stage for stage, _, _ in in_process.commands(Path("params.yaml"))]
    begin = next(stage for stage in stages if stage in begins)
    _forget(Path("run"), begin)
    in_process.run_all(Path("params.yaml"), (begin, "" if begin in in_process.PREPARE else "1"))
    assert [str(fault) for fault in verify(Path("run"))] == []
    for name in names:
        EFFECTS[name](Path("run"))
    if names == TOGETHER:
        _forged(Path("run"))


@pytest.mark.slow
def test_only_responses_that_ended_are_in_pairs(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five responses of a prompt the last three are said to have ended."""
    in_process.enter(finished, tmp_path, monkeypatch, ["ended-only"])
    path = Path("run/1/responses.parquet")
    drawn = tables.read(path, tables.RESPONSES)
    ends = ["length" if row < 2 else "stop" for row in drawn["response_index"].to_pylist()]
    place = drawn.schema.get_field_index("finish_reason")
    drawn = drawn.set_column(place, drawn.schema.field(place), [ends])
    path.unlink()
    tables.write(path.parent, tables.RESPONSES, drawn, tables.provenance(drawn))
    pairs = Path("run/1/ranked_pairs.parquet")
    before = tables.read(pairs, tables.RANKED_PAIRS)
    pairs.unlink()
    in_process.run_one("rank_pairs", "1")
    after = tables.read(pairs, tables.RANKED_PAIRS)
    for side in ("chosen_index", "rejected_index"):
        assert min(after[side].drop_null().to_pylist()) >= 2
        assert min(before[side].drop_null().to_pylist()) < 2

    def faults() -> list[str]:
        found = verify(Path("run"))
        return [str(one) for one in found if one.path == pairs and "_index" in one.where]

    assert faults() == []
    name, run = after["prompt_id"][0].as_py(), Path("run")
    told = "\n".join(trace_text.lines(trace.prompt(run, name), run))
    assert "  compared without responses that were cut at the token limit" in told
    pairs.unlink()
    tables.write(pairs.parent, tables.RANKED_PAIRS, before, tables.provenance(after))
    assert faults()


@pytest.mark.slow
@pytest.mark.parametrize(("names", "alike"), STARTS)
def test_either_start_goes_with_either_reference(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    alike: bool,
) -> None:
    in_process.enter(finished, tmp_path, monkeypatch, names)
    shutil.rmtree("run/2")
    in_process.run_all(Path("params.yaml"), ("rank_pairs", "1"))
    assert [str(fault) for fault in verify(Path("run"))] == []
    assert _starts_at_its_reference(Path("run")) == alike
    if not alike:
        EFFECTS[names[0]](Path("run"))


@pytest.mark.slow
def test_dpo_starts_at_its_reference_unless_asked_otherwise(finished: Path) -> None:
    assert _starts_at_its_reference(finished)


def _starts_at_its_reference(run: Path) -> bool:
    """Where DPO starts at its reference its first loss is that of a margin of 0: log 2."""
    with (run / "2/curves/dpo.csv").open(newline="") as file:
        return float(next(csv.DictReader(file))["loss"]) == pytest.approx(math.log(2), abs=1e-6)


def _forged(run: Path) -> None:
    """What the switches add cannot be altered unseen, not even with digests that fit."""
    for t, name, column in (
        ("1", "duels", "gold"),
        ("2", "duels", "previous_gold"),
        ("1", "pseudo_pairs", "gold"),
        ("2", "pseudo_pairs", "chosen"),
    ):
        corrupt(run / t / f"{name}.parquet", column, 0, honest=True)
    pairs = tables.read(run / "1" / "ranked_pairs.parquet", tables.RANKED_PAIRS)
    said = {**tables.provenance(pairs), "length_slope": 0.25}
    tables.write(run / "1", tables.RANKED_PAIRS, pairs, said)
    found = [str(fault) for fault in verify(run, models=False)]
    for begin, words in (
        ("run/1/duels.parquet: row ", " gold is "),
        ("run/2/duels.parquet: row ", " previous_gold is "),
        ("run/1/pseudo_pairs.parquet: row ", " gold is "),
        ("run/2/pseudo_pairs.parquet: row ", " chosen is "),
        ("run/1/ranked_pairs.parquet: length_slope is 0.25", "expected 0.0"),
    ):
        assert any(line.startswith(begin) and words in line for line in found), begin


def _forget(run: Path, begin: str) -> None:
    """Remove model folders that a rerun makes again, as DVC does."""
    shutil.rmtree("run/2" if begin != "prepare_prompts" else "run")


def _fixed(run: Path) -> None:
    digests = {read_manifest(run / t / "reward_model").digest for t in "012"}
    assert len(digests) == 1


def _last(run: Path) -> None:
    steps = files.read_json(run / "1" / "checkpoints" / "steps.json")["steps"]
    assert files.read_json(run / "1" / "metrics" / "select_policy.json")["step"] == max(steps)


def _ties(run: Path) -> None:
    """The draws are coupled, so many responses of candidates are those of the previous policy."""
    duels = pq.read_table(run / "1" / "duels.parquet").to_pylist()
    fought: dict[int, list[float]] = {}
    for row in duels:
        fought.setdefault(row["step"], []).append(row["outcome"])
    rates = {step: results.count(1.0) / len(results) for step, results in fought.items()}
    said = files.read_json(run / "1" / "metrics" / "select_policy.json")
    tied = next(row["prompt_id"] for row in duels if row["outcome"] == 0.5)
    assert "tied (a loss)" in "\n".join(trace_text.lines(trace.prompt(run, tied), run))
    assert said["win_rate"] == max(rates.values()) == rates[said["step"]]


def _only(kind: str) -> Any:
    def check(run: Path) -> None:
        for t in "12":
            kinds = pq.read_table(run / t / "reward_pairs.parquet")["kind"].to_pylist()
            assert set(kinds) == {kind}

    return check


def _made_in(*iterations: set[int]) -> Any:
    """Check in which iterations the pairs of each mix, from t = 1, were made."""

    def check(run: Path) -> None:
        for t, expected in enumerate(iterations, 1):
            pairs = pq.read_table(run / str(t) / "reward_pairs.parquet")
            assert set(pairs["iteration"].to_pylist()) == expected
            met = pq.read_table(run / str(t) / "reward_training.parquet")["pair_id"].to_pylist()
            assert set(met) == set(pairs["pair_id"].to_pylist())

    return check


def _warm(run: Path) -> None:
    parent = read_manifest(run / "2" / "reward_model").parent
    assert parent == read_manifest(run / "1" / "reward_model").digest


def _reused(run: Path) -> None:
    """Iteration 2 compares with the texts that r_1 was trained on; r_0 never met any."""
    stored, previous, drawn, chosen = (
        {row["prompt_id"]: row[column] for row in pq.read_table(run / path).to_pylist()}
        for path, column in (
            ("1/answers.parquet", "response"),
            ("2/previous_answers.parquet", "response"),
            ("1/previous_answers.parquet", "seed"),
            ("1/answers.parquet", "seed"),
        )
    )
    assert previous == stored
    assert drawn != chosen
    assert "previous_shift" not in files.read_json(run / "1" / "metrics" / "answer.json")
    assert "previous_shift" in files.read_json(run / "2" / "metrics" / "answer.json")


def _against_base(run: Path) -> None:
    """Answers of both iterations are compared with those of pi_0, by draws of their own."""
    base = read_manifest(run / "0" / "policy").digest
    assert base != read_manifest(run / "1" / "policy").digest
    seeds = []
    for t in "12":
        drawn = tables.read(run / t / "previous_answers.parquet", tables.PREVIOUS_ANSWERS)
        said = tables.provenance(drawn)
        assert (said["policy"], said["against"]) == (base, "base")
        seeds.append(set(drawn["seed"].to_pylist()))
        name = drawn["prompt_id"][0].as_py()
        assert "  base answer  " in "\n".join(trace_text.lines(trace.prompt(run, name), run))
    assert not seeds[0] & seeds[1]


def _instructions(run: Path, split: str) -> dict[str, tuple[list[str], list[str]]]:
    """Give what each prompt of a split asks for, as `gold` takes it."""
    asked = pq.read_table(run / "0" / "splits" / f"{split}.parquet").to_pylist()
    return {row["prompt_id"]: (row["instruction_ids"], row["instruction_kwargs"]) for row in asked}


def _labelled(run: Path) -> None:
    """Who follows more instructions is chosen, also where that is the older response."""
    wanted = _instructions(run, "reward")
    for t in "12":
        pairs = tables.read(run / t / "pseudo_pairs.parquet", tables.PSEUDO_PAIRS)
        assert tables.provenance(pairs)["labels"] == "verifiable"
        mixed = pq.read_table(run / t / "reward_pairs.parquet").to_pylist()
        learnt = {row["prompt_id"]: row for row in mixed if row["kind"] == "pseudo"}
        for row in pairs.to_pylist():
            both = [row["response"], row["previous_response"]]
            golds = [gold(text, *wanted[row["prompt_id"]]) for text in both]
            assert [row["gold"], row["previous_gold"]] == golds
            assert row["kept"] == (row["prompt_id"] in learnt)
            if row["kept"]:
                better = both[golds.index(max(golds))]
                assert learnt[row["prompt_id"]]["chosen"] == better == row[row["chosen"]]
            else:
                assert golds[0] != golds[1] or row["reason"] in ("gold_tie", "same_text", "blank")
    name = pairs["prompt_id"][0].as_py()
    assert "  labelled by gold, " in "\n".join(trace_text.lines(trace.prompt(run, name), run))
    for page in (CliRunner().invoke(main, ["status"]).output, _report(run)):
        assert "Gold is inside the loop: it " in page
        assert "labelled the pairs on D_M" in page


def _judged(run: Path) -> None:
    """The candidate whose responses follow more instructions wins, whatever its reward."""
    wanted = _instructions(run, "selection")
    for t in "12":
        duels = tables.read(run / t / "duels.parquet", tables.DUELS)
        assert tables.provenance(duels)["judge"] == "verifiable"
        won: dict[int, list[float]] = {}
        for row in duels.to_pylist():
            both = (row["response"], row["previous_response"])
            golds = [gold(text, *wanted[row["prompt_id"]]) for text in both]
            assert [row["gold"], row["previous_gold"]] == golds
            tied = golds[0] == golds[1]
            assert row["outcome"] == (0.5 if tied else float(golds[0] > golds[1]))
            won.setdefault(row["step"], []).append(row["outcome"])
        said = files.read_json(run / t / "metrics" / "select_policy.json")
        rates = {step: sum(outcomes) / len(outcomes) for step, outcomes in won.items()}
        assert said["win_rate"] == pytest.approx(max(rates.values()))
        assert rates[said["step"]] == pytest.approx(said["win_rate"])
        assert said["judged_by_gold"] == 1
    name = duels["prompt_id"][0].as_py()
    assert "  gold " in "\n".join(trace_text.lines(trace.prompt(run, name), run))
    assert "judged the candidates" in _report(run)


def _report(run: Path) -> str:
    return (run / "2" / "report" / "report.md").read_text()


def _based(run: Path) -> None:
    """Log-probs of iteration 2 are those of pi_0 under plain transformers, not those of pi_1."""
    found = _references(run / "2")
    assert found == pytest.approx(_plain(run, "0"), abs=1e-4)
    assert found != pytest.approx(_plain(run, "1"), abs=1e-4)
    assert _references(run / "1") == pytest.approx(_plain(run, "0", "1"), abs=1e-4)


def _anew(run: Path) -> None:
    """Candidates of iteration 2 come from pi_0, their pairs and opponent from pi_1."""
    base, first = (read_manifest(run / t / "policy").digest for t in "01")
    assert base != first
    steps = files.read_json(run / "2" / "checkpoints" / "steps.json")["steps"]
    for step in steps:
        assert read_manifest(run / f"2/checkpoints/step-{step:06d}").parent == base
    duels = tables.read(run / "2" / "duels.parquet", tables.DUELS)
    assert tables.provenance(duels)["policies"][0] == first
    assert _references(run / "2") == pytest.approx(_plain(run, "1"), abs=1e-4)
    # updates of a few steps at 2e-5 leave the weights nearer to where they began
    assert _distance(run, f"2/checkpoints/step-{steps[0]:06d}", "0/policy") < _distance(
        run, f"2/checkpoints/step-{steps[0]:06d}", "1/policy"
    )


def _distance(run: Path, one: str, other: str) -> float:
    from safetensors.torch import load_file

    mine, theirs = (load_file(run / name / "model.safetensors") for name in (one, other))
    return sum(float((mine[name] - theirs[name]).square().sum()) for name in mine)


def _references(folder: Path) -> list[float]:
    pairs = pq.read_table(folder / "ranked_pairs.parquet").to_pylist()
    sides = ("reference_chosen_logps", "reference_rejected_logps")
    return [pair[side] for pair in pairs if pair["kept"] for side in sides]


def _plain(run: Path, policy: str, t: str = "2") -> list[float]:
    """Sum the log-probs of iteration t's kept pairs, one sequence at a time, without our code."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run / policy / "policy")
    model = AutoModelForCausalLM.from_pretrained(run / policy / "policy").eval()
    asked = pq.read_table(run / "0" / "splits" / "policy.parquet").to_pylist()
    messages = {row["prompt_id"]: row["messages"] for row in asked}
    drawn = {
        (row["prompt_id"], row["response_index"]): row["token_ids"]
        for row in pq.read_table(run / t / "responses.parquet").to_pylist()
    }
    sums = []
    for pair in pq.read_table(run / t / "ranked_pairs.parquet").to_pylist():
        for side in ("chosen_index", "rejected_index") if pair["kept"] else ():
            prompt = tokenizer.apply_chat_template(
                messages[pair["prompt_id"]], add_generation_prompt=True, return_dict=False
            )
            response = drawn[pair["prompt_id"], pair[side]]
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
            logps = logits.log_softmax(-1)[range(len(response)), response]
            sums.append(float(logps.sum()))
    return sums


def _margins(low: float) -> Any:
    def check(run: Path) -> None:
        for t in "12":
            rows = pq.read_table(run / t / "pseudo_pairs.parquet").to_pylist()
            kept = [row["reward_margin"] for row in rows if row["kept"]]
            assert min(kept, default=low + 1) > low
            assert not [row for row in rows if row["reason"] == "margin"] or low == 0

    return check


def _highest(run: Path) -> None:
    rewards = pq.read_table(run / "1" / "rewards.parquet").to_pylist()
    for pair in pq.read_table(run / "1" / "ranked_pairs.parquet").to_pylist():
        mine = [row["reward"] for row in rewards if row["prompt_id"] == pair["prompt_id"]]
        if pair["kept"]:
            assert (pair["reward_chosen"], pair["reward_rejected"]) == (max(mine), min(mine))


def _shortest(run: Path) -> None:
    rewards = pq.read_table(run / "1" / "rewards.parquet").to_pylist()
    drawn = pq.read_table(run / "1" / "responses.parquet").to_pylist()
    for pair in pq.read_table(run / "1" / "ranked_pairs.parquet").to_pylist():
        mine = [row["reward"] for row in rewards if row["prompt_id"] == pair["prompt_id"]]
        lengths = [row["length_tokens"] for row in drawn if row["prompt_id"] == pair["prompt_id"]]
        if pair["kept"]:
            high = [index for index, reward in enumerate(mine) if reward > sum(mine) / len(mine)]
            assert pair["chosen_index"] in high
            assert lengths[pair["chosen_index"]] == min(lengths[index] for index in high)


def _neutral(run: Path) -> None:
    """The tiny policy's responses are all cut at one length, so length brings nothing there."""
    for t in "12":
        pairs = tables.read(run / t / "ranked_pairs.parquet", tables.RANKED_PAIRS)
        assert tables.provenance(pairs)["length_slope"] == 0.0
        assert files.read_json(run / t / "metrics" / "rank_pairs.json")["length_slope"] == 0.0
        kept = next(row for row in pairs.to_pylist() if row["kept"])
        said = "\n".join(trace_text.lines(trace.prompt(run, kept["prompt_id"]), run))
        assert "compared without length: 0.000 a token above the mean length" in said


def _sampler(run: Path) -> None:
    logps = {
        (row["prompt_id"], row["response_index"]): row["logprob"]
        for row in pq.read_table(run / "1" / "responses.parquet").to_pylist()
    }
    pairs = pq.read_table(run / "1" / "ranked_pairs.parquet").to_pylist()
    for pair in (pair for pair in pairs if pair["kept"]):
        for side in ("chosen", "rejected"):
            drawn = logps[pair["prompt_id"], pair[f"{side}_index"]]
            assert pair[f"reference_{side}_logps"] == drawn
    said = files.read_json(run / "1" / "metrics" / "rank_pairs.json")
    assert 0 < said["reference_margin_difference_max"] < 1e-3


def _offline(run: Path) -> None:
    given = {
        (row["prompt_id"], row["chosen"], row["rejected"])
        for row in pq.read_table(project.ROOT / "data" / "seed_preferences.parquet").to_pylist()
        if row["part"] == "train"
    }
    rows = pq.read_table(run / "1" / "responses.parquet").to_pylist()
    chosen = {row["prompt_id"]: row["response"] for row in rows if row["response_index"] == 0}
    rejected = {row["prompt_id"]: row["response"] for row in rows if row["response_index"] == 1}
    assert {(name, chosen[name], rejected[name]) for name in chosen} <= given
    said = files.read_json(run / "1" / "metrics" / "summary.json")
    assert {"gold", "gold_change", "win_rate_base"} <= said.keys()  # on the run's own eval prompts
    assert not (run / "2").exists()


def _random(run: Path) -> None:
    seeds: dict[str, list[int]] = {}
    for row in pq.read_table(run / "1" / "responses.parquet").to_pylist():
        seeds.setdefault(row["prompt_id"], []).append(row["seed"])
    pairs = pq.read_table(run / "1" / "ranked_pairs.parquet").to_pylist()
    assert any(pair["kept"] for pair in pairs)
    for pair in (pair for pair in pairs if pair["kept"]):
        lots = seeds[pair["prompt_id"]]
        drawn = {lots[pair["chosen_index"]], lots[pair["rejected_index"]]}
        assert drawn == set(sorted(lots)[:2])
        assert pair["reward_chosen"] > pair["reward_rejected"]


def _third(run: Path) -> None:
    asked = [
        set(pq.read_table(run / t / "responses.parquet")["prompt_id"].to_pylist()) for t in "123"
    ]
    assert asked[2] == asked[0]  # two policy parts: the third iteration samples on the first again
    assert not asked[0] & asked[1]


EFFECTS = {
    "fixed-reward-model": _fixed,
    "no-selection": _last,
    "ties-lose": _ties,
    "ranked-only": _only("ranked"),
    "pseudo-only": _only("pseudo"),
    "accumulate": _made_in({1}, {1, 2}, {2, 3}),
    "accumulate-all": _made_in({1}, {1, 2}, {1, 2, 3}),
    "warm-start": _warm,
    "reuse-answers": _reused,
    "base-answers": _against_base,
    "gold-labels": _labelled,
    "gold-selection": _judged,
    "no-filter": _margins(float("-inf")),
    "positive-only": _margins(0.0),
    "highest-reward": _highest,
    "paper-pairs": _shortest,
    "offline-dpo": _offline,
    "length-neutral": _neutral,
    "sampler-logps": _sampler,
    "base-reference": _based,
    "base-start": _anew,
    "random-pairs": _random,
    "three-iterations": _third,
}
