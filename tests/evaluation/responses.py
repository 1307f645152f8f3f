"""Responses to held-out prompts, written down by hand."""

from typing import Any

import pyarrow as pa

from mutual_taught.artifacts import tables

RESPONSE: dict[str, Any] = {
    "prompt_id": "p",
    "response": "text",
    "token_ids": [1],
    "length_tokens": 1,
    "finish_reason": "stop",
    "seed": 0,
    "gold": None,
    "passed": None,
    "reward_r0": 0.0,
    "reward_rt": 0.0,
    "reward_previous": 0.0,
    "reason": "",
    "logprob": -1.0,
    "base_logprob": -1.0,
}


def generations(*responses: dict[str, Any]) -> pa.Table:
    """Lay out responses as `generations`; what one leaves out is as in RESPONSE."""
    rows: list[dict[str, Any]] = []
    for response in responses:
        row = {**RESPONSE, **response}
        index = sum(earlier["prompt_id"] == row["prompt_id"] for earlier in rows)
        chars = len(row["response"])
        rows.append({**row, "response_index": index, "length_chars": chars})
    return pa.Table.from_pylist(rows, schema=tables.GENERATIONS.schema)


def golds(*values: float | None, prompt: str = "p") -> list[dict[str, Any]]:
    """Give responses to one prompt that have these golds."""
    return [{"prompt_id": prompt, "gold": value, "passed": value == 1.0} for value in values]
