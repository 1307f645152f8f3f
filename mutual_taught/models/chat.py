"""The one place where a conversation becomes tokens, and tokens become text."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from mutual_taught.errors import InputError, RefusedError
from mutual_taught.models.dates import reads_clock
from mutual_taught.models.message import Message

QUESTION: list[Message] = [{"role": "user", "content": "What is a good name for a small boat?"}]
TURNS: list[Message] = [
    *QUESTION,
    {"role": "assistant", "content": "Little Wave."},
    {"role": "user", "content": "And for a large one?"},
]
RESPONSE = "Great Wave."
DAYS = (datetime(2001, 2, 3, 4, 5, 6), datetime(2042, 11, 19, 17, 38, 49))  # nothing in common
MESSAGE = 160  # signs of a template's own error that a line shows


class Special(NamedTuple):
    """A tokenizer's special tokens: what finds one in a text, a sign that none has, their ids."""

    pattern: re.Pattern[str]
    apart: str
    ids: frozenset[int]


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], prompt_id: str
) -> list[int]:
    """Render a conversation for its next response.

    Args:
        tokenizer: the policy's.
        messages: the conversation, ending with a user turn.
        prompt_id: for messages.

    Returns:
        Token ids up to and including the header of the assistant's turn.

    Raises:
        InputError: the text holds a special token of this tokenizer, or the template refuses the
            conversation, leaves a turn out, or writes today's date.
    """
    pattern = _special(tokenizer).pattern
    for message in messages:
        if found := pattern.search(message["content"]):
            raise InputError(
                f"prompt {prompt_id}: holds the special token {found.group()!r}; "
                "expected plain text; remove or rewrite it in the source"
            )
    return _ids(tokenizer, render(tokenizer, messages, add_generation_prompt=True))


def scored_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str
) -> list[int]:
    """Render a conversation with its response, as a reward model reads it.

    A special token spelt out in the response's text is broken up by a sign after its first
    character: text that a policy made must not end its own turn.

    Args:
        tokenizer: the reward model's.
        messages: the conversation, ending with a user turn.
        response: the response's text.

    Returns:
        Token ids of the whole conversation by the reward model's own template.
    """
    return _ids(tokenizer, _with_response(tokenizer, messages, response))


def response_tokens(
    tokenizer: PreTrainedTokenizerBase, response: str, messages: Sequence[Message] = QUESTION
) -> list[int]:
    """Tokenise a response that was not drawn as if it had been, from the rendered conversation.

    What the template adds between the prompt and the response (a space, an empty thinking block) is
    the response's; so is the token that ends its turn, and nothing after it. Special tokens spelt
    out in the text are broken up, as in `scored_tokens`.

    Args:
        tokenizer: the policy's.
        response: the response's text.
        messages: the conversation, ending with a user turn.

    Returns:
        Token ids that follow those of `prompt_tokens`.

    Raises:
        InputError: the template renders the prompt otherwise when its response follows.
    """
    asked = render(tokenizer, messages, add_generation_prompt=True)
    whole = _with_response(tokenizer, messages, response)
    if not whole.startswith(asked):
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template renders a prompt otherwise when an "
            "answer follows; expected the same beginning; mend chat_template"
        )
    prompt, tokens = _ids(tokenizer, asked), _ids(tokenizer, whole)
    if tokens[: len(prompt)] == prompt:
        rest = tokens[len(prompt) :]
    else:  # a token spans the border, which no policy could draw after its prompt
        rest = _ids(tokenizer, whole[len(asked) :])
    specials = _special(tokenizer).ids
    places = [place for place, token in enumerate(rest) if token in specials]
    after = _after_response(tokenizer, template_of(tokenizer))
    if not after or len(places) < after:
        return [*rest, int(tokenizer.eos_token_id)]
    return rest[: places[-after] + 1]


def texts(tokenizer: PreTrainedTokenizerBase, responses: Sequence[Sequence[int]]) -> list[str]:
    """Give the texts of drawn tokens as they stand: special tokens left out, nothing tidied."""
    found = tokenizer.batch_decode(
        list(map(list, responses)), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return list(map(str, found))


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], add_generation_prompt: bool
) -> str:
    """Write a conversation by a tokenizer's template, with contents in the form it reads.

    Raises:
        InputError: there is no template, or it refuses the conversation, leaves a user's or the
            system's turn out, or writes today's date.
    """
    template = template_of(tokenizer)
    turns = _turns(messages, _reads_parts(tokenizer, template))
    days = DAYS if reads_clock(template) else DAYS[:1]
    found = {_write(tokenizer, turns, add_generation_prompt, day) for day in days}
    if len(found) > 1:
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template writes today's date; expected the same "
            "text every day; set tokens.date"
        )
    [text] = found
    for message in messages:
        if message["role"] != "assistant" and not _shows(text, message["content"]):
            raise InputError(
                f"{tokenizer.name_or_path}: its chat template leaves out a turn of "
                f"{message['role']!r}; expected one that shows every turn; mend chat_template"
            )
    return text


def plain(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Break up the special tokens that are spelt out in a text.

    A sign that no special token has goes after the first character of each, or in place of one
    that is a single character. Every round leaves fewer neighbours that a special token could
    hold, so it ends, whatever the special tokens are.
    """
    pattern, apart, _ = _special(tokenizer)

    def broken(match: re.Match[str]) -> str:
        special = match.group()
        return f"{special[0]}{apart}{special[1:]}" if len(special) > 1 else apart

    while pattern.search(text):
        text = pattern.sub(broken, text)
    return text


def template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Give the chat template that conversations are rendered by.

    Raises:
        InputError: there is none, or several and none is called default.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: its tokenizer has no chat template; "
            "expected one; use an instruction-tuned model"
        )
    if isinstance(tokenizer.chat_template, str):
        return tokenizer.chat_template
    if "default" not in tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: its chat templates are "
            f"{', '.join(sorted(tokenizer.chat_template))}; expected one called default; write the "
            "one to use into chat_template.jinja"
        )
    return str(tokenizer.chat_template["default"])


def _with_response(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str
) -> str:
    turns: list[Message] = [
        *messages,
        {"role": "assistant", "content": plain(tokenizer, response)},
    ]
    return render(tokenizer, turns, add_generation_prompt=False)


def _turns(messages: Sequence[Message], parts: bool) -> list[dict[str, Any]]:
    if not parts:
        return [dict(message) for message in messages]
    return [
        {"role": message["role"], "content": [{"type": "text", "text": message["content"]}]}
        for message in messages
    ]


def _write(
    tokenizer: PreTrainedTokenizerBase,
    turns: list[dict[str, Any]],
    add_generation_prompt: bool,
    day: datetime,
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                turns,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
                strftime_now=day.strftime,
            )
        )
    except Exception as error:  # a template is a program: it can fail in every way
        roles = ", ".join(turn["role"] for turn in turns)
        raise RefusedError(
            f"{tokenizer.name_or_path}: its chat template refuses a conversation of {roles} "
            f"({' '.join(str(error).split())[:MESSAGE]}); expected one that renders it; mend "
            "chat_template, or the prompts"
        ) from None


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _shows(text: str, content: str) -> bool:
    """Look for a turn in a rendered conversation; a template may trim it, or write it otherwise."""
    return content.strip() in text or _letters(content) in _letters(text)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@lru_cache(maxsize=16)
def _reads_parts(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Say whether a template shows contents only as lists of parts, as models that see have them.

    Args:
        tokenizer: which writes it.
        template: its own; here because another may be set.
    """
    for messages in (TURNS, QUESTION):  # some refuse a second turn
        shown = [_reads(tokenizer, messages, parts) for parts in (False, True)]
        if any(shown):
            return not shown[0]
    return False


def _reads(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], parts: bool) -> bool:
    try:
        text = _write(tokenizer, _turns(messages, parts), True, DAYS[0])
    except InputError:
        return False
    whole = all(message["content"] in text for message in messages)
    return whole and "'type'" not in text  # or the list is written as Python writes it


@lru_cache(maxsize=16)
def _after_response(tokenizer: PreTrainedTokenizerBase, template: str) -> int:
    """Count the special tokens that a template writes after a response; the first ends its turn."""
    whole = _with_response(tokenizer, QUESTION, RESPONSE)
    if RESPONSE not in whole:
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template does not show the answer {RESPONSE!r}; "
            "expected one that writes answers as they are; mend chat_template"
        )
    tail = whole[whole.rindex(RESPONSE) + len(RESPONSE) :]
    return sum(token in _special(tokenizer).ids for token in _ids(tokenizer, tail))


def _special(tokenizer: PreTrainedTokenizerBase) -> Special:
    return _compiled(tokenizer, len(tokenizer), tuple(tokenizer.all_special_tokens))


@lru_cache(maxsize=16)
def _compiled(tokenizer: PreTrainedTokenizerBase, count: int, named: tuple[str, ...]) -> Special:
    """Compile what finds special tokens, the longest first; made anew when tokens are added."""
    added = tokenizer.added_tokens_decoder
    ids = {number for number, token in added.items() if token.special}
    texts = ({added[number].content for number in ids} | set(named)) - {""}
    ordered = sorted(texts, key=lambda text: (-len(text), text))
    used = set("".join(texts))
    apart = next(sign for sign in chain(" -_", map(chr, range(0xA1, 0x10FFFF))) if sign not in used)
    pattern = re.compile("|".join(map(re.escape, ordered)) or "(?!)")
    return Special(pattern, apart, frozenset(ids | set(tokenizer.all_special_ids)))
