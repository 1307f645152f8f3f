"""Duels of several draws a prompt: fought, verified and told as the tables have them."""

import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest

from mutual_taught.artifacts import files, tables
from mutual_taught.audit import e_step
from mutual_taught.audit.resample import iterations, resample
from mutual_taught.config import params
from mutual_taught.reading import trace, trace_text
from tests import in_process, project


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose first duels are fought again, with two draws a prompt."""
    in_process.enter(finished, tmp_path, monkeypatch)
    shutil.rmtree("run/2")
    project.set_param(Path("params.yaml"), "duel.responses_per_prompt", 2)
    params._parse.cache_clear()
    for name, key, arguments in in_process.commands(Path("params.yaml")):
        if key == "1" and name in ("duel", "select_policy"):
            in_process.run(name, arguments)
    return Path("run")


def faults(run: Path) -> list[str]:
    of = next(one for one in iterations(run) if one.key == "1")
    return [str(fault) for fault in (*e_step.duels(of), *e_step.selected(of))]


def test_duels_of_several_draws_follow_from_their_responses(run: Path) -> None:
    fought = tables.read(run / "1" / "duels.parquet", tables.DUELS)
    prompts = pc.count_distinct(fought["prompt_id"]).as_py()
    numbers = files.read_json(run / "1" / "metrics" / "select_policy.json")
    assert len(fought) == numbers["candidates"] * prompts * 2
    assert numbers["n"] == prompts  # not twice as many: intervals are over prompts
    assert faults(run) == []
    drawn = [one for one in resample(run, 99, 1) if one.path.name == "duels.parquet"]
    assert len(drawn) > 1
    assert all(one.bit_equal for one in drawn)


def test_draws_that_all_checkpoints_lack_are_found(run: Path) -> None:
    path = run / "1" / "duels.parquet"
    fought = tables.read(path, tables.DUELS)
    first = fought.filter(pc.equal(fought["response_index"], 0))
    tables.write(path.parent, tables.DUELS, first, tables.provenance(fought))
    assert f"{path}: responses a prompt is 1; expected 2 (params.yaml)" in faults(run)


def test_trace_names_every_draw(run: Path) -> None:
    name = tables.read(run / "1" / "duels.parquet", tables.DUELS)["prompt_id"][0].as_py()
    said = [line for line in trace_text.lines(trace.prompt(run, name), run) if "  draw " in line]
    steps = files.read_json(run / "1" / "checkpoints" / "steps.json")["steps"]
    told = ["previous policy", *(f"checkpoint {step}" for step in steps)]
    expected = [(who, f"draw {index}") for who in told for index in (0, 1)]
    assert len(said) == len(expected)
    assert all(
        who in line and index in line for line, (who, index) in zip(said, expected, strict=True)
    )
