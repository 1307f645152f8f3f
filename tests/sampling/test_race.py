"""The race by hand, its distribution against exact shares, and what it couples."""

from math import inf, log

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mutual_taught.sampling import race
from mutual_taught.sampling.race import draw_tokens, exponentials, keys_at, nucleus

# splitmix64 from seed 0 gives, first to third (Steele, Lea and Flood, 2014)
STREAM = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]

# of nuclei, as draws look at 256 tokens, at 4096, at all
WIDTHS = ((1, 256), (256, 4096), (4096, 6001))


def fits(counts: NDArray[np.int64], expected: NDArray[np.float64], freedom: int) -> bool:
    """Say whether counts are what was expected: chi-square within 4 of its deviations."""
    square = float(((counts - expected) ** 2 / expected).sum())
    return bool(square < freedom + 4 * (2 * freedom) ** 0.5)


def signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def draw(probs: list[float], keys: list[int], temperature: float, top_p: float) -> list[int]:
    """Draw one token for each key from the same probabilities."""
    logits = torch.tensor([probs] * len(keys)).log()
    drawn = draw_tokens(logits, torch.tensor(keys), temperature, top_p)
    return [int(token) for token in drawn]


def by_many(probs: list[float], count: int, temperature: float, top_p: float) -> list[int]:
    """Draw with the keys of so many seeds."""
    keys = keys_at(torch.arange(count), 3).tolist()
    return draw(probs, keys, temperature, top_p)


def test_key_of_a_token_is_that_number_of_the_seed_s_stream() -> None:
    zeros = torch.zeros(2, dtype=torch.long)
    for position, number in enumerate(STREAM):
        assert keys_at(zeros, position).tolist() == [signed(number)] * 2


def test_noise_of_a_token_is_minus_the_log_of_its_number_in_the_key_s_stream() -> None:
    # as shares of 2^64: 0.8833, 0.4315, 0.0264; minus their logs
    uniform = [number / 2**64 for number in STREAM]
    expected = [-log(0.8833108082), -log(0.4315279970), -log(0.0264337716)]
    assert uniform == pytest.approx([0.8833108082, 0.4315279970, 0.0264337716])
    found = exponentials(torch.tensor([0]), torch.tensor([[2, 0, 1]]))
    assert found.tolist()[0] == pytest.approx([expected[2], *expected[:2]], rel=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_noise_is_above_zero_and_finite_for_every_seed(seed: int) -> None:
    found = exponentials(keys_at(torch.tensor([seed]), 2**20), torch.arange(10**5)[None])
    assert (float(found.min()) > 0, bool(found.isfinite().all())) == (True, True)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)  # its deviation: 1 / sqrt(1e5) = 0.003


# The noise of key 0: 0.1241 for token 0, 0.8404 for token 1, 3.6331 for token 2.
@pytest.mark.parametrize(
    ("probs", "drawn"),
    [
        ([0.10, 0.60, 0.30], 0),  # 1.24, 1.40, 12.1
        ([0.05, 0.65, 0.30], 1),  # 2.48, 1.29, 12.1
        ([0.02, 0.08, 0.90], 2),  # 6.20, 10.5, 4.04
    ],
)
def test_token_whose_noise_over_probability_is_least_is_drawn(
    probs: list[float], drawn: int
) -> None:
    assert draw(probs, [0], 1.0, 1.0) == [drawn]


def test_token_outside_of_the_nucleus_does_not_run() -> None:
    # 0.6 + 0.3 reach 0.7: token 0, which wins otherwise, is out; then 1.40 against 12.1
    assert draw([0.1, 0.6, 0.3], [0], 1.0, 0.7) == [1]


def test_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    # before the tokens lie 0, 0.5, 0.75 and 0.875; exact in binary
    probs = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    for top_p, size in ((0.5, 1), (0.6, 2), (0.75, 2), (0.76, 3), (1.0, 4)):
        assert nucleus(probs, top_p).tolist() == [[place < size for place in range(4)]]


def test_most_probable_token_alone_may_be_the_nucleus() -> None:
    assert set(by_many([0.1, 0.6, 0.3], 100, 1.0, 0.55)) == {1}


def test_temperature_one_half_squares_the_probabilities() -> None:
    # 0.01, 0.36, 0.09 of 0.46: times 5.71, 1.07, 18.6 where they were 1.24, 1.40, 12.1
    assert draw([0.1, 0.6, 0.3], [0], 0.5, 1.0) == [1]


def test_temperature_is_applied_before_top_p() -> None:
    # squared shares 0.7826, 0.196, 0.022: with top-p 0.75 token 0 alone, unsquared it is two
    assert set(by_many([0.6, 0.3, 0.1], 100, 0.5, 0.75)) == {0}
    assert set(by_many([0.6, 0.3, 0.1], 100, 1.0, 0.75)) == {0, 1}


def test_impossible_token_is_never_drawn() -> None:
    assert set(by_many([0.5, 0.0, 0.5], 1000, 1.0, 1.0)) == {0, 2}


def test_of_equally_probable_tokens_those_of_lowest_id_are_in() -> None:
    # 400 tokens of 1/400, more than are looked at first; 200.5 of them reach 0.50125
    assert set(by_many([1 / 400] * 400, 4000, 1.0, 0.50125)) == set(range(201))


def test_equals_that_were_not_among_the_first_candidates_are_in_by_their_ids() -> None:
    # token 399 has 0.5, the others 0.5 / 399 each; 0.6 is reached by 79.8 of these: 0 to 79
    probs = [0.5 / 399] * 399 + [0.5]
    assert set(by_many(probs, 6000, 1.0, 0.6)) == {*range(80), 399}


def test_flat_distribution_falls_back_to_the_whole_vocabulary() -> None:
    # 200 tokens of 3/800 and 200 of 1/800: the 256 most probable hold 656/800, below top-p. The
    # nucleus reaches 759.52/800 at 600 + 160, so tokens 0 to 359 can be drawn.
    probs = [3 / 800] * 200 + [1 / 800] * 200
    assert set(by_many(probs, 9000, 1.0, 0.9494)) == set(range(360))


def test_row_that_needs_the_whole_vocabulary_changes_no_other_row() -> None:
    peaked = torch.linspace(0, -40, 400)
    rows = torch.stack([peaked, torch.zeros(400)])
    for seed in range(20):
        keys = keys_at(torch.tensor([seed, 99]), 0)
        alone = draw_tokens(peaked[None], keys[:1], 0.8, 0.95)
        assert draw_tokens(rows, keys, 0.8, 0.95)[0] == alone[0]


@pytest.mark.parametrize("cached", [race.CACHED, 6000])
def test_draws_are_those_of_a_whole_sort_for_nuclei_of_any_width(
    cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "CACHED", cached)  # rows looked at together: all, or one at a time
    chance = np.random.default_rng(6)
    scales = np.repeat([0.01, 1.0, 2.0, 5.0, 12.0], 8)[:, None]
    logits = torch.from_numpy(chance.normal(size=(40, 6000)) * scales).float()
    logits[::4] = logits[::4].round()  # many ties
    keys = keys_at(torch.arange(40), 1)
    scaled = logits / 0.8
    values, ids = scaled.sort(dim=1, descending=True, stable=True)
    kept = nucleus((values - scaled.logsumexp(dim=1, keepdim=True)).exp(), 0.95)
    widths = kept.sum(dim=1)
    assert all(((low <= widths) & (widths < high)).any() for low, high in WIDTHS)
    times = exponentials(keys, ids) / (values - scaled.logsumexp(dim=1, keepdim=True)).exp()
    first = times.masked_fill(~kept, inf).argmin(dim=1, keepdim=True)
    assert draw_tokens(logits, keys, 0.8, 0.95).tolist() == ids.gather(1, first)[:, 0].tolist()


@pytest.mark.parametrize("vocabulary", [30, 500])
def test_tokens_are_drawn_with_their_exact_shares(vocabulary: int) -> None:
    logits = torch.from_numpy(np.random.default_rng(5).normal(size=vocabulary) * 1.5).float()
    shares = (logits.double() / 0.8).softmax(dim=0).numpy()
    order = np.argsort(-shares)
    inside = order[np.cumsum(shares[order]) - shares[order] < 0.95]
    expected = shares[inside] / shares[inside].sum()
    keys = keys_at(torch.arange(8000), 7)
    drawn = draw_tokens(logits.expand(8000, -1), keys, 0.8, 0.95).numpy()
    counts = np.bincount(drawn, minlength=vocabulary)
    assert counts.sum() == counts[inside].sum()
    assert fits(counts[inside], 8000 * expected, len(inside) - 1)
    # other shares than these are told apart
    assert not fits(counts[inside], 8000 * np.roll(expected, 1), len(inside) - 1)


def test_tokens_at_two_positions_and_of_two_seeds_are_independent() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20000, -1)
    seeds = torch.arange(20000)
    first, second = (draw_tokens(logits, keys_at(seeds, at), 1.0, 1.0).numpy() for at in (0, 1))
    for other in (second, np.roll(first, 1)):
        table = np.bincount(first * 3 + other, minlength=9).reshape(3, 3)
        assert fits(table, np.outer(table.sum(axis=1), table.sum(axis=0)) / 20000, 4)


def test_two_tokens_that_change_ranks_change_few_draws() -> None:
    # Two races of total variation d differ with probability 2 d / (1 + d) at most (Daliri, Musco
    # and Musco, 2024): d is 0.01 here, so 0.0198. By rank, nearly every draw would change.
    one, other = (
        by_many(probs, 20000, 1.0, 1.0) for probs in ([0.5, 0.49, 0.01], [0.49, 0.5, 0.01])
    )
    differ = np.mean(np.array(one) != np.array(other))
    assert 0.005 < differ < 0.0198 + 3 * (0.0198 / 20000) ** 0.5


def test_distributions_differ_in_few_draws_however_their_ranks_lie() -> None:
    chance = np.random.default_rng(3)
    keys = keys_at(torch.arange(4000), 0)
    for _ in range(10):
        one = torch.from_numpy(chance.normal(size=100) * 2).float()
        other = one + torch.from_numpy(chance.normal(size=100) * 0.05).float()
        drawn = [draw_tokens(row.expand(4000, -1), keys, 1.0, 1.0) for row in (one, other)]
        apart = float((one.softmax(0) - other.softmax(0)).abs().sum()) / 2
        most = 2 * apart / (1 + apart)
        assert float((drawn[0] != drawn[1]).float().mean()) < most + 3 * (most / 4000) ** 0.5


def test_pairing_saves_most_of_the_variance_of_a_difference() -> None:
    # How much a difference of two policies' means varies, with shared noise and without. Paired,
    # only draws that differ add to it: here fewer than a tenth.
    chance = np.random.default_rng(4)
    one = torch.from_numpy(chance.normal(size=200) * 2).float()
    other = one + torch.from_numpy(chance.normal(size=200) * 0.1).float()
    worth = torch.from_numpy(chance.normal(size=200))
    own, more = (keys_at(torch.arange(4000), at) for at in (0, 1))
    first = worth[draw_tokens(one.expand(4000, -1), own, 1.0, 1.0)]
    paired, apart = (
        float((first - worth[draw_tokens(other.expand(4000, -1), keys, 1.0, 1.0)]).var())
        for keys in (own, more)
    )
    assert paired < apart / 5
