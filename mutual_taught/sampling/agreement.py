"""Whether the transformers engine draws what a plain pass of transformers gives: asked before."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from mutual_taught.checks.plain import FAILS, load_both, plain_logps
from mutual_taught.checks.policies import compare_policy, conversations
from mutual_taught.checks.verdicts import NEAR, Verdict, kept
from mutual_taught.config.blocks import Engine, Tokens
from mutual_taught.errors import InputError
from mutual_taught.models.load import Policy, load_config, load_tokenizer
from mutual_taught.models.packed.rows import Group
from mutual_taught.models.packed.whole import Rows
from mutual_taught.models.sight import stretches
from mutual_taught.sampling import keyed
from mutual_taught.sampling.keyed import Decode, Request

DRAWN = 6  # tokens of a sampled response


def require_sampling(folder: Path, tokens: Tokens, engine: Engine) -> Verdict:
    """Refuse a policy that `engine` does not draw from rightly; see `compare_policy`.

    Only the transformers engine is compared: vLLM has models of its own.

    Raises:
        InputError: the policy is not read rightly, or its samples are not what a plain pass gives.
    """
    if engine.name != "transformers":
        return compare_policy(folder, tokens)
    found = compare_sampling(folder, tokens)
    if found.wrong:
        raise InputError(
            f"{folder}: {found.wrong}; expected what a plain forward pass of transformers gives; "
            "choose another model, or engine.name vllm"
        )
    return found


def compare_sampling(folder: Path, tokens: Tokens) -> Verdict:
    """Say how a policy reads conversations, and whether the transformers engine draws from it.

    Args:
        folder: of the policy.
        tokens: limits; conversations up to `max_length` are compared.

    Raises:
        InputError: no way to read it agrees with a plain pass.
    """
    read = compare_policy(folder, tokens)
    drawn = kept("sampling", folder, tokens, {}, lambda: _compare(folder, tokens, read.rows))
    return drawn._replace(gaps={**read.gaps, **drawn.gaps})


def _compare(folder: Path, tokens: Tokens, rows: Rows) -> Verdict:
    """Compare the log-probs of samples; responses have their full length, because nothing stops."""
    model, plain = load_both(folder, AutoModelForCausalLM, load_config(folder))
    tokenizer = load_tokenizer(folder)
    endless = Policy(model, tokenizer, frozenset({-1}))
    groups = conversations(tokenizer, tokens.max_length)
    gap, wrong = _sampled(endless, plain, groups, tokens.max_length)
    return Verdict(rows, {"sampled log-probs": gap}, wrong)


def _sampled(
    policy: Policy, plain: PreTrainedModel, groups: Sequence[Group], longest: int
) -> tuple[float, str]:
    """Draw responses to prompts side by side; compare their log-probs with the plain pass's."""
    prompts = [list(group.prefix)[: longest - DRAWN] for group in groups]
    requests = [Request(tokens, [7 + place]) for place, tokens in enumerate(prompts)]
    try:
        drawn = keyed.sample(policy, requests, Decode(0.8, 0.95, DRAWN))
    except torch.OutOfMemoryError:
        raise
    except FAILS as error:
        said = " ".join(str(error).split())[:120]
        return math.inf, f"no answers can be drawn from it ({type(error).__name__}: {said})"
    gap = 0.0
    for tokens, draws in zip(prompts, drawn, strict=True):
        with torch.inference_mode():
            right = plain_logps(plain, Group(tokens, [draw.token_ids for draw in draws]))
        gap = max(
            gap,
            *(
                abs(draw.logprob - float(r.double().sum())) / DRAWN
                for draw, r in zip(draws, right, strict=True)
            ),
        )
    if gap <= NEAR:
        return gap, ""
    wrong = f"log-probs of sampled answers are {gap:.2g} nats a token off"
    if stretches(plain.config):
        wrong += " (its rotary frequencies depend on the length: lower tokens.max_length)"
    return gap, wrong
