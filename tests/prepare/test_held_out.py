"""Pairs that reward models are measured on, from a file or from a subset of preferences."""

import json
from pathlib import Path

import pytest

from mutual_taught.artifacts import tables
from mutual_taught.config import params, presets
from mutual_taught.config.inputs import Columns, Data
from mutual_taught.errors import InputError
from mutual_taught.prepare import held_out
from mutual_taught.prepare.conversations import Prompt
from tests import project

PREFERENCES = Path("data/seed_preferences.parquet")


def named(preset: str, **changes: object) -> str | None:
    """Say which pairs a preset measures reward models on, with some values changed."""
    raw = params.read(project.ROOT / "presets" / f"{preset}.yaml")
    for block, values in changes.items():
        assert isinstance(values, dict)
        raw = {**raw, block: {**raw[block], **values}}
    return params.named_pairs(params.validate(raw), PREFERENCES)


def test_embedded_prompts_and_policy_are_measured_on_the_seed_preferences() -> None:
    assert named("laptop") == named("tiny") == "data/seed_preferences.parquet"


def test_own_prompts_or_an_own_policy_are_not_measured_on_another_models_pairs() -> None:
    own = {"source": "file", "path": "data/mine.jsonl"}
    assert named("laptop", data=own) is None
    policy = {"source": "path", "path": "models/mine", "revision": None}
    assert named("laptop", models={"policy": policy}) is None


def test_pairs_that_are_asked_for_are_measured_on_whatever_the_prompts() -> None:
    own = {"source": "file", "path": "data/mine.jsonl"}
    asked = {"gold_pairs": "data/seed_preferences.parquet"}
    assert named("laptop", data=own, eval=asked) == "data/seed_preferences.parquet"
    assert named("laptop", eval={"gold_pairs": None}) is None


@pytest.mark.parametrize("preset", ["paper", "single-gpu"])
def test_presets_on_the_papers_data_measure_on_its_held_out_preferences(preset: str) -> None:
    assert named(preset) == "subset:test_prefs"
    data = params.validate(params.read(project.ROOT / "presets" / f"{preset}.yaml")).data
    asked = held_out.of_subset("subset:test_prefs", data)
    assert (asked.path, asked.revision) == (data.path, data.revision)
    assert asked.subset == "test_prefs" != data.subset
    assert (asked.columns.prompt, asked.columns.chosen, asked.columns.rejected) == (
        "prompt",
        "chosen",
        "rejected",
    )


def test_preset_names_stay_with_their_ablations() -> None:
    assert "gold_pairs: auto" in presets.compose("laptop", ["no-filter"])


def turns(prompt: str, response: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def preference(prompt: str, chosen: str, rejected: str) -> dict[str, object]:
    """A row as UltraFeedback has them: the prompt, and two whole conversations."""
    sides = {"chosen": turns(prompt, chosen), "rejected": turns(prompt, rejected)}
    return {"prompt": prompt, **sides}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """A data set with two subsets, read by the client of the hub, as from the hub."""
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "someone" / "preferences"
    folder.mkdir(parents=True)
    listed = [
        preference("Name a boat.", "Wave.", "No."),
        preference("Name a hill.", "Down.", "Up."),
        preference("Name a boat.", "Once more.", "Twice."),
        preference("Name a lake.", " ", "Deep."),
        preference("Name a long river.", "Nile.", "Rhine."),
    ]
    lines = [json.dumps(row) for row in listed]
    (folder / "test.jsonl").write_text("\n".join(lines))
    (folder / "train.jsonl").write_text(json.dumps(preference("Name a cat.", "Tom.", "Cat.")))
    files = [f"  - split: {name}_prefs\n    path: {name}.jsonl\n" for name in ("train", "test")]
    head = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    (folder / "README.md").write_text(f"{head}{''.join(files)}---\n")
    raw = params.read(project.ROOT / "presets" / "paper.yaml")["data"]
    columns = Columns(messages=None, prompt="prompt", chosen=None, rejected=None)
    return Data.model_validate(raw).model_copy(
        update={"path": "someone/preferences", "columns": columns}
    )


def fits(prompt: Prompt) -> str:
    """Say that one prompt is too long."""
    return "too_long" if "long" in prompt.messages[-1]["content"] else ""


@pytest.mark.slow
def test_pairs_of_a_subset_are_its_fit_preferences_with_the_chosen_side_better(data: Data) -> None:
    pairs, dropped = held_out.read("subset:test_prefs", data, fits, set())
    rows = pairs.to_pylist()
    assert [(row["messages"][0]["content"], row["chosen"], row["rejected"]) for row in rows] == [
        ("Name a boat.", "Wave.", "No."),
        ("Name a hill.", "Down.", "Up."),
    ]
    assert {(row["gold_chosen"], row["gold_rejected"], row["part"]) for row in rows} == {
        (1.0, 0.0, "heldout")
    }
    # the boat comes twice, a response about the lake is blank, the river is too long
    assert dropped == {"duplicate": 1, "no_answer": 1, "too_long": 1}
    assert held_out.counts(dropped)["gold_pairs_dropped_duplicate"] == 1.0
    path = tables.write(
        Path("run/0"),
        tables.GOLD_PAIRS,
        pairs,
        held_out.provenance("subset:test_prefs", data, dropped),
    )
    said = tables.provenance(tables.read(path, tables.GOLD_PAIRS))
    assert (said["subset"]["subset"], said["dropped"]) == ("test_prefs", dict(dropped))


@pytest.mark.slow
def test_pair_whose_prompt_a_model_is_trained_on_is_left_out_and_counted(data: Data) -> None:
    everything, _ = held_out.read("subset:test_prefs", data, fits, set())
    boat, hill = everything["prompt_id"].to_pylist()
    pairs, dropped = held_out.read("subset:test_prefs", data, fits, {hill})
    assert pairs["prompt_id"].to_pylist() == [boat]
    assert dropped["trained_on"] == 1
    with pytest.raises(InputError) as caught:
        held_out.read("subset:test_prefs", data, fits, {boat, hill})
    assert str(caught.value) == (
        "params.yaml: eval.gold_pairs is 'subset:test_prefs'; none of 5 rows of "
        "'someone/preferences' there is a pair that can be measured on (1 duplicate, 1 no_answer, "
        "1 too_long, 2 trained_on); expected at least one; name another subset, or null"
    )


@pytest.mark.slow
def test_subset_that_is_not_there_is_one_line(data: Data) -> None:
    with pytest.raises(InputError) as caught:
        held_out.read("subset:other", data, fits, set())
    assert str(caught.value).startswith("data set 'someone/preferences' at ")
    assert "\n" not in str(caught.value)
