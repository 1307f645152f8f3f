"""Starts the scorer that `engine.workers` asks for."""

from collections.abc import Iterator
from contextlib import contextmanager

from mutual_taught.config import blocks
from mutual_taught.scoring.local import Local
from mutual_taught.scoring.scorer import Scorer


@contextmanager
def start_scorer(
    settings: blocks.Score, workers: blocks.Workers, tokens: blocks.Tokens
) -> Iterator[Scorer]:
    """Lend a scorer where `engine.workers` says, without a reward model yet.

    Args:
        settings: block `score`.
        workers: of block `engine`.
        tokens: limits, up to which reward models are compared with a plain pass.
    """
    scorer = (Local if workers == "local" else _pool)(settings, tokens)
    try:
        yield scorer
    finally:
        scorer.close()


def _pool(settings: blocks.Score, tokens: blocks.Tokens) -> Scorer:
    from mutual_taught.scoring import pool  # ray takes a second to import

    return pool.ScorerPool(settings, tokens)
