"""Stage prepare_prompts: prompts that both models can read, in disjoint splits."""

from pathlib import Path

import click

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.manifests import hashes
from mutual_taught.config import blocks, inputs, params
from mutual_taught.evaluation import gold_tables
from mutual_taught.pipeline import perf
from mutual_taught.prepare import contamination, held_out, sources
from mutual_taught.terminal import process
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--seed-preferences", required=True, type=PATH, help="What r_0 is trained on.")
@click.option("--out", required=True, type=PATH, help="Folder of iteration 0.")
def main(seed_preferences: Path, out: Path) -> None:
    """Read the prompts, leave out bad rows, and divide the rest into policy_1…N and the others."""
    from mutual_taught.prepare import screening, tokenizers

    data, models, seed = params.load(inputs.Data), params.load(inputs.Models), params.seed()
    limits, longest = params.load(blocks.Tokens), params.longest_response()
    sources.require_watched(Path("data"))
    with perf.measure(out, "prepare_prompts") as measured:
        tokenizers.fetch(models, out / "tokenizers", limits.date)
        screen = screening.screen(*tokenizers.load(out / "tokenizers"), limits, longest)
        prompts, dropped, rows = sources.tables(data, seed, screen.reason)
        measured["rows"] = rows
    splits = sources.by_split(prompts)
    for split, said in params.judged_by_gold():
        gold_tables.require_verifiable(splits[split], split, said)
    gold, trained = params.gold_pairs(seed_preferences), sources.trained_on(splits)
    pairs, left_out = held_out.read(gold, data, screen.reason, trained)
    seeds = sources.gold_pairs(seed_preferences if models.reward_model.trained_here else None)
    contamination.require_run_clean(splits, (str(seed_preferences), seeds), (str(gold), pairs))
    made_from = {
        "data": data.model_dump(),
        "seed": seed,
        "tokens": limits.model_dump(),
        "longest_answer": longest,
        "tokenizers": files.digest(hashes(out / "tokenizers")),
    }
    tables.write(out, tables.ALL_PROMPTS, prompts, made_from)
    tables.write(
        out, tables.DROPPED_PROMPTS, dropped, {**made_from, "rows": rows}, active=len(dropped) > 0
    )
    for split, members in splits.items():
        tables.write(out / "splits", tables.split(split), members, {"seed": seed})
    of_pairs = held_out.provenance(gold, data, left_out)
    tables.write(out, tables.GOLD_PAIRS, pairs, of_pairs, active=len(pairs) > 0)
    metrics = sources.counts(prompts["split"], dropped["reason"], rows) | held_out.counts(left_out)
    files.write_metrics(out / "metrics" / "prepare_prompts.json", metrics)
    for line in sources.summary(metrics):
        process.say(line)


if __name__ == "__main__":
    run(main)
