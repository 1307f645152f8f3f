"""Arena-Hard's scores by hand, and control of style on battles whose strengths are known."""

import numpy as np
import pytest

from mutual_taught.evaluation.benchmarks.bradley_terry import (
    VERDICTS,
    Battles,
    consistent,
    controlled,
    resampled,
    score,
    standardised,
    style,
    won,
)
from mutual_taught.method.arrays import Floats


@pytest.mark.parametrize(
    ("games", "expected"),
    [
        (("B>A", "A>B"), (2.0, 2)),  # the model is B, then A: it wins both
        (("A>B", "B>A"), (0.0, 2)),
        (("A=B", "A=B"), (1.0, 2)),
        (("A>B", "A>B"), (1.0, 2)),  # A twice: one each
        (("B>>A", "A>B"), (4.0, 4)),  # a strong one is three
        (("A>>B", "A=B"), (0.5, 4)),
        (("A<<B", "B<A"), (4.0, 4)),  # the same verdicts, written the other way round
    ],
)
def test_a_strong_verdict_counts_three_and_a_tie_half(
    games: tuple[str, str], expected: tuple[float, int]
) -> None:
    assert won(*games) == expected


def test_swapped_roles_win_the_rest() -> None:
    for first in VERDICTS:
        for second in VERDICTS:
            there, back = won(first, second), won(second, first)
            assert back.wins == there.weight - there.wins


def test_games_are_consistent_where_both_orders_prefer_the_same_side() -> None:
    assert consistent("A>B", "B>>A")
    assert consistent("A=B", "B=A")
    assert not consistent("A>B", "A>B")
    assert not consistent("A=B", "A>B")


def test_style_is_relative_length_and_densities_of_marks() -> None:
    own, other = np.array([[300.0, 0, 602, 0]]), np.array([[100.0, 0, 101, 0]])
    # (300 - 100) / 400; densities 602 / 301 = 2 and 101 / 101 = 1: (2 - 1) / (2 + 1 + 1)
    assert style(own, other).tolist() == [[0.5, 0.0, 0.25, 0.0]]
    assert style(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0.0] * 4]


def test_features_are_centred_over_weighted_battles() -> None:
    # twice 1, once 4: mean 2; squares 1, 1, 4 over 2: deviation sqrt(3)
    found = standardised(np.array([[1.0, 5.0], [4.0, 5.0]]), np.array([2.0, 1.0]))
    assert found[:, 0] == pytest.approx([-1 / np.sqrt(3), 2 / np.sqrt(3)])
    assert found[:, 1].tolist() == [0.0, 0.0]


def battles(strengths: Floats, weights: Floats, prompts: int = 300) -> Battles:
    """Make battles whose shares follow strengths and weights of style exactly."""
    rng = np.random.default_rng(2)
    models = len(strengths)
    model = np.repeat(np.arange(models), prompts)
    features = standardised(rng.normal(size=(models * prompts, 4)), np.ones(models * prompts))
    share = 1 / (1 + np.exp(-(strengths[model] + features @ weights)))
    weight = rng.choice([2.0, 4.0, 6.0], models * prompts)
    return Battles(share, weight, model, np.tile(np.arange(prompts), models), features)


def test_strengths_and_weights_that_made_the_battles_are_found_again() -> None:
    strengths, weights = np.array([0.5, -1.0, 0.0]), np.array([0.8, 0.0, -0.3, 0.1])
    found = controlled(battles(strengths, weights), 3)
    assert found == pytest.approx(np.concatenate([strengths, weights]), abs=1e-6)
    assert score(np.array([0.0]))[0] == 50.0


def test_without_any_style_the_score_is_the_plain_mean() -> None:
    made = battles(np.array([0.5, -1.0]), np.array([0.8, 0.0, -0.3, 0.1]))
    plain = made._replace(style=np.zeros((600, 4)))
    first = made.model == 0
    mean = np.average(made.share[first], weights=made.weight[first])
    assert score(controlled(plain, 2))[0] == pytest.approx(100 * mean, abs=1e-6)


def test_a_model_that_always_wins_has_a_finite_strength() -> None:
    made = battles(np.array([0.5, -1.0]), np.zeros(4), 20)
    found = controlled(made._replace(share=np.where(made.model == 0, 1.0, made.share)), 2)
    assert np.isfinite(found).all()
    assert score(found)[0] > 99.9


def test_resampling_whole_prompts_centres_on_the_fit_and_spreads_with_fewer_prompts() -> None:
    rng = np.random.default_rng(3)
    made = battles(np.array([0.3, -0.3]), np.zeros(4), 200)
    drawn = made._replace(share=(rng.random(400) < made.share).astype(float))
    strengths = resampled(drawn, 2, 60, 1)
    assert strengths.shape == (60, 2)
    assert strengths[:, 0].mean() == pytest.approx(controlled(drawn, 2)[0], abs=0.05)
    few = drawn.prompt < 50
    fewer = Battles(*(column[few] for column in drawn))  # type: ignore[arg-type]
    # a quarter of the prompts: twice the deviation
    ratio = resampled(fewer, 2, 60, 1)[:, 0].std() / strengths[:, 0].std()
    assert 1.4 < ratio < 2.8
    assert (resampled(drawn, 2, 3, 1) == strengths[:3]).all()  # the same seed, the same draws
