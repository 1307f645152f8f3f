"""How large the pictures of a large run are: tables made at random, at the sizes of a real one.

python -m bench.large_pictures --prompts 60000
"""

import time

import click
import numpy as np
import pyarrow as pa

from mutual_taught.report.past import Past
from mutual_taught.report.pictures import gallery

RESPONSES, EVAL, EVAL_RESPONSES, STEPS, CANDIDATES = 5, 2_000, 4, 600, 12
DRAWN = np.random.default_rng(0)
KINDS = [f"kind:{place:02}" for place in range(25)]
CURVE = ("loss", "rewards/margins", "rewards/accuracies", "chosen_logp_change", "grad_norm")


def ids(count: int) -> list[str]:
    """Give the ids of so many prompts."""
    return [f"{place:032x}" for place in range(count)]


def evaluated() -> dict[str, pa.Table]:
    """Draw an evaluation: 2,000 prompts, four responses each, and as many pairs."""
    prompts = [name for name in ids(EVAL) for _ in range(EVAL_RESPONSES)]
    count = len(prompts)
    numbers = {name: DRAWN.normal(1, 1, count) for name in ("gold", "reward_r0", "reward_rt")}
    generations = {"prompt_id": prompts, "length_tokens": DRAWN.integers(5, 400, count), **numbers}
    scores = {
        "set": ["own_samples"] * 2 * count,
        "prompt_id": prompts * 2,
        "reward_model": ["r0"] * count + ["rt"] * count,
        "reward_chosen": DRAWN.normal(1, 1, 2 * count),
        "reward_rejected": DRAWN.normal(0, 1, 2 * count),
    }
    asked = [DRAWN.choice(KINDS, 3, replace=False).tolist() for _ in range(EVAL)]
    return {
        "instructions": pa.table({"prompt_id": ids(EVAL), "instruction_ids": asked}),
        "generations": pa.table(generations),
        "rm_scores": pa.table(scores),
    }


def stepped(prompts: int) -> dict[str, pa.Table]:
    """Draw the tables that the steps of an iteration exchange."""
    count = prompts * RESPONSES
    curve = {name: DRAWN.random(STEPS) for name in (*CURVE, "margin", "accuracy")}
    trained = pa.table({"step": np.arange(STEPS), **curve})
    duels = {
        "step": np.repeat(np.arange(CANDIDATES), EVAL),
        "prompt_id": ids(EVAL) * CANDIDATES,
        "outcome": DRAWN.choice([0.0, 0.5, 1.0], EVAL * CANDIDATES),
    }
    ranked = {side: DRAWN.integers(0, RESPONSES, prompts) for side in ("chosen", "rejected")}
    pseudo = {name: DRAWN.random(prompts) for name in ("gold", "previous_gold")}
    pseudo["reward_margin"] = DRAWN.normal(1, 1, prompts)
    kept = DRAWN.random(prompts) > 0.1
    return {
        "responses": pa.table({"length_tokens": DRAWN.integers(5, 400, count)}),
        "rewards": pa.table({"reward": DRAWN.normal(0, 1, count)}),
        "ranked_pairs": pa.table(
            {"kept": [True] * prompts, **{f"{side}_index": at for side, at in ranked.items()}}
        ),
        "duels": pa.table(duels),
        "pseudo_pairs": pa.table({"kept": kept, **pseudo}),
        "dpo": trained,
        "train_rm": trained,
    }


@click.command()
@click.option("--prompts", default=60_000, type=click.IntRange(min=100), help="Of an iteration.")
def main(prompts: int) -> None:
    """Draw the pictures of two iterations; print each one's size, and the processor time."""
    history = [
        Past(
            t, {"build_pairs": {"tolerance": 1.0}}, **evaluated(), **(stepped(prompts) if t else {})
        )
        for t in (0, 1, 2)
    ]
    start = time.process_time()
    drawn = gallery.pictures(history, 1, 0.6)
    took = time.process_time() - start
    for picture in drawn:
        click.echo(f"{picture.name:12} {len(picture.svg) / 1000:8.1f} kB")
    total = sum(len(picture.svg) for picture in drawn)
    click.echo(f"together {total / 1e6:.2f} MB in {took:.1f} s of processor time")


if __name__ == "__main__":
    main()
