"""Stage prepare_prompts: prompts from their source, in disjoint splits."""

from pathlib import Path

import click
import pyarrow.compute as pc

from mutual_taught import blocks, files, params, sources, tables
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--out", required=True, type=PATH, help="Folder of iteration 0.")
def main(out: Path) -> None:
    """Read the prompts and divide them into policy_1…N, reward, selection and eval."""
    data, seed = params.load(blocks.Data), params.seed()
    prompts = sources.table(data, seed)
    made_from = {"data": data.model_dump(), "seed": seed}
    tables.write(out, tables.PROMPTS, prompts, made_from)
    names = prompts["split"]
    for split in ("reward", "selection", "eval"):
        rows = prompts.filter(pc.equal(names, split))
        tables.write(out / "splits", tables.renamed(tables.PROMPTS, split), rows, {"seed": seed})
    rows = prompts.filter(pc.starts_with(names, "policy_"))
    tables.write(out / "splits", tables.renamed(tables.PROMPTS, "policy"), rows, {"seed": seed})
    sizes = {f"prompts_{split}": float(pc.sum(pc.equal(names, split)).as_py())
             for split in pc.unique(names).to_pylist()}  # fmt: skip
    files.write_metrics(out / "metrics" / "prepare_prompts.json", sizes)


if __name__ == "__main__":
    run(main)
