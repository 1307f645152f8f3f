"""Our scoring against HF's pipeline, sorted batches and the bare packed pass, in one run.

    python -m bench.scoring                    # 135M, on a CPU, float32
    python -m bench.scoring --json out.json
    python -m bench.scoring --counts           # and the cost of 100, 400 and 1,600 responses

A reward model of random weights in SmolLM2-135M's shape scores M = 5 responses to each prompt.
Short: prompts of about 60 tokens, responses of about 30. Long: prompts of 400, responses of 50.
Variants take turns within a repeat; medians are compared.

- ours: from conversations to the written shard, as a stage does it: template, tokens, packed rows,
  Parquet; equal responses once (there are none here).
- pipeline: `pipeline("text-classification")` at batch size 1 on the rendered conversations.
- sorted by 8: padded batches of 8, sorted by length, on the rendered conversations.
- floor: the bare forward pass over the same packed rows, laid out before.

Start-up is the time until the first reward in a process of its own: imports, weights, one response.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import click
import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaForSequenceClassification,
    PreTrainedTokenizerBase,
    pipeline,
)

from bench.training import config
from bench.turns import in_turn, median_seconds, show, timed
from mutual_taught.config.blocks import Score, Tokens
from mutual_taught.models.load import load_reward_model
from mutual_taught.models.packed import attention
from mutual_taught.models.packed.conversations import Asked, fit_responses
from mutual_taught.models.packed.rows import fill, pack
from mutual_taught.prepare.base_models import _tiny_tokenizer
from mutual_taught.scoring import local, shards
from mutual_taught.training.export import save_model
from mutual_taught.training.rounding import EXACT

M, LIMIT = 5, 2048
TOKENS = Tokens(max_prompt_tokens=1024, max_length=LIMIT, date=None)
SCORE = Score(dtype="float32", token_budget=1280, shard_size=64)
ALONE = (
    "import sys; from pathlib import Path; from bench import scoring; "
    "scoring.VARIANTS[sys.argv[2]](Path(sys.argv[1]), scoring.questions(1, 60, 30)[:1])()"
)
Run = Callable[[], object]


class Case(NamedTuple):
    """Sizes in tokens, about."""

    prompt: int
    response: int
    prompts: int


CASES = {"short": Case(60, 30, 6), "long": Case(400, 50, 2)}


def words(chance: np.random.Generator, tokens: int) -> str:
    """Make text of so many tokens by the tiny tokenizer, which reads letters."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz "))
    size = int(chance.integers(int(tokens * 0.8), int(tokens * 1.2) + 1))
    return "".join(chance.choice(letters, size))


def questions(prompts: int, prompt: int, response: int) -> list[Asked]:
    """Make prompts with M responses each."""
    chance = np.random.default_rng(0)
    return [
        Asked(
            f"{number:032x}",
            [{"role": "user", "content": words(chance, prompt)}],
            [words(chance, response) for _ in range(M)],
        )
        for number in range(prompts)
    ]


def make(folder: Path) -> None:
    """Write the reward model."""
    torch.manual_seed(0)
    tokenizer = _tiny_tokenizer()
    shape = config("135M", num_labels=1)
    shape.pad_token_id = tokenizer.pad_token_id
    model = LlamaForSequenceClassification(shape)
    said: dict[str, Any] = {"kind": "reward_model", "base": "random", "parent": None, "made_by": {}}
    save_model(model, model.state_dict(), tokenizer, folder, EXACT, said)


def rendered(tokenizer: PreTrainedTokenizerBase, asked: Sequence[Asked]) -> list[str]:
    """Give the whole conversations as text, which the others begin with."""
    return [
        str(
            tokenizer.apply_chat_template(
                [*map(dict, one.messages), {"role": "assistant", "content": text}], tokenize=False
            )
        )
        for one in asked
        for text in one.responses
    ]


def ours(folder: Path, asked: Sequence[Asked]) -> Run:
    """Score as a stage does."""
    scorer = local.Local(SCORE, TOKENS)
    scorer.load(folder)

    def run() -> object:
        with tempfile.TemporaryDirectory() as parts:
            return shards.score_prompts(scorer, asked, LIMIT, Path(parts), "ours")

    return run


def floor(folder: Path, asked: Sequence[Asked]) -> Run:
    """Run the bare pass over the rows that ours lays out."""
    loaded = load_reward_model(folder, "float32")
    fitting = (fit_responses(loaded.tokenizer, one, LIMIT) for one in asked)
    groups = [one.group for one in fitting if one.group is not None]
    groups.sort(key=lambda group: group.size)
    rows = [pack(run) for run in fill(groups, (g.size for g in groups), SCORE.token_budget)]

    @torch.inference_mode()
    def run() -> object:
        found = []
        for row in rows:
            with attention.reading(row.layout, row.mask):
                hidden = loaded.model.base_model(
                    input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False
                ).last_hidden_state
            found.append(loaded.model.score(hidden[0, row.last]))
        return found

    return run


def stock(folder: Path) -> tuple[Any, PreTrainedTokenizerBase]:
    """Load as anyone does."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return model.eval(), cast(PreTrainedTokenizerBase, tokenizer)


def one_by_one(folder: Path, asked: Sequence[Asked]) -> Run:
    """Score by HF's pipeline, one conversation at a time."""
    model, tokenizer = stock(folder)
    scored = pipeline("text-classification", model=model, tokenizer=tokenizer)
    texts = rendered(tokenizer, asked)
    return lambda: scored(texts, batch_size=1, function_to_apply="none")


def sorted_by_8(folder: Path, asked: Sequence[Asked]) -> Run:
    """Score in padded batches of 8, sorted by length."""
    model, tokenizer = stock(folder)
    texts = rendered(tokenizer, asked)

    @torch.inference_mode()
    def run() -> object:
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        found = torch.zeros(len(ids))
        for start in range(0, len(order), 8):
            places = order[start : start + 8]
            batch = tokenizer.pad({"input_ids": [ids[p] for p in places]}, return_tensors="pt")
            found[places] = model(**batch).logits[:, 0]
        return found

    return run


VARIANTS = {"ours": ours, "pipeline": one_by_one, "sorted by 8": sorted_by_8, "floor": floor}


def start_up(folder: Path, name: str) -> float:
    """Time a process that scores one prompt's responses, in seconds."""
    command = [sys.executable, "-c", ALONE, str(folder), name]
    return timed(lambda: subprocess.run(command, check=True, capture_output=True))[1]


@click.command()
@click.option("--repeats", default=3, help="Timed repeats of every variant.")
@click.option("--counts", is_flag=True, help="Also ours and the pipeline at 100, 400 and 1,600.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the numbers here.")
def main(repeats: int, counts: bool, out: Path | None) -> None:
    """Compare ways to score."""
    seconds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "reward_model"
        make(folder)
        for case, (prompt, response, prompts) in CASES.items():
            asked = questions(prompts, prompt, response)
            runs = {name: make_run(folder, asked) for name, make_run in VARIANTS.items()}
            seconds[case] = median_seconds(in_turn(runs, repeats, unmeasured=1))
        begun = {name: start_up(folder, name) for name in VARIANTS if name != "floor"}
        swept = sweep(folder) if counts else {}
    click.echo(f"{'135M, float32, M = 5':24} {'seconds':>8} {'answers/s':>10} {'start-up s':>11}")
    for case, found in seconds.items():
        for name, value in found.items():
            many = CASES[case].prompts * M
            start = f"{begun[name]:11.1f}" if name in begun else ""
            click.echo(f"{case + ' ' + name:24} {value:8.2f} {many / value:10.1f} {start}")
    for name, value in swept.items():
        click.echo(f"{name:24} {value:8.2f}")
    ratios = {
        f"packed_vs_{other}_{case}": found[name] / found["ours"]
        for case, found in seconds.items()
        for other, name in (("pipeline", "pipeline"), ("sorted_8", "sorted by 8"))
    }
    ratios |= {f"packed_vs_floor_{case}": f["floor"] / f["ours"] for case, f in seconds.items()}
    ratios["packed_vs_floor"] = min(ratios[f"packed_vs_floor_{case}"] for case in seconds)
    show(ratios, out, seconds=seconds, start_up=begun, counts=swept)


def sweep(folder: Path) -> dict[str, float]:
    """Time ours and the pipeline once on 20, 80, 320 short prompts of M responses, in seconds."""
    found = {}
    for count in (20, 80, 320):
        asked = questions(count, CASES["short"].prompt, CASES["short"].response)
        for name in ("ours", "pipeline"):
            _, seconds = timed(VARIANTS[name](folder, asked))
            found[f"{count * M} answers, {name}"] = seconds
    return found


if __name__ == "__main__":
    main()
