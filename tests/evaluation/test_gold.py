"""Gold: hand-made responses, one that follows and one that does not, for every instruction."""

import json
import random
import subprocess
import sys

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.gold import KWARGS, check_instructions, gold, passed

Values = dict[str, object]
AT_LEAST: Values = {"relation": "at least"}
LESS_THAN: Values = {"relation": "less than"}

# id, values, a response that follows, one that does not
CASES: list[tuple[str, Values, str, str]] = [
    ("change_case:english_capital", {}, "THE RIVER IS WIDE AND SLOW.", "THE RIVER is WIDE."),
    ("change_case:english_lowercase", {}, "the river is wide and slow.", "The river is wide."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "Say hi. Hi!", "Hi!"),
    ("combination:two_responses", {}, "Red.******Blue.", "Red. Blue."),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] or [b]", "[a] or b"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Hi.\nP.S. Bye.", "Hi. Bye."),
    ("detectable_format:constrained_response", {}, "My answer is yes.", "Yes."),
    ("detectable_format:json_format", {}, '{"colour": "red"}', "colour: red"),
    (
        "detectable_format:multiple_sections",
        {"num_sections": 2, "section_spliter": "Section"},
        "Section 1 red Section 2 blue",
        "Section 1 red",
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* red\n- blue", "* red\nblue"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "*red* hat", "hat"),
    ("detectable_format:title", {}, "<<Rivers>> They flow.", "Rivers. They flow."),
    # Both words are needed, in any case; a part of a longer word counts.
    ("keywords:existence", {"keywords": ["small", "quiet"]}, "Small and quietly.", "Small, calm."),
    # The word alone: 'the' is not in 'other'.
    ("keywords:forbidden_words", {"forbidden_words": ["the"]}, "No other.", "All The others."),
    ("keywords:frequency", {"keyword": "red", "frequency": 2, **AT_LEAST}, "red, red", "red, blue"),
    (
        "keywords:letter_frequency",
        {"letter": "e", "let_frequency": 2, "let_relation": "less than"},
        "One hat.",
        "Three hats.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "Red.\n***\nBlue.", "Red."),
    # Three words are at least three and not less than three; an apostrophe parts two words.
    ("length_constraints:number_words", {"num_words": 3, **AT_LEAST}, "Old red hats", "Old hats"),
    ("length_constraints:number_words", {"num_words": 3, **LESS_THAN}, "Old hats", "It's red"),
    ("punctuation:no_comma", {}, "Old red hats.", "Old, red hats."),
    ("startend:end_checker", {"end_phrase": "the end."}, "So. The end.", "The end. So."),
    ("startend:quotation", {}, '"Old hats."', 'Old "hats".'),
]
NO_COMMA_12 = (
    ["punctuation:no_comma", "length_constraints:number_words"],
    ["{}", '{"num_words": 12, "relation": "at least"}'],
)


@pytest.mark.parametrize(("name", "values", "follows", "fails"), CASES, ids=lambda case: str(case))
def test_checker_tells_a_response_that_follows_from_one_that_does_not(
    name: str, values: Values, follows: str, fails: str
) -> None:
    instruction = [name], [json.dumps(values)]
    assert gold(follows, *instruction) == 1.0
    assert gold(fails, *instruction) < 1.0
    assert passed(follows, *instruction)
    assert not passed(fails, *instruction)


def test_every_known_instruction_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(KWARGS)


ELEVEN = "the river runs past my house and under the old stone"
GRADED: list[tuple[str, Values, str, float]] = [
    # Of three words one is there, then two, in any case; 'quietly' holds 'quiet'.
    ("keywords:existence", {"keywords": ["small", "quiet", "warm"]}, "A Small hat.", 1 / 3),
    ("keywords:existence", {"keywords": ["small", "quiet", "warm"]}, "Warm quietly.", 2 / 3),
    ("keywords:existence", {"keywords": ["small", "quiet"]}, "An old red hat.", 0.0),
    # Four words of eight, none of eight (a sign is not blank), seven of eight.
    ("length_constraints:number_words", {"num_words": 8, **AT_LEAST}, "An old red hat.", 0.5),
    ("length_constraints:number_words", {"num_words": 8, **AT_LEAST}, "...", 0.0),
    ("length_constraints:number_words", {"num_words": 8, **AT_LEAST}, "a b c d e f g", 0.875),
    # Less than three allows two: four words are twice that, three are half as many again.
    ("length_constraints:number_words", {"num_words": 3, **LESS_THAN}, "An old red hat.", 0.5),
    ("length_constraints:number_words", {"num_words": 3, **LESS_THAN}, "Old red hat", 2 / 3),
    ("length_constraints:number_words", {"num_words": 1, **LESS_THAN}, "Hat", 0.0),
    # One comma leaves a half, two a third, three a quarter; text beside them changes nothing.
    ("punctuation:no_comma", {}, "Old, red hats.", 1 / 2),
    ("punctuation:no_comma", {}, "Old, red, warm hats.", 1 / 3),
    ("punctuation:no_comma", {}, "Old, red, warm, hats. Hats. Hats. Hats. Hats.", 1 / 4),
    # Every other kind is followed or not.
    ("keywords:forbidden_words", {"forbidden_words": ["the", "a"]}, "The hat.", 0.0),
    ("startend:quotation", {}, '"Old hats', 0.0),
]


@pytest.mark.parametrize(("name", "values", "response", "expected"), GRADED, ids=str)
def test_instruction_that_is_not_followed_counts_by_its_kind(
    name: str, values: Values, response: str, expected: float
) -> None:
    assert gold(response, [name], [json.dumps(values)]) == expected


def test_gold_is_the_mean_over_instructions() -> None:
    # Twelve words without a comma: (1 + 1) / 2; with one comma: (1/2 + 1) / 2;
    # nine words and a comma: (1/2 + 9/12) / 2.
    assert gold(f"{ELEVEN} bridge", *NO_COMMA_12) == 1.0
    assert gold(f"{ELEVEN}, bridge", *NO_COMMA_12) == 0.75
    assert gold("the river runs, past my house and under it", *NO_COMMA_12) == 0.625


def test_gold_is_one_exactly_where_a_response_passes() -> None:
    generator = random.Random(5)
    parts = ["small", "quiet", "warm", "the old", ",", "river", ", and", "."]
    found = set()
    for _ in range(300):
        text = " ".join(generator.choices(parts, k=generator.randint(1, 14)))
        for name, values in (
            ("keywords:existence", {"keywords": ["small", "quiet"]}),
            ("length_constraints:number_words", {"num_words": 8, **AT_LEAST}),
            ("length_constraints:number_words", {"num_words": 8, **LESS_THAN}),
            ("punctuation:no_comma", {}),
        ):
            instruction = [name], [json.dumps(values)]
            value = gold(text, *instruction)
            assert 0 <= value <= 1
            assert (value == 1) == passed(text, *instruction)
            found.add((name, value == 1))
    assert len(found) == 6  # each kind was followed and not


@pytest.mark.parametrize("style", ["punctuation:no_comma", "keywords:existence"])
def test_collapsed_response_has_little_gold(style: str) -> None:
    # One word of eight, no comma: (1 + 1/8) / 2. Without the words to use: (0 + 1/8) / 2.
    kwargs = "{}" if style == "punctuation:no_comma" else '{"keywords": ["small", "quiet"]}'
    bound = '{"num_words": 8, "relation": "at least"}'
    value = gold("rivers", [style, "length_constraints:number_words"], [kwargs, bound])
    assert value == (0.5625 if style == "punctuation:no_comma" else 0.0625)


def test_response_passes_only_if_it_follows_all_instructions() -> None:
    twelve = "the river runs past my house and under the old stone bridge"
    assert passed(twelve, *NO_COMMA_12)
    assert not passed(f"{twelve}, slowly", *NO_COMMA_12)


@pytest.mark.parametrize("response", ["*list*", "rivers", "no no no", "."])
def test_collapsed_response_does_not_pass_a_lower_bound(response: str) -> None:
    assert not passed(response, *NO_COMMA_12)


@pytest.mark.parametrize("response", ["", "  ", "\n\t"])
def test_blank_response_has_no_gold(response: str) -> None:
    assert gold(response, ["punctuation:no_comma"], ["{}"]) == 0.0


def test_null_values_count_as_absent() -> None:
    assert gold("red", ["punctuation:no_comma"], ['{"num_words": null}']) == 1.0


def test_gold_of_a_prompt_without_instructions_is_refused() -> None:
    assert check_instructions([], []) == []
    with pytest.raises(InputError) as caught:
        gold("red", [], [])
    assert str(caught.value) == "instruction_ids is empty; expected a verifiable prompt"


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("punctuation:no_coma", "{}", "instruction 'punctuation:no_coma' is unknown; expected one"),
        (
            "length_constraints:number_sentences",
            "{}",
            "instruction 'length_constraints:number_sentences' needs NLTK's punkt data, which is "
            "downloaded apart; leave this instruction out",
        ),
        (
            "punctuation:no_comma",
            '{"num_words": 3}',
            "instruction 'punctuation:no_comma': kwargs are ['num_words']; expected []",
        ),
        (
            "length_constraints:number_words",
            '{"num_words": 3}',
            "instruction 'length_constraints:number_words': kwargs are ['num_words']; "
            "expected ['num_words', 'relation']",
        ),
        (
            "length_constraints:number_words",
            '{"num_words": true, "relation": "at least"}',
            "instruction 'length_constraints:number_words': num_words is True; "
            "expected a whole number ≥ 1",
        ),
        (
            "length_constraints:number_words",
            '{"num_words": 3, "relation": "at most"}',
            "instruction 'length_constraints:number_words': relation is 'at most'; "
            "expected 'less than' or 'at least'",
        ),
        (
            "keywords:existence",
            '{"keywords": ["c++"]}',
            "instruction 'keywords:existence': keywords is ['c++']; "
            "expected a list of words of letters, digits, spaces, ' and -",
        ),
        (
            "punctuation:no_comma",
            "no",
            "instruction 'punctuation:no_comma': kwargs are 'no'; expected a JSON object",
        ),
    ],
)
def test_wrong_instruction_is_one_line(name: str, kwargs: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_instructions([name], [kwargs])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_ids_without_as_many_values_are_refused() -> None:
    with pytest.raises(InputError, match=r"^instruction_kwargs has 0 values; expected one for"):
        check_instructions(["punctuation:no_comma"], [])


def test_module_loads_without_the_checkers() -> None:
    code = "import sys, mutual_taught.evaluation.gold; sys.exit('if_verifiable' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_gold_never_imports_ifbench() -> None:
    """In a process of its own, because the benchmark of that name imports it, without its data."""
    code = (
        "import sys; from mutual_taught.evaluation.gold import gold; "
        "assert gold('red', ['punctuation:no_comma'], ['{}']) == 1; "
        "print([name for name in sys.modules if name.startswith('if_verifiable.ifb')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("text", ["[" * 5_000, '{"a": ' * 5_000, "[" * 5_000 + "]" * 5_000])
def test_json_nested_too_deeply_to_be_read_follows_nothing_and_stops_nothing(text: str) -> None:
    assert gold(text, ["detectable_format:json_format"], ["{}"]) == 0.0
