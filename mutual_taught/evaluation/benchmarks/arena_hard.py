"""What both Arena-Hards have in common: scores, intervals and control of style from verdicts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import bradley_terry, joined
from mutual_taught.evaluation.benchmarks.arena_files import METADATA, Judgement, Marked, judgements
from mutual_taught.evaluation.benchmarks.base import SEED, Metrics, Prompts
from mutual_taught.evaluation.benchmarks.bradley_terry import Battles, Won, consistent, won
from mutual_taught.method.statistics import bootstrap
from mutual_taught.terminal.signs import excerpt

DRAWS = 200  # fits on resampled prompts under control of style: twice as many as published
Styles = Mapping[tuple[str, str], tuple[float, ...]]


class Field(NamedTuple):
    """The verdicts of one judge, or several, in one category; the first model is measured.

    models: by name; each has its rows in the order of the category's prompts.
    """

    category: str
    judge: str
    baseline: str
    models: Mapping[str, Sequence[Judgement]]


def metrics(
    prompts: Prompts,
    said: Sequence[Judgement],
    responses: Sequence[Marked],
    baselines: Mapping[str, str],
) -> Metrics:
    """Measure the model of the first verdict, category by category and judge by judge.

    Names have the category and the judge in them. A category without any row is left out. Of
    several judges there is also what all of them say together. Style is controlled where the files
    have verdicts on another model, too, and every response's metadata.

    Args:
        prompts: of the benchmark.
        said: verdicts; on other models only for control of style.
        responses: with the style of each response, the baseline's included; or none.
        baselines: the baseline of each category.

    Raises:
        InputError: a row is about no prompt or of another baseline; or a prompt of a category has
            no verdict, or two of one judge; or a response's style is missing.
    """
    _require_known(prompts, said)
    model, styles = said[0].model, {(one.model, one.uid): one.counts for one in responses}
    found: Metrics = {}
    for category in dict.fromkeys(prompt.subset for prompt in prompts):
        judges = [row.judge for row in said if (row.category, row.model) == (category, model)]
        names = list(dict.fromkeys(judges))
        fields = [_field(prompts, said, category, judge, baselines) for judge in names]
        if len(fields) > 1:
            fields.append(_together(fields))
        for field in fields:
            found |= _named("score", field, _scores(field))
            if styles:
                found |= _named("style_controlled", field, _controlled(field, styles))
    return found


def _named(what: str, field: Field, values: Metrics) -> Metrics:
    """Put the category and the judge into names: `score.hard_prompt.gpt-4.1.mean`."""
    prefix = f"{what}.{field.category}.{excerpt(field.judge)}"
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _require_known(prompts: Prompts, said: Sequence[Judgement]) -> None:
    """Refuse verdicts in a category that the benchmark does not have."""
    known = list(dict.fromkeys(prompt.subset for prompt in prompts))
    for row in said:
        if row.category not in known:
            raise InputError(
                f"{row.path}: row {row.number}: category is {excerpt(row.category)!r}; expected "
                f"one of {', '.join(known)}; these verdicts belong to another benchmark"
            )


def _field(
    prompts: Prompts,
    said: Sequence[Judgement],
    category: str,
    judge: str,
    baselines: Mapping[str, str],
) -> Field:
    names = [prompt.prompt_id for prompt in prompts if prompt.subset == category]
    rows = [row for row in said if (row.category, row.judge) == (category, judge)]
    models: dict[str, Sequence[Judgement]] = {}
    for model in dict.fromkeys([said[0].model, *(row.model for row in rows)]):
        own = [row for row in rows if row.model == model]
        _require_baseline(own, baselines[category])
        named = [joined.Named(row.number, row.uid) for row in own]
        models[model] = [own[place] for place in joined.in_order(names, named, own[0].path)]
        _require_verdict(models[model])
    return Field(category, judge, baselines[category], models)


def _require_baseline(rows: Sequence[Judgement], baseline: str) -> None:
    for row in rows:
        if row.baseline and row.baseline.split("/")[-1] != baseline:
            raise InputError(
                f"{row.path}: row {row.number}: baseline is {excerpt(row.baseline)!r}; expected "
                f"{baseline}, the benchmark's own; judge against that"
            )


def _require_verdict(rows: Sequence[Judgement]) -> None:
    if not any(row.verdicts for row in rows):
        raise InputError(
            f"{rows[0].path}: no verdict of {excerpt(rows[0].judge)} on {excerpt(rows[0].model)} "
            f"in {rows[0].category}; expected scores in both games; judge them again"
        )


def _together(fields: Sequence[Field]) -> Field:
    """Take several judges as one, over the models that all of them judged."""
    first = fields[0]
    shared = [model for model in first.models if all(model in one.models for one in fields)]
    models = {model: [row for one in fields for row in one.models[model]] for model in shared}
    judge = "+".join(field.judge for field in fields)
    return first._replace(judge=judge, models=models)


def _scores(field: Field) -> Metrics:
    """Give the mean over all weighted games, and its 95 % interval over prompts."""
    rows = next(iter(field.models.values()))
    judged = [row for row in rows if row.verdicts is not None]
    games = [_won(row) for row in judged]
    prompt = np.unique([row.uid for row in judged], return_inverse=True)[1]
    weights = [game.weight for game in games]
    shares = np.repeat([game.wins / game.weight for game in games], weights)
    found = bootstrap(100 * shares, SEED, np.repeat(prompt, weights).astype(np.int64))
    alike = [consistent(*row.verdicts) for row in judged if row.verdicts]
    return {
        "mean": found.mean,
        "ci_lo": found.ci_lo,
        "ci_hi": found.ci_hi,
        "n": float(found.n),
        "ties": float(sum(row.verdicts == ("A=B", "A=B") for row in judged)),
        "unjudged": float(len(rows) - len(judged)),
        "position_consistency": float(np.mean(alike)) if alike else None,
    }


def _won(row: Judgement) -> Won:
    assert row.verdicts is not None
    return won(*row.verdicts)


def _controlled(field: Field, styles: Styles) -> Metrics:
    """Control style over all models of a field; nothing where there is only one."""
    if len(field.models) < 2:
        return {"models": float(len(field.models))}
    battles, count = _battles(field, styles), len(field.models)
    whole = bradley_terry.controlled(battles, count)[:1]
    drawn = bradley_terry.resampled(battles, count, DRAWS, SEED)[:, 0]
    low, high = np.percentile(bradley_terry.score(drawn), [2.5, 97.5])
    return {
        "mean": float(bradley_terry.score(whole)[0]),
        "ci_lo": float(low),
        "ci_hi": float(high),
        "n": float(len(np.unique(battles.prompt))),
        "models": float(count),
    }


def _battles(field: Field, styles: Styles) -> Battles:
    judged = [
        (place, row)
        for place, rows in enumerate(field.models.values())
        for row in rows
        if row.verdicts is not None
    ]
    games = [_won(row) for _, row in judged]
    weight = np.array([game.weight for game in games], np.float64)
    own = np.array([_style(styles, row.model, row.uid) for _, row in judged])
    other = np.array([_style(styles, field.baseline, row.uid) for _, row in judged])
    return Battles(
        np.array([game.wins for game in games]) / weight,
        weight,
        np.array([place for place, _ in judged]),
        np.unique([row.uid for _, row in judged], return_inverse=True)[1].astype(np.int64),
        bradley_terry.standardised(bradley_terry.style(own, other), weight),
    )


def _style(styles: Styles, model: str, uid: str) -> tuple[float, ...]:
    if (model, uid) not in styles:
        raise InputError(
            f"judgements: no answer of {excerpt(model)} to {excerpt(uid)}; expected a model_answer "
            f"file with metadata, {METADATA}, of every judged model and the baseline; name them, "
            "or no answers at all"
        )
    return styles[model, uid]


def from_files(
    prompts: Prompts, paths: Sequence[Path], baselines: Mapping[str, str], only: str = ""
) -> Metrics:
    """Measure the model of the first verdict in some files (see `metrics`)."""
    return metrics(prompts, *judgements(paths, only), baselines)
