"""Stage rank_pairs: the E-step's preference pairs, with their reference log-probs."""

from pathlib import Path

import click

from mutual_taught.artifacts import files, joins, tables
from mutual_taught.config import blocks, params
from mutual_taught.pipeline import perf
from mutual_taught.steps import rank_pairs
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--responses", required=True, type=PATH, help="Table of sampled responses.")
@click.option("--rewards", required=True, type=PATH, help="Table of their rewards.")
@click.option("--policy", required=True, type=PATH, help="The previous policy.")
@click.option("--base", required=True, type=PATH, help="The base policy.")
@click.option("--prompts", required=True, type=PATH, help="The policy splits.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    responses: Path, rewards: Path, policy: Path, base: Path, prompts: Path, out: Path
) -> None:
    """Pair the shortest response above the mean reward with the worst (E-step, step 3)."""
    drawn = tables.read(responses, tables.RESPONSES)
    if not tables.is_active(drawn):
        tables.empty(out, tables.RANKED_PAIRS)
        files.write_metrics(out / "metrics" / "rank_pairs.json", {"active": 0.0})
        return
    settings = params.load(blocks.RankPairs)
    scored = tables.read(rewards, tables.REWARDS)
    joins.same_keys(drawn, scored, tables.REWARDS, rewards)
    with perf.measure(out, "rank_pairs") as measured:
        width = joins.width(drawn, responses)
        ranked, slope = rank_pairs.rank(drawn, scored, width, settings.rule)
        rank_pairs.require_kept(ranked, out)
        from mutual_taught.steps import reference

        ranked, made_from, found = reference.add_logps(
            reference.Pairs(ranked, drawn, scored, tables.read(prompts, tables.PROMPTS), prompts),
            reference.Reference(
                base if settings.reference == "base" else policy,
                settings,
                params.load(blocks.Tokens),
            ),
            params.workers(),
            f"rank_pairs@{out.name}",
        )
        counted = joins.counts(ranked["kept"], ranked["reason"])
        measured["pairs"] = counted["kept"]
    by_length = {} if slope is None else {"length_slope": slope}
    tables.write(out, tables.RANKED_PAIRS, ranked, {**made_from, **by_length})
    files.write_metrics(
        out / "metrics" / "rank_pairs.json",
        {"active": 1.0, **counted, **by_length, **found},
    )


if __name__ == "__main__":
    run(main)
