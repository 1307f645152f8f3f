"""`mutual-taught verify` compares iteration 0, and what was asked, with params.yaml."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.audit import start
from mutual_taught.audit.run import CheckedIteration, Run
from mutual_taught.cli import main
from mutual_taught.config import params
from mutual_taught.prepare import held_out
from tests import in_process, project
from tests.audit.forged import forge
from tests.audit.test_verify_whole import Change, copy, found, say, setting, sign


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copy(finished, tmp_path, monkeypatch)


def space(split: str) -> Change:
    """Add a space to a prompt, wherever it stands; its id is the same, for space does not count."""

    def spaced(path: Path, table: tables.Table, name: str) -> None:
        data = pq.read_table(path)
        rows: list[Any] = data.to_pylist()
        for row in rows:
            if row["prompt_id"] == name:
                row["messages"][-1]["content"] += " "
        path.unlink()
        changed = pa.Table.from_pylist(rows, table.schema)
        tables.write(path.parent, table, changed, tables.provenance(data))

    def do(run: Path) -> None:
        path = run / "0" / "splits" / f"{split}.parquet"
        name = pq.read_table(path)["prompt_id"][0].as_py()
        spaced(path, tables.renamed(tables.PROMPTS, split), name)
        spaced(run / "0" / "prompts.parquet", tables.ALL_PROMPTS, name)

    return do


def both_formats(dtype: str) -> Change:
    """Set the format of the reference and of the policy; params refuse one without the other."""

    def do(run: Path) -> None:
        setting("rank_pairs.reference_dtype", dtype)(run)
        setting("training.precision", dtype)(run)

    return do


ATTACKS: dict[str, tuple[Change, str]] = {
    "another base policy": (
        say("0/policy/manifest.json", base="x"),
        "run/1/checkpoints/step-000002/manifest.json: base is ",
    ),
    "parent of the base policy": (
        say("0/policy/manifest.json", parent="0" * 64),
        "run/0/policy/manifest.json: the model's parent is 0000",
    ),
    "parent of r_0": (
        say("0/reward_model/manifest.json", parent="0" * 64),
        "run/0/reward_model/manifest.json: the model's parent is 0000",
    ),
    "kind of r_0": (
        say("0/reward_model/manifest.json", kind="policy"),
        "run/0/reward_model/manifest.json: the model's kind is policy",
    ),
    "training of r_0": (
        setting("base_reward_model.learning_rate", 0.5),
        "run/0/reward_model/manifest.json: made_by settings is",
    ),
    "date of the templates": (
        setting("tokens.date", "2026-01-31"),
        "run/0/policy/manifest.json: made_by date is",
    ),
    "source of the prompts": (
        setting("data.path", "data/other.yaml"),
        "run/0/prompts.parquet: provenance data is",
    ),
    "size of a split": (
        setting("data.splits.selection.prompts", 1),
        "run/0/prompts.parquet: split selection is of ",
    ),
    "format of the reference": (
        both_formats("bfloat16"),
        "run/1/ranked_pairs.parquet: provenance reference_dtype is float32",
    ),
    "policy prompt": (space("policy"), "responses.parquet: provenance prompts is"),
    "reward prompt": (space("reward"), "run/1/previous_answers.parquet: provenance prompts is"),
    "selection prompt": (space("selection"), "run/1/duels.parquet: provenance prompts is"),
    "eval prompt": (space("eval"), "run/0/eval/generations.parquet: provenance prompts is"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_start_that_is_not_that_of_params_is_found(run: Path, name: str) -> None:
    attack, said = ATTACKS[name]
    attack(run)
    lines = found()
    assert any(said in line for line in lines), lines


def test_gold_pairs_are_compared_with_their_file_only_if_it_is_here(run: Path) -> None:
    source = Path(shutil.copy("data/seed_preferences.parquet", "data/own.parquet"))
    setting("eval.gold_pairs", str(source))(run)
    assert found() == []
    forge(run, "0/gold_pairs", "gold_chosen")
    assert any(line.startswith("run/0/gold_pairs.parquet: row ") for line in found())
    source.unlink()
    result = CliRunner().invoke(main, ["verify", "--no-models"])
    assert result.output == (
        f"note: {source} is not here, and run/0/gold_pairs.parquet was not compared with it\n"
        "run: every decision and every digest is as it should be\n"
    )


SUBSET = "subset:test_prefs"


def of_hub(run: Path) -> CheckedIteration:
    """Give iteration 0 as it would be with pairs of a subset of the hub, which is not asked."""
    raw = params.read(params.PARAMS)
    data = {"source": "hub", "path": "someone/preferences", "revision": "0" * 40, "subset": "all"}
    raw = {**raw, "data": {**raw["data"], **data}, "eval": {**raw["eval"], "gold_pairs": SUBSET}}
    return CheckedIteration(Run(run, ["0"]), "0", params.validate(raw))


def as_subset(run: Path, **changes: object) -> list[str]:
    """Write the first held-out pairs as those of a subset, the first one changed; verify them."""
    of, path = of_hub(run), run / "0" / "gold_pairs.parquet"
    rows = of.run.table(path, tables.GOLD_PAIRS).to_pylist()
    kept = [row | {"gold_chosen": 1.0, "gold_rejected": 0.0, "part": "heldout"} for row in rows]
    kept = [row for row, was in zip(kept, rows, strict=True) if was["part"] == "heldout"][:5]
    kept[0] |= changes
    pairs = pa.Table.from_pylist(kept, tables.GOLD_PAIRS.schema)
    path.unlink()  # it may be a link into another test's run
    said = held_out.provenance(SUBSET, of.settings.data, {})
    tables.write(run / "0", tables.GOLD_PAIRS, pairs, said)
    return [str(fault) for fault in start.gold_pairs(of_hub(run))]


def test_pairs_of_a_subset_are_what_their_ids_and_labels_say(run: Path) -> None:
    before = (run / "0" / "gold_pairs.parquet").read_bytes()
    for changes, column in (
        ({}, ""),
        ({"gold_chosen": 0.5}, "gold_chosen"),
        ({"part": "train"}, "part"),
        ({"prompt_id": "0" * 32}, "prompt_id"),
    ):
        lines = as_subset(run, **changes)
        assert [line.split(" is ")[0].split()[-1] for line in lines] == [column][: len(lines)]
        assert bool(lines) == bool(changes)
        (run / "0" / "gold_pairs.parquet").write_bytes(before)


def test_pair_of_a_subset_whose_prompt_is_trained_on_is_found(run: Path) -> None:
    asked = pq.read_table(run / "0" / "splits" / "policy.parquet").to_pylist()[0]
    trained = {name: asked[name] for name in ("prompt_id", "messages")}
    [line] = as_subset(run, **trained)
    assert line.endswith("expected of no prompt that is trained on")


def test_prompts_are_compared_with_their_file_only_if_it_is_here(run: Path) -> None:
    source = Path(project.load_yaml(Path("params.yaml"))["data"]["path"])
    source.unlink()
    result = CliRunner().invoke(main, ["verify", "--no-models"])
    assert result.output == (
        f"note: {source} is not here, and run/0/prompts.parquet was not compared with it\n"
        "run: every decision and every digest is as it should be\n"
    )


def previous(name: str) -> Change:
    """A candidate of iteration 2 says that it was trained from pi_1."""

    def do(run: Path) -> None:
        say(name, parent=read_manifest(run / "1" / "policy").digest)(run)

    return do


SWITCHED: dict[str, tuple[str, Change, str]] = {
    "fixed-reward-model": (
        "train_rm",
        say("1/metrics/train_rm.json", steps=9.0),
        "train_rm.json: steps is 9.0; expected 0.0",
    ),
    "accumulate": (
        "build_pairs",
        sign("2/reward_pairs", previous_pairs="0"),
        "2/reward_pairs.parquet: provenance previous_pairs is 0",
    ),
    "base-reference": (
        "rank_pairs",
        sign("2/ranked_pairs", policy="0"),
        "2/ranked_pairs.parquet: provenance policy is 0",
    ),
    "base-start": (
        "dpo",
        previous("2/checkpoints/step-000002/manifest.json"),
        "2/checkpoints/step-000002/manifest.json: parent is ",
    ),
    "ties-lose": (
        "select_policy",
        say("2/metrics/select_policy.json", tie_counts_as=0.5),
        "select_policy.json: tie_counts_as is 0.5; expected 0.0",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWITCHED)
def test_what_a_switch_decides_is_checked(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    begin, attack, said = SWITCHED[name]
    in_process.enter(finished, tmp_path, monkeypatch, [name])
    shutil.rmtree("run/2")
    in_process.run_all(Path("params.yaml"), (begin, "1"))
    assert found() == []
    attack(Path("run"))
    lines = found()
    assert any(said in line for line in lines), lines
