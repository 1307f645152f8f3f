"""How likely luck passes tau, against small cases and a simulation."""

import numpy as np
import pytest

from mutual_taught.method.null_policy import chance_to_pass


def test_one_candidate_passes_with_the_upper_tail_of_the_binomial() -> None:
    # of four prompts at least 0.6 is three or four: (4 + 1) / 16
    assert chance_to_pass(4, 1, 0.6) == 5 / 16


def test_exactly_tau_passes() -> None:
    # three of five are 0.6: (10 + 5 + 1) / 32
    assert chance_to_pass(5, 1, 0.6) == 0.5


def test_several_candidates_fail_only_if_all_do() -> None:
    # 1 - (11 / 16)^2
    assert chance_to_pass(4, 2, 0.6) == pytest.approx(1 - (11 / 16) ** 2)


@pytest.mark.parametrize(
    ("prompts", "candidates", "chance"),
    [(40, 2, 0.25), (100, 7, 0.18), (200, 7, 0.02), (500, 7, 0.00)],
)
def test_few_prompts_let_luck_pass(prompts: int, candidates: int, chance: float) -> None:
    assert chance_to_pass(prompts, candidates, 0.6) == pytest.approx(chance, abs=0.005)


def test_chance_is_what_a_simulation_finds() -> None:
    # 20,000 runs of three candidates on 30 prompts: standard error below 0.0036
    rates = np.random.default_rng(0).binomial(30, 0.5, (20_000, 3)) / 30
    found = float((rates.max(axis=1) >= 0.6).mean())
    assert chance_to_pass(30, 3, 0.6) == pytest.approx(found, abs=0.012)


def test_threshold_of_nothing_always_passes_and_one_above_one_never() -> None:
    assert chance_to_pass(10, 2, 0.0) == 1.0
    assert chance_to_pass(10, 2, 1.01) == 0.0


def test_two_thousand_prompts_are_no_trouble() -> None:
    assert chance_to_pass(2000, 4, 0.5) > 0.9
    assert 0 <= chance_to_pass(2000, 4, 0.6) < 1e-15
