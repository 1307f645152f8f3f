"""Stage prepare_policy: the base policy pi_0, which has answered nothing yet."""

from pathlib import Path

import click

from mutual_taught.artifacts import decision, tables
from mutual_taught.config import blocks, inputs, params
from mutual_taught.pipeline import perf
from stages._click import PATH, Stage, run


@click.command(cls=Stage)
@click.option("--out", required=True, type=PATH, help="Folder of iteration 0.")
def main(out: Path) -> None:
    """Put the base policy in place (models.policy)."""
    from mutual_taught.prepare import base_models
    from mutual_taught.sampling.agreement import require_sampling

    policy, limits = params.load(inputs.Models).policy, params.load(blocks.Tokens)
    with perf.measure(out, "prepare_policy"):
        base_models.make_policy(policy, out / "policy", params.seed(), limits)
        require_sampling(out / "policy", limits, params.load(blocks.Engine))
    tables.empty(out, tables.ANSWERS)
    decision.write(out, decision.Decision(active=True, policy_from="0"))


if __name__ == "__main__":
    run(main)
