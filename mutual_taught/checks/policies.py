"""Whether our log-probs and gradients of a policy are those of a plain pass."""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from mutual_taught.checks.plain import load_both, plain_logps, plainly
from mutual_taught.checks.verdicts import FILLING, Verdict, choose, filler, gradient_gap, kept
from mutual_taught.config.blocks import Tokens
from mutual_taught.models import chat
from mutual_taught.models.load import EXAMPLE, device, load_config, load_tokenizer
from mutual_taught.models.packed import whole
from mutual_taught.models.packed.forward import packed_logps, policy_pass
from mutual_taught.models.packed.rows import Group


def compare_policy(folder: Path, tokens: Tokens) -> Verdict:
    """Say how a policy reads conversations; refuse one that is not read right.

    Args:
        folder: of the policy.
        tokens: limits; conversations up to `max_length` are compared.

    Raises:
        InputError: no way to read it agrees with a plain pass.
    """
    return kept("policy", folder, tokens, {}, lambda: _policy(folder, tokens))


def _policy(folder: Path, tokens: Tokens) -> Verdict:
    """Compare a policy's log-probs and the gradient of a pair."""
    model, plain = load_both(folder, AutoModelForCausalLM, load_config(folder))
    tokenizer, where = load_tokenizer(folder), device()
    groups = conversations(tokenizer, tokens.max_length)
    with plainly(folder):
        right = [part for group in groups for part in plain_logps(plain, group)]

    def ours() -> dict[str, float]:
        with torch.inference_mode():
            found = packed_logps(model, groups, where)
        apart = max(float((a - b).abs().max()) for a, b in zip(found, right, strict=True))
        return {
            "log-probs": apart,
            "gradient": gradient_gap(
                model,
                plain,
                lambda: packed_logps(model, groups[:1], where),
                lambda: plain_logps(plain, groups[0]),
            ),
            **_balance(model, plain, groups[0], where),
        }

    rows, gaps = choose(folder, model, ours)
    return Verdict(rows, gaps)


def conversations(tokenizer: Any, longest: int) -> list[Group]:
    """Make a short and a long prompt that begin alike, with responses; one is of all the length."""
    start = chat.prompt_tokens(tokenizer, EXAMPLE, "check")
    text = filler(tokenizer, FILLING, longest)
    responses = [text[7:12], text[3:13]]

    def prompt(length: int) -> list[int]:
        return [*start, *text[: max(1, length - len(start))]]

    return [
        Group(prompt(len(start) + 4), responses),
        Group(prompt(longest - len(responses[1])), responses[1:2]),
    ]


def _balance(
    model: PreTrainedModel, plain: PreTrainedModel, group: Group, where: torch.device
) -> dict[str, float]:
    """Compare the experts' load-balancing loss with that of a padded batch, where TRL adds one."""
    text = model.config.get_text_config()
    weight: float = getattr(text, "router_aux_loss_coef", None) or 0.0
    if not weight or not hasattr(text, "output_router_logits"):
        return {}
    [batch] = whole.batches([group], "padded", where)
    with torch.inference_mode():
        found = policy_pass(model, [group], where, balance=True)[1]
        output = plain(
            input_ids=batch.input_ids, attention_mask=batch.mask, output_router_logits=True
        )
        right = torch.as_tensor(output.aux_loss or 0.0, device=where)
    if found is None:
        return {"balance of experts": math.inf}
    return {"balance of experts": float((found - right).abs() / right.abs().clamp(min=1))}
