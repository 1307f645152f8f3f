"""Model selection on tables and folders; no model is loaded."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import decision, files
from mutual_taught.artifacts.manifests import STEP
from mutual_taught.config.blocks import SelectPolicy
from mutual_taught.errors import InputError
from mutual_taught.method.null_policy import chance_to_pass
from mutual_taught.method.selection import (
    TIE,
    Floats,
    Selected,
    Ties,
    by_prompt,
    select_checkpoint,
    wins,
    worth,
)
from mutual_taught.method.statistics import bootstrap


def by_step(duels: pa.Table, ties: Ties) -> dict[int, Floats]:
    """Give what each checkpoint's duels count on each prompt that is not left out."""
    judged = duels.filter(duels["outcome"].is_valid())
    steps, results = judged["step"].to_numpy(), wins(judged["outcome"].to_numpy(), ties)
    prompts = pc.dictionary_encode(judged["prompt_id"].combine_chunks()).indices.to_numpy()
    return {
        int(step): by_prompt(results[steps == step], prompts[steps == step])
        for step in np.unique(steps)
    }


def require_judged(duels: pa.Table, folder: Path) -> None:
    """Refuse to choose where every prompt is left out.

    Raises:
        InputError: no duel has an outcome.
    """
    if duels["outcome"].null_count == len(duels):
        prompts = pc.count_distinct(duels["prompt_id"]).as_py()
        raise InputError(
            f"{folder}: none of {prompts} prompts has a judged duel (unscored {prompts}); expected "
            "at least one; raise tokens.max_length, or lower duel.max_new_tokens"
        )


def metrics(
    best: Selected,
    results: dict[int, Floats],
    duels: pa.Table,
    settings: SelectPolicy,
    seed: int,
) -> dict[str, float]:
    """Describe the selection: the best checkpoint's win rate with its interval.

    `n` counts the prompts it is over, `unscored` those that are left out; `judged_by_gold` is there
    where gold judged. `null_passes` is the chance that tau is reached though no candidate is
    better; it is not there where the last one is taken in any case.
    """
    interval = bootstrap(results[best.step], seed)
    left_out = duels.filter(duels["outcome"].is_null())["prompt_id"]
    found = {
        "active": float(best.active),
        "step": float(best.step),
        "win_rate": best.win_rate,
        "win_rate_ci_lo": interval.ci_lo,
        "win_rate_ci_hi": interval.ci_hi,
        "n": float(interval.n),
        "candidates": float(len(results)),
        "candidates_below_half": float(sum(values.mean() < TIE for values in results.values())),
        "tie_counts_as": worth(settings.ties),
        "unscored": float(pc.count_distinct(left_out).as_py()),
        **({"judged_by_gold": 1.0} if "gold" in duels.column_names else {}),
        **({"judged_by_model": 1.0} if "preference" in duels.column_names else {}),
    }
    if settings.rule == "win_rate":
        tau = settings.win_rate_threshold
        found["null_passes"] = chance_to_pass(interval.n, len(results), tau)
    return found


class Choice(NamedTuple):
    """What is chosen from: the candidates' folder and duels, pi_{t-1}, and the decision before."""

    duels: pa.Table
    checkpoints: Path
    policy: Path
    previous: decision.Decision


def choose(choice: Choice, out: Path, iteration: str, settings: SelectPolicy, seed: int) -> None:
    """Link the selected policy to `out/policy`, or the previous one, and write the decision."""
    numbers: dict[str, float] = {"active": 0.0}
    decided = decision.Decision(False, choice.previous.policy_from)
    source = choice.policy
    if choice.previous.active:
        require_judged(choice.duels, out)
        results = by_step(choice.duels, settings.ties)
        best = select_checkpoint(results, settings.win_rate_threshold, settings.rule == "last")
        numbers = metrics(best, results, choice.duels, settings, seed)
        if best.active:
            decided = decision.Decision(True, iteration)
            source = choice.checkpoints / STEP.format(best.step)
    files.link_tree(source, out / "policy")
    decision.write(out, decided)
    files.write_metrics(out / "metrics" / "select_policy.json", numbers)
