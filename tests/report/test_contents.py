"""The page of a run: what its sections say, in the words of `status`."""

import shutil
from pathlib import Path

import pyarrow as pa

from mutual_taught.config import params
from mutual_taught.report import contents, gathered, markdown, words
from mutual_taught.report.contents import Remembered, Setting
from mutual_taught.report.past import Past
from mutual_taught.report.samples import Sample

SETTING = Setting(1, 0.6, "policy (tiny)", "reward (tiny)")


def page_of(run: Path, iteration: str) -> str:
    return (run / iteration / "report" / "index.html").read_text("utf-8")


def test_page_of_a_finished_run_has_all_sections_in_order(finished: Path) -> None:
    known = contents.read(finished / "2" / "report")
    titles = [section.title for section in contents.sections(known, SETTING, [])]
    assert titles == [
        "What happened",
        "Both models, before and after",
        "All numbers",
        "Samples",
        "How it was made",
        "Glossary",
    ]
    text = page_of(finished, "2")
    places = [text.index(f">{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert "dvc repro report@2" in text


def test_page_is_made_again_with_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    file = finished.parent / "params.yaml"
    values = params.validate(params.read(file), file)
    threshold = values.select_policy.win_rate_threshold
    shutil.copytree(finished / "2" / "report", tmp_path / "report")
    made = tmp_path / "report" / "index.html"
    made.unlink()
    gathered.write_page(tmp_path / "report", values.seed, threshold, values.models)
    assert made.read_bytes() == (finished / "2" / "report" / "index.html").read_bytes()


def test_numbers_have_the_names_of_status_and_no_row_of_dashes() -> None:
    history = [Past(0, {"eval": {"policy.length_tokens.mean": 5.0}}), Past(1, {})]
    grid = contents.numbers(history)
    assert grid.head == ["", "t = 0", "t = 1"]
    assert grid.rows == [["state", "start", "stopped before"], ["length, tokens", "5.0", "–"]]
    assert set(words.ROWS.values()) <= set(markdown.ROWS)
    assert words.label("selected step") == "best checkpoint"
    assert words.label("distinct-2") == "distinct-2"


def test_stopped_iteration_shows_no_eval_responses_of_its_own(stopped: Path) -> None:
    known = contents.read(stopped / "2" / "report")
    splits = {t: {sample.split for sample in found} for t, found in known.samples.items()}
    assert splits == {0: {"eval"}, 1: {"policy", "selection"}, 2: set()}
    assert "Iteration 1 stopped: its best candidate" in page_of(stopped, "2")


def test_run_that_stopped_at_once_has_no_table_of_a_model_beside_itself(stopped: Path) -> None:
    assert "before and after" not in page_of(stopped, "1")


def test_start_has_a_page_without_tau_and_without_differences(finished: Path) -> None:
    text = page_of(finished, "0")
    assert "Only the start was measured" in text
    assert "<dt>τ</dt>" not in text
    assert "before and after" not in text
    assert "dvc repro report_base" in text


def test_own_prompts_without_gold_are_offered_no_order_by_it() -> None:
    sample = Sample("eval", "00ff", [("user", "q")], [], [])
    section = contents.browser(Remembered([Past(0, {})], {0: [sample]}))
    assert section.browser is not None
    assert list(section.browser.orders) == []
    assert section.browser.instructions == []


def test_facts_name_formats_that_tables_were_made_in() -> None:
    made = {"mutual_taught.provenance": '{"dtype": "bfloat16"}'}
    drawn = pa.table({"prompt_id": ["a"]}).replace_schema_metadata(made)
    known = Remembered([Past(0, {}, generations=drawn)], {})
    assert contents.facts(known, SETTING) == [
        ("policy", "policy (tiny)"),
        ("reward model", "reward (tiny)"),
        ("seed", "1"),
        ("sampling", "bfloat16"),
    ]
