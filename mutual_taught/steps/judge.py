"""Stage judge on tables: stored responses in, a language model's verdicts out."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, joins, tables
from mutual_taught.config.judging import Endpoint, Judging
from mutual_taught.errors import InputError
from mutual_taught.evaluation.judges import verdict_tables
from mutual_taught.evaluation.judges.asking import ask_all
from mutual_taught.evaluation.judges.request import Spec
from mutual_taught.evaluation.judges.store import opened, place
from mutual_taught.evaluation.judges.verdict_tables import Comparison

OTHERS = ("base", "previous")
PREFIX = "policy.win_rate"


class JudgeInputs(NamedTuple):
    """What a judge is asked about: `generations` of `policy`, `base`, `previous`; the prompts."""

    responses: Mapping[str, pa.Table]
    prompts: pa.Table
    prompts_path: Path


def spec(settings: Judging) -> Spec:
    """Give what decides verdicts beside the responses.

    Raises:
        InputError: no judge is named.
    """
    if settings.model is None:
        raise InputError(
            "params.yaml: judge.model is null; expected the name of a model at judge.endpoint"
        )
    return Spec(settings.style, settings.model, settings.max_tokens)


def compared(asked: JudgeInputs, count: int) -> list[Comparison]:
    """Put the first so many responses to each prompt beside those of pi_0 and of pi_{t-1}.

    Raises:
        InputError: the others answered other prompts.
    """
    own, ids = _first(asked.responses["policy"], count), asked.responses["policy"]["prompt_id"]
    turns = joins.align(asked.prompts, pc.unique(ids).to_pylist(), asked.prompts_path)
    named = dict(zip(turns["prompt_id"].to_pylist(), turns["messages"].to_pylist(), strict=True))
    found = []
    for name in OTHERS:
        other = _first(asked.responses[name], count)
        joins.same_keys(own, other, tables.GENERATIONS, Path(f"the answers of {name}"))
        found += verdict_tables.comparisons(own, other, name, named)
    return found


def _first(responses: pa.Table, count: int) -> pa.Table:
    return responses.filter(pc.less(responses["response_index"], count))


def made_from(asked: JudgeInputs, judge: Spec) -> dict[str, object]:
    """Name what verdicts are of, as provenance does."""
    return {
        **tables.digests(answers=asked.responses["policy"]),
        "others": tables.digests(**{name: asked.responses[name] for name in OTHERS}),
        "prompts": tables.rows_digest(asked.prompts.select(["prompt_id", "messages"])),
        **judge._asdict(),
    }


def judge(asked: JudgeInputs, out: Path, settings: Judging, endpoint: Endpoint, seed: int) -> int:
    """Ask what was never asked, and write `verdicts` and the numbers that follow.

    Replies are kept in `.work/verdicts/`, by what was asked and of which model, whatever the run.

    Returns:
        How many requests were sent.

    Raises:
        EndpointError: the judge gives no answers.
    """
    judging = spec(settings)
    pairs = compared(asked, settings.responses_per_prompt)
    with opened(place(judging.model)) as store:
        sent = ask_all(verdict_tables.requests(judging, pairs), store, endpoint)
        data = verdict_tables.verdicts(judging, pairs, store.replies, sent.refused)
    tables.write(out, tables.VERDICTS, data, made_from(asked, judging))
    numbers = verdict_tables.metrics(data, judging, seed, PREFIX)
    files.write_metrics(out / "metrics" / "judge.json", {"active": 1.0, **numbers})
    return sent.requests


def nothing(out: Path) -> None:
    """Write what there is of a stopped iteration: no verdicts."""
    tables.empty(out, tables.VERDICTS)
    files.write_metrics(out / "metrics" / "judge.json", {"active": 0.0})
