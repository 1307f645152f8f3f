"""Stage report_base: the report over iteration 0, which the others go on from."""

from pathlib import Path

import click

from mutual_taught.artifacts import files, tables
from mutual_taught.config import blocks, inputs, params
from mutual_taught.pipeline import perf
from mutual_taught.report import gathered, markdown, past, samples
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--metrics", required=True, type=PATH, help="Folder of iteration 0's metrics.")
@click.option("--evaluation", required=True, type=PATH, help="Iteration 0's evaluation.")
@click.option("--splits", required=True, type=PATH, help="Folder of the splits.")
@click.option("--out", required=True, type=PATH, help="Folder of iteration 0.")
def main(metrics: Path, evaluation: Path, splits: Path, out: Path) -> None:
    """Begin the report with the evaluation of pi_0 and r_0."""
    with perf.measure(out, "report_base"):
        places = gathered.Inputs(out, evaluation, splits)
        found = gathered.evaluated(places)
        shown = markdown.examples(
            found["generations"],
            tables.read(tables.split("eval").path(splits), tables.PROMPTS),
            params.load(blocks.Report).examples,
        )
        counted = {"eval": files.read_json(metrics / "eval.json")}
        past.keep(out / "report", "0", found)
        samples.write(out / "report" / past.FOLDER / "0", gathered.shown(found, splits, 0))
        markdown.write(out / "report", [markdown.entry(0, counted, shown)])
        gathered.write_page(out / "report", params.seed(), None, params.load(inputs.Models))


if __name__ == "__main__":
    run(main)
