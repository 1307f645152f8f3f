"""Steps, candidates and learning rates that verify expects, worked by hand."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mutual_taught.audit import schedule, training
from mutual_taught.config import params
from mutual_taught.errors import InputError
from tests.project import ROOT

SETTINGS = params.validate(params.read(ROOT / "presets" / "tiny.yaml"))
LOG_2 = math.log(2)


@pytest.mark.parametrize(
    ("scheduler", "rates"),
    [
        # 5 steps, 0.3 of them warm-up: 1.5, rounded up to 2. Then thirds of the way down.
        ("cosine", [0, 0.5, 1, 0.75, 0.25]),  # (1 + cos 60°) / 2, (1 + cos 120°) / 2
        ("linear", [0, 0.5, 1, 2 / 3, 1 / 3]),
        ("constant_with_warmup", [0, 0.5, 1, 1, 1]),
    ],
)
def test_rate_rises_to_the_peak_and_falls_by_the_schedule(
    scheduler: str, rates: list[float]
) -> None:
    changed = {"learning_rate": 2.0, "warmup_ratio": 0.3, "scheduler": scheduler}
    settings = SETTINGS.dpo.model_copy(update=changed)
    assert schedule.learning_rates(settings, 5) == pytest.approx([2 * rate for rate in rates])


def test_without_warmup_the_first_step_is_at_the_peak() -> None:
    settings = SETTINGS.dpo.model_copy(update={"warmup_ratio": 0.0, "scheduler": "linear"})
    assert schedule.learning_rates(settings, 2) == pytest.approx([2e-5, 1e-5])


@pytest.mark.parametrize(
    ("planned", "every", "keep", "steps"),
    [
        (7, 3, None, [3, 6, 7]),
        (6, 3, None, [3, 6]),
        (2, 3, None, [2]),
        (7, 3, 2, [6, 7]),
        (7, 3, 9, [3, 6, 7]),
    ],
)
def test_candidates_are_every_so_many_steps_and_the_last(
    planned: int, every: int, keep: int | None, steps: list[int]
) -> None:
    changed = {"save_steps": every, "keep_checkpoints": keep}
    assert training.candidates(planned, SETTINGS.dpo.model_copy(update=changed)) == steps


def test_curve_of_a_reward_model_is_the_mean_of_its_pairs() -> None:
    met = pa.table(
        {"step": [1, 1, 2], "reward_chosen": [1.0, 0.0, 2.0], "reward_rejected": [1.0, 0.0, 0.0]}
    )
    settings = SETTINGS.train_rm.model_copy(update={"margin": 0.0, "center_rewards": 0.5})
    found = training.means(met, settings, 2, np.ones(3))
    # Step 1: margins 0 and 0, sums 2 and 0: log 2 + 0.5 * (4 + 0) / 2. A tie is wrong.
    # Step 2: margin 2, sum 2: log(1 + exp(-2)) + 0.5 * 4.
    assert found["loss"] == pytest.approx([LOG_2 + 1, math.log1p(math.exp(-2)) + 2])
    assert found["accuracy"].tolist() == [0, 1]
    assert found["margin"].tolist() == [0, 2]
    assert found["mean_reward"].tolist() == [0.5, 1]


def test_pairs_count_in_the_loss_of_a_step_by_their_weights_and_alike_in_the_rest() -> None:
    met = pa.table(
        {"step": [1, 1, 2], "reward_chosen": [2.0, 0.0, 2.0], "reward_rejected": [0.0, 0.0, 0.0]}
    )
    settings = SETTINGS.train_rm.model_copy(update={"margin": 0.0, "center_rewards": 0.0})
    found = training.means(met, settings, 2, np.array([0.5, 1.5, 0.5]))
    # Step 1: losses log(1 + exp(-2)) and log 2, a quarter and three quarters of the weight.
    right = math.log1p(math.exp(-2))
    assert found["loss"] == pytest.approx([0.25 * right + 0.75 * LOG_2, right])
    assert found["margin"].tolist() == [1, 2]


def test_curve_of_other_columns_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "dpo.csv"
    path.write_text("step,loss\n1,0.5\n")
    with pytest.raises(InputError) as caught:
        schedule.read_curve(path, ("step", "loss", "learning_rate"))
    assert str(caught.value) == (
        f"{path}: has step, loss; expected step, loss, learning_rate and rows"
    )
