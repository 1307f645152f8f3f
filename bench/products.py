"""The number formats on a processor, in one run: what `auto` should be, and what ours gain.

    python -m bench.products                # a DPO step
    python -m bench.products --of answers   # 160 answers of 48 tokens
    python -m bench.products --json out.json

A DPO step of a random model in SmolLM2-135M's shape, as training makes it, or answers of the
embedded model, as sampling draws them: in float32, in bfloat16 by our products, and in bfloat16 by
torch's own. The last takes minutes a turn on a processor without instructions for bfloat16.
Variants take turns; medians are compared.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from bench import sampling, training
from bench.turns import in_turn, median_seconds, show
from mutual_taught.models import products


def step(pairs: int, precision: str, work: Path) -> Callable[[], object]:
    """Make our DPO step in a number format."""
    training.TRAINING = training.TRAINING.model_copy(update={"precision": precision})
    work.mkdir()
    return training.dpo_ours(training.Case("135M", pairs, work))


def answers(precision: str, policy: Path) -> Callable[[], object]:
    """Make our engine draw answers that do not end by themselves, in a number format."""
    engine = sampling.started("transformers", policy, precision)
    engine.policy = engine.policy._replace(stop_ids=frozenset({10**6}))
    asked = sampling.requests(engine.tokenizer, 32, sampling.WIDTH)
    return sampling.ours(engine, asked, sampling.SHARDS)


def by_ours(work: Callable[[], object]) -> None:
    """Do something with our products."""
    products.in_float32()
    work()


def by_torch(work: Callable[[], object]) -> None:
    """Do something with torch's products."""
    products.in_float32.cache_clear()
    work()


@click.command()
@click.option("--of", "what", default="step", type=click.Choice(["step", "answers"]))
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--pairs", default=2, show_default=True, type=click.IntRange(min=1), help="Of a step."
)
@click.option(
    "--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write numbers here."
)
def main(what: str, repeats: int, pairs: int, out: Path | None) -> None:
    """Compare a DPO step, or answers, in float32, and in bfloat16 by ours and torch's products."""
    has = products.torch_has_them()
    click.echo(f"torch has kernels for bfloat16 here: {'yes' if has else 'no'}")
    with tempfile.TemporaryDirectory() as work:
        if what == "answers":
            policy = sampling.embedded(Path(work))
            exact, low = answers("float32", policy), answers("bfloat16", policy)
        else:
            exact = step(pairs, "float32", Path(work, "float32"))
            low = step(pairs, "bfloat16", Path(work, "bfloat16"))
        runs = {
            "float32": lambda: by_torch(exact),
            "bfloat16_ours": lambda: by_ours(low),
            "bfloat16_torch": lambda: by_torch(low),
        }
        seconds = median_seconds(turns := in_turn(runs, repeats, unmeasured=1))
    floor = seconds["float32"]
    ratios = {f"{name}_vs_float32": one / floor for name, one in seconds.items()}
    all_turns = {name: [turn.seconds for turn in own] for name, own in turns.items()}
    show(ratios, out, seconds=all_turns)


if __name__ == "__main__":
    main()
