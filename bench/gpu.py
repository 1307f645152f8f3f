"""What only a GPU can show: packed attention both ways, decoding attention, the cache's peak.

    python -m bench.gpu                 # one CUDA card, about 3 minutes
    python -m bench.gpu --json out.json
    python -m bench.gpu --shape tiny    # on any machine: that it runs

The model is random, in the shape of a 1B Llama (16 layers, 32 query heads of 64 on 8 key heads).

- attention: one layer over a packed row, forward and backward, by our products, by flex_attention
  and by `eager` (a dense mask, keys repeated), all from the same states. Errors are those of result
  and gradients, the largest of norm(off) / norm(right), against float64.
- model: policy log-probs of a packed row and their gradient, by our products and by flex_attention,
  against padded batches with transformers' own sdpa; tokens of conversations a second.
- one: the attention of one new token a row over a cache with padding, by `attend_one` and by
  transformers' sdpa, which repeats keys.
- cache: the most memory that sampling takes beyond the weights, over what keys and values of all
  rows weigh at the end. Rows end at random.
- rows: rows of other lengths one after another, as in training: what compiling costs.
- sampling: responses' tokens a second of the engine's loop and of `generate`, the same batch.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bench.training import config
from bench.turns import show, timed
from mutual_taught.models.load import Policy, device
from mutual_taught.models.packed import attention, flex
from mutual_taught.models.packed.forward import policy_pass
from mutual_taught.models.packed.rows import Group, pack
from mutual_taught.sampling.keyed import Decode, Request, sample

HEADS, SHARED, SIZE = 32, 8, 64
CASES = ("attention", "long attention", "one", "rows", "model", "sampling")
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 320}
BILLION = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "vocab_size": 32768,
    "num_attention_heads": HEADS,
    "num_key_value_heads": SHARED,
}


class Sizes(NamedTuple):
    """Groups of a packed row, tokens of a prompt and a response; rows, prompt, responses drawn."""

    groups: int
    prompt: int
    response: int
    rows: int
    long_prompt: int
    new: int


SIZES = {"1B": Sizes(16, 600, 200, 256, 1000, 64), "tiny": Sizes(3, 20, 10, 8, 30, 8)}


def seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Give the median time of some work after two unmeasured turns, the device idle around it."""
    found = []
    for turn in range(repeats + 2):
        wait()
        _, took = timed(partial(_done, work))
        if turn > 1:
            found.append(took)
    return statistics.median(found)


def _done(work: Callable[[], object]) -> None:
    work()
    wait()


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def peak() -> Iterator[list[int]]:
    """Count the most bytes allocated beyond those that are at the beginning."""
    found: list[int] = []
    wait()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        begin = torch.cuda.memory_allocated()
    yield found
    wait()
    if torch.cuda.is_available():
        found.append(torch.cuda.max_memory_allocated() - begin)


def groups(sizes: Sizes, seed: int = 0) -> list[Group]:
    """Make prompts with a chosen and a rejected response each."""
    chance = torch.Generator().manual_seed(seed)

    def drawn(mean: int) -> list[int]:
        count = int(torch.randint(int(mean * 0.6), int(mean * 1.4), (1,), generator=chance))
        return torch.randint(3, 300, (count,), generator=chance).tolist()

    return [
        Group(drawn(sizes.prompt), [drawn(sizes.response) for _ in range(2)])
        for _ in range(sizes.groups)
    ]


def dense(row: Any) -> Tensor:
    """Give the mask of a packed row, True where a token sees another."""
    places = torch.arange(row.input_ids.shape[1], device=row.input_ids.device)
    seen: Tensor = row.mask.mask_mod(
        torch.tensor(0), torch.tensor(0), places[:, None], places[None, :]
    )
    return seen


def eager(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Attend with all scores at once; shapes (1, heads, L, size), result (1, L, heads, size)."""
    shared = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(shared, dim=1) for states in (key, value))
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    shares = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1, dtype=torch.float32)
    found: Tensor = (shares.to(value.dtype) @ value).transpose(1, 2)
    return found


def exact(states: Sequence[Tensor], seen: Tensor, chosen: Tensor) -> list[Tensor]:
    """Give result and gradients in float64, a query head at a time: all would not fit."""
    query, key, value = (one.detach().double() for one in states)
    found = torch.empty(1, query.shape[2], query.shape[1], value.shape[3], dtype=torch.float64)
    grads = [torch.zeros_like(one) for one in (query, key, value)]
    each = query.shape[1] // key.shape[1]
    for head in range(query.shape[1]):
        own = [query[0, head], key[0, head // each], value[0, head // each]]
        own = [one.clone().requires_grad_() for one in own]
        scores = (own[0] @ own[1].T) * query.shape[-1] ** -0.5
        result = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1) @ own[2]
        found[0, :, head] = result.detach().cpu()
        parts = torch.autograd.grad((result * chosen[0, :, head].double()).sum(), own)
        for grad, part, at in zip(grads, parts, (head, head // each, head // each), strict=True):
            grad[0, at] += part
    return [found.to(chosen.device), *grads]


def gradients(way: Callable[[], Tensor], states: Sequence[Tensor], chosen: Tensor) -> list[Tensor]:
    """Give the result, and the gradients of its product with `chosen`."""
    result = way()
    return [result, *torch.autograd.grad(result, states, chosen)]


def off(found: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Give the largest relative error of the parts."""
    return max(
        float((mine.detach().double() - its).norm() / its.norm())
        for mine, its in zip(found, right, strict=True)
    )


def attend(sizes: Sizes, shape: tuple[int, int, int]) -> Iterator[dict[str, Any]]:
    """Compare one layer's attention over a packed row."""
    where = device()
    ours, blocks = (pack(groups(sizes), where, name) for name in (False, True))
    length = ours.input_ids.shape[1]
    seen = dense(blocks)
    assert ours.layout
    for kind in (torch.float32, torch.bfloat16):
        chance = torch.Generator("cpu").manual_seed(1)
        heads, shared, size = shape
        states = [
            torch.randn((1, count, length, size), generator=chance).to(where, kind).requires_grad_()
            for count in (heads, shared, shared)
        ]
        query, key, value = states
        chosen = torch.randn((1, length, heads, size), generator=chance).to(where, kind)
        right = exact(states, seen, chosen)
        ways: dict[str, Callable[[], Tensor]] = {
            "ours": partial(attention.attend_row, query, key, value, ours.layout),
            "eager": partial(eager, query, key, value, seen),
        }
        if length > 2**13:  # its scores would not fit
            del ways["eager"]
        if where.type == "cuda":  # flex_attention has no backward pass on a CPU
            ways["flex"] = partial(attention._flex, query, key, value, blocks.mask, None, None)
        for name, way in ways.items():
            both = partial(gradients, way, states, chosen)
            wrong = off(both(), right)
            with peak() as most:
                both()
            yield {
                "case": "attention",
                "way": name,
                "dtype": str(kind)[6:],
                "tokens": length,
                "error": wrong,
                "seconds": seconds(both),
                "bytes": most[0] if most else None,
            }


def whole_model(model: Any, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Compare a policy's log-probs and their gradients over a packed row; rates in tokens."""
    made = groups(sizes)
    for name in ways():
        found = step(model, made, name)
        with peak() as most:
            step(model, made, name)
        took = seconds(partial(step, model, made, name), 3)
        yield {
            "case": "model",
            "way": name,
            "dtype": "bfloat16",
            "first": found[:2],
            "seconds": took,
            "rate": tokens(made) / took,
            "bytes": most[0] if most else None,
        }


def rows_of_training(model: Any, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Take rows of other lengths one after another, as training does: what compiling costs."""
    many = [groups(sizes._replace(groups=sizes.groups // 2), seed) for seed in range(10, 22)]
    for name in ways():
        took = [timed(partial(_done, partial(step, model, made, name)))[1] for made in many]
        rates = [tokens(made) / second for made, second in zip(many, took, strict=True)]
        yield {
            "case": "rows",
            "way": name,
            "dtype": "bfloat16",
            "all": sum(took),
            "first": took[0],
            "second": took[1],
            "third": took[2],
            "rate": statistics.median(rates[3:]),
            "slowest later": max(took[3:]),
        }


def ways() -> list[str]:
    """Name the ways to read conversations here: flex_attention needs a GPU for its gradient."""
    return [
        name for name in ("flex", "ours", "padded") if name != "flex" or device().type == "cuda"
    ]


def tokens(made: Sequence[Group]) -> int:
    """Count the tokens of conversations, each whole."""
    return sum(len(group.prefix) + len(branch) for group in made for branch in group.branches)


def step(model: Any, made: Sequence[Group], way: str) -> list[float]:
    """Give summed log-probs of every response under autocast, after a pass back from them."""
    with torch.autocast(device().type, torch.bfloat16):
        if way == "padded":
            sums = padded(model, made)
        else:
            model.config._attn_implementation = attention.NAME
            flex.fits = lambda *_: way == "flex"
            sums = torch.stack([part.sum() for part in policy_pass(model, made, device())[0]])
    torch.autograd.backward(sums.sum())
    model.zero_grad()
    return sums.tolist()


def padded(model: Any, made: Sequence[Group]) -> Tensor:
    """Give summed log-probs of every response, from padded batches of 8 conversations."""
    model.config._attn_implementation = "sdpa"
    where = device()
    rows = [(list(g.prefix), list(b)) for g in made for b in g.branches]
    found: list[Tensor] = []
    for at in range(0, len(rows), 8):
        batch = rows[at : at + 8]
        width = max(len(a) + len(b) for a, b in batch)
        ids = torch.tensor([[*a, *b, *[0] * (width - len(a) - len(b))] for a, b in batch])
        mask = torch.tensor(
            [[1] * (len(a) + len(b)) + [0] * (width - len(a) - len(b)) for a, b in batch]
        )
        logits = model(input_ids=ids.to(where), attention_mask=mask.to(where)).logits
        logps = logits[:, :-1].float().log_softmax(-1)
        own = logps.gather(2, ids.to(where)[:, 1:, None]).squeeze(2)
        found += [
            one[len(a) - 1 : len(a) + len(b) - 1].sum()
            for one, (a, b) in zip(own, batch, strict=True)
        ]
    return torch.stack(found)


def repeated(module: Any, *states: Tensor) -> Tensor:
    """Attend as transformers does, which repeats keys for each of their query heads."""
    found: Tensor = sdpa_attention_forward(module, *states)[0]
    return found


def one(sizes: Sizes, shape: tuple[int, int, int]) -> Iterator[dict[str, Any]]:
    """Compare the attention of one new token a row over a cache with padding on the left."""
    where, (heads, shared, size) = device(), shape
    length = sizes.long_prompt + sizes.new
    for kind in (torch.float32, torch.bfloat16):
        chance = torch.Generator("cpu").manual_seed(2)
        query = torch.randn((sizes.rows, heads, 1, size), generator=chance).to(where, kind)
        key, value = (
            torch.randn((sizes.rows, shared, length, size), generator=chance).to(where, kind)
            for _ in range(2)
        )
        mask = torch.ones(sizes.rows, 1, 1, length, dtype=torch.bool, device=where)
        for row in range(sizes.rows):
            mask[row, ..., : row % (sizes.long_prompt // 2)] = False
        module: Any = torch.nn.Module()
        module.num_key_value_groups = heads // shared
        ways: dict[str, Callable[[], Tensor]] = {
            "attend_one": partial(attention.attend_one, query, key, value, mask),
            "products": partial(attention._one, query, key, value, mask, None, None),
            "sdpa": partial(repeated, module, query, key, value, mask),
        }
        each = heads // shared
        keys, values = (states.repeat_interleave(each, 1).double() for states in (key, value))
        scores = query.double() @ keys.transpose(2, 3) * size**-0.5
        right = (scores.masked_fill(~mask, -torch.inf).softmax(-1) @ values).transpose(1, 2)
        del keys, values, scores
        for name, way in ways.items():
            with torch.inference_mode():
                wrong = off([way()], [right])
                with peak() as most:
                    way()
                took = seconds(way, 15)
            yield {
                "case": "one",
                "way": name,
                "dtype": str(kind)[6:],
                "error": wrong,
                "seconds": took,
                "bytes": most[0] if most else None,
            }


def sampling(model: Any, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Measure the peak of the cache, and rates against `generate`."""
    where = device()
    shape = model.config
    model.to(torch.bfloat16).eval()
    chance = torch.Generator().manual_seed(3)
    prompts = [
        torch.randint(3, 300, (sizes.long_prompt - number % 7,), generator=chance).tolist()
        for number in range(sizes.rows // 4)
    ]
    asked = [
        Request(prompt, [number * 4 + index for index in range(4)])
        for number, prompt in enumerate(prompts)
    ]
    # A random model's tokens are almost uniform: with these, 1 in 64 ends its response.
    stops = frozenset(range(0, shape.vocab_size, 64))
    decode = Decode(1.0, 1.0, sizes.new)
    head = shape.hidden_size // shape.num_attention_heads
    token = 2 * shape.num_hidden_layers * shape.num_key_value_heads * head * 2
    for name, ends in (("rows end", stops), ("none ends", frozenset({-2}))):
        policy = Policy(model, None, ends)
        model.config._attn_implementation = attention.NAME
        with peak() as most:
            drawn = sample(policy, asked, decode)
        counted = sum(len(draw.token_ids) for draws in drawn for draw in draws)
        took = seconds(partial(sample, policy, asked, decode), 3)
        cache = token * sizes.rows * (sizes.long_prompt + sizes.new)
        yield {
            "case": "sampling",
            "way": f"ours, {name}",
            "dtype": "bfloat16",
            "tokens": counted,
            "rate": counted / took,
            "bytes": most[0] if most else None,
            "of_cache": most[0] / cache if most else None,
            "cache": cache,
        }
    yield {
        "case": "sampling",
        "way": "generate, none ends",
        **generated(model, prompts, sizes, where),
    }


def generated(
    model: Any, prompts: Sequence[Sequence[int]], sizes: Sizes, where: torch.device
) -> dict[str, Any]:
    """Draw the same batch by `generate`, responses of full length."""
    model.config._attn_implementation = "sdpa"
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in prompts]).to(where)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts]).to(where)
    plan = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_new_tokens=sizes.new,
        num_return_sequences=4,
        use_cache=True,
        pad_token_id=0,
    )

    def run() -> object:
        with torch.inference_mode():
            return model.generate(input_ids=ids, attention_mask=mask, generation_config=plan)

    with peak() as most:
        run()
    took = seconds(run, 3)
    tokens = len(prompts) * 4 * sizes.new
    return {
        "dtype": "bfloat16",
        "tokens": tokens,
        "rate": tokens / took,
        "bytes": most[0] if most else None,
    }


@click.command()
@click.option("--shape", type=click.Choice(sorted(SIZES)), default="1B")
@click.option("--only", multiple=True, type=click.Choice(CASES), help="Only these cases.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all numbers here.")
def main(shape: str, only: tuple[str, ...], out: Path | None) -> None:
    """Measure what only a GPU can show; the module's docstring says what each case is."""
    sizes = SIZES[shape]
    heads = (HEADS, SHARED, SIZE) if shape == "1B" else (4, 2, 16)
    changes = BILLION if shape == "1B" else TINY
    torch.manual_seed(0)
    if torch.cuda.is_available():
        click.echo(torch.cuda.get_device_name())
    found: list[dict[str, Any]] = []

    def told(rows: Iterator[dict[str, Any]]) -> None:
        for row in rows:
            found.append(row)
            click.echo("  ".join(f"{key} {_shown(value)}" for key, value in row.items()))

    cases: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "attention": lambda: attend(sizes._replace(groups=max(1, sizes.groups // 4)), heads),
        "long attention": lambda: attend(sizes, heads),
        "one": lambda: one(sizes, heads),
    }
    shaped = config("135M")
    shaped.update(changes)
    shaped._attn_implementation = attention.NAME
    model = LlamaForCausalLM(shaped).to(device())
    model.rows = "packed"
    cases |= {
        "rows": lambda: rows_of_training(model, sizes),
        "model": lambda: whole_model(model, sizes),
        "sampling": lambda: sampling(model, sizes),
    }
    for name, case in cases.items():
        if not only or name in only:
            told(case())
    show(
        {},
        out,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        torch=torch.__version__,
        rows=found,
    )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
