"""Stage report: the page over iterations 0 to t."""

from pathlib import Path

import click

from mutual_taught.artifacts import files, tables
from mutual_taught.config import blocks, inputs, params
from mutual_taught.pipeline import perf
from mutual_taught.report import alarms, gathered, markdown, past, samples, summary
from stages._click import PATH, Stage, iteration, run


@click.command(cls=Stage)
@click.option("--iteration", required=True, type=iteration, help="t, from 1.")
@click.option("--previous", required=True, type=PATH, help="The previous report.")
@click.option("--prepared", required=True, type=PATH, help="Metrics of prepare_prompts.")
@click.option("--metrics", required=True, type=PATH, help="Folder of the iteration's metrics.")
@click.option("--evaluation", required=True, type=PATH, help="The iteration's evaluation.")
@click.option("--tables", "folder", required=True, type=PATH, help="Folder of its tables.")
@click.option("--curves", required=True, type=PATH, help="Folder of its curves.")
@click.option("--splits", required=True, type=PATH, help="Folder of the splits.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(
    iteration: str,
    previous: Path,
    prepared: Path,
    metrics: Path,
    evaluation: Path,
    folder: Path,
    curves: Path,
    splits: Path,
    out: Path,
) -> None:
    """Add this iteration to the cumulative data; write the page over all of it, and the summary."""
    with perf.measure(out, "report"):
        places = gathered.Inputs(folder, evaluation, splits)
        found = {**gathered.evaluated(places), **gathered.stepped(places)}
        shown = markdown.examples(
            found["generations"],
            tables.read(tables.split("eval").path(splits), tables.PROMPTS),
            params.load(blocks.Report).examples,
        )
        counted = {"prepare_prompts": files.read_json(prepared), **markdown.read_metrics(metrics)}
        entry = markdown.entry(int(iteration), counted, shown)
        history = [*files.read_json(previous / "data.json", list), entry]
        past.carry(previous, out / "report")
        past.keep(out / "report", iteration, found)
        past.keep_curves(out / "report", iteration, curves)
        samples.write(
            out / "report" / past.FOLDER / iteration,
            gathered.shown(found, splits, int(iteration)),
        )
        markdown.write(out / "report", history)
        selection = params.load(blocks.SelectPolicy)
        threshold = selection.win_rate_threshold if selection.rule == "win_rate" else None
        gathered.write_page(out / "report", params.seed(), threshold, params.load(inputs.Models))
        files.write_metrics(out / "metrics" / "alarms.json", alarms.numbers(history))
        files.write_metrics(out / "metrics" / "summary.json", summary.numbers(history))


if __name__ == "__main__":
    run(main)
