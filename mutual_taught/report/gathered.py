"""What a report shows and keeps of an iteration, gathered from the iteration's tables."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.artifacts import files, joins, tables
from mutual_taught.config.inputs import Model, Models
from mutual_taught.evaluation import gold_tables
from mutual_taught.evaluation.gold import gold
from mutual_taught.report import contents, page, past, samples
from mutual_taught.report.pictures import gallery
from mutual_taught.report.samples import Response, Sample


class Inputs(NamedTuple):
    """Where the files of an iteration are: its folder, its evaluation, and the splits."""

    tables: Path
    evaluation: Path
    splits: Path


def evaluated(inputs: Inputs) -> dict[str, pa.Table]:
    """Read the tables of an evaluation, and which instructions its prompts have."""
    prompts = tables.read(tables.split("eval").path(inputs.splits), tables.PROMPTS)
    found = {
        table.name: tables.read(table.path(inputs.evaluation), table)
        for table in past.OF_EVALUATION
    }
    return {past.INSTRUCTIONS: prompts.select(["prompt_id", "instruction_ids"]), **found}


def stepped(inputs: Inputs) -> dict[str, pa.Table]:
    """Read the tables that the steps of an iteration exchange, pseudo pairs with their gold."""
    found = {table.name: tables.read(table.path(inputs.tables), table) for table in past.OF_STEPS}
    path = tables.split("reward").path(inputs.splits)
    prompts = tables.read(path, tables.PROMPTS)
    pairs = tables.PSEUDO_PAIRS.name
    return {**found, pairs: with_gold(found[pairs], prompts, path)}


def with_gold(pairs: pa.Table, prompts: pa.Table, path: Path) -> pa.Table:
    """Add the gold of both answers to pseudo pairs: null where a prompt has no instructions.

    Args:
        pairs: table `pseudo_pairs`; it is given back as it is where it has gold already.
        prompts: table `prompts` of the reward split.
        path: where the prompts were read from, for messages.
    """
    if "gold" in pairs.column_names:
        return pairs
    asked = joins.align(prompts, pairs["prompt_id"].to_pylist(), path)
    known = pc.greater(pc.list_value_length(asked["instruction_ids"]), 0).to_numpy()
    own, previous = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    if known.any():
        golds = gold_tables.of_both(pairs.filter(pa.array(known)), prompts, path)
        own[known], previous[known] = golds
    columns: Mapping[str, pa.Array] = {
        "gold": tables.numbers(own),
        "previous_gold": tables.numbers(previous),
    }
    for name, column in columns.items():
        pairs = pairs.append_column(name, column)
    return pairs


def write_page(report: Path, seed: int, threshold: float | None, models: Models) -> None:
    """Write the page of a report whose memory is written.

    Args:
        report: folder of the report.
        seed: the run's.
        threshold: tau; None where the last checkpoint is taken, and before iteration 1.
        models: those that the run starts from.
    """
    known = contents.read(report)
    setting = contents.Setting(seed, threshold, _name(models.policy), _name(models.reward_model))
    drawn = gallery.pictures(known.history, seed, threshold)
    text = page.render(contents.title(known.history), contents.sections(known, setting, drawn))
    files.write_bytes(report / "index.html", text.encode())


def _name(model: Model) -> str:
    revision = f", {model.revision[:7]}" if model.revision else ""
    return f"{model.path} ({model.source}{revision})"


Rows = dict[str, list[dict[str, Any]]]
OUTCOMES = {1.0: "won", 0.5: "tied", 0.0: "lost", None: "left out"}


def shown(found: Mapping[str, pa.Table], splits: Path, iteration: int) -> list[Sample]:
    """Take the samples of an iteration, split by split, each by prompt id.

    Args:
        found: its tables by name, with all their columns.
        splits: folder of the splits.
        iteration: t; 0 has only the eval split.
    """
    return [
        sample
        for split in MAKERS
        if iteration or split == "eval"
        for sample in _of_split(found, splits, split, iteration)
    ]


class Asked(NamedTuple):
    """A prompt and the iteration that is told of."""

    iteration: int
    instructions: Sequence[str]
    kwargs: Sequence[str]


def _of_split(
    told: Mapping[str, pa.Table], splits: Path, split: str, iteration: int
) -> list[Sample]:
    path = tables.split(split).path(splits)
    prompts = tables.read(path, tables.PROMPTS)
    first, *_ = names = [table.name for table in OF[split]]
    ids = sorted(set(told[first]["prompt_id"].to_pylist()))[: samples.PROMPTS]
    rows = {name: _by_prompt(told[name], ids) for name in names}
    asked = joins.align(prompts, ids, path).to_pylist()
    found = []
    for prompt in asked:
        own = {name: groups.get(prompt["prompt_id"], []) for name, groups in rows.items()}
        term = Asked(iteration, prompt["instruction_ids"], prompt["instruction_kwargs"])
        responses, note = MAKERS[split](own, term)
        turns = [(turn["role"], samples.shortened(turn["content"])) for turn in prompt["messages"]]
        found.append(Sample(split, prompt["prompt_id"], turns, term.instructions, responses, note))
    return found


def _by_prompt(data: pa.Table, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Give the rows of some prompts, by prompt, in their order."""
    wanted = data.filter(pc.is_in(data["prompt_id"], pa.array(ids, tables.TEXT)))
    lists = [name for name in wanted.column_names if pa.types.is_list(wanted[name].type)]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in wanted.drop_columns(lists).to_pylist():
        found.setdefault(row["prompt_id"], []).append(row)
    return found


Told = tuple[list[Response], str]
Maker = Callable[[Rows, Asked], Told]


def _evaluated(rows: Rows, asked: Asked) -> Told:
    """Tell of the eval responses: gold by instruction, and both rewards."""
    responses = [
        _response(
            f"answer {row['response_index']}",
            row,
            {"gold": row["gold"], "r_0": row["reward_r0"], "r_t": row["reward_rt"]},
            asked,
        )
        for row in rows["generations"][: samples.RESPONSES]
    ]
    return responses, ""


def _response(
    who: str, row: Mapping[str, Any], numbers: Mapping[str, float | None], asked: Asked
) -> Response:
    text, left = samples.cut(row["response"])
    pairs = zip(asked.instructions, asked.kwargs, strict=True)
    followed = [gold(row["response"], [name], [kwargs]) for name, kwargs in pairs]
    known = {name: value for name, value in numbers.items() if value is not None}
    tokens, end = row.get("length_tokens"), row["finish_reason"]
    return Response(who, text, left, tokens, end, known, followed)


def _ranked(rows: Rows, asked: Asked) -> Told:
    """Tell of the sampled responses, and which of them are the pair."""
    rewards = {row["response_index"]: row["reward"] for row in rows["rewards"]}
    pairs = rows["ranked_pairs"]
    marks = {}
    if pairs:
        marks = {pairs[0]["rejected_index"]: "rejected", pairs[0]["chosen_index"]: "chosen"}
    drawn = sorted(rows["responses"], key=lambda row: row["response_index"] not in marks)
    responses = [
        _response(
            f"response {row['response_index']}",
            row,
            {f"r_{asked.iteration - 1}": rewards.get(row["response_index"])},
            asked,
        )._replace(mark=marks.get(row["response_index"], ""))
        for row in drawn[: samples.RESPONSES]
    ]
    return responses, "".join(map(_became, pairs))


def _became(pair: Mapping[str, Any]) -> str:
    return "pair kept" if pair["kept"] else f"pair dropped: {pair['reason']}"


def _labelled(rows: Rows, asked: Asked) -> Told:
    """Tell of the pseudo pair: the answer of pi_t and the one it is taken to beat."""
    responses: list[Response] = []
    for row in rows["pseudo_pairs"]:
        for who, side in ((f"π_{asked.iteration}", ""), ("the answer before", "previous_")):
            own = {"response": row[f"{side}response"], "finish_reason": ""}
            reward = {f"r_{asked.iteration - 1}": row[f"{side}reward"]}
            responses.append(_response(who, own, reward, asked))
    return responses, "".join(map(_pseudo, rows["pseudo_pairs"]))


def _pseudo(pair: Mapping[str, Any]) -> str:
    margin = "" if pair["reward_margin"] is None else f", margin {pair['reward_margin']:.3f}"
    return f"pseudo {_became(pair)}{margin}"


def _duelled(rows: Rows, asked: Asked) -> Told:
    """Tell of the duels: the responses of pi_{t-1}, then of each candidate."""
    duels = [row for row in rows["duels"] if row["response_index"] == 0][: samples.RESPONSES - 1]
    judge = f"r_{asked.iteration - 1}"
    responses: list[Response] = []
    for row in duels:
        if not responses:
            before = {
                "response": row["previous_response"],
                "finish_reason": row["previous_finish_reason"],
            }
            who = f"π_{asked.iteration - 1}"
            responses.append(_response(who, before, {judge: row["previous_reward"]}, asked))
        own = _response(f"checkpoint {row['step']}", row, {judge: row["reward"]}, asked)
        responses.append(own._replace(mark=OUTCOMES[row["outcome"]]))
    return responses, ""


MAKERS: Mapping[str, Maker] = {
    "eval": _evaluated,
    "policy": _ranked,
    "reward": _labelled,
    "selection": _duelled,
}
# The tables that a split's samples are told from; the first one says which prompts there are.
OF: Mapping[str, Sequence[tables.Table]] = {
    "eval": (tables.GENERATIONS,),
    "policy": (tables.RESPONSES, tables.REWARDS, tables.RANKED_PAIRS),
    "reward": (tables.PSEUDO_PAIRS,),
    "selection": (tables.DUELS,),
}
