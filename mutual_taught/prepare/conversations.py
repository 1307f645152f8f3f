"""A row of the user's becomes a prompt, or one reason why it cannot be one."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mutual_taught.artifacts.texts import is_blank_text
from mutual_taught.config.inputs import Columns
from mutual_taught.errors import InputError
from mutual_taught.evaluation import gold
from mutual_taught.keys import prompt_id
from mutual_taught.models.message import Message

ROLES = ("system", "user", "assistant")
SPEAKERS = {"human": "user", "gpt": "assistant"}  # ShareGPT's words
INSTRUCTIONS = (("instruction_ids", "instruction_kwargs"), ("instruction_id_list", "kwargs"))
INSTRUCTION_COLUMNS = tuple(name for names in INSTRUCTIONS for name in names)
LONE = re.compile("[\ud800-\udfff]")
# All of Unicode's control signs but those that a text has as white space: tab to carriage return,
# and next line.
SIGN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")

# Why a row is dropped, and what its owner can do.
REASONS: Mapping[str, str] = {
    "not_utf8": "not UTF-8; save the file so",
    "not_json": "not JSON, or nested too deeply",
    "not_object": "no JSON object; write one a line",
    "not_csv": "not CSV; double a quote inside a cell",
    "wrong_cells": "more or fewer cells than the header; quote cells with commas",
    "missing_column": "lacks a column of data.columns",
    "not_text": "no text where text is expected",
    "not_turns": "no list of turns with role and content, or from and value",
    "no_turns": "a conversation without turns",
    "unknown_role": "a role other than system, user, assistant, human, gpt",
    "blank": "nothing visible in a turn",
    "ends_in_assistant": "ends in an assistant turn; cut it",
    "ends_in_system": "ends in a system turn; add a user turn",
    "lone_surrogate": "half of a character, such as a cut emoji",
    "control_sign": "a control sign, such as NUL or ESC",
    "bad_instructions": "instructions that are unknown, or without their values",
    "unsupported_instruction": "an instruction that cannot be verified here; leave it out",
    "no_answer": "chosen or rejected is no text and no conversation that ends in an answer",
    "other_prompt": "chosen or rejected answers another conversation",
    "special_token": "text that either model takes for a special token or a mark of its template",
    "template_refuses": "a chat template refuses its turns",
    "too_long": "more than tokens.max_prompt_tokens for the policy",
    "too_long_for_reward_model": "leaves no room for an answer in tokens.max_length",
    "answer_too_long": "chosen or rejected goes over tokens.max_length",
    "duplicate": "the same as an earlier prompt, white space apart",
}


class Prompt(NamedTuple):
    """A conversation to be answered, and what can be verified of its response."""

    prompt_id: str
    messages: list[Message]
    source: str
    instruction_ids: list[str]
    instruction_kwargs: list[str]
    chosen: str | None = None
    rejected: str | None = None


class BadRowError(Exception):
    """A row that cannot be a prompt: why, and the text that shows it."""

    def __init__(self, reason: str, text: object) -> None:
        super().__init__(reason)
        self.reason, self.text = reason, text


def read_prompt(row: Mapping[str, Any], columns: Columns, source: str) -> Prompt:
    """Read a row as a prompt.

    The prompt is a text, or a conversation of {role, content} or {from, value} that ends in a user
    turn. If `columns.messages` is `columns.chosen`, it is that conversation without its last
    response. Responses are texts, or conversations whose last turn is the response and whose
    others, if there are any, are the prompt's.

    Raises:
        BadRowError: with a reason of `REASONS`.
    """
    if columns.messages is None:
        messages = _checked([{"role": "user", "content": _text(row[columns.prompt or ""])}])
    else:
        turns = _turns(row[columns.messages])
        if columns.messages == columns.chosen:
            turns, _ = _split(turns)
        messages = _checked(turns)
    _require_last_user(messages)
    chosen, rejected = (
        _response(row[name], messages) if name else None
        for name in (columns.chosen, columns.rejected)
    )
    ids, kwargs = _instructions(row)
    return Prompt(prompt_id(messages), messages, source, ids, kwargs, chosen, rejected)


def needed(columns: Columns) -> list[str]:
    """Name the columns that a row must have."""
    named = (columns.messages, columns.prompt, columns.chosen, columns.rejected)
    return [name for name in named if name is not None]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadRowError("not_text", value)
    return value


def _turns(value: Any) -> list[Message]:
    listed = _parsed(value) if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(turn, dict) for turn in listed):
        raise BadRowError("not_turns", value)
    return [_turn(turn) for turn in listed]


def _parsed(text: str) -> Any:
    """Read JSON text, or None: conversations in CSV are written so."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_turn(turn: Mapping[str, Any]) -> bool:
    return {"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys()


def _turn(turn: Mapping[str, Any]) -> Message:
    sharegpt = "from" in turn and turn.get("role") is None  # null where columns hold both kinds
    names = ("from", "value") if sharegpt else ("role", "content")
    role, content = (turn.get(name) for name in names)
    if not isinstance(role, str) or SPEAKERS.get(role, role) not in ROLES:
        raise BadRowError("unknown_role", role)
    return {"role": SPEAKERS.get(role, role), "content": _text(content)}


def _checked(messages: list[Message]) -> list[Message]:
    for message in messages:
        _check_signs(message["content"])
        if message["role"] != "system" and is_blank_text(message["content"]):
            raise BadRowError("blank", message["content"])
    return messages


def _check_signs(text: str) -> None:
    if LONE.search(text):
        raise BadRowError("lone_surrogate", text)
    if SIGN.search(text):
        raise BadRowError("control_sign", text)


def _require_last_user(messages: Sequence[Message]) -> None:
    if not messages:
        raise BadRowError("no_turns", "[]")
    if messages[-1]["role"] != "user":
        raise BadRowError(f"ends_in_{messages[-1]['role']}", messages[-1]["content"])


def _split(turns: list[Message]) -> tuple[list[Message], str]:
    """Part a conversation from its last response."""
    if not turns or turns[-1]["role"] != "assistant":
        raise BadRowError("no_answer", turns[-1]["content"] if turns else "[]")
    return turns[:-1], turns[-1]["content"]


def _response(value: Any, messages: Sequence[Message]) -> str:
    listed = _parsed(value) if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(turn, dict) for turn in listed):
        listed = []
    if isinstance(value, str) and not (listed and all(map(_is_turn, listed))):
        text = value  # JSON, too, where it is no conversation
    else:
        before, text = _split([_turn(turn) for turn in listed])
        if before and prompt_id(_checked(before)) != prompt_id(messages):
            raise BadRowError("other_prompt", before[-1]["content"])
    _check_signs(text)
    if is_blank_text(text):
        raise BadRowError("no_answer", text)
    return text


def _instructions(row: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Read what can be verified, under our names or IFEval's own."""
    names = next((names for names in INSTRUCTIONS if row.get(names[0])), INSTRUCTIONS[0])
    ids, kwargs = (_listed(row.get(name)) for name in names)
    if not all(isinstance(name, str) for name in ids):
        raise BadRowError("bad_instructions", ids)
    texts = [_values(value) for value in kwargs]
    for text in texts:
        _check_signs(text)
    unsupported = [name for name in ids if name in gold.UNSUPPORTED]
    if unsupported:
        raise BadRowError("unsupported_instruction", unsupported[0])
    try:
        gold.check_instructions(ids, texts)
    except (InputError, RecursionError) as error:
        raise BadRowError("bad_instructions", str(error)) from None
    return ids, texts


def _listed(value: Any) -> list[Any]:
    listed = _parsed(value) if isinstance(value, str) else value
    if listed is None and not (isinstance(value, str) and value.strip()):
        return []
    if not isinstance(listed, list):
        raise BadRowError("bad_instructions", value)
    return listed


def _values(value: Any) -> str:
    """Write an instruction's values as JSON; what is null does not count."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict | None):
        raise BadRowError("bad_instructions", value)
    there = {key: item for key, item in (value or {}).items() if item is not None}
    try:
        return json.dumps(there, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise BadRowError("bad_instructions", value) from None
