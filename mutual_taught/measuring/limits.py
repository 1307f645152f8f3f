"""How long a conversation may be for one model."""

from pathlib import Path

from transformers import AutoConfig

from mutual_taught.checks.folder_checks import positions
from mutual_taught.config.blocks import Tokens
from mutual_taught.errors import InputError
from mutual_taught.measuring.settings import Terms
from mutual_taught.models.folders import load


def within(folder: Path, terms: Terms) -> Terms:
    """Give the terms with the limits that a model has: see `fitted`."""
    tokens = fitted(folder, terms.drawing.tokens)
    return terms._replace(drawing=terms.drawing._replace(tokens=tokens))


def fitted(folder: Path, tokens: Tokens) -> Tokens:
    """Shorten the longest conversation to the positions that a model has.

    What max_length has over max_prompt_tokens is the room of a response, and stays.

    Raises:
        InputError: no room is left for a prompt.
    """
    check = positions(load(AutoConfig, folder), tokens.max_length)
    if not check.fault:
        return tokens
    longest, response = int(check.found), tokens.max_length - tokens.max_prompt_tokens
    if longest <= response:
        raise InputError(
            f"{folder}: has {longest} positions, and an answer {response} tokens; expected room "
            "for a prompt; lower --max-new-tokens"
        )
    return Tokens(max_prompt_tokens=longest - response, max_length=longest, date=tokens.date)
