"""A row becomes a prompt: what is read, and every reason by hand."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from mutual_taught.config.inputs import Columns
from mutual_taught.prepare import conversations
from mutual_taught.prepare.conversations import BadRowError, Prompt, read_prompt
from mutual_taught.terminal import signs

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi"}
RESPONSE = {"role": "assistant", "content": "Yes?"}
OTHER = {"role": "assistant", "content": "No!"}
TEXT = Columns(messages=None, prompt="prompt", chosen=None, rejected=None)
TURNS = Columns(messages="messages", prompt=None, chosen=None, rejected=None)
PAIRS = Columns(messages=None, prompt="prompt", chosen="chosen", rejected="rejected")
ONLY_PAIRS = Columns(messages="chosen", prompt=None, chosen="chosen", rejected="rejected")
DEEP: list[Any] = []
for _ in range(5_000):
    DEEP = [DEEP]


def prompt(row: Mapping[str, Any], columns: Columns = TEXT) -> Prompt:
    return read_prompt(row, columns, "p.jsonl")


def reason(row: Mapping[str, Any], columns: Columns = TEXT) -> str:
    with pytest.raises(BadRowError) as caught:
        prompt(row, columns)
    assert signs.excerpt(caught.value.text).isprintable()
    assert caught.value.reason in conversations.REASONS
    return caught.value.reason


def test_text_becomes_a_user_turn() -> None:
    found = prompt({"prompt": "Why?", "other": 1})
    assert found.messages == [{"role": "user", "content": "Why?"}]
    assert (found.source, found.instruction_ids, found.instruction_kwargs) == ("p.jsonl", [], [])


def test_conversation_is_kept_as_it_is() -> None:
    turns = [{"role": "system", "content": ""}, USER, RESPONSE, {"role": "user", "content": "  a "}]
    assert prompt({"messages": turns}, TURNS).messages == turns
    assert prompt({"messages": json.dumps(turns)}, TURNS).messages == turns


def test_keys_and_speakers_of_sharegpt_are_read() -> None:
    said = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Yes?"},
        {"from": "human", "value": "Hi"},
    ]
    assert prompt({"messages": said}, TURNS).messages == [SYSTEM, USER, RESPONSE, USER]
    both = {"role": None, "content": None}  # as columns of Parquet that hold both kinds have them
    mixed = [{**turn, **both} for turn in said[:3]] + [{**USER, "from": None, "value": None}]
    assert prompt({"messages": mixed}, TURNS).messages == [SYSTEM, USER, RESPONSE, USER]


@pytest.mark.parametrize("value", [None, 3, float("nan"), ["a"], b"a", DEEP])
def test_prompt_that_is_no_text(value: object) -> None:
    assert reason({"prompt": value}) == "not_text"


@pytest.mark.parametrize("value", [None, 3, "Hi", '{"role": "user"}', ["Hi"], [[USER]], "[" * 9999])
def test_conversation_that_is_no_list_of_turns(value: object) -> None:
    assert reason({"messages": value}, TURNS) == "not_turns"


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([], "no_turns"),
        ([USER, RESPONSE], "ends_in_assistant"),
        ([SYSTEM], "ends_in_system"),
        ([{"role": "tool", "content": "x"}], "unknown_role"),
        ([{"role": None, "content": "x"}], "unknown_role"),
        ([{"content": "x"}], "unknown_role"),
        ([{"from": "tool", "value": "x"}], "unknown_role"),
        ([{"role": ["user"], "content": "x"}], "unknown_role"),
        ([{"role": "user", "content": None}], "not_text"),
        ([{"role": "user"}], "not_text"),
        ([{"role": "user", "content": [{"type": "image"}]}], "not_text"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}, USER], "blank"),
    ],
)
def test_turns_that_make_no_prompt(turns: list[object], expected: str) -> None:
    assert reason({"messages": turns}, TURNS) == expected


@pytest.mark.parametrize("text", ["", " \n", "\u200b\u2060", "\xa0"])
def test_prompt_with_nothing_visible_is_blank(text: str) -> None:
    assert reason({"prompt": text}) == "blank"


@pytest.mark.parametrize("text", ["a cut \ud83d emoji", "\udc00"])
def test_half_a_character(text: str) -> None:
    assert reason({"prompt": text}) == "lone_surrogate"


@pytest.mark.parametrize("sign", ["\0", "\x1b", "\x07", "\x7f", "\x92", "\x1c"])
def test_control_sign(sign: str) -> None:
    assert reason({"prompt": f"a{sign}b"}) == "control_sign"


@pytest.mark.parametrize("sign", ["\t", "\n", "\r", "\v", "\f", "\x85", "\u2028", "\u200d", "😀"])
def test_white_space_and_signs_of_scripts_are_text(sign: str) -> None:
    assert prompt({"prompt": f"a{sign}b"}).messages[0]["content"] == f"a{sign}b"


NO_COMMA = "punctuation:no_comma"
WORDS = "length_constraints:number_words"
FIVE = {"num_words": 5, "relation": "at least"}


def test_instructions_are_read_as_json_text_or_as_objects_without_nulls() -> None:
    made = prompt(
        {
            "prompt": "a",
            "instruction_ids": [NO_COMMA, WORDS],
            "instruction_kwargs": ['{"x": null}', {**FIVE, "num_sections": None}],
        }
    )
    assert made.instruction_ids == [NO_COMMA, WORDS]
    assert made.instruction_kwargs == ['{"x": null}', '{"num_words": 5, "relation": "at least"}']


def test_names_of_ifevals_own_files_are_read() -> None:
    row = {"key": 1000, "prompt": "a", "instruction_id_list": [WORDS], "kwargs": [FIVE]}
    assert prompt(row).instruction_ids == [WORDS]
    assert prompt(row).instruction_kwargs == ['{"num_words": 5, "relation": "at least"}']


def test_instructions_of_csv_are_json_and_an_empty_cell_is_none() -> None:
    row = {"prompt": "a", "instruction_ids": f'["{NO_COMMA}"]', "instruction_kwargs": "[{}]"}
    assert prompt(row).instruction_kwargs == ["{}"]
    none = {"prompt": "a", "instruction_ids": "", "instruction_kwargs": ""}
    assert prompt(none).instruction_ids == []


def test_kwargs_without_instructions_are_someone_elses_column() -> None:
    assert prompt({"prompt": "a", "kwargs": {"temperature": 1}}).instruction_ids == []


@pytest.mark.parametrize(
    ("ids", "kwargs", "expected"),
    [
        (["nothing:such"], ["{}"], "bad_instructions"),
        ([NO_COMMA], [], "bad_instructions"),
        ([NO_COMMA], None, "bad_instructions"),
        ([], ["{}"], "bad_instructions"),
        (NO_COMMA, ["{}"], "bad_instructions"),
        (3, ["{}"], "bad_instructions"),
        ([3], ["{}"], "bad_instructions"),
        ([[NO_COMMA]], ["{}"], "bad_instructions"),
        ([NO_COMMA], [3], "bad_instructions"),
        ([NO_COMMA], ["[]"], "bad_instructions"),
        ([NO_COMMA], [{"a": DEEP}], "bad_instructions"),
        ([WORDS], [{"num_words": float("nan"), "relation": "at least"}], "bad_instructions"),
        ([WORDS], [{"num_words": 5, "relation": ["at least"]}], "bad_instructions"),
        (["startend:end_checker"], ['{"end_phrase": "\ud83d"}'], "lone_surrogate"),
        (["language:response_language"], [{"language": "de"}], "unsupported_instruction"),
    ],
)
def test_instructions_that_cannot_be_verified(ids: object, kwargs: object, expected: str) -> None:
    row = {"prompt": "a", "instruction_ids": ids, "instruction_kwargs": kwargs}
    assert reason(row) == expected


def test_responses_are_texts_or_conversations_that_end_in_them() -> None:
    for chosen, rejected in (
        ("Yes?", "No!"),
        ([RESPONSE], [OTHER]),
        ([USER, RESPONSE], [USER, OTHER]),
        (json.dumps([USER, RESPONSE]), json.dumps([USER, OTHER])),
    ):
        found = prompt({"prompt": "Hi", "chosen": chosen, "rejected": rejected}, PAIRS)
        assert (found.chosen, found.rejected) == ("Yes?", "No!")


def test_response_that_looks_like_json_is_a_text() -> None:
    row = {"prompt": "Hi", "chosen": '["a", "b"]', "rejected": "[]"}
    assert prompt(row, PAIRS).chosen == '["a", "b"]'
    assert prompt(row, PAIRS).rejected == "[]"
    row["rejected"] = '[{"name": "Wave", "role": "boat"}]'  # what a prompt may ask for
    assert prompt(row, PAIRS).rejected == row["rejected"]


def test_prompt_given_by_its_pair_alone_is_the_conversation_before_the_response() -> None:
    found = prompt(
        {"chosen": [SYSTEM, USER, RESPONSE], "rejected": [SYSTEM, USER, OTHER]}, ONLY_PAIRS
    )
    assert found.messages == [SYSTEM, USER]
    assert (found.chosen, found.rejected) == ("Yes?", "No!")
    assert found.prompt_id == prompt({"messages": [SYSTEM, USER]}, TURNS).prompt_id


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, "no_answer"),
        ("", "no_answer"),
        ("\u200b", "no_answer"),
        (3, "no_answer"),
        ([], "no_answer"),
        ([USER], "no_answer"),
        (["Yes?"], "no_answer"),
        ([USER, {"role": "assistant", "content": " "}], "no_answer"),
        ([USER, {"role": "assistant", "content": None}], "not_text"),
        ([{"role": "user", "content": "Ho"}, RESPONSE], "other_prompt"),
        ([SYSTEM, USER, RESPONSE], "other_prompt"),
        ("a\x1bb", "control_sign"),
        ("\ud83d", "lone_surrogate"),
        ([{"role": "user", "content": "\ud83d"}, RESPONSE], "lone_surrogate"),
    ],
)
def test_responses_that_are_none_or_anothers(chosen: object, expected: str) -> None:
    assert reason({"prompt": "Hi", "chosen": chosen, "rejected": "No!"}, PAIRS) == expected
    assert reason({"prompt": "Hi", "chosen": "Yes?", "rejected": chosen}, PAIRS) == expected


def test_white_space_makes_no_other_prompt() -> None:
    chosen = [{"role": "user", "content": " Hi\n"}, RESPONSE]
    assert prompt({"prompt": "Hi", "chosen": chosen, "rejected": "No!"}, PAIRS).chosen == "Yes?"


def test_excerpts_are_one_short_line_of_plain_signs() -> None:
    assert signs.excerpt("a\x1b[31m\ud83d\u202e b\n\nc") == r"a\x1b[31m\ud83d\u202e b c"
    assert signs.excerpt(DEEP) == "list"
    assert len(signs.excerpt("word " * 10_000)) == 80
