"""One of two processes: packed losses and gradients of sharded models against whole ones."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from mutual_taught.config.learning import Lora
from mutual_taught.models.load import load_policy, load_reward_model
from mutual_taught.models.packed.forward import packed_logps, packed_rewards
from mutual_taught.models.packed.rows import Group
from mutual_taught.training import lora

CPU = torch.device("cpu")
GROUPS = [
    Group([9, 8, 7], [[20, 21, 2], [22, 2]]),
    Group([30], [[31], [32, 33, 34, 35, 2]]),
    Group([40, 41, 42, 43, 44, 45], [[46, 47], [46, 48]]),
    Group([50, 51], [[52, 53, 54, 55], [56]]),
]


def policy_loss(model: Any, groups: list[Group]) -> torch.Tensor:
    """A loss of DPO's kind on log-probs, summed over groups."""
    logps = [part.sum() for part in packed_logps(model, groups, CPU)]
    chosen, rejected = torch.stack(logps[0::2]), torch.stack(logps[1::2])
    return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).sum()


def reward_loss(model: Any, groups: list[Group]) -> torch.Tensor:
    """The Bradley-Terry loss, summed over groups."""
    rewards = packed_rewards(model, groups, CPU).reshape(-1, 2)
    return -torch.nn.functional.logsigmoid(rewards[:, 0] - rewards[:, 1]).sum()


def compare(name: str, load: Any, loss: Any) -> None:
    """Print how far the sharded model's loss and gradient are from the whole one's."""
    rank, count = distributed.get_rank(), distributed.get_world_size()
    whole, sharded = load().train(), load().train()
    mesh = init_device_mesh("cpu", (count,))
    for layer in sharded.base_model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    expected = loss(whole, GROUPS)
    expected.backward()
    mine = loss(sharded, GROUPS[rank::count]) * count
    mine.backward()
    total = mine.detach().clone()
    distributed.all_reduce(total)
    gradients = {key: value.grad for key, value in whole.named_parameters()}
    gap = 0.0
    for key, value in sharded.named_parameters():
        if not value.requires_grad:
            continue
        found = value.grad.full_tensor()
        scale = max(1.0, float(gradients[key].abs().max()))
        gap = max(gap, float((found - gradients[key]).abs().max()) / scale)
    if rank == 0:
        print(f"{name}_loss differs by {abs(float(total) / count - float(expected)):.3g}")
        print(f"{name}_gradient differs by {gap:.3g}")


def main() -> None:
    """Compare a policy and a reward model."""
    distributed.init_process_group("gloo")
    policy, reward_model = map(Path, sys.argv[1:])

    def adapted() -> Any:
        model = load_policy(policy, "float32").model
        lora.adapt(model, Lora(rank=4, alpha=8, targets="all-linear"), 1)
        for name, value in model.named_parameters():
            if ".lora_B." in name:  # zero at first, and with it the gradient of the other half
                torch.nn.init.normal_(value, std=0.1)
        return model

    compare("policy", lambda: load_policy(policy, "float32").model, policy_loss)
    compare("reward", lambda: load_reward_model(reward_model, "float32").model, reward_loss)
    compare("adapters", adapted, policy_loss)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
