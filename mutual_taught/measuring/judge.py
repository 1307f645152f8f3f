"""`mutual-taught judge`: any two files of responses, compared by a judge of any kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mutual_taught.artifacts import files, tables
from mutual_taught.config import params
from mutual_taught.config.judging import Endpoint, Judging, StyleName
from mutual_taught.errors import InputError
from mutual_taught.evaluation import gold
from mutual_taught.evaluation.judges import verdict_tables
from mutual_taught.evaluation.judges.asking import Sent, ask_all, dollars
from mutual_taught.evaluation.judges.request import Spec
from mutual_taught.evaluation.judges.store import opened
from mutual_taught.evaluation.judges.verdict_tables import ORDERS, Comparison
from mutual_taught.measuring import checkpoints, response_files, settings
from mutual_taught.measuring.checkpoints import Checkpoint
from mutual_taught.measuring.evaluate import require_folder
from mutual_taught.measuring.response_files import ResponseFile
from mutual_taught.measuring.settings import Terms
from mutual_taught.method.arrays import Floats
from mutual_taught.method.selection import outcomes_with_failures
from mutual_taught.prepare.conversations import Prompt

STORE, METRICS = "verdicts.jsonl", "metrics.json"
NOTHING = Sent(0, 0, 0, {})


class JudgeOptions(NamedTuple):
    """What the command line says otherwise than the block `judge` of params.yaml."""

    model: str | None = None
    max_tokens: int | None = None
    base_url: str | None = None
    key_variable: str | None = None
    concurrency: int | None = None
    requests_per_minute: int | None = None
    timeout_seconds: float | None = None
    retries: int | None = None


class Comparing(NamedTuple):
    """What is compared, and where the results go."""

    compared: Sequence[Comparison]
    prompts: Mapping[str, Prompt]
    made_from: Mapping[str, object]
    out: Path


def plan(own: Path, other: Path, prompts: Path | None, out: Path) -> Comparing:
    """Look at everything that can be wrong with files, without torch.

    Raises:
        InputError: see `response_files`; or there is something else than verdicts at `out`.
        MissingFileError: a file is not there.
    """
    _require_verdicts_only(out)
    sides = response_files.read(own), response_files.read(other)
    found, source = _asked(sides[0], sides[1], prompts)
    against = verdict_tables.plain_name(other.name if other.is_dir() else other.stem)
    compared = response_files.comparisons(*sides, found, source, against)
    digests = {"answers": response_files.digest_of(sides[0])}
    turns = [[name, prompt.messages] for name, prompt in sorted(found.items())]
    others = {against: response_files.digest_of(sides[1])}
    made = {**digests, "others": others, "prompts": files.digest(turns)}
    return Comparing(compared, found, made, out)


def _require_verdicts_only(out: Path) -> None:
    """Refuse a place whose own numbers would be written over, or where nothing can be written."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file; expected a folder for verdicts; name another")
    require_folder(out)
    verdicts = [out / STORE, tables.VERDICTS.path(out)]
    if out.is_dir() and any(out.iterdir()) and not any(path.exists() for path in verdicts):
        raise InputError(
            f"{out}: holds other things than verdicts; expected a new folder, or that of an "
            "earlier judge; name another --out"
        )


def _asked(
    own: ResponseFile, other: ResponseFile, given: Path | None
) -> tuple[Mapping[str, Prompt], object]:
    """Find the prompts: those of the file that is named, of the run, or those beside the responses.

    Raises:
        InputError: responses have only their prompts' ids, and no file has the prompts.
    """
    if given is None and own.path.parent.name == "eval":
        of_run = own.path.parent / ".." / ".." / "0" / "splits" / "eval.parquet"
        given = of_run if of_run.exists() else None
    if given is not None:
        return response_files.prompts_of(given), given
    if any(name not in own.prompts for name, _ in own.texts):
        raise InputError(
            f"{own.path}: has no prompts, only their ids; expected the file they are in; name it "
            "with --prompts"
        )
    return own.prompts, own.path


def judging(values: Path | None, style: str, given: JudgeOptions) -> tuple[Spec, Endpoint]:
    """Read who is asked and where, and put what was given in its place.

    Raises:
        InputError: no model is named anywhere, or a value is wrong.
    """
    block = params.load(Judging, path=settings.source(values))
    said = {name: value for name, value in given._asdict().items() if value is not None}
    said.update({"key_variable": None} if said.get("key_variable") == "" else {})
    place = {name: value for name, value in said.items() if name in Endpoint.model_fields}
    endpoint = params.checked(Endpoint, {**block.endpoint.model_dump(), **place})
    if (model := given.model or block.model) is None:
        raise InputError("no judge is named; expected --model, or judge.model in params.yaml")
    named: StyleName = "arena_hard" if style == "arena_hard" else "alpaca_eval"
    return Spec(named, model, given.max_tokens or block.max_tokens), endpoint


class JudgeNumbers(NamedTuple):
    """What a judge found, and what asking it took."""

    metrics: Mapping[str, float]
    name: str
    asked: Sent


def ask(planned: Comparing, spec: Spec, endpoint: Endpoint, seed: int) -> JudgeNumbers:
    """Ask a language model, going on from the verdicts in the folder."""
    with opened(planned.out / STORE) as store:
        asked = ask_all(verdict_tables.requests(spec, planned.compared), store, endpoint)
        data = verdict_tables.verdicts(spec, planned.compared, store.replies, asked.refused)
    return _written(planned, data, spec, seed, asked)


def by_gold(planned: Comparing, seed: int) -> JudgeNumbers:
    """Let programs judge: the response that follows more of its prompt's instructions is better.

    Raises:
        InputError: a prompt has no instructions.
    """
    bare = [one for one in planned.prompts.values() if not one.instruction_ids]
    if bare:
        raise InputError(
            f"{len(bare)} of {len(planned.prompts)} prompts have no instructions; expected some "
            "for each, which a program can check; name another judge (docs/data.md)"
        )

    def worth(one: Comparison, text: str) -> float:
        prompt = planned.prompts[one.prompt_id]
        return gold.gold(text, prompt.instruction_ids, prompt.instruction_kwargs)

    own, other = (
        np.array([worth(one, text) for one, text in _sides(planned, side)]) for side in range(2)
    )
    return _numbers(planned, own, other, Spec("verifiable", "gold", None), seed)


def by_rewards(planned: Comparing, model: Checkpoint, terms: Terms) -> JudgeNumbers:
    """Let a reward model judge; a response without a reward loses against one that has one."""
    from mutual_taught.measuring import benchmark, limits, ready
    from mutual_taught.measuring.rewards import Conversation, score

    folder = ready.ready(model, terms.drawing.tokens)
    terms = limits.within(folder, terms)
    asked = [Conversation(one.conversation, [one.own, one.other]) for one in planned.compared]
    with benchmark.scoring(terms) as scorer:
        scored = score(scorer, folder, asked, terms.drawing.tokens, "judge-file")
    values = np.array([[reward.value for reward in both] for both in scored], np.float64)
    spec = Spec("reward_model", model.called, None)
    return _numbers(planned, values[:, 0], values[:, 1], spec, terms.drawing.seed)


def _sides(planned: Comparing, side: int) -> list[tuple[Comparison, str]]:
    return [(one, one.other if side else one.own) for one in planned.compared]


def _numbers(planned: Comparing, own: Floats, other: Floats, spec: Spec, seed: int) -> JudgeNumbers:
    """Judge by the higher number: both orders are the same."""
    better = outcomes_with_failures(own, other)
    rows = [
        verdict_tables.by_number(one, order, float(better[n]), f"{own[n]:.6g} : {other[n]:.6g}")
        for n, one in enumerate(planned.compared)
        for order in range(ORDERS)
    ]
    data = pa.Table.from_pylist(rows, schema=tables.VERDICTS.schema)
    return _written(planned, tables.VERDICTS.sorted(data), spec, seed, NOTHING)


def _written(
    planned: Comparing, data: pa.Table, spec: Spec, seed: int, asked: Sent
) -> JudgeNumbers:
    tables.write(planned.out, tables.VERDICTS, data, {**planned.made_from, **spec._asdict()})
    found = verdict_tables.metrics(data, spec, seed)
    files.write_metrics(planned.out / METRICS, found)
    name = next(iter(found)).rpartition(".")[0]
    return JudgeNumbers(found, name, asked)


def cost(asked: Sent, endpoint: Endpoint) -> str:
    """Say what was asked, and what it cost if prices are known."""
    if not asked.requests:
        return "every verdict was there already; nobody was asked"
    tokens = asked.prompt_tokens, asked.completion_tokens
    said = f"asked {asked.requests}; {tokens[0]:,} tokens read, {tokens[1]:,} written"
    if endpoint.prices is not None:
        said += f", ${dollars(endpoint.prices, *tokens):.2f}"
    return said


def lines(judged: JudgeNumbers) -> list[str]:
    """Say what a judge found, and whether it is to be believed."""
    found = {name.removeprefix(f"{judged.name}."): v for name, v in judged.metrics.items()}
    if not found["n"]:
        return [f"{judged.name}: no comparison has a verdict ({found['failures']:.0f} failed)"]
    return [
        f"{judged.name}: {found['mean']:.3f} [{found['ci_lo']:.3f}, {found['ci_hi']:.3f}], "
        f"n {found['n']:.0f}, ties {found['ties']:.0f}, p {found['p']:.2g}",
        f"without a verdict {found['failures']:.0f} of {found['comparisons']:.0f}; both orders "
        f"agree in {found['consistency']:.0%}, and prefer what is shown first by "
        f"{found['first']:.0%}",
    ]


def reward_model(folder: Path | None) -> Checkpoint:
    """Find the reward model that is to judge.

    Raises:
        InputError: none is named, or it is a policy.
        MissingFileError: it is not there.
    """
    if folder is None:
        raise InputError("no reward model is named; expected --reward-model with its folder")
    found = checkpoints.find(folder)
    checkpoints.require(found, "reward_model", "judging by rewards")
    return found
