"""A model on benchmarks: it scores or answers their items, and what follows is measured."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from mutual_taught.artifacts import files, tables
from mutual_taught.artifacts.files import digest
from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.errors import InputError
from mutual_taught.evaluation import benchmarks, intervals
from mutual_taught.evaluation.benchmarks.base import SEED, Items, Metrics, Prompts
from mutual_taught.measuring.limits import within
from mutual_taught.measuring.responses import Question, answer
from mutual_taught.measuring.rewards import Conversation, score
from mutual_taught.measuring.settings import Terms
from mutual_taught.sampling.sampler import Sampler
from mutual_taught.sampling.start import start_sampler
from mutual_taught.scoring.scorer import Scorer
from mutual_taught.scoring.start import start_scorer

METRICS = "metrics.json"


class Measured(NamedTuple):
    """What a model reached on a benchmark: `records` is None where a judge has yet to speak."""

    metrics: Metrics
    records: pa.Table | None


class Place(NamedTuple):
    """Where the results of a benchmark go, and the name of its folder of work in progress."""

    out: Path
    work: str


@contextmanager
def scoring(terms: Terms) -> Iterator[Scorer]:
    """Lend a scorer, which reads one reward model after the other."""
    drawing = terms.drawing
    with start_scorer(terms.score, drawing.engine.workers, drawing.tokens) as scorer:
        yield scorer


@contextmanager
def drawing(terms: Terms) -> Iterator[Sampler]:
    """Lend a sampler, which takes one policy after the other."""
    tokens = terms.drawing.tokens
    with start_sampler(terms.drawing.engine, tokens.max_length, tokens) as sampler:
        yield sampler


def reward_model(
    name: str, items: Items, model: Path, scorer: Scorer, terms: Terms, place: Place
) -> Measured:
    """Let a reward model score a benchmark's items; write `records` and metrics.

    Args:
        name: of the benchmark.
        items: of its `read`.
        model: folder with a manifest.
        scorer: takes the model.
        terms: limits.
        place: where results and parts go.
    """
    module, tokens = benchmarks.of_reward_models(name), terms.drawing.tokens
    asked = [Conversation(item.messages, item.responses) for item in items]
    rewards = score(scorer, model, asked, tokens, place.work)
    scores = [[reward.value for reward in one] for one in rewards]
    made_from = {
        "model": read_manifest(model).digest,
        "items": items_digest(items),
        "benchmark": name,
        "dtype": scorer.settings.dtype,
        "max_length": tokens.max_length,
    }
    records = module.records(items, scores)
    tables.write(place.out, tables.RECORDS, records, made_from)
    metrics = module.metrics(items, scores)
    write(place.out, metrics)
    return Measured(metrics, records)


def policy(
    name: str, prompts: Prompts, model: Path, sampler: Sampler, terms: Terms, place: Place
) -> Measured:
    """Let a policy answer a benchmark's prompts; write responses, `records` and metrics.

    Where a judge of the benchmark's own decides, its files are written in place of the records.

    Args:
        name: of the benchmark.
        prompts: of its `read`.
        model: folder with a manifest.
        sampler: takes the model.
        terms: how responses are drawn; one to each prompt.
        place: where results and parts go.
    """
    module = benchmarks.of_policies(name)
    ids = [question_id(name, prompt.prompt_id) for prompt in prompts]
    asked = [Question(*pair) for pair in zip(ids, (one.messages for one in prompts), strict=True)]
    drawn, made_from = answer(sampler, model, asked, terms, place.work)
    tables.write(place.out, tables.RESPONSES, drawn, made_from)
    text = dict(zip(drawn["prompt_id"].to_pylist(), drawn["response"].to_pylist(), strict=True))
    responses = [text[one] for one in ids]
    if module.JUDGED:
        module.export(prompts, responses, generator(model), place.out)
        return Measured({}, None)
    records = module.records(prompts, responses)
    known = ("plan", "dtype", "engine", "tensor_parallel")
    provenance = {
        "model": made_from["policy"],
        "items": made_from["prompts"],
        "benchmark": name,
        **{key: made_from[key] for key in known if key in made_from},
    }
    tables.write(place.out, tables.RECORDS, records, provenance)
    metrics = module.metrics(prompts, responses)
    write(place.out, metrics)
    return Measured(metrics, records)


def measure(
    name: str, models: Mapping[str, Path], paths: Sequence[Path], terms: Terms, place: Place
) -> None:
    """Measure the models of an iteration on a benchmark: the policy or the reward model.

    Args:
        name: of the benchmark.
        models: their folders, by kind: `policy` and `reward_model`.
        paths: the benchmark's files.
        terms: how responses are drawn and scored, before the model's own limits.
        place: where results and parts go.
    """
    kind = benchmarks.entry(name).kind
    model = models[kind]
    terms = within(model, terms)
    if kind == "reward_model":
        items = benchmarks.of_reward_models(name).read(paths)
        with scoring(terms) as scorer:
            reward_model(name, items, model, scorer, terms, place)
        return
    prompts = benchmarks.of_policies(name).read(paths)
    with drawing(terms) as sampler:
        policy(name, prompts, model, sampler, terms, place)


def question_id(benchmark: str, prompt: str) -> str:
    """Hash a benchmark's own id to one that seeds can come from: 32 hex digits."""
    return digest([benchmark, prompt])[:32]


def generator(model: Path) -> str:
    """Name a policy for judges: its base, and the beginning of its digest."""
    manifest = read_manifest(model)
    return f"{manifest.base} {manifest.digest[:8]}"


def items_digest(items: Items) -> str:
    """Hash what is scored and how it is labelled."""
    return digest(
        [
            [one.item_id, [dict(turn) for turn in one.messages], [*one.responses], [*one.labels]]
            for one in items
        ]
    )


def difference(own: pa.Table, other: pa.Table) -> Metrics:
    """Compare two models item by item: `value` of the first less that of the second.

    The interval resamples prompts; p is that of sign flips of whole prompts.

    Args:
        own: rows of `records`.
        other: of the other model, on the same items.

    Raises:
        InputError: they are of other items.
    """
    own, other = tables.RECORDS.sorted(own), tables.RECORDS.sorted(other)
    if own["item_id"].to_pylist() != other["item_id"].to_pylist():
        raise InputError(
            f"records: {len(own)} and {len(other)} items of other names; expected both models on "
            "the same ones; measure both on the same file"
        )
    change = own["value"].to_numpy() - other["value"].to_numpy()
    found = intervals.change("difference", change, intervals.prompts(own), SEED)
    found["difference.n"] = found.pop("difference.prompts")
    return found


def write(out: Path, metrics: Metrics) -> None:
    """Write the metrics of a benchmark, flat."""
    files.write_metrics(out / METRICS, metrics)


def judged(name: str, prompts: Prompts, judgements: Sequence[Path], out: Path) -> Measured:
    """Measure what a benchmark's judge said of responses that were exported; write the metrics."""
    module = benchmarks.of_policies(name)
    assert module.JUDGED
    metrics = module.metrics_from(prompts, judgements)
    write(out, metrics)
    return Measured(metrics, None)
