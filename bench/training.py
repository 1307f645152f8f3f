"""Our training steps against stock TRL's and against the bare packed pass, in one run.

    python -m bench.training                    # 135M, on a CPU
    python -m bench.training --json out.json

A step is forward, backward and AdamW on 2 pairs with prompts of about 128 tokens and answers of
about 92, on random weights of SmolLM2-135M's shape. Each variant has a process of its own, for what
one frees decides how fast another gets memory. They take turns, the others waiting; a turn is two
steps, of which the second counts, for memory freed before a wait comes back slower than in a
training. Medians are compared. Peak memory is that of the process.

- ours: packed rows, reference log-probs given, autocast over float32 weights.
- TRL, same dtype: stock DPOTrainer, reference log-probs given, the same autocast.
- TRL, default: autocast, gradient checkpointing, the reference model in memory.
- floor: the bare packed forward and backward, and AdamW.

Autocast is to bfloat16 where the chip has it; elsewhere all variants run in float32, TRL's default
too, which would be many times slower in the bfloat16 it asks for.

The reward workload has prompts as long as answers (92 tokens each), 2 pairs a step.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from datasets import Dataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
)
from trl import DPOTrainer, RewardTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator

from mutual_taught import attention, train_policy, train_reward
from mutual_taught.blocks import Dpo, RewardOptimisation, Training
from mutual_taught.files import write_json
from mutual_taught.models import packed_logps, packed_rewards, scores_packed
from mutual_taught.packing import share_prefix
from mutual_taught.precision import fast_dtype
from mutual_taught.start import _tiny_tokenizer
from mutual_taught.training import collate, packed_step

Step = Callable[[], object]
PAIRS, PROMPT, ANSWER, BUDGET = 2, 128, 92, 4096
OPTIMISATION: dict[str, Any] = {
    "learning_rate": 1e-6, "batch_size": PAIRS, "epochs": 1, "warmup_ratio": 0.0,
    "scheduler": "cosine", "max_grad_norm": 1.0, "token_budget": BUDGET,
}  # fmt: skip
TRAINING = Training(
    precision=fast_dtype(),
    export_dtype="float32",
    gradient_checkpointing=False,
    lora=None,
    optimizer="adamw",
    resume_steps=1000,
    launcher="single",
    processes=1,
    accelerate_config=None,
)
AUTOCAST = torch.autocast("cpu", torch.bfloat16, enabled=TRAINING.precision == "bfloat16")
REWARD = RewardOptimisation(**OPTIMISATION, margin=0.0, center_rewards=0.0)
DPO = Dpo(
    **OPTIMISATION,
    beta=0.1,
    loss_type="sigmoid",
    label_smoothing=0.0,
    save_steps=1000,
    keep_checkpoints=None,
)


def config(**changes: Any) -> LlamaConfig:
    """Give SmolLM2-135M's shape."""
    return LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=None, eos_token_id=2, **changes,
    )  # fmt: skip


def lengths(chance: np.random.Generator, mean: int) -> int:
    """Draw a length near the mean."""
    return int(chance.integers(int(mean * 0.8), int(mean * 1.2)))


def pairs(prompt: int, answer: int) -> list[dict[str, Any]]:
    """Make random pairs, as DPO reads them."""
    chance = np.random.default_rng(0)
    made = []
    for number in range(PAIRS):
        tokens = [
            chance.integers(3, 49152, lengths(chance, mean)).tolist()
            for mean in (prompt, answer, answer)
        ]
        made.append(
            {
                "pair": str(number), "prompt_ids": tokens[0], "chosen_ids": tokens[1],
                "rejected_ids": tokens[2], "ref_chosen_logps": -900.0,
                "ref_rejected_logps": -910.0,
            }
        )  # fmt: skip
        made[-1]["size"] = train_policy.group(made[-1]).size
    return made


class StoredReference(DPOTrainer):  # type: ignore[misc]
    """Stock DPO on tokenised data with given reference log-probs."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class Prepared(DPOTrainer):  # type: ignore[misc]
    """Stock DPO on tokenised data."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class PreparedReward(RewardTrainer):  # type: ignore[misc]
    """Stock reward training on tokenised data."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def with_optimiser(model: torch.nn.Module, passes: Step) -> Step:
    """Follow a forward and backward pass by the same optimiser step in all variants."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step() -> None:
        passes()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def stock_step(trainer: Any, batch: dict[str, Any]) -> Step:
    """Make TRL's own training step."""
    model = trainer.model_wrapped
    trainer.current_gradient_accumulation_steps = 1  # which train() sets
    return with_optimiser(model, lambda: trainer.training_step(model, dict(batch)))


def language_model(packed: bool) -> LlamaForCausalLM:
    """Make a policy of random weights."""
    torch.manual_seed(0)
    kind = attention.NAME if packed else "sdpa"
    return LlamaForCausalLM(config(attn_implementation=kind)).train()


def classifier(packed: bool) -> PreTrainedModel:
    """Make a reward model of random weights."""
    torch.manual_seed(0)
    kind = attention.NAME if packed else "sdpa"
    model = LlamaForSequenceClassification(config(num_labels=1, attn_implementation=kind)).train()
    return scores_packed(model) if packed else model


def dpo_ours(work: Path) -> Step:
    """Make our DPO step."""
    rows, model = pairs(PROMPT, ANSWER), language_model(packed=True)
    trainer = train_policy.PackedDPOTrainer(
        model=model, args=train_policy.config(DPO, TRAINING, 1, work), data_collator=collate,
        train_dataset=Dataset.from_list(rows), processing_class=_tiny_tokenizer(),
    )  # fmt: skip
    trainer.token_budget = BUDGET
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return with_optimiser(model, lambda: packed_step(trainer, trainer.model_wrapped, rows))


def dpo_floor(work: Path) -> Step:
    """Make the bare packed pass."""
    rows, model = pairs(PROMPT, ANSWER), language_model(packed=True)
    groups = [train_policy.group(row) for row in rows]

    def passes() -> None:
        with AUTOCAST:
            logps = packed_logps(model, groups, torch.device("cpu"))
        torch.cat(logps).mean().backward()  # type: ignore[no-untyped-call]

    return with_optimiser(model, passes)


def dpo_trl(work: Path) -> Step:
    """Make TRL's DPO step at our dtype, reference log-probs given."""
    rows, model = pairs(PROMPT, ANSWER), language_model(packed=False)
    trainer = StoredReference(
        model=model, args=train_policy.config(DPO, TRAINING, 1, work),
        train_dataset=Dataset.from_list(rows), processing_class=_tiny_tokenizer(),
    )  # fmt: skip
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return stock_step(trainer, DataCollatorForPreference(pad_token_id=0)(rows))


def dpo_trl_default(work: Path) -> Step:
    """Make TRL's DPO step as it comes: checkpointing, the reference in memory."""
    rows, model = pairs(PROMPT, ANSWER), language_model(packed=False)
    training = TRAINING.model_copy(update={"gradient_checkpointing": True})
    args = train_policy.config(DPO, training, 1, work)
    args.precompute_ref_log_probs = False
    plain = [{name: row[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
             for row in rows]  # fmt: skip
    trainer = Prepared(
        model=model, ref_model=language_model(packed=False), args=args,
        train_dataset=Dataset.from_list(plain), processing_class=_tiny_tokenizer(),
    )  # fmt: skip
    model.gradient_checkpointing_enable({"use_reentrant": False})
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return stock_step(trainer, DataCollatorForPreference(pad_token_id=0)(plain))


def whole() -> list[dict[str, list[int]]]:
    """Give reward pairs as whole conversations."""
    return [
        {
            "chosen_ids": row["prompt_ids"] + row["chosen_ids"],
            "rejected_ids": row["prompt_ids"] + row["rejected_ids"],
        }
        for row in pairs(ANSWER, ANSWER)
    ]


def reward_ours(work: Path) -> Step:
    """Make our reward step."""
    model, rows = classifier(packed=True), []
    for number, pair in enumerate(whole()):
        group = share_prefix([pair["chosen_ids"], pair["rejected_ids"]])
        chosen, rejected = group.branches
        rows.append({"pair": str(number), "prefix": group.prefix, "chosen": chosen,
                     "rejected": rejected, "size": group.size})  # fmt: skip
    settings = REWARD
    trainer = train_reward.PackedRewardTrainer(
        model=model, args=train_reward.config(settings, TRAINING, 1, work), data_collator=collate,
        train_dataset=Dataset.from_list([{"pair": "p"}]), processing_class=_tiny_tokenizer(),
    )  # fmt: skip
    trainer.token_budget = BUDGET
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return with_optimiser(model, lambda: packed_step(trainer, trainer.model_wrapped, rows))


def reward_floor(work: Path) -> Step:
    """Make the bare packed pass of a reward model."""
    model = classifier(packed=True)
    groups = [share_prefix([pair["chosen_ids"], pair["rejected_ids"]]) for pair in whole()]

    def passes() -> None:
        with AUTOCAST:
            found = packed_rewards(model, groups, torch.device("cpu"))
        found.mean().backward()  # type: ignore[no-untyped-call]

    return with_optimiser(model, passes)


def reward_trl(work: Path) -> Step:
    """Make TRL's reward step at our dtype."""
    model, rows = classifier(packed=False), whole()
    trainer = PreparedReward(
        model=model, args=train_reward.config(REWARD, TRAINING, 1, work),
        train_dataset=Dataset.from_list(rows), processing_class=_tiny_tokenizer(),
    )  # fmt: skip
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return stock_step(trainer, RewardCollator(pad_token_id=0)(rows))


GROUPS: dict[str, dict[str, Callable[[Path], Step]]] = {
    "dpo": {
        "dpo ours": dpo_ours, "dpo TRL, same dtype": dpo_trl, "dpo TRL, default": dpo_trl_default,
        "dpo floor": dpo_floor,
    },
    "reward": {"reward ours": reward_ours, "reward TRL": reward_trl, "reward floor": reward_floor},
}  # fmt: skip


class Alone:
    """A variant in a process of its own, which makes a step when it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "bench.training", "--variant", name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> dict[str, float]:
        """Make a step; give its seconds, and the peak memory so far in MiB."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        if not (said := self.process.stdout.readline()):
            raise click.ClickException(f"{self.name}: its process ended; see its error above")
        found: dict[str, float] = json.loads(said)
        return found

    def end(self) -> None:
        """Let the process end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def serve(name: str) -> None:
    """Make a step of one variant for each line that comes in."""
    make = {name: make for makers in GROUPS.values() for name, make in makers.items()}[name]
    say, sys.stdout = sys.stdout, sys.stderr  # whatever libraries have to say
    with tempfile.TemporaryDirectory() as work:
        step = make(Path(work))
        for _ in sys.stdin:
            begin = time.perf_counter()
            step()
            seconds = time.perf_counter() - begin
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps({"seconds": seconds, "peak": peak}), file=say, flush=True)


def measure(names: Iterable[str], repeats: int) -> dict[str, dict[str, float]]:
    """Let variants take turns of two steps, of which the second counts.

    Returns:
        Median `seconds` and `peak` memory in MiB of each.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    running = {name: Alone(name) for name in found}
    try:
        for _ in range(repeats):
            for name, variant in running.items():
                variant.step()
                found[name].append(variant.step())
    finally:
        for variant in running.values():
            variant.end()
    return {
        name: {
            "seconds": statistics.median(step["seconds"] for step in steps),
            "peak": steps[-1]["peak"],
        }
        for name, steps in found.items()
    }


@click.command()
@click.option("--repeats", default=3, help="Turns of every variant.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the numbers here.")
@click.option("--variant", help="Be the process of this one: a step for each line of input.")
def main(repeats: int, out: Path | None, variant: str | None) -> None:
    """Compare training steps."""
    if variant:
        serve(variant)
        return
    found = {
        name: numbers
        for makers in GROUPS.values()
        for name, numbers in measure(makers, repeats).items()
    }
    seconds = {name: numbers["seconds"] for name, numbers in found.items()}
    peaks = {name: numbers["peak"] for name, numbers in found.items()}
    click.echo(f"{'step of 2 pairs':24} {'seconds':>8} {'pairs/s':>8} {'peak MiB':>9}")
    for name, value in seconds.items():
        click.echo(f"{name:24} {value:8.2f} {PAIRS / value:8.2f} {peaks[name]:9.0f}")
    ratios = {
        "dpo_vs_trl_same_dtype": seconds["dpo TRL, same dtype"] / seconds["dpo ours"],
        "dpo_vs_trl_default": seconds["dpo TRL, default"] / seconds["dpo ours"],
        "dpo_vs_floor": seconds["dpo floor"] / seconds["dpo ours"],
        "reward_vs_trl": seconds["reward TRL"] / seconds["reward ours"],
        "reward_vs_floor": seconds["reward floor"] / seconds["reward ours"],
        "dpo_memory_vs_trl": peaks["dpo ours"] / peaks["dpo TRL, same dtype"],
        "dpo_memory_vs_trl_default": peaks["dpo ours"] / peaks["dpo TRL, default"],
    }
    for name, value in ratios.items():
        click.echo(f"{name:30} {value:.2f}")
    if out:
        write_json(out, {"ratios": ratios, "seconds": seconds, "peak_mib": peaks})


if __name__ == "__main__":
    main()
