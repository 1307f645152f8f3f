"""Benchmark `m-ifeval`: responses that follow all instructions against those that do not.

M-IFEval judges responses of many models to the same prompts in several languages by programs. Each
prompt's responses that follow all of its instructions are paired with each that does not.

Source: Dussolle et al., 2025 (arXiv 2502.04688), and its verdicts, lightblue-tech/M-IFEval; the
pairs are ours.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import composites, files, formats, reading
from mutual_taught.evaluation.benchmarks.base import (
    Item,
    Items,
    Metrics,
    Scores,
    compared,
)
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.evaluation.benchmarks.pairs import share_table, shares
from mutual_taught.evaluation.benchmarks.resampling import Mean
from mutual_taught.keys import prompt_id
from mutual_taught.method.statistics import ranked_right
from mutual_taught.terminal.signs import excerpt

HUB = None
EXPECTED = (
    "M-IFEval's lines of prompt, response, follow_all_instructions, in files of several models, "
    "such as es_input_response_data_NAME/eval_results_strict.jsonl (folder evaluations of "
    "github.com/lightblue-tech/M-IFEval)"
)
records = share_table
FOLDER = "_input_response_data_"
READINGS = ("strict", "loose")


class Verdict(NamedTuple):
    """What a program says of one model's response to a prompt."""

    row: BenchmarkRow
    language: str
    model: str
    prompt: str
    response: str
    followed: bool


def read(paths: Sequence[Path]) -> Items:
    """Read verdicts on several models, and pair their responses prompt by prompt.

    Of files of both readings, strict and loose, the strict ones are read. Equal responses to a
    prompt are one. A prompt whose responses are all followed, or none, gives no pair and no item;
    `note` says how many prompts there were, and which reading it is.

    Raises:
        InputError: see `files.parsed`; a model has verdicts of only the other reading; it answers a
            prompt twice, or not at all; one response has two verdicts; no prompt gives a pair.
    """
    found = files.parsed(_of_one_reading(paths), _verdict, EXPECTED)
    reading.require_once([(one.row, f"{one.language} {one.model} {one.prompt}") for one in found])
    _require_complete(found, paths)
    prompts: dict[tuple[str, str], list[Verdict]] = {}
    for one in found:
        prompts.setdefault((one.language, one.prompt), []).append(one)
    items = [_item(verdicts, len(prompts)) for verdicts in prompts.values()]
    decided = [item for item in items if len(set(item.labels)) == 2]
    if not decided:
        raise InputError(
            f"{', '.join(map(str, paths))}: no prompt has answers of both verdicts; expected "
            f"{EXPECTED}"
        )
    return sorted(decided, key=lambda item: item.item_id)


def _verdict(row: BenchmarkRow) -> Verdict:
    language, mark, model = row.path.absolute().parent.name.partition(FOLDER)
    if not mark or _reading(row.path) not in READINGS:
        raise InputError(
            f"{row.path}: language, model or reading are not in its name; expected "
            f"LANGUAGE{FOLDER}MODEL/eval_results_strict.jsonl, or loose"
        )
    followed = files.taken(row, "follow_all_instructions")
    if not isinstance(followed, bool):
        raise BadRowError(
            f"follow_all_instructions is {excerpt(followed)!r}; expected true or false"
        )
    prompt, response = files.text(row, "prompt"), reading.response(row, "response")
    return Verdict(row, language, model, prompt, response, followed)


def _reading(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _of_one_reading(paths: Sequence[Path]) -> Sequence[Path]:
    """Take the strict files where there are some; refuse a loose one without one beside it."""
    listed = list(formats.files(paths, EXPECTED))
    strict = [path for path in listed if _reading(path) == "strict"]
    alone = {path.parent for path in listed} - {path.parent for path in strict}
    if strict and alone:
        raise InputError(
            f"{sorted(alone)[0]}: has no strict verdicts, and {strict[0].parent} has; expected "
            "those of one reading"
        )
    return strict or listed


def _require_complete(found: Sequence[Verdict], paths: Sequence[Path]) -> None:
    """Refuse a model that has no response to a prompt which others of its language answer."""
    prompts: dict[str, set[str]] = {}
    answered: dict[tuple[str, str], set[str]] = {}
    for one in found:
        prompts.setdefault(one.language, set()).add(one.prompt)
        answered.setdefault((one.language, one.model), set()).add(one.prompt)
    missing = [
        f"{model} ({language}) lacks {excerpt(sorted(prompts[language] - own)[0])!r}"
        for (language, model), own in answered.items()
        if prompts[language] - own
    ]
    if missing:
        raise InputError(
            f"{', '.join(map(str, paths))}: {files.some(missing)}; expected "
            "every model's answer to the same prompts"
        )


def _item(verdicts: Sequence[Verdict], prompts: int) -> Item:
    """Make an item of all responses to one prompt, those of the models in order of their names."""
    known: dict[str, Verdict] = {}
    for one in sorted(verdicts, key=lambda one: one.model):
        if known.setdefault(one.response, one).followed != one.followed:
            first = known[one.response].row
            raise InputError(
                f"{one.row.path}: row {one.row.number} and row {first.number} of {first.path} are "
                "one answer with two verdicts; expected one verdict"
            )
    language = verdicts[0].language
    messages = [{"role": "user", "content": verdicts[0].prompt}]
    labels = [float(one.followed) for one in known.values()]
    name = f"{language}:{prompt_id(messages)}"
    note = {"prompts": prompts, "strict": _reading(verdicts[0].row.path) == "strict"}
    return Item(name, language, messages, list(known), labels, (), note)


def parts(items: Items, scores: Scores) -> Mapping[str, Mean]:
    """Give `by_prompt`, in which each prompt counts alike, and each language's share of pairs."""
    pairs = compared(items, scores)
    right = ranked_right(pairs.reward_chosen, pairs.reward_rejected)
    languages = [items[place].subset for place in pairs.item]
    everything = composites.parts(
        ["by_prompt"] * len(items), shares(items, scores), np.arange(len(items))
    )
    return {**everything, **composites.parts(languages, right, pairs.group)}


def metrics(items: Items, scores: Scores) -> Metrics:
    """Give the accuracy over all pairs, over prompts, and by language; `strict` is 1 or 0."""
    found, note = composites.report(items, scores, parts), items[0].note
    return {**found, "prompts_read": float(note["prompts"]), "strict": float(note["strict"])}
