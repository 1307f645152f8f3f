"""The one place where a conversation becomes tokens."""

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from mutual_taught.errors import InputError
from mutual_taught.keys import Message


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], prompt_id: str
) -> list[int]:
    """Render a conversation for its next answer.

    Args:
        tokenizer: the policy's.
        messages: the conversation, ending with a user turn.
        prompt_id: for messages.

    Returns:
        Token ids up to and including the header of the assistant's turn.

    Raises:
        InputError: the text holds a special token of this tokenizer.
    """
    for message in messages:
        if special := _special_in(tokenizer, message["content"]):
            raise InputError(
                f"prompt {prompt_id}: holds the special token {special!r}; "
                "expected plain text; remove or rewrite it in the source"
            )
    return _tokens(tokenizer, messages, add_generation_prompt=True)


def answer_tokens(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """Tokenise an answer that was not drawn as if it had been: its text, then the end token.

    Args:
        tokenizer: the policy's.
        response: the answer's text, without special tokens.
    """
    text = _plain(tokenizer, response)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*map(int, ids), int(tokenizer.eos_token_id)]


def scored_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str
) -> list[int]:
    """Render a conversation with its answer, as a reward model reads it.

    A special token spelt out in the answer's text is broken up by a space after its first
    character: text that a policy made must not end its own turn.

    Args:
        tokenizer: the reward model's.
        messages: the conversation, ending with a user turn.
        response: the answer's text.

    Returns:
        Token ids of the whole conversation by the reward model's own template.
    """
    turns = [*messages, {"role": "assistant", "content": _plain(tokenizer, response)}]
    return _tokens(tokenizer, turns, add_generation_prompt=False)


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    while special := _special_in(tokenizer, text):
        broken = f"{special[0]} {special[1:]}" if len(special) > 1 else " "
        text = text.replace(special, broken)
    return text


def _tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], add_generation_prompt: bool
) -> list[int]:
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: its tokenizer has no chat template; "
            "expected one; use an instruction-tuned model"
        )
    try:
        rendered = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=True,
        )  # fmt: skip
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template refuses a conversation of {roles} "
            f"({' '.join(str(error).split())[:160]}); expected one that renders it; mend "
            "chat_template, or the prompts"
        ) from None
    return [int(token) for token in rendered["input_ids"]]


def _special_in(tokenizer: PreTrainedTokenizerBase, text: str) -> str | None:
    for special in _specials(tokenizer):
        if special in text:
            return special
    return None


def _specials(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return sorted({*added, *tokenizer.all_special_tokens} - {""}, key=len, reverse=True)
