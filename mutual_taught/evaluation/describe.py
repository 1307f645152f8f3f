"""The numbers that describe sampled responses and their rewards."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts.texts import is_blank


def counts(drawn: pa.Table) -> dict[str, float]:
    """Count responses and tokens, for rates."""
    return {"answers": len(drawn), "tokens": float(pc.sum(drawn["length_tokens"]).as_py())}


def responses(drawn: pa.Table) -> Mapping[str, float]:
    """Describe sampled responses: numbers, lengths, how many were cut or blank."""
    lengths = drawn["length_tokens"].to_numpy()
    cut = pc.equal(drawn["finish_reason"], "length").to_numpy()
    blank = is_blank(drawn["response"].combine_chunks()).to_numpy(zero_copy_only=False)
    return {
        "active": 1.0,
        "answers": float(len(drawn)),
        "length_tokens_mean": float(lengths.mean()),
        "length_tokens_p95": float(np.percentile(lengths, 95)),
        "truncated_rate": float(cut.mean()),
        "blank_rate": float(blank.mean()),
    }


def rewards(scored: pa.Table) -> Mapping[str, float]:
    """Describe rewards; `unscored` counts the responses without one; the rest leaves them out."""
    values = scored["reward"].drop_null().to_numpy()
    if not len(values):
        return {"active": 1.0, "unscored": float(len(scored))}
    return {
        "active": 1.0,
        "unscored": float(scored["reward"].null_count),
        "reward_mean": float(values.mean()),
        "reward_std": float(values.std()),
        "reward_min": float(values.min()),
        "reward_max": float(values.max()),
    }
