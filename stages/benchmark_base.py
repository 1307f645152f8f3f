"""Stage benchmark_base: the models of iteration 0 on a benchmark."""

from pathlib import Path

import click

from mutual_taught.config import blocks, params
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--name", required=True, help="The benchmark.")
@click.option("--policy", required=True, type=PATH, help="The base policy.")
@click.option("--reward-model", required=True, type=PATH, help="The base reward model.")
@click.option("--data", "files", required=True, type=PATH, help="Folder of the benchmark's files.")
@click.option("--out", required=True, type=PATH, help="Folder of the iteration.")
def main(name: str, policy: Path, reward_model: Path, files: Path, out: Path) -> None:
    """Measure pi_0 or r_0 on a benchmark, from which its curve begins."""
    from mutual_taught.measuring import benchmark, data, settings

    decoding, tokens = params.load(blocks.Eval), params.load(blocks.Tokens)
    limits = settings.limited(tokens, decoding.max_new_tokens)
    drawing = blocks.Drawing(params.load(blocks.Engine), limits, params.seed())
    terms = settings.Terms(decoding, 1, params.load(blocks.Score), drawing)
    models = {"policy": policy, "reward_model": reward_model}
    with perf.measure(out, f"benchmark_base-{name}"):
        place = benchmark.Place(out / "benchmarks" / name, f"benchmark@{out.name}-{name}")
        benchmark.measure(name, models, data.files(name, files, None), terms, place)


if __name__ == "__main__":
    run(main)
