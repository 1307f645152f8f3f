"""Starts the engine that `engine.name` and `engine.workers` ask for."""

from collections.abc import Iterator
from contextlib import contextmanager

from mutual_taught.config import blocks
from mutual_taught.models.precision import settle
from mutual_taught.sampling.engine import Engine
from mutual_taught.sampling.local import local_engine


@contextmanager
def start_engine(settings: blocks.Engine, context: int, tokens: blocks.Tokens) -> Iterator[Engine]:
    """Lend the engine where `engine.workers` says, without weights yet.

    Args:
        settings: block `engine`.
        context: tokens of a prompt and its response together, at most.
        tokens: limits, up to which models are compared with a plain pass.
    """
    settings = settle(settings)
    make = local_engine if settings.workers == "local" else _pool
    engine = make(settings, context, tokens)
    try:
        yield engine
    finally:
        engine.close()


def _pool(settings: blocks.Engine, context: int, tokens: blocks.Tokens) -> Engine:
    from mutual_taught.sampling import pool  # ray takes a second to import

    return pool.EnginePool(settings, context, tokens)
