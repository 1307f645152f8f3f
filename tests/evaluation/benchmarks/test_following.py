"""IFEval and IFBench: strict and loose reading by hand, their rates, and rows that are refused."""

from pathlib import Path

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import checkers, following, ifbench, ifeval
from mutual_taught.evaluation.benchmarks.base import Prompts
from tests.evaluation.benchmarks import written
from tests.evaluation.benchmarks.written import instructed

NO_COMMA: tuple[str, written.Row] = ("punctuation:no_comma", {})
ENDS = ("startend:end_checker", {"end_phrase": "The end"})
BULLETS = ("detectable_format:number_bullet_lists", {"num_bullets": 2})


def asked(folder: Path, *rows: written.Row) -> Prompts:
    return ifeval.read([written.jsonl(folder / "ifeval.jsonl", rows)])


def test_a_prompt_has_its_key_its_instructions_and_their_values_without_nulls(
    tmp_path: Path,
) -> None:
    [prompt] = asked(tmp_path, instructed(1000, NO_COMMA, BULLETS))
    assert prompt.prompt_id == "1000"
    assert prompt.messages == [{"role": "user", "content": "Write."}]
    assert prompt.note["instructions"] == [NO_COMMA[0], BULLETS[0]]
    assert prompt.note["values"] == [{}, {"num_bullets": 2}]


def test_loose_reading_has_eight_forms() -> None:
    assert following.forms("Sure:\n*a* b\nBye") == [
        "Sure:\n*a* b\nBye",
        "Sure:\na b\nBye",  # without asterisks
        "*a* b\nBye",  # without the first line
        "Sure:\n*a* b",  # the last
        "*a* b",  # both
        "a b\nBye",
        "Sure:\na b",
        "a b",
    ]


def test_strict_takes_the_response_as_it_is_and_loose_any_form(tmp_path: Path) -> None:
    [prompt] = asked(tmp_path, instructed("a", NO_COMMA, ENDS))
    # the first line has a comma, the last is no end; without both, both are followed
    found = following.checked(prompt, "Sure, here:\nAll is well. The end\nBye", "ifeval")
    assert found == ((False, False), (True, True), 0)
    assert following.checked(prompt, "All is well. The end", "ifeval").strict == (True, True)


def test_a_blank_response_follows_nothing(tmp_path: Path) -> None:
    [prompt] = asked(tmp_path, instructed("a", NO_COMMA))
    assert following.checked(prompt, " \n ", "ifeval") == ((False,), (False,), 0)


def test_rates_count_prompts_that_follow_all_and_instructions_one_by_one(tmp_path: Path) -> None:
    prompts = asked(
        tmp_path, instructed(1, NO_COMMA, ENDS), instructed(2, NO_COMMA), instructed(3, ENDS)
    )
    # strict: 1 follows both, 2 has a comma, 3 does not end so; loose: 2 without its last line
    responses = ["Well. The end", "None\nOne, two", "Never"]
    found = ifeval.metrics(prompts, responses)
    assert found["prompt_strict.mean"] == pytest.approx(1 / 3)
    assert found["instruction_strict.mean"] == pytest.approx(2 / 4)
    assert found["prompt_loose.mean"] == pytest.approx(2 / 3)
    assert found["instruction_loose.mean"] == pytest.approx(3 / 4)
    assert (found["prompt_strict.n"], found["instruction_loose.n"]) == (3, 4)
    assert found["failed_checks"] == 0
    assert ifeval.records(prompts, responses)["value"].to_pylist() == [1.0, 0.0, 0.0]


def test_ifbenchs_records_are_loose_and_its_intervals_are_of_prompts(tmp_path: Path) -> None:
    row = instructed("0", ("format:no_whitespace", {}))
    path = written.jsonl(tmp_path / "ifbench.jsonl", [row, {**row, "key": "1"}])
    prompts = ifbench.read([path])
    responses = ["Sure, here:\nnowhitespace", "with white space"]
    assert ifbench.records(prompts, responses)["value"].to_pylist() == [1.0, 0.0]
    found = ifbench.metrics(prompts, responses)
    assert (found["prompt_strict.mean"], found["prompt_loose.mean"]) == (0.0, 0.5)
    # two prompts: a resample has none, one or both of the right one
    assert (found["prompt_loose.ci_lo"], found["prompt_loose.ci_hi"]) == (0.0, 1.0)


def test_a_zero_of_the_file_is_a_zero_and_not_drawn_at_random(tmp_path: Path) -> None:
    values = {"prompt_to_repeat": "zero one two three", "n_start": 0, "n_end": 2}
    path = written.jsonl(tmp_path / "a.jsonl", [instructed("a", ("repeat:repeat_span", values))])
    [prompt] = ifbench.read([path])
    # words 0 to 2, without the last, as if-verifiable reads it
    assert following.checked(prompt, "zero one", "ifbench").strict == (True,)


def test_a_sign_to_be_counted_is_that_of_the_file_and_not_a_letter_drawn_at_random(
    tmp_path: Path,
) -> None:
    # two prompts of IFEval ask for # and for !, which the library does not take for letters
    values = {"letter": "#", "let_frequency": 2, "let_relation": "at least"}
    [prompt] = asked(tmp_path, instructed("a", ("keywords:letter_frequency", values)))
    every = "the quick brown fox jumps over the lazy dog, twice over, six boxing wizards jump"
    for text, follows in ((every * 3, False), ("# one\n# two", True)):
        for _ in range(8):  # a draw would hit sooner or later
            assert following.checked(prompt, text, "ifeval").strict == (follows,)


def test_a_checker_that_fails_on_a_text_is_counted_and_not_followed(tmp_path: Path) -> None:
    row = instructed("a", ("format:quote_unquote", {}))
    [prompt] = ifbench.read([written.jsonl(tmp_path / "a.jsonl", [row])])
    # if-verifiable raises IndexError on marks alone; of the eight forms two are not blank: both
    # are the response itself, for there is no asterisk and one line only
    assert following.checked(prompt, ". . .", "ifbench") == ((False,), (False,), 2)


def test_languages_are_told_apart_the_same_way_every_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    german = ("language:response_language", {"language": "de"})
    [prompt] = asked(tmp_path, instructed("a", german))
    text = "Das ist ein langer deutscher Satz über das Wetter in Berlin."
    assert following.checked(prompt, text, "ifeval").strict == (True,)
    following.checked(prompt, "1 2 3", "ifeval")  # no language at all: the library logs the text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (instructed("a", ("no:such", {})), "instruction 'no:such' is unknown to if-verifiable"),
        (
            instructed("a", (BULLETS[0], {})),
            "instruction 'detectable_format:number_bullet_lists' has the values []; expected "
            "['num_bullets']",
        ),
        (
            instructed("a", (BULLETS[0], {"num_bullets": -1})),
            "instruction 'detectable_format:number_bullet_lists': num_bullets is '-1'; expected a "
            "whole number ≥ 0",
        ),
        ({**instructed("a", NO_COMMA), "kwargs": []}, "kwargs has 0 objects; expected 1"),
        ({**instructed("a", NO_COMMA), "kwargs": "no"}, "kwargs is 'no'; expected a list"),
        ({**instructed("a", NO_COMMA), "key": None}, "lacks key"),
        ({**instructed("a", NO_COMMA), "key": True}, "key is 'True'; expected"),
    ],
)
def test_a_row_that_cannot_be_checked_is_refused(
    tmp_path: Path, row: written.Row, said: str
) -> None:
    with pytest.raises(InputError) as error:
        asked(tmp_path, instructed("b", NO_COMMA), row)
    assert f"row 2: {said}" in str(error.value)


def test_instructions_that_need_data_of_nltks_are_refused_by_name_with_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])  # a machine without any
    checkers.missing.cache_clear()
    sentences = (
        "length_constraints:number_sentences",
        {"relation": "at least", "num_sentences": 2},
    )
    with pytest.raises(InputError) as error:
        asked(tmp_path, instructed(1, sentences), instructed(2, NO_COMMA), instructed(3, sentences))
    checkers.missing.cache_clear()
    assert str(error.value).endswith(
        "ifeval.jsonl: cannot be checked here: length_constraints:number_sentences (2); expected "
        "NLTK's data punkt_tab; fetch it with `python -m nltk.downloader punkt_tab`, or leave out "
        "the rows that need it: then it is another benchmark"
    )


DATA: dict[str, written.Row] = {
    "change_case:capital_word_frequency": {"capital_frequency": 1, "capital_relation": "at least"},
    "length_constraints:number_sentences": {"relation": "at least", "num_sentences": 1},
    "format:title_case": {},
    "ratio:stop_words": {"percentage": 50},
    "words:keywords_specific_position": {"keyword": "one", "n": 1, "m": 1},
    "words:start_verb": {},
    "words:words_position": {"keyword": "one"},
}


@pytest.mark.parametrize("name", checkers.NEEDS)
def test_what_needs_data_of_nltks_fails_without_and_is_not_taken_for_a_no(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    family: checkers.Family = "ifeval" if name in checkers.registry("ifeval") else "ifbench"
    checker = checkers.made(family, name, DATA[name])
    with pytest.raises(LookupError, match=r"nltk\.download"):
        checkers.follows(checker, "One two three. Four five six.")
