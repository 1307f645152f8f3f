"""Conversations as tokens: given responses, dates, parts, and special tokens that are spelt out."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.utils import chat_template_utils

from mutual_taught.errors import InputError
from mutual_taught.models import chat, dates
from tests.families import FAMILIES, tokenizer

UNDATED = [name for name in FAMILIES if name != "dated"]


@pytest.mark.parametrize(
    ("family", "given_as"),
    [
        ("chatml", "Great Wave.<|im_end|>"),
        ("gemma", "Great Wave.<end_of_turn>"),
        ("phi", "Great Wave.<|end|>"),
        ("mistral", " Great Wave.</s>"),
        ("qwen", "<think>\n\n</think>\n\nGreat Wave.<|im_end|>"),
        ("llama", "Great Wave.<|eot_id|>"),
        ("parts", "Great Wave.<|im_end|>"),
    ],
)
def test_given_response_is_what_the_template_makes_of_it(family: str, given_as: str) -> None:
    one = tokenizer(family)
    for messages in (chat.QUESTION, chat.TURNS):
        response = chat.response_tokens(one, "Great Wave.", messages)
        assert one.decode(response) == given_as
        prompt = chat.prompt_tokens(one, messages, "p")
        whole = chat.scored_tokens(one, messages, "Great Wave.")
        assert whole[: len(prompt) + len(response)] == prompt + response


@pytest.mark.parametrize("family", UNDATED)
@pytest.mark.parametrize("text", ["", "Yes.{eos}No.", "{end}{end}", " \n"])
def test_given_response_has_one_end_whatever_its_text_spells_out(family: str, text: str) -> None:
    one = tokenizer(family)
    end = chat.response_tokens(one, "Great Wave.")[-1]
    spelt = text.format(eos=one.eos_token, end=one.convert_ids_to_tokens(end))
    response = chat.response_tokens(one, spelt)
    assert response[-1] == end
    assert end not in response[:-1]


def test_response_whose_template_ends_a_turn_in_no_token_ends_in_eos() -> None:
    one = tokenizer("chatml", "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}")
    response = chat.response_tokens(one, "Great Wave.")
    assert one.decode(response) == "[assistant] Great Wave.\n<|im_end|>"


def test_token_that_spans_prompt_and_response_is_not_the_responses() -> None:
    # "Wave" is one token; the template ends the prompt in "W" and the response is "ave".
    one = tokenizer(
        "chatml",
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }} W{% else %}"
        "{{ m.content }}<|im_end|>{% endif %}{% endfor %}",
    )
    response = chat.response_tokens(one, "ave")
    assert one.decode(response) == "ave<|im_end|>"
    prompt = chat.prompt_tokens(one, chat.QUESTION, "p")
    assert chat.scored_tokens(one, chat.QUESTION, "ave")[: len(prompt)] != prompt


def test_template_that_changes_a_prompt_when_its_response_follows_is_one_line() -> None:
    one = tokenizer("chatml", "{{ messages | length }}" + FAMILIES["chatml"].template)
    with pytest.raises(InputError, match="renders a prompt otherwise when an answer follows"):
        chat.response_tokens(one, "Great Wave.")


def test_template_that_shows_contents_as_parts_reads_the_same_as_one_of_texts() -> None:
    parts, texts = tokenizer("parts"), tokenizer("chatml")
    for messages in (chat.QUESTION, chat.TURNS):
        assert chat.render(parts, messages, True) == chat.render(texts, messages, True)
        assert chat.scored_tokens(parts, messages, "No") == chat.scored_tokens(
            texts, messages, "No"
        )


@pytest.mark.parametrize("hidden", ["user", "system"])
def test_template_that_leaves_out_a_turn_is_one_line(hidden: str) -> None:
    one = tokenizer(
        "chatml",
        "{% for m in messages %}{% if m.role != '" + hidden + "' %}{{ m.content }}"
        "{% endif %}{% endfor %}",
    )
    messages: Any = [{"role": "system", "content": "Be brief."}, *chat.QUESTION]
    with pytest.raises(InputError) as caught:
        chat.prompt_tokens(one, messages, "p")
    assert str(caught.value) == (
        f": its chat template leaves out a turn of {hidden!r}; expected one that shows every "
        "turn; mend chat_template"
    )


def test_template_may_trim_and_change_what_is_no_letter() -> None:
    one = tokenizer(
        "chatml", "{% for m in messages %}{{ m.content | trim | replace('\n', ' ') }}{% endfor %}"
    )
    messages: Any = [{"role": "user", "content": " One.\nTwo.\n"}]
    assert chat.render(one, messages, True) == "One. Two."


def test_template_that_writes_todays_date_is_one_line() -> None:
    for read in (chat.prompt_tokens, chat.scored_tokens):
        with pytest.raises(InputError) as caught:
            read(tokenizer("dated"), chat.QUESTION, "p")
        assert str(caught.value) == (
            ": its chat template writes today's date; expected the same text every day; set "
            "tokens.date"
        )


@pytest.mark.parametrize("form", ["%d", "%B", "%Y", "%A", "%H:%M", "%p", "%j", "%W", "%S"])
def test_template_that_writes_any_part_of_the_time_is_refused(form: str) -> None:
    one = tokenizer("chatml", "{{ strftime_now('" + form + "') }}" + FAMILIES["chatml"].template)
    with pytest.raises(InputError, match=r"writes today's date; .* set tokens\.date"):
        chat.prompt_tokens(one, chat.QUESTION, "p")


def test_template_that_writes_the_date_only_without_a_system_turn_reads_one_with_it() -> None:
    one = tokenizer(
        "chatml",
        "{% if messages[0].role != 'system' %}{{ strftime_now('%Y') }}{% endif %}"
        + FAMILIES["chatml"].template,
    )
    messages: Any = [{"role": "system", "content": "Be brief."}, *chat.QUESTION]
    assert "Be brief." in chat.render(one, messages, True)
    with pytest.raises(InputError, match="writes today's date"):
        chat.render(one, chat.QUESTION, True)


def test_pinned_template_writes_its_date_on_any_day(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tokenizer("dated")
    one.chat_template = dates.pinned(str(one.chat_template), "2026-01-09")
    found = set()
    for day in (datetime(1999, 12, 31, 23, 59), datetime(2030, 7, 1)):

        class Clock(datetime):
            """A clock that stands."""

            @classmethod
            def now(cls, tz: Any = None, day: datetime = day) -> Any:
                return day

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)
        found.add(chat.render(one, chat.QUESTION, True))
        plain = one.apply_chat_template(  # as others render it
            [dict(turn) for turn in chat.QUESTION], add_generation_prompt=True, tokenize=False
        )
        found.add(str(plain))
    [text] = found
    assert "Today is 9 January 2026.<|eot_id|>" in text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ strftime_now('%d %b %Y, %A %j, 100%% %%d') }}", "09 Jan 2026, Friday 009, 100% %d"),
        ("{% if strftime_now is defined %}{{ strftime_now('%Y-%m-%d') }}{% endif %}", "2026-01-09"),
        ("{% macro m() %}{{ strftime_now('%y') }}{% endmacro %}{{ m() }}", "26"),
        (
            "{% if date_string is not defined %}{% set date_string = '26 Jul 2024' %}{% endif %}"
            "{{ date_string }}",
            "09 Jan 2026",
        ),
        ("\n  a\n{{ strftime_now('%H:%M') }}", "\n  a\n00:00"),
    ],
)
def test_every_way_to_ask_for_the_date_is_pinned(template: str, text: str) -> None:
    render = chat_template_utils.render_jinja_template
    [found], _ = render([[{"role": "user"}]], chat_template=dates.pinned(template, "2026-01-09"))
    assert found == text


def test_pinned_template_is_not_pinned_again() -> None:
    once = dates.pinned("{{ strftime_now('%Y') }}{{ date_string }}", "2026-01-09")
    assert not dates.takes_date(once)


SIGNS = st.text(alphabet=" ab<|>_-\u00a0", min_size=1, max_size=4)


@given(st.lists(SIGNS, min_size=1, max_size=6), st.text(alphabet=" ab<|>_-\u00a0", max_size=30))
def test_no_special_token_is_left_whatever_the_special_tokens_are(
    specials: list[str], text: str
) -> None:
    one = tokenizer("chatml")
    one.add_special_tokens({"additional_special_tokens": specials})
    found = chat.plain(one, text)
    assert not [special for special in specials if special in found]


def test_special_token_that_begins_with_a_blank_is_broken_up() -> None:
    one = tokenizer("chatml")
    one.add_special_tokens({"additional_special_tokens": [" x", "\u2581y"]})
    # No special token has a hyphen.
    assert chat.plain(one, "a x \u2581y") == "a -x \u2581-y"


def test_special_token_added_later_is_seen() -> None:
    one = tokenizer("chatml")
    assert chat.plain(one, "<new>") == "<new>"
    one.add_special_tokens({"additional_special_tokens": ["<new>"]})
    assert chat.plain(one, "<new>") == "< new>"


def test_texts_are_not_tidied() -> None:
    one = tokenizer("chatml")
    one.clean_up_tokenization_spaces = True
    one.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    ids = one("Yes , it is n't .<|im_end|>", add_special_tokens=False)["input_ids"]
    assert chat.texts(one, [ids]) == ["Yes , it is n't ."]
