"""Disjoint prompt splits D_E^1..N, D_M, D_MS and the held-out one."""

from collections.abc import Mapping, Sequence

from mutual_taught.errors import InputError
from mutual_taught.keys import places


def policy_part(iteration: int, parts: int) -> str:
    """Name the split iteration t samples on: `policy_` ((t - 1) mod N) + 1."""
    return f"policy_{(iteration - 1) % parts + 1}"


def assign_splits(
    prompt_ids: Sequence[str],
    shares: Mapping[str, float],
    sizes: Mapping[str, int | None],
    seed: int,
) -> dict[str, list[str]]:
    """Give every split its prompts.

    A prompt's id and the seed place it in [0, 1); each split owns an interval as wide as its
    share and takes the `size` prompts of lowest place in it (all of them where size is None).
    So a split that grows takes nothing from another, and none depends on the order of the input.

    Args:
        prompt_ids: distinct ids.
        shares: width of each split's interval, by name; they sum to 1 or less.
        sizes: how many prompts each split takes, by the same names.
        seed: the run's global seed.

    Returns:
        The ids of each split, sorted; splits are disjoint.

    Raises:
        InputError: a split has fewer prompts in its interval than its size, or none.

    Source: Mutual-Taught, section 4.1 (one third of the prompts each, D_MS apart).
    """
    placed = sorted(zip(places(seed, prompt_ids).tolist(), prompt_ids, strict=True))
    splits: dict[str, list[str]] = {}
    start = 0.0
    for name, share in shares.items():
        pool = [prompt for place, prompt in placed if start <= place < start + share]
        start += share
        size = len(pool) if sizes[name] is None else sizes[name]
        if not pool or size is None or size > len(pool):
            raise InputError(
                f"split {name!r}: {len(pool)} prompts in its share {share:g} of {len(placed)}; "
                f"expected at least {size or 1}; give more prompts, a larger data.splits share or "
                "fewer prompts of it"
            )
        splits[name] = sorted(pool[:size])
    return splits
