"""Starts the sampler that `engine.name` and `engine.workers` ask for."""

from collections.abc import Iterator
from contextlib import contextmanager

from mutual_taught.config import blocks
from mutual_taught.models.precision import settle
from mutual_taught.sampling.local import local_sampler
from mutual_taught.sampling.sampler import Sampler


@contextmanager
def start_sampler(
    settings: blocks.Engine, context: int, tokens: blocks.Tokens
) -> Iterator[Sampler]:
    """Lend the sampler where `engine.workers` says, without weights yet.

    Args:
        settings: block `engine`.
        context: tokens of a prompt and its response together, at most.
        tokens: limits, up to which models are compared with a plain pass.
    """
    settings = settle(settings)
    make = local_sampler if settings.workers == "local" else _pool
    sampler = make(settings, context, tokens)
    try:
        yield sampler
    finally:
        sampler.close()


def _pool(settings: blocks.Engine, context: int, tokens: blocks.Tokens) -> Sampler:
    from mutual_taught.sampling import pool  # ray takes a second to import

    return pool.SamplerPool(settings, context, tokens)
