"""What two models' tokenizers and templates say of a prompt, each reason by hand."""

import functools
from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerFast

from mutual_taught.config.blocks import Tokens
from mutual_taught.errors import InputError
from mutual_taught.keys import prompt_id
from mutual_taught.models import chat
from mutual_taught.models.message import Message
from mutual_taught.prepare.base_models import CHATML, _tiny_tokenizer
from mutual_taught.prepare.conversations import REASONS, Prompt
from mutual_taught.prepare.screening import Screen, screen

# Turns take turns, there is no system role, and marks are text that is no token.
STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must take turns') }}{% endif %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %}{{ m['content'] }}</s>{% endif %}{% endfor %}"
)
NAMED = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}\n{{ m['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def room(prompt_tokens: int, length: int) -> Tokens:
    return Tokens(max_prompt_tokens=prompt_tokens, max_length=length, date=None)


LIMITS = room(100, 200)
USER: Message = {"role": "user", "content": "Hi"}
SYSTEM: Message = {"role": "system", "content": "Be brief."}


@functools.cache
def tokenizer(template: str) -> PreTrainedTokenizerFast:
    made = _tiny_tokenizer()
    made.chat_template = template
    return made


def look(
    policy: str = CHATML, reward_model: str = CHATML, longest: int = 8, limits: Tokens = LIMITS
) -> Screen:
    return screen(tokenizer(policy), tokenizer(reward_model), limits, longest)


def asked(
    *messages: Message | str, chosen: str | None = None, rejected: str | None = None
) -> Prompt:
    turns: Sequence[Message] = [
        {"role": "user", "content": turn} if isinstance(turn, str) else turn for turn in messages
    ]
    return Prompt(prompt_id(turns), list(turns), "p.jsonl", [], [], chosen, rejected)


def test_prompt_that_both_models_can_read_has_no_reason() -> None:
    assert look().reason(asked("Hi", chosen="Yes", rejected="No")) == ""


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|pad|>"])
def test_special_token_of_a_model_in_a_turn_or_a_response(token: str) -> None:
    for prompt in (
        asked(f"Say {token} now"),
        asked("Hi", chosen=token, rejected="No"),
        asked("Hi", chosen="Yes", rejected=f"No{token}"),
        asked({"role": "system", "content": token}, "Hi"),
    ):
        assert look().reason(prompt) == "special_token"


@pytest.mark.parametrize("mark", ["[INST]", "[/INST]", "</s>"])
def test_mark_that_a_template_writes_counts_though_it_is_no_special_token(mark: str) -> None:
    assert look(STRICT, CHATML).reason(asked(f"Say {mark} now")) == "special_token"
    assert look(CHATML, STRICT).reason(asked(f"Say {mark} now")) == "special_token"


@pytest.mark.parametrize("mark", ["<|user|>", "<|system|>", "<|assistant|>"])
def test_mark_that_a_template_puts_together_counts(mark: str) -> None:
    assert look(NAMED).reason(asked(f"Say {mark} now")) == "special_token"


@pytest.mark.parametrize("text", ["<s>text</s>", "[INST]", "<|eot_id|>", "a <b> c", "im_end"])
def test_marks_of_other_models_are_text(text: str) -> None:
    assert look().reason(asked(f"What is {text} in HTML?")) == ""


@pytest.mark.parametrize(
    "messages", [(SYSTEM, USER), (USER, USER), ({"role": "assistant", "content": "Yes?"}, USER)]
)
def test_turns_that_either_template_refuses(messages: tuple[Message, ...]) -> None:
    assert look(CHATML, CHATML).reason(asked(*messages)) == ""
    assert look(STRICT, CHATML).reason(asked(*messages)) == "template_refuses"
    assert look(CHATML, STRICT).reason(asked(*messages)) == "template_refuses"


def test_prompt_may_have_as_many_tokens_as_the_limit_and_not_one_more() -> None:
    prompt = asked("a b c d e f g")
    size = len(chat.prompt_tokens(tokenizer(CHATML), prompt.messages, "p"))
    for limit, reason in ((size, ""), (size - 1, "too_long")):
        limits = room(limit, 200)
        assert look(limits=limits).reason(prompt) == reason


def test_reward_model_has_room_for_the_longest_response_and_the_end_of_the_template() -> None:
    wordy = CHATML.replace("<|im_end|>\n", "<|im_end|>\n" + "-" * 40)
    prompt = asked("Hi")
    size = len(chat.scored_tokens(tokenizer(wordy), prompt.messages, "Yes"))
    for longest, reason in ((200 - size, ""), (201 - size, "too_long_for_reward_model")):
        assert look(CHATML, wordy, longest).reason(prompt) == reason
        assert look(CHATML, CHATML, longest).reason(prompt) == ""


def test_given_response_fits_both_models_or_its_row_is_dropped() -> None:
    long = "word " * 60
    for prompt in (
        asked("Hi", chosen=long, rejected="No"),
        asked("Hi", chosen="No", rejected=long),
    ):
        size = len(chat.scored_tokens(tokenizer(CHATML), prompt.messages, long))
        for limit, reason in ((size, ""), (size - 3, "answer_too_long")):
            limits = room(100, limit)
            assert look(limits=limits).reason(prompt) == reason


def test_tokenizer_without_a_template_is_one_line() -> None:
    with pytest.raises(InputError, match="has no chat template"):
        look("", CHATML)
    with pytest.raises(InputError, match="has no chat template"):
        look(CHATML, "")


def test_template_that_writes_todays_date_is_one_line() -> None:
    dated = "{{ strftime_now('%d %b %Y') }}" + CHATML
    for templates in ((dated, CHATML), (CHATML, dated)):
        with pytest.raises(InputError, match=r"writes today's date; .*; set tokens.date$"):
            look(*templates)


def test_every_reason_has_its_word() -> None:
    words = {
        "special_token",
        "template_refuses",
        "too_long",
        "too_long_for_reward_model",
        "answer_too_long",
    }
    assert words <= set(REASONS)
