"""Forward passes over groups of responses: log-probs of a policy, rewards of a reward model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mutual_taught.models.load import Policy, device
from mutual_taught.models.packed import attention, flex, whole
from mutual_taught.models.packed.rows import Group, balance_loss, branch_logps, fill, pack
from mutual_taught.models.packed.whole import Rows
from mutual_taught.terminal.progress import Counted, ignore


def learn(model: nn.Module) -> None:
    """Put a model into the mode it is trained in: as in evaluation, without dropout of any kind.

    Only the whole is told that it trains, which TRL asks, and what makes its forward pass again on
    the way back (gradient checkpointing), which would not otherwise. Some models that also see
    pictures refuse plain text while they train.
    """
    model.train()
    # The first of the modules is the model itself, which stays told that it trains.
    for module in list(_bare(model).modules())[1:]:
        module.training = bool(getattr(module, "gradient_checkpointing", False))


def packed_logps(model: nn.Module, groups: Sequence[Group], where: torch.device) -> list[Tensor]:
    """Run a policy over groups, as it reads them, and give the token log-probs of every branch."""
    return policy_pass(model, groups, where)[0]


def policy_pass(
    model: nn.Module, groups: Sequence[Group], where: torch.device, balance: bool = False
) -> tuple[list[Tensor], Tensor | None]:
    """Run a policy over groups: in a packed row, or whatever `read_as` set.

    Args:
        model: of `load_policy`, wrapped for several processes or not.
        groups: at least one.
        where: device of the model.
        balance: ask a mixture of experts for its load-balancing loss.

    Returns:
        A float32 tensor of shape (tokens,) for every branch, in nats; and the loss, if asked for.

    Raises:
        LayoutLostError: the model does not attend as a packed row does.
    """
    bare = _bare(model)
    asked = {"output_router_logits": True} if balance else {}
    if (rows := _rows_of(bare)) != "packed":
        return whole.logps(model, groups, rows, where, asked)
    row = pack(groups, where, flex.fits(bare.config, where))
    with attention.reading(row.layout, row.mask):
        output = model(
            input_ids=row.input_ids,
            position_ids=row.position_ids,
            logits_to_keep=row.predict,
            use_cache=False,
            **asked,
        )
    logits = output.logits.squeeze(0)  # (targets, vocabulary), or (L, vocabulary)
    if len(logits) != len(row.predict):  # some models know no logits_to_keep
        logits = logits[row.predict]
    if not balance:
        return branch_logps(logits, row), None
    if not output.router_logits:  # some kinds of model have experts only by their settings
        return branch_logps(logits, row), torch.zeros((), device=where)
    chosen = bare.config.get_text_config().num_experts_per_tok
    return branch_logps(logits, row), balance_loss(output.router_logits, row, chosen)


def packed_rewards(model: nn.Module, groups: Sequence[Group], where: torch.device) -> Tensor:
    """Run a reward model over groups, as it reads them: the head at every branch's last token.

    Args:
        model: of `scores_packed`, wrapped for several processes or not.
        groups: the rows' conversations.
        where: device of the model.

    Returns:
        Rewards (logits) of all branches, float32, shape (branches,).

    Raises:
        LayoutLostError: the model does not attend as a packed row does.
    """
    bare = _bare(model)
    if (rows := _rows_of(bare)) != "packed":
        return whole.rewards(model, groups, rows, where)
    row = pack(groups, where, flex.fits(bare.config, where))
    with attention.reading(row.layout, row.mask):
        rewards: Tensor = model(
            input_ids=row.input_ids, position_ids=row.position_ids, last=row.last
        )
    return rewards


def _bare(model: nn.Module) -> PreTrainedModel:
    """Give the model itself, which may be wrapped for several processes."""
    bare: PreTrainedModel = getattr(model, "module", model)
    return bare


def _rows_of(model: PreTrainedModel) -> Rows:
    """Say how a model reads; refuse one whose attention would let groups see each other."""
    rows: Rows = getattr(model, "rows", "packed")
    found = model.config._attn_implementation
    if rows == "packed" and found != attention.NAME:
        raise ValueError(f"attention is {found}; expected {attention.NAME}")
    return rows


def reference_logps(
    policy: Policy, groups: Sequence[Group], precision: str, budget: int, seen: Counted = ignore
) -> list[list[float]]:
    """Give the log-probability of every response under a frozen policy.

    Args:
        policy: the reference, weights in float32.
        groups: the prompt's tokens, and each response's as branches.
        precision: of the forward pass, by autocast as in training.
        budget: tokens a packed row.
        seen: told after every row of how many groups it held.

    Returns:
        Sums over the response's tokens in nats, for every group and branch.
    """
    found: list[list[float]] = []
    where = device()
    autocast = torch.autocast(where.type, torch.bfloat16, enabled=precision == "bfloat16")
    for run in fill(groups, (group.size for group in groups), budget):
        with torch.inference_mode(), autocast:
            sums = [float(logps.sum()) for logps in packed_logps(policy.model, run, where)]
        found += [[sums.pop(0) for _ in group.branches] for group in run]
        seen(len(run))
    return found
