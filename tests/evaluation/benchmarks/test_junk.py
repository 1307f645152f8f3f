"""Junk in any column of any file of a policy benchmark is read, or refused in one line."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import (
    alpaca_eval,
    alpaca_gamed,
    arena_files,
    arena_hard_v01,
    arena_hard_v2,
    ifbench,
    ifeval,
)
from tests.evaluation.benchmarks import written
from tests.evaluation.benchmarks.written import Row, judgement, marked, question

NOTHING: tuple[object, ...] = (None, "", " ", [], {}, [None], [[]], [{}], {"": None})
OTHERS: tuple[object, ...] = (True, -1, 10**30, 0.5, float("nan"), [1, "a"], {"role": 1}, "A>B")
SIGNS: tuple[object, ...] = ("\x1b[2J\u202e", "[[", "x" * 9999, [{"score": {}}], [None, None])
JUNK = (*NOTHING, *OTHERS, *SIGNS)
INSTRUCTED = written.instructed("1", ("detectable_format:number_bullet_lists", {"num_bullets": 2}))
SPAN: tuple[str, Row] = (
    "repeat:repeat_span",
    {"prompt_to_repeat": "a b c", "n_start": 1, "n_end": 2},
)
UIDS = ("u1", "u2")


def annotations(folder: Path, rows: Sequence[Row]) -> None:
    asked = [{"instruction": f"Question {place}?"} for place in (0, 1)]
    prompts = alpaca_eval.read([written.array(folder / "asked.json", asked)])
    alpaca_eval.annotations(prompts, written.array(folder / "annotations.json", rows))


def gamed(folder: Path, rows: Sequence[Row]) -> None:
    alpaca_gamed.read([written.table(folder / "df_gamed.csv", rows)], 4)


def verdicts(folder: Path, rows: Sequence[Row]) -> None:
    path = written.jsonl(folder / "question.jsonl", list(map(question, UIDS)))
    prompts = arena_hard_v2.read([path])
    arena_hard_v2.metrics_from(prompts, [written.jsonl(folder / "mine.jsonl", rows)])


def styles(folder: Path, rows: Sequence[Row]) -> None:
    judged = written.jsonl(folder / "mine.jsonl", [judgement("u1", "A>B", "A=B")])
    arena_files.judgements([judged, written.jsonl(folder / "answers.jsonl", rows)])


def reads(read: Callable[[Sequence[Path]], object]) -> Callable[[Path, Sequence[Row]], None]:
    def use(folder: Path, rows: Sequence[Row]) -> None:
        read([written.jsonl(folder / "rows.jsonl", rows)])

    return use


def checks(module: ModuleType) -> Callable[[Path, Sequence[Row]], None]:
    def use(folder: Path, rows: Sequence[Row]) -> None:
        prompts = module.read([written.jsonl(folder / "rows.jsonl", rows)])
        module.metrics(prompts, ["One two.\n* three\n* four"] * len(prompts))

    return use


FILES: dict[str, tuple[list[Row], Callable[[Path, Sequence[Row]], None]]] = {
    "ifeval": ([INSTRUCTED, {**INSTRUCTED, "key": 2}], checks(ifeval)),
    "ifbench": ([written.instructed(1, SPAN), written.instructed(2, SPAN)], checks(ifbench)),
    "instructions": ([{"instruction": "?", "dataset": "a"}], reads(alpaca_eval.read)),
    "annotations": ([written.annotation(0, 1.2), written.annotation(1, 1.9)], annotations),
    "gamed": (written.gamed(4), gamed),
    "questions": ([question("u1"), question("u2")], reads(arena_hard_v2.read)),
    "turns": (
        [{"question_id": "q", "category": "c", "turns": [{"content": "?"}]}],
        reads(arena_hard_v01.read),
    ),
    "verdicts": ([judgement("u1", "A>B", "B>>A"), judgement("u2", "A=B", None)], verdicts),
    "styles": ([marked("u1", "mine", 3, 2, 1, 0), marked("u1", "b", 3, 2, 1, 0)], styles),
}


def refusal(use: Callable[[Path, Sequence[Row]], None], folder: Path, rows: list[Row]) -> str:
    """Give the line that refuses a file; empty if it is read."""
    try:
        use(folder, rows)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", FILES)
def test_junk_in_any_column_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    rows, use = FILES[name]
    assert refusal(use, tmp_path, rows) == ""
    said: list[str] = []
    for column in rows[0]:
        for junk in JUNK:
            spoilt = copy.deepcopy(rows)
            spoilt[0][column] = junk
            said.append(refusal(use, tmp_path, spoilt))
    assert all(line.isprintable() and len(line) < 2500 for line in said)
    assert sum(map(bool, said)) > len(said) / 3


VALUES: dict[str, list[tuple[str, Row]]] = {
    "ifeval": [
        ("keywords:existence", {"keywords": ["one"]}),
        ("keywords:frequency", {"keyword": "one", "frequency": 1, "relation": "at least"}),
        (
            "keywords:letter_frequency",
            {"letter": "o", "let_frequency": 1, "let_relation": "at least"},
        ),
        ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}),
        ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 2}),
        ("startend:end_checker", {"end_phrase": "four"}),
        ("language:response_language", {"language": "en"}),
    ],
    "ifbench": [
        SPAN,
        ("count:word_count_range", {"min_words": 2, "max_words": 9}),
        ("count:numbers", {"N": 2}),
        ("format:options", {"options": "yes/no"}),
        ("sentence:keyword", {"word": "one", "N": 1}),
        ("ratio:overlap", {"reference_text": "one two", "percentage": 50}),
        ("format:list", {"sep": "-"}),
    ],
}


@pytest.mark.parametrize("family", VALUES)
def test_junk_in_any_value_of_an_instruction_is_checked_or_refused(
    family: str, tmp_path: Path
) -> None:
    _, use = FILES[family]
    for name, values in VALUES[family]:
        row = written.instructed(1, (name, values))
        assert refusal(use, tmp_path, [row]) == "", name
        for value in values:
            for junk in JUNK:
                spoilt = copy.deepcopy(row)
                spoilt["kwargs"][0][value] = junk
                assert refusal(use, tmp_path, [spoilt]).isprintable()
