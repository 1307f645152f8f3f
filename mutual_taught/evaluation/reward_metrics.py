"""Every number in eval.json that is of the reward models, on tables."""

import numpy as np
import pyarrow as pa

from mutual_taught.artifacts import tables
from mutual_taught.evaluation.intervals import Metrics, change, prompts, where
from mutual_taught.method.reward_quality import calibration_error, spearman
from mutual_taught.method.statistics import Floats, pair_accuracy, ranked_right


def reward_model_metrics(scores: pa.Table, seed: int) -> Metrics:
    """Compute the reward models' numbers from `rm_scores`.

    `reward_model.<set>.…` is r_t on the held-out gold pairs; `reward_model.own_samples.{rt,r0}.…`
    are r_t and r_0 on the policy's own responses, and `difference` their paired difference. A pair
    with a side that has no reward is an error, counted as `unscored`. `n`, `ties` and `unscored`
    count pairs, `prompts` the prompts they are of. Rows may come in any order: they are summed in
    that of the written table, to the last bit.
    """
    scores = tables.RM_SCORES.sorted(scores)
    found: Metrics = {}
    for pairs in ("gold_pairs", "own_samples"):
        parts = {name: where(scores, set=pairs, reward_model=name) for name in ("rt", "r0")}
        for name, part in parts.items():
            if len(part):
                found |= _accuracy(_prefix(pairs, name), part, seed)
        if all(map(len, parts.values())):
            found |= _difference(pairs, parts["rt"], parts["r0"], seed)
    return found


def _prefix(pairs: str, model: str) -> str:
    """Name a model's numbers: on gold pairs r_t goes without its name, as the one in question."""
    if (pairs, model) == ("gold_pairs", "rt"):
        return "reward_model.gold_pairs"
    return f"reward_model.{pairs}.{model}"


def _accuracy(prefix: str, part: pa.Table, seed: int) -> Metrics:
    """Measure one reward model on one set of pairs."""
    chosen, rejected = _sides(part)
    measured = pair_accuracy(chosen, rejected, seed, prompts(part))
    return {
        f"{prefix}.accuracy": measured.accuracy.mean,
        f"{prefix}.ci_lo": measured.accuracy.ci_lo,
        f"{prefix}.ci_hi": measured.accuracy.ci_hi,
        f"{prefix}.n": float(len(part)),
        f"{prefix}.prompts": float(measured.accuracy.n),
        f"{prefix}.ties": float(measured.ties),
        f"{prefix}.unscored": float(measured.unscored),
        f"{prefix}.log_loss": measured.log_loss,
        f"{prefix}.margin": measured.margin,
        f"{prefix}.ece": calibration_error(chosen - rejected),
        **_length_bias(prefix, part),
    }


def _length_bias(prefix: str, part: pa.Table) -> Metrics:
    """Give what length has to do with a reward model's rewards.

    The correlation is over both sides of all pairs, of rewards and lengths in characters.
    """
    lengths = [part[f"length_{side}"].to_numpy() for side in ("chosen", "rejected")]
    return {
        f"{prefix}.length_spearman": spearman(
            np.concatenate(_sides(part)), np.concatenate(lengths)
        ),
        f"{prefix}.accuracy_chosen_longer": _accuracy_where(part, longer=True),
        f"{prefix}.accuracy_chosen_shorter": _accuracy_where(part, longer=False),
    }


def _difference(pairs: str, own: pa.Table, base: pa.Table, seed: int) -> Metrics:
    """Give how much more often r_t is right than r_0 on the same pairs, both sorted alike."""
    gain = ranked_right(*_sides(own)) - ranked_right(*_sides(base))
    return change(f"reward_model.{pairs}.difference", gain, prompts(base), seed)


def _accuracy_where(part: pa.Table, longer: bool) -> float | None:
    """Give the accuracy on pairs whose chosen response is longer, or shorter; none of equal length.

    A reward model that only knows length is right on one of the two and wrong on the other.
    """
    gap = part["length_chosen"].to_numpy() - part["length_rejected"].to_numpy()
    rows = gap > 0 if longer else gap < 0
    correct = ranked_right(*_sides(part))
    return float(correct[rows].mean()) if rows.any() else None


def _sides(part: pa.Table) -> tuple[Floats, Floats]:
    """Give the rewards of the chosen and of the rejected responses, NaN where there is none."""
    return part["reward_chosen"].to_numpy(), part["reward_rejected"].to_numpy()
