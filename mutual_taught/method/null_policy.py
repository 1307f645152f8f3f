"""How easily a policy that is no better passes the selection."""

from itertools import accumulate, islice


def chance_to_pass(prompts: int, candidates: int, threshold: float) -> float:
    """Give the chance that the best of some candidates reaches tau though none is better.

    A null candidate wins each prompt with probability one half, whatever it won elsewhere: its win
    rate is binomial, and the best of c candidates fails only if all do: 1 - P(X < tau n)^c.
    Candidates share pi_{t-1}'s responses and resemble each other, ties count as half a win or as a
    loss, and some prompts are won more easily than others: each makes the true chance smaller. So
    this is an upper bound.

    Args:
        prompts: n, over which a win rate is.
        candidates: c.
        threshold: tau, a share.

    Returns:
        A probability. Exact: no simulation.

    Source: ours; the paper does not say how likely its tau = 0.6 is passed by luck.
    """
    enough = next((wins for wins in range(prompts + 1) if wins / prompts >= threshold), None)
    if enough is None:
        return 0.0
    ways = accumulate(  # binomial coefficients, each from the one before
        range(1, prompts + 1), lambda one, wins: one * (prompts - wins + 1) // wins, initial=1
    )
    fails = sum(islice(ways, enough)) / 2**prompts
    return float(1 - fails**candidates)
