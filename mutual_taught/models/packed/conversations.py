"""A prompt with its responses becomes a group of token sequences, as a reward model reads them."""

import sys
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from mutual_taught.artifacts.schemas import REFUSED, TOO_LONG
from mutual_taught.errors import InputError, RefusedError
from mutual_taught.models.chat import scored_tokens
from mutual_taught.models.message import Message
from mutual_taught.models.packed.rows import Group, Tokens, read_until, share_prefix


class Asked(NamedTuple):
    """A prompt, and the responses to it that are to be scored."""

    prompt_id: str
    messages: Sequence[Message]
    responses: Sequence[str]


class Fitting(NamedTuple):
    """What of a prompt's responses fits the reward model: the others are not scored.

    group: a branch for each response that is scored, in order; None if none is.
    reasons: why one is not, empty if it is; one a response.
    """

    group: Group | None
    reasons: list[str]


def fit_responses(tokenizer: PreTrainedTokenizerBase, asked: Asked, max_length: int) -> Fitting:
    """Render a prompt with each of its responses; what they begin with is kept once.

    A response fits if the whole conversation, as the template ends it, has at most `max_length`
    tokens. Nothing is cut: what does not fit has no reward. Neither has what the template refuses:
    some do so with a response without any text.

    Args:
        tokenizer: the reward model's.
        asked: the prompt, with at least one response.
        max_length: tokens a conversation with its response may have.
    """
    kept, reasons = [], []
    for text in asked.responses:
        try:
            tokens = scored_tokens(tokenizer, asked.messages, text)
        except RefusedError:
            reasons.append(REFUSED)
            continue
        fits = len(tokens) <= max_length
        reasons.append("" if fits else TOO_LONG)
        kept += [tokens] * fits
    return Fitting(_together(tokenizer, kept) if kept else None, reasons)


def tokenise(
    tokenizer: PreTrainedTokenizerBase, asked: Asked, max_length: int = sys.maxsize
) -> Group:
    """Render a prompt with responses that all fit: see `fitting`.

    Raises:
        InputError: one does not.
    """
    group, reasons = fit_responses(tokenizer, asked, max_length)
    if group is None or any(reasons):
        raise InputError(
            f"prompt {asked.prompt_id}: an answer is {max(reasons)}; expected a conversation that "
            f"the template renders, in at most {max_length} tokens"
        )
    return group


def _together(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Tokens]) -> Group:
    # 4 bytes a token, where a list takes about 36: a stage holds those of all its responses.
    return share_prefix(
        [array("i", read_until(tokens, tokenizer.pad_token_id)) for tokens in sequences]
    )
