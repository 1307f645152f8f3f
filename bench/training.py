"""Our training steps against stock TRL's and against the bare packed pass, in one run.

    python -m bench.training                    # 135M; 2 pairs a step on a CPU, 32 on a GPU
    python -m bench.training --json out.json
    python -m bench.training --shape 360M --pairs 16

A step is forward, backward and AdamW on pairs with prompts of about 128 tokens and responses of
about 92, on random weights of SmolLM2-135M's shape, or of another. Each variant has a process of
its own, for what one frees decides how fast another gets memory. They take turns, the others
waiting; a turn is two steps, of which the second counts, for memory freed before a wait comes back
slower than in a training. Medians are compared. Peak memory is that of the process, or of its
tensors on a GPU; four processes are there at a time, 17 GB at 135M.

- ours: packed rows, reference log-probs given, autocast over float32 weights.
- TRL, same dtype: stock DPOTrainer, reference log-probs given, the same autocast.
- TRL, default: autocast, gradient checkpointing, the reference model in memory.
- floor: the bare packed forward and backward, and AdamW.

Autocast is to bfloat16 where the chip is faster with it; elsewhere all variants run in float32,
TRL's default too, which may be many times slower in the bfloat16 it asks for.

The reward workload has prompts as long as responses (92 tokens each).

Tokens a second are those of the pairs, prompts once, for all variants alike. The share of the peak
is that of our packed pass's products, 6 operations a weight and token (attention's not counted), of
what one large product reaches in the same format on the same device.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

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
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator

from bench.turns import in_turn, show
from mutual_taught.config.learning import Dpo, RewardOptimisation, Training
from mutual_taught.models.load import device
from mutual_taught.models.packed import attention
from mutual_taught.models.packed.forward import packed_logps, packed_rewards
from mutual_taught.models.packed.pooled import scores_packed
from mutual_taught.models.packed.rows import share_prefix
from mutual_taught.models.precision import fast_dtype, to_compute_in
from mutual_taught.prepare.base_models import _tiny_tokenizer
from mutual_taught.training import dpo as train_policy
from mutual_taught.training import reward as train_reward
from mutual_taught.training.packed import collate, compute_in, packed_step
from mutual_taught.training.settings import Recipe

Step = Callable[[], object]
PROMPT, RESPONSE, BUDGET = 128, 92, 4096
# hidden size, of the feed-forward layers, layers, heads, key-value heads, vocabulary
SHAPES = {
    "135M": (576, 1536, 30, 9, 3, 49152),
    "360M": (960, 2560, 32, 15, 5, 49152),
    "1B": (2048, 8192, 16, 32, 8, 128256),
}
OPTIMISATION: dict[str, Any] = {
    "learning_rate": 1e-6,
    "epochs": 1,
    "warmup_ratio": 0.0,
    "scheduler": "cosine",
    "max_grad_norm": 1.0,
    "token_budget": BUDGET,
}
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
WHERE = device()
AUTOCAST = torch.autocast(WHERE.type, torch.bfloat16, enabled=TRAINING.precision == "bfloat16")


class Case(NamedTuple):
    """What is measured: a model's shape, how many pairs a step; and a folder to work in."""

    shape: str
    pairs: int
    work: Path

    @property
    def dpo(self) -> DPOConfig:
        """TRL's settings, by our parameters."""
        settings = Dpo(
            **OPTIMISATION,
            batch_size=self.pairs,
            start="previous",
            beta=0.1,
            loss_type="sigmoid",
            label_smoothing=0.0,
            save_steps=1000,
            keep_checkpoints=None,
        )
        return train_policy.config(Recipe(settings, TRAINING, 1), self.work)

    @property
    def reward(self) -> RewardConfig:
        """TRL's settings, by our parameters."""
        settings = RewardOptimisation(
            **OPTIMISATION, batch_size=self.pairs, margin=0.0, center_rewards=0.0
        )
        return train_reward.config(Recipe(settings, TRAINING, 1), self.work)


def config(shape: str, **changes: Any) -> LlamaConfig:
    """Give a model's shape."""
    hidden, inner, layers, heads, shared, vocabulary = SHAPES[shape]
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
        **changes,
    )


def lengths(chance: np.random.Generator, mean: int) -> int:
    """Draw a length near the mean."""
    return int(chance.integers(int(mean * 0.8), int(mean * 1.2)))


def pairs(case: Case, prompt: int, response: int) -> list[dict[str, Any]]:
    """Make random pairs, as DPO reads them."""
    chance = np.random.default_rng(0)
    made = []
    for number in range(case.pairs):
        tokens = [
            chance.integers(3, 49152, lengths(chance, mean)).tolist()
            for mean in (prompt, response, response)
        ]
        made.append(
            {
                "pair": str(number),
                "prompt_ids": tokens[0],
                "chosen_ids": tokens[1],
                "rejected_ids": tokens[2],
                "ref_chosen_logps": -900.0,
                "ref_rejected_logps": -910.0,
            }
        )
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


def language_model(case: Case, packed: bool) -> LlamaForCausalLM:
    """Make a policy of random weights."""
    torch.manual_seed(0)
    kind = attention.NAME if packed else "sdpa"
    return LlamaForCausalLM(config(case.shape, attn_implementation=kind)).to(WHERE).train()


def stock(args: Any) -> Any:
    """Let TRL compute in our dtype: by accelerate's autocast, which we do not use."""
    args.bf16 = TRAINING.precision == "bfloat16"
    args.mixed_precision = "bf16" if args.bf16 else "no"
    return args


def classifier(case: Case, packed: bool) -> PreTrainedModel:
    """Make a reward model of random weights."""
    torch.manual_seed(0)
    kind = attention.NAME if packed else "sdpa"
    shape = config(case.shape, num_labels=1, attn_implementation=kind)
    model = LlamaForSequenceClassification(shape).to(WHERE).train()
    return scores_packed(model) if packed else model


def dpo_ours(case: Case) -> Step:
    """Make our DPO step."""
    rows, model = pairs(case, PROMPT, RESPONSE), language_model(case, packed=True)
    compute_in(model, TRAINING.precision)
    trainer = train_policy.PackedDPOTrainer(
        model=model,
        args=case.dpo,
        data_collator=collate,
        train_dataset=Dataset.from_list(rows),
        processing_class=_tiny_tokenizer(),
    )
    trainer.token_budget = BUDGET
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return with_optimiser(model, lambda: packed_step(trainer, trainer.model_wrapped, rows))


def dpo_floor(case: Case) -> Step:
    """Make the bare packed pass."""
    rows, model = pairs(case, PROMPT, RESPONSE), language_model(case, packed=True)
    groups = [train_policy.group(row) for row in rows]

    def passes() -> None:
        with AUTOCAST:
            logps = packed_logps(model, groups, WHERE)
        torch.cat(logps).mean().backward()  # type: ignore[no-untyped-call]

    return with_optimiser(model, passes)


def dpo_trl(case: Case) -> Step:
    """Make TRL's DPO step at our dtype, reference log-probs given."""
    rows, model = pairs(case, PROMPT, RESPONSE), language_model(case, packed=False)
    trainer = StoredReference(
        model=model,
        args=stock(case.dpo),
        train_dataset=Dataset.from_list(rows),
        processing_class=_tiny_tokenizer(),
    )
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return stock_step(trainer, DataCollatorForPreference(pad_token_id=0)(rows))


def dpo_trl_default(case: Case) -> Step:
    """Make TRL's DPO step as it comes: checkpointing, the reference in memory."""
    rows, model = pairs(case, PROMPT, RESPONSE), language_model(case, packed=False)
    args = stock(case.dpo)
    args.gradient_checkpointing = True
    args.precompute_ref_log_probs = False
    plain = [
        {name: row[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")} for row in rows
    ]
    trainer = Prepared(
        model=model,
        ref_model=language_model(case, packed=False),
        args=args,
        train_dataset=Dataset.from_list(plain),
        processing_class=_tiny_tokenizer(),
    )
    model.gradient_checkpointing_enable({"use_reentrant": False})
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return stock_step(trainer, DataCollatorForPreference(pad_token_id=0)(plain))


def whole(case: Case) -> list[dict[str, list[int]]]:
    """Give reward pairs as whole conversations."""
    return [
        {
            "chosen_ids": row["prompt_ids"] + row["chosen_ids"],
            "rejected_ids": row["prompt_ids"] + row["rejected_ids"],
        }
        for row in pairs(case, RESPONSE, RESPONSE)
    ]


def reward_ours(case: Case) -> Step:
    """Make our reward step."""
    model, rows = classifier(case, packed=True), []
    for number, pair in enumerate(whole(case)):
        group = share_prefix([pair["chosen_ids"], pair["rejected_ids"]])
        chosen, rejected = group.branches
        rows.append(
            {
                "pair": str(number),
                "prefix": group.prefix,
                "chosen": chosen,
                "rejected": rejected,
                "size": group.size,
            }
        )
    compute_in(model, TRAINING.precision)
    trainer = train_reward.PackedRewardTrainer(
        model=model,
        args=case.reward,
        data_collator=collate,
        train_dataset=Dataset.from_list([{"pair": "p"}]),
        processing_class=_tiny_tokenizer(),
    )
    trainer.token_budget = BUDGET
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return with_optimiser(model, lambda: packed_step(trainer, trainer.model_wrapped, rows))


def reward_floor(case: Case) -> Step:
    """Make the bare packed pass of a reward model."""
    model = classifier(case, packed=True)
    groups = [share_prefix([pair["chosen_ids"], pair["rejected_ids"]]) for pair in whole(case)]

    def passes() -> None:
        with AUTOCAST:
            found = packed_rewards(model, groups, WHERE)
        found.mean().backward()  # type: ignore[no-untyped-call]

    return with_optimiser(model, passes)


def reward_trl(case: Case) -> Step:
    """Make TRL's reward step at our dtype."""
    model, rows = classifier(case, packed=False), whole(case)
    trainer = PreparedReward(
        model=model,
        args=stock(case.reward),
        train_dataset=Dataset.from_list(rows),
        processing_class=_tiny_tokenizer(),
    )
    trainer.model_wrapped = trainer.accelerator.prepare(model)
    return stock_step(trainer, RewardCollator(pad_token_id=0)(rows))


GROUPS: dict[str, dict[str, Callable[[Case], Step]]] = {
    "dpo": {
        "dpo ours": dpo_ours,
        "dpo TRL, same dtype": dpo_trl,
        "dpo TRL, default": dpo_trl_default,
        "dpo floor": dpo_floor,
    },
    "reward": {"reward ours": reward_ours, "reward TRL": reward_trl, "reward floor": reward_floor},
}


class Alone:
    """A variant in a process of its own, which makes a step when it is told to."""

    def __init__(self, name: str, shape: str, pairs: int) -> None:
        self.name = name
        given = ["--variant", name, "--shape", shape, "--pairs", str(pairs)]
        command = [sys.executable, "-m", "bench.training", *given]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> dict[str, float]:
        """Make a step; give its seconds, and the peak memory so far in MiB."""
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            print("step", file=self.process.stdin, flush=True)
        if not (said := self.process.stdout.readline()):
            raise click.ClickException(f"{self.name}: its process ended; see its error above")
        found: dict[str, float] = json.loads(said)
        return found

    def turn(self) -> dict[str, float]:
        """Make two steps; give the second's numbers: the first finds memory freed by a wait."""
        self.step()
        return self.step()

    def end(self) -> None:
        """Let the process end."""
        with suppress(BrokenPipeError):
            self.process.communicate()


def serve(name: str, shape: str, pairs: int) -> None:
    """Make a step of one variant for each line that comes in."""
    make = {name: make for makers in GROUPS.values() for name, make in makers.items()}[name]
    say, sys.stdout = sys.stdout, sys.stderr  # whatever libraries have to say
    with tempfile.TemporaryDirectory() as work:
        step = make(Case(shape, pairs, Path(work)))
        for _ in sys.stdin:
            begin = time.perf_counter()
            step()
            if WHERE.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - begin
            print(json.dumps({"seconds": seconds, "peak": peak()}), file=say, flush=True)


def peak() -> float:
    """Give the peak memory so far in MiB: of the process, or of its tensors on a GPU."""
    if WHERE.type == "cuda":
        return float(torch.cuda.max_memory_allocated() / 2**20)
    said = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return float(said.split()[0]) / 1024


def measure(
    names: Iterable[str], shape: str, pairs: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Let variants take turns of two steps, of which the second counts.

    Returns:
        Median `seconds` and `peak` memory in MiB of each.
    """
    running = {name: Alone(name, shape, pairs) for name in names}
    try:
        turns = in_turn({name: variant.turn for name, variant in running.items()}, repeats)
    finally:
        for variant in running.values():
            variant.end()
    return {
        name: {
            "seconds": statistics.median(turn.result["seconds"] for turn in own),
            "peak": own[-1].result["peak"],
        }
        for name, own in turns.items()
    }


def work_of(kind: str, case: Case) -> tuple[int, float]:
    """Count the tokens of a step's pairs, and the operations of our pass's products over them."""
    if kind == "dpo":
        groups = [train_policy.group(row) for row in pairs(case, PROMPT, RESPONSE)]
        scored = sum(len(tokens) for group in groups for tokens in group.branches)
    else:
        rows = whole(case)
        groups = [share_prefix([row["chosen_ids"], row["rejected_ids"]]) for row in rows]
        scored = 0
    with torch.device("meta"):
        model = LlamaForCausalLM(config(case.shape))
    head = model.get_output_embeddings().weight.numel()
    tokens = sum(group.size for group in groups)
    return tokens, 6.0 * (tokens * (model.num_parameters() - head) + scored * head)


def fastest() -> float:
    """Give what a large product reaches here in our format, in operations a second."""
    kind, size = to_compute_in(TRAINING.precision), 8192 if WHERE.type == "cuda" else 2048
    one, other = (torch.randn(size, size, device=WHERE, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(10):
        begin = time.perf_counter()
        one @ other
        if WHERE.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / statistics.median(seconds[2:])


@click.command()
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Turns of every variant.",
)
@click.option("--shape", type=click.Choice(list(SHAPES)), default="135M", show_default=True)
@click.option("--pairs", type=click.IntRange(1), help="Of a step.  [default: 2; on a GPU 32]")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the numbers here.")
@click.option("--variant", hidden=True, help="Be the process of this one: a step a line of input.")
def main(
    repeats: int, shape: str, pairs: int | None, out: Path | None, variant: str | None
) -> None:
    """Compare training steps."""
    count = pairs or (32 if WHERE.type == "cuda" else 2)
    if variant:
        serve(variant, shape, count)
        return
    best = fastest()
    found: dict[str, dict[str, float]] = {}
    rates: dict[str, float] = {}
    shares: dict[str, float] = {}
    for kind, makers in GROUPS.items():
        found |= measure(makers, shape, count, repeats)
        tokens, operations = work_of(kind, Case(shape, count, Path()))
        rates |= {name: tokens / found[name]["seconds"] for name in makers}
        shares[f"{kind}_share_of_peak"] = operations / found[f"{kind} ours"]["seconds"] / best
    seconds = {name: numbers["seconds"] for name, numbers in found.items()}
    peaks = {name: numbers["peak"] for name, numbers in found.items()}
    click.echo(f"{shape}, {count} pairs a step, {TRAINING.precision}, {WHERE.type}; ", nl=False)
    click.echo(f"a large product reaches {best / 1e9:,.0f} GFLOP/s")
    click.echo(f"{'':24} {'seconds':>8} {'pairs/s':>8} {'tokens/s':>9} {'peak MiB':>9}")
    for name, value in seconds.items():
        line = f"{value:8.3f} {count / value:8.2f} {rates[name]:9,.0f} {peaks[name]:9,.0f}"
        click.echo(f"{name:24} {line}")
    ratios = {
        "dpo_vs_trl_same_dtype": seconds["dpo TRL, same dtype"] / seconds["dpo ours"],
        "dpo_vs_trl_default": seconds["dpo TRL, default"] / seconds["dpo ours"],
        "dpo_vs_floor": seconds["dpo floor"] / seconds["dpo ours"],
        "reward_vs_trl": seconds["reward TRL"] / seconds["reward ours"],
        "reward_vs_floor": seconds["reward floor"] / seconds["reward ours"],
        "dpo_memory_vs_trl": peaks["dpo ours"] / peaks["dpo TRL, same dtype"],
        "dpo_memory_vs_trl_default": peaks["dpo ours"] / peaks["dpo TRL, default"],
        **shares,
    }
    conditions = {"shape": shape, "pairs": count, "device": WHERE.type, "dtype": TRAINING.precision}
    measured = {"seconds": seconds, "tokens_per_second": rates, "peak_mib": peaks}
    show(ratios, out, **measured, peak_flops=best, **conditions)


if __name__ == "__main__":
    main()
