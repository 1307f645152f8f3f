"""Commands that measure any checkpoint: evaluate, score, sample."""

import shutil
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from mutual_taught.cli.place import PLACE
from mutual_taught.terminal import columns, process

POSITIVE, COUNT = click.FloatRange(min=0, min_open=True), click.IntRange(min=1)
SHARE = click.FloatRange(0, 1, min_open=True)
PARAMS = click.option(
    "--params",
    "values",
    type=PLACE,
    help="Where engine, score, tokens and eval stand; params.yaml, or outside a project laptop's.",
)
MAX_LENGTH = click.option(
    "--max-length",
    type=COUNT,
    help="Tokens a conversation may have; the larger of 2048 and tokens.max_length.",
)
DRAWING = (
    click.option("--temperature", type=POSITIVE, help="Of drawing; eval.temperature."),
    click.option("--top-p", type=SHARE, help="Of drawing; eval.top_p."),
    click.option("--max-new-tokens", type=COUNT, help="Of an answer; eval.max_new_tokens."),
    click.option("--seed", type=click.IntRange(min=0), help="Of all draws; the params' seed."),
)


def drawing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how answers are drawn."""
    return reduce(lambda made, option: option(made), reversed(DRAWING), command)


@click.command(short_help="Measure a checkpoint on benchmarks.")
@click.argument("model", type=PLACE)
@click.option("--on", "names", required=True, help="Benchmarks, with commas between them.")
@click.option("--data", type=PLACE, help="The benchmark's file, or a folder of its files.")
@click.option("--revision", help="Commit of the benchmark's data set on the hub.")
@click.option(
    "--judgements",
    type=PLACE,
    multiple=True,
    help="Verdicts of a benchmark's judge on exported answers; only measures them.",
)
@click.option("--compare", type=PLACE, help="Another model, on the same items.")
@click.option("--out", type=PLACE, help="Folder of the results; evaluations/MODEL.")
@PARAMS
@MAX_LENGTH
@drawing
def evaluate(
    model: Path,
    names: str,
    data: Path | None,
    revision: str | None,
    judgements: tuple[Path, ...],
    compare: Path | None,
    out: Path | None,
    values: Path | None,
    max_length: int | None,
    **given: Any,
) -> None:
    """Measure any checkpoint on benchmarks: a policy or a reward model, by its config.json.

    MODEL is a folder of Hugging Face format, of a run or from elsewhere. A reward model scores
    the benchmark's answers, a policy answers its prompts. Writes records.parquet and metrics.json
    for each benchmark, and prints one table with 95 % intervals. Interrupted, it goes on.

    \b
    mutual-taught evaluate run/2/reward_model --on pairs --data mine.jsonl
    mutual-taught evaluate run/2/reward_model --on best-of-n --data mine.jsonl \\
        --compare run/0/reward_model --out compared
    mutual-taught evaluate run/2/policy --on alpaca-eval --out exported
    mutual-taught evaluate run/2/policy --on alpaca-eval --out judged \\
        --judgements annotations.json --judgements df_gamed.csv
    """
    from mutual_taught.measuring import evaluate as measuring
    from mutual_taught.measuring import settings, table

    terms = settings.read(values, settings.Given(max_length=max_length, **given))
    source = measuring.Source(data, revision, judgements)
    listed = [name.strip() for name in names.split(",")]
    planned = measuring.plan(model, listed, source, out, compare)
    results = list(measuring.run(planned, terms))
    width = shutil.get_terminal_size().columns
    for line in columns.lines(table.rows(results), width, sys.stdout.encoding):
        click.echo(line)
    for result in results:
        process.say(f"{result.name}: {result.out}")


@click.command(short_help="Add a reward model's rewards to a file.")
@click.argument("file", type=PLACE)
@click.option("--reward-model", required=True, type=PLACE, help="Folder of the reward model.")
@click.option("--out", required=True, type=PLACE, help="A new .parquet, .jsonl or .csv.")
@PARAMS
@MAX_LENGTH
def score(
    file: Path, reward_model: Path, out: Path, values: Path | None, max_length: int | None
) -> None:
    """Score conversations, answers or pairs of a file with any reward model.

    FILE is .parquet, .jsonl or .csv. Its columns say what it holds: chosen and rejected; or a
    prompt and a response; or messages that end in an answer. OUT has its rows in their order,
    with reward and reason: why there is none, empty where there is one.

    Example: mutual-taught score mine.jsonl --reward-model run/2/reward_model --out scored.jsonl
    """
    from mutual_taught.measuring import score as scoring
    from mutual_taught.measuring import settings

    terms = settings.read(values, settings.Given(max_length=max_length))
    counts = scoring.run(scoring.plan(file, reward_model, out), terms)
    process.say(f"{out}: {counts.rows} rows, {counts.rewards} rewards")
    if counts.unread:
        process.say(f"rows that cannot be read: {counts.unread}")
    if counts.unscored:
        process.say(
            f"answers without a reward: {counts.unscored}; column reason says why (--max-length)"
        )


@click.command(short_help="Add a policy's answers to a file of prompts.")
@click.argument("file", type=PLACE)
@click.option("--policy", required=True, type=PLACE, help="Folder of the policy.")
@click.option("--out", required=True, type=PLACE, help="A new .parquet, .jsonl or .csv.")
@click.option("--responses-per-prompt", default=1, type=COUNT, help="Answers to each prompt.")
@PARAMS
@MAX_LENGTH
@drawing
def sample(file: Path, policy: Path, out: Path, values: Path | None, **given: Any) -> None:
    """Draw any policy's answers to the prompts of a file.

    FILE is .parquet, .jsonl or .csv with a column prompt, instruction, messages or conversations.
    OUT has a row for each answer: the prompt's own columns, and those of run/t/eval/generations.
    Prompts that are the same, white space apart, have the same answers.

    Example: mutual-taught sample mine.jsonl --policy run/2/policy --out answers.jsonl
    """
    from mutual_taught.measuring import sample as sampling
    from mutual_taught.measuring import settings

    terms = settings.read(values, settings.Given(**given))
    counts = sampling.run(sampling.plan(file, policy, out), terms)
    process.say(f"{out}: {counts.rows} rows, {counts.responses} answers")
    if counts.unread:
        process.say(f"rows without an answer: {counts.unread}")


@click.command(short_help="Compare two files of answers by a judge.")
@click.argument("own", metavar="A", type=PLACE)
@click.argument("other", metavar="B", type=PLACE)
@click.option("--out", required=True, type=PLACE, help="Folder of verdicts and numbers.")
@click.option("--prompts", type=PLACE, help="File of the prompts, where A has only their ids.")
@click.option(
    "--judge",
    "kind",
    type=click.Choice(["alpaca_eval", "arena_hard", "reward_model", "verifiable"]),
    default="alpaca_eval",
    help="Who judges: a language model in one of two styles, rewards, or programs.",
)
@click.option("--model", help="Name of the language model; judge.model.")
@click.option("--base-url", help="Address of its server; judge.endpoint.base_url.")
@click.option(
    "--key-variable", help='Environment variable of the key, "" for none; judge.endpoint\'s.'
)
@click.option("--concurrency", type=click.IntRange(1, 256), help="Requests at once.")
@click.option("--requests-per-minute", type=COUNT, help="No more starts than these.")
@click.option("--timeout", "timeout_seconds", type=POSITIVE, help="Seconds for one answer.")
@click.option("--retries", type=click.IntRange(min=0), help="Of a request that fails.")
@click.option("--max-tokens", type=COUNT, help="Of a verdict; judge.max_tokens.")
@click.option("--reward-model", type=PLACE, help="Folder of the one that judges.")
@click.option("--max-length", type=COUNT, help="As of evaluate, for a reward model.")
@click.option("--seed", type=click.IntRange(min=0), help="Of intervals; the params' seed.")
@PARAMS
def judge(
    own: Path,
    other: Path,
    out: Path,
    prompts: Path | None,
    kind: str,
    reward_model: Path | None,
    max_length: int | None,
    seed: int | None,
    values: Path | None,
    **given: Any,
) -> None:
    """Say how often A's answers are better than B's to the same prompts.

    A and B are files of answers (.jsonl, .csv, .parquet, or AlpacaEval's .json), or folders of
    iterations such as run/2. A language model sees each pair twice, with either answer first. Its
    replies are kept in OUT as they come: interrupted, or with more answers, the command goes on
    and asks nothing twice. The key comes from the environment and is written nowhere.

    \b
    mutual-taught judge run/2 run/0 --judge verifiable --out judged
    mutual-taught judge mine.jsonl theirs.jsonl --model my-judge \\
        --base-url http://127.0.0.1:8000/v1 --key-variable "" --out judged
    """
    from mutual_taught.measuring import judge as judging
    from mutual_taught.measuring import settings

    by_rewards = {"reward_model": reward_model, "max_length": max_length}
    asks, scores = kind in ("alpaca_eval", "arena_hard"), kind == "reward_model"
    _refuse_unused({**({} if asks else given), **({} if scores else by_rewards)}, kind)
    planned = judging.plan(own, other, prompts, out)
    terms = settings.read(values, settings.Given(max_length=max_length, seed=seed))
    if kind == "verifiable":
        judged = judging.by_gold(planned, terms.drawing.seed)
    elif kind == "reward_model":
        judged = judging.by_rewards(planned, judging.reward_model(reward_model), terms)
    else:
        spec, endpoint = judging.judging(values, kind, judging.JudgeOptions(**given))
        judged = judging.ask(planned, spec, endpoint, terms.drawing.seed)
        process.say(judging.cost(judged.asked, endpoint))
    for line in judging.lines(judged):
        process.say(line)
    process.say(f"{out}: {len(planned.compared)} comparisons")


def _refuse_unused(given: dict[str, Any], kind: str) -> None:
    """Refuse options that only other judges look at; they would change nothing, in silence."""
    for parameter in click.get_current_context().command.params:
        if parameter.name in given and given[parameter.name] is not None:
            raise click.UsageError(
                f"{parameter.opts[0]} is of another judge; expected none with --judge {kind}"
            )
