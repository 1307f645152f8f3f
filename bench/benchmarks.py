"""Scoring a benchmark's items packed against one conversation at a time, in one run.

    python -m bench.benchmarks                       # 135M, on a CPU, float32
    python -m bench.benchmarks --layers 1 --items 1 --repeats 1   # the smallest: its counts hold
    python -m bench.benchmarks --json out.json

Best of 4 and best of 32, prompts of about 400 tokens, responses of about 50, 100 and 300. A
prompt's responses share its tokens in a packed row; one by one every response brings its prompt
along. `tokens` is how many times fewer tokens are read packed, `seconds` how many times less time
that takes. `reached` is the ratio of seconds over that of tokens: 1 where a shared token costs what
any other does.

- packed: from conversations to rewards, as `mutual-taught evaluate` scores items.
- alone: the same forward pass on rows of one conversation each.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from transformers import LlamaForSequenceClassification

from bench.scoring import LIMIT, SCORE, words
from bench.training import config
from bench.turns import in_turn, median_seconds, show
from mutual_taught.config.blocks import Tokens
from mutual_taught.models.packed.conversations import Asked, fit_responses
from mutual_taught.models.packed.rows import Group
from mutual_taught.prepare.base_models import _tiny_tokenizer
from mutual_taught.scoring import local, rewards, shards
from mutual_taught.training.export import save_model
from mutual_taught.training.rounding import EXACT

PROMPT = 400
TOKENS = Tokens(max_prompt_tokens=LIMIT // 2, max_length=LIMIT, date=None)


class Case(NamedTuple):
    """How many responses an item has, and how long each is, in tokens, about."""

    responses: int
    length: int

    @property
    def name(self) -> str:
        """Name it in the output."""
        return f"best_of_{self.responses}_answers_{self.length}"


CASES = tuple(Case(responses, length) for responses in (4, 32) for length in (50, 100, 300))


def make(folder: Path, layers: int) -> None:
    """Write a reward model of random weights in SmolLM2-135M's shape, with so many layers."""
    torch.manual_seed(0)
    tokenizer = _tiny_tokenizer()
    shape = config("135M", num_labels=1)
    shape.num_hidden_layers = layers
    shape.pad_token_id = tokenizer.pad_token_id
    model = LlamaForSequenceClassification(shape)
    save_model(
        model,
        model.state_dict(),
        tokenizer,
        folder,
        EXACT,
        {"kind": "reward_model", "base": "random", "parent": None, "made_by": {}},
    )


def items(case: Case, count: int) -> list[Asked]:
    """Make prompts with their responses."""
    chance = np.random.default_rng(0)
    return [
        Asked(
            f"{number:032x}",
            [{"role": "user", "content": words(chance, PROMPT)}],
            [words(chance, case.length) for _ in range(case.responses)],
        )
        for number in range(count)
    ]


def parted(groups: Sequence[Group]) -> list[Group]:
    """Give every response a group of its own, which has its prompt's tokens, too."""
    return [Group(group.prefix, [branch]) for group in groups for branch in group.branches]


def tokens(groups: Sequence[Group]) -> int:
    """Count the tokens that are read."""
    return sum(group.size for group in groups)


def measure(scorer: local.Local, case: Case, count: int, repeats: int) -> Mapping[str, float]:
    """Count tokens and take times, packed and alone."""
    asked = items(case, count)
    fitting = (fit_responses(scorer.tokenizer, one, LIMIT) for one in asked)
    groups = [one.group for one in fitting if one.group is not None]
    alone = parted(groups)
    assert scorer.reward_model is not None
    model = scorer.reward_model

    def packed() -> object:
        with tempfile.TemporaryDirectory() as parts:
            return shards.score_prompts(scorer, asked, LIMIT, Path(parts), "packed")

    runs = {"packed": packed, "alone": lambda: rewards.score(model, alone, 1)}  # 1: a row each
    seconds = median_seconds(in_turn(runs, repeats, unmeasured=1))
    fewer, faster = tokens(alone) / tokens(groups), seconds["alone"] / seconds["packed"]
    return {"tokens": fewer, "seconds": faster, "reached": faster / fewer}


@click.command()
@click.option("--layers", default=30, help="Of the reward model; SmolLM2-135M has 30.")
@click.option("--items", "count", default=4, help="Prompts with their answers, of each case.")
@click.option("--repeats", default=3, help="Timed repeats of every variant.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the numbers here.")
def main(layers: int, count: int, repeats: int, out: Path | None) -> None:
    """Compare packed scoring with one conversation at a time."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "reward_model"
        make(folder, layers)
        scorer = local.Local(SCORE, TOKENS)
        scorer.load(folder)
        for case in CASES:
            for name, value in measure(scorer, case, count, repeats).items():
                found[f"{case.name}_{name}"] = value
    reached = [value for name, value in found.items() if name.endswith("_reached")]
    show({**found, "least_reached": min(reached)}, out)


if __name__ == "__main__":
    main()
