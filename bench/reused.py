"""How far a reward model favours the very texts it was trained on.

    python -m bench.reused                              # r_1 of the run in run/
    python -m bench.reused --run ../other/run --draws 8

r_t was trained on pi_t's answers to D_M as chosen ones. Here pi_t answers D_M again, with other
seeds. Both are draws of one policy: what r_t has learnt about that policy lifts both alike. So what
r_t lifts the stored ones by beyond the new ones, and beyond what r_0 does, is memory of their
texts. Counted are the prompts whose pseudo pair was kept. Values come from params.yaml.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.artifacts import joins, tables
from mutual_taught.config import blocks, params
from mutual_taught.method.statistics import bootstrap
from mutual_taught.models.packed.conversations import Asked
from mutual_taught.sampling import shards
from mutual_taught.sampling.start import start_sampler
from mutual_taught.scoring.shards import score_prompts, spread, together
from mutual_taught.scoring.start import start_scorer


def trained_on(here: Path, prompts: pa.Table) -> pa.Table:
    """Give the prompts whose stored answers r_t was trained on, with these, sorted by id."""
    pairs = tables.read(tables.PSEUDO_PAIRS.path(here), tables.PSEUDO_PAIRS)
    ids = sorted(pairs.filter(pairs["kept"])["prompt_id"].to_pylist())
    stored = joins.align(pairs, ids, here)["response"]
    return joins.align(prompts, ids, here).append_column("stored", stored)


def draw_anew(
    policy: Path, prompts: pa.Table, iteration: int, count: int, settings: blocks.Params
) -> list[list[str]]:
    """Let pi_t answer again: as many columns of answers as draws, in order of the prompts."""
    drawing = blocks.Drawing(settings.engine, settings.tokens, settings.seed)
    plan = shards.make_plan("bench", iteration, count, settings.answer, drawing)
    with start_sampler(settings.engine, plan.context, settings.tokens) as sampler:
        sampler.load(policy)
        parts = -(-len(prompts) // plan.shard_size)
        drawn = pa.concat_tables(shards.redraw(sampler, prompts, plan, n) for n in range(parts))
    texts = tables.RESPONSES.sorted(drawn)["response"].to_pylist()
    return [texts[index::count] for index in range(count)]


def rewards(
    models: Sequence[Path], asked: Sequence[Asked], settings: blocks.Params
) -> list[NDArray[np.float64]]:
    """Score the same answers under each model: shape (prompts, answers) each."""
    ids = [one.prompt_id for one in asked]
    longest, found = settings.tokens.max_length, []
    with start_scorer(settings.score, "local", settings.tokens) as scorer:
        for model in models:
            scorer.load(model)
            with tempfile.TemporaryDirectory() as parts:
                scored = score_prompts(scorer, asked, longest, Path(parts), model.parent.name)
            found.append(spread(scored, ids, len(asked[0].responses)))
    return found


def favoured(
    rewards: NDArray[np.float64], base_rewards: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Say what r_t lifts each stored answer by, beyond the new ones and beyond what r_0 does.

    Args:
        rewards: of r_t, the stored answer's first, NaN where there is none: (prompts, 1 + draws).
        base_rewards: the same of r_0.

    Returns:
        One number a prompt that has all its rewards.
    """
    lifted = rewards - base_rewards
    beyond = lifted[:, 0] - lifted[:, 1:].mean(axis=1)
    return np.asarray(beyond[~np.isnan(beyond)])


@click.command()
@click.option("--run", type=click.Path(path_type=Path), default="run", help="A finished run.")
@click.option("--iteration", default=1, help="t, from 1.")
@click.option("--draws", default=4, help="New answers to each prompt.")
def main(run: Path, iteration: int, draws: int) -> None:
    """Measure what r_t favours the stored answers by."""
    settings = params.validate(params.read(params.PARAMS))
    here, split = run / str(iteration), run / "0" / "splits" / "reward.parquet"
    prompts = trained_on(here, tables.read(split, tables.split("reward")))
    anew = draw_anew(here / "policy", prompts, iteration, draws, settings)
    columns = [prompts["stored"].to_pylist(), *anew]
    asked = together(prompts["prompt_id"].to_pylist(), columns, prompts, split)
    own, base = rewards([here / "reward_model", run / "0" / "reward_model"], asked, settings)
    known = favoured(own, base)
    mean, low, high, count = bootstrap(known, settings.seed)
    error = known.std(ddof=1) / len(known) ** 0.5
    click.echo(f"favoured by {mean:.3f} ± {error:.3f} (standard error) [{low:.3f}, {high:.3f}]")
    same = sum(pc.sum(pc.equal(prompts["stored"], pa.array(column))).as_py() for column in anew)
    click.echo(f"{count} prompts, {draws} new answers each; {same} of these are the stored text")


if __name__ == "__main__":
    main()
