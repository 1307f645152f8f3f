"""A whole run of one iteration without a model: random responses and rewards that hang together.

Whatever follows from responses and rewards is made by the functions that the stages call, so that
`mutual-taught verify` finds no fault.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bench.turns import timed
from mutual_taught.artifacts import decision, files, joins, tables
from mutual_taught.artifacts.manifests import (
    MANIFEST,
    STEP,
    STEPS,
    Manifest,
    read_manifest,
    write_manifest,
)
from mutual_taught.audit import provenance, schedule, training
from mutual_taught.audit.start import prepared
from mutual_taught.config import blocks, inputs, learning, params
from mutual_taught.evaluation import describe, metrics
from mutual_taught.evaluation.judge import Systems, add_gold, judge, model_outputs
from mutual_taught.evaluation.reward_metrics import reward_model_metrics
from mutual_taught.keys import places, prompt_id, sampling_seeds
from mutual_taught.method.selection import outcomes, seeds_of
from mutual_taught.models.chat import texts
from mutual_taught.prepare import base_models, tokenizers
from mutual_taught.prepare.sources import split_plan
from mutual_taught.report import alarms, markdown, summary
from mutual_taught.steps import build_pairs, rank_pairs, select_policy, train_rm
from mutual_taught.training import dpo, reward
from mutual_taught.training.export import update_metrics
from mutual_taught.training.rounding import UPDATE
from mutual_taught.training.settings import total_steps

WIDTH, TOKENS = 5, 50
TINY = inputs.Model(source="tiny", path="tiny", revision=None)
EXPORTED = dict.fromkeys(UPDATE, 0.9)
Row = dict[str, object]
Ids = NDArray[np.object_]


class Making(NamedTuple):
    """What all parts of the run are made from.

    split: rows of prompts by split. told: what tables say of the parameters that decide them.
    tokenizer: the policy's. chance: of rewards.
    """

    run: Path
    settings: blocks.Params
    split: Mapping[str, list[Row]]
    told: Mapping[str, files.Json]
    tokenizer: PreTrainedTokenizerBase
    chance: np.random.Generator

    @property
    def here(self) -> Path:
        """The folder of iteration 1."""
        return self.run / "1"

    @property
    def start(self) -> Path:
        """The folder of iteration 0."""
        return self.run / "0"

    def ids(self, split: str) -> Ids:
        """Give the ids of a split's prompts, sorted."""
        return np.array(sorted(str(row["prompt_id"]) for row in self.split[split]))

    def normal(self, size: int, mean: float = 0.0) -> NDArray[np.float64]:
        """Draw rewards."""
        return self.chance.normal(mean, 1, size)


def preset(path: Path) -> str:
    """Give a preset's text for such a run: only iteration 1, and no gold pairs of the hub."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    one = "".join(line for line in lines if not line.startswith("  '2': "))
    return re.sub(r"^  gold_pairs: .*$", "  gold_pairs: null", one, flags=re.M)


def make(run: Path, settings: blocks.Params, count: int) -> dict[str, float]:
    """Write a run of one iteration, with so many prompts to the policy.

    Returns:
        Seconds of pairing, of filtering, and of the stage that filters and mixes.
    """
    split = prompts(settings, count)
    tokenizer = _tokenizers(run / "0")
    told, chance = provenance.terms("1", settings), np.random.default_rng(0)
    making = Making(run, settings, split, told, tokenizer, chance)
    _prompts(making)
    _base_models(making)
    _evaluate(making, "0")
    drawn, rewards = _responses(making)
    ranked, pairing = timed(
        lambda: rank_pairs.rank(drawn, rewards, WIDTH, settings.rank_pairs.rule).pairs
    )
    ranked = _ranked(making, ranked, drawn, rewards)
    _dpo(making, ranked, drawn)
    _duels(making)
    now, before, judged = _answers(making)
    _, filtering = timed(
        lambda: build_pairs.pseudo_pairs(now, before, judged, settings.build_pairs.filter)
    )
    _, mixing = timed(lambda: _mix(making))
    _train_rm(making)
    _evaluate(making, "1")
    history = [
        {"iteration": t, "metrics": markdown.read_metrics(run / str(t) / "metrics")} for t in (0, 1)
    ]
    _numbers(making, "summary", summary.numbers(history))
    _numbers(making, "alarms", alarms.numbers(history))
    return {"pair": pairing, "filter": filtering, "build_pairs with reading and writing": mixing}


def prompts(settings: blocks.Params, count: int) -> dict[str, list[Row]]:
    """Make prompts: `count` for the policy, a third of it for the reward model, others as set."""
    splits = settings.data.splits
    sizes = {"selection": splits.selection.prompts or 0, "eval": splits.eval.prompts or 0}
    wanted = {"policy_1": count, "reward": count // 3, **sizes}
    shares, _ = split_plan(settings.data)
    ends, names = np.cumsum(list(shares.values())), list(shares)
    found: dict[str, list[Row]] = {name: [] for name in names}
    number = 0
    while any(len(found[name]) < size for name, size in wanted.items()):
        number += 1
        messages = [{"role": "user", "content": f"question {number}"}]
        name = prompt_id(messages)
        place = int(np.searchsorted(ends, places(settings.seed, [name])[0], "right"))
        if place < len(names) and len(found[names[place]]) < wanted.get(names[place], 0):
            found[names[place]].append(
                {
                    "prompt_id": name,
                    "messages": messages,
                    "split": names[place],
                    "source": "synthetic",
                    "instruction_ids": [],
                    "instruction_kwargs": [],
                    "chosen": None,
                    "rejected": None,
                    "row": number,
                }
            )
    return found


def responses(making: Making, ids: Ids, stage: str, t: int, width: int) -> pa.Table:
    """Make random responses that end in a stop token, with the seeds they would have.

    Args:
        making: the run.
        ids: prompts, sorted.
        stage: whose seeds they have.
        t: iteration of the seeds.
        width: responses a prompt.

    Returns:
        Rows of `responses`.
    """
    chance, rows = np.random.default_rng(t), len(ids) * width
    lengths = chance.integers(TOKENS // 2, TOKENS, rows)
    ends = np.cumsum(lengths)
    readable = np.array([n for n in range(len(making.tokenizer)) if _readable(making.tokenizer, n)])
    tokens = chance.choice(readable, ends[-1]).astype(np.int32)
    tokens[ends - 1] = making.tokenizer.eos_token_id
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    drawn = pa.ListArray.from_arrays(offsets, tokens)
    index, named = np.tile(np.arange(width), len(ids)), np.repeat(ids, width)
    return pa.table(
        {
            "prompt_id": named,
            "response_index": index,
            "response": texts(making.tokenizer, drawn.to_pylist()),
            "token_ids": drawn,
            "length_tokens": lengths,
            "finish_reason": ["stop"] * rows,
            "seed": sampling_seeds(making.settings.seed, t, stage, named.tolist(), index),
            "logprob": -np.abs(chance.normal(size=rows)),
        }
    )


def _readable(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    text = tokenizer.decode([token], skip_special_tokens=True)
    return bool(text) and text.isascii() and text.isprintable()


def _tokenizers(start: Path) -> PreTrainedTokenizerBase:
    """Write the tokenizers of iteration 0 and give the policy's."""
    for name in ("policy", "reward_model"):
        base_models.fetch_tokenizer(TINY, start / "tokenizers" / name, None)
    return tokenizers.load(start / "tokenizers")[0]


def _prompts(making: Making) -> None:
    start, split = making.start, making.split
    everything = [row for rows in split.values() for row in rows]
    told = prepared(start, making.settings)
    tables.write(start, tables.ALL_PROMPTS, pa.Table.from_pylist(everything), told)
    none, counted = tables.DROPPED_PROMPTS.schema.empty_table(), {**told, "rows": len(everything)}
    tables.write(start, tables.DROPPED_PROMPTS, none, counted, active=False)
    policy = [row for name, rows in split.items() if name.startswith("policy_") for row in rows]
    for name, rows in {**split, "policy": policy}.items():
        if not name.startswith("policy_"):
            seed = {"seed": making.settings.seed}
            tables.write(start / "splits", tables.split(name), pa.Table.from_pylist(rows), seed)
    sizes = {f"prompts_{name}": float(len(rows)) for name, rows in split.items() if rows}
    sizes |= {"rows": sum(sizes.values()), "dropped": 0.0}
    files.write_metrics(start / "metrics" / "prepare_prompts.json", sizes)
    tables.empty(start, tables.GOLD_PAIRS, tables.SEED_PAIRS)


def _base_models(making: Making) -> None:
    """Write stand-ins for both base models, and what else iteration 0 hands on."""
    start, settings = making.start, making.settings
    whole = making.run.parent / "tiny"
    base_models.make_policy(TINY, whole, settings.seed, settings.tokens)
    (whole / MANIFEST).unlink()
    shutil.copytree(whole, start / "policy")
    date = {"date": settings.tokens.date}
    took = {"stage": "prepare_policy", "seed": settings.seed, **date}
    _model(start / "policy", "policy", settings.models.policy.called, None, took)
    given, called = {"stage": "prepare_reward_model", **date}, settings.models.reward_model.called
    _model(start / "reward_model", "reward_model", called, None, given)
    none = {"active": 1.0, "rows": 0.0, "kept": 0.0}
    files.write_metrics(start / "metrics" / "prepare_reward_model.json", none)
    decision.write(start, decision.Decision(True, "0"))
    tables.empty(start, tables.ANSWERS, tables.REWARD_PAIRS)


def _model(folder: Path, kind: str, base: str, parent: str | None, made_by: files.Json) -> Manifest:
    """Write a stand-in for a model: one small file and its manifest."""
    files.write_bytes(folder / "model.safetensors", str(folder).encode())
    return write_manifest(folder, kind, base, parent, made_by)


def _trained(making: Making, folder: Path, start: Path, made_by: files.Json, step: int) -> Manifest:
    """Write a stand-in for a model that was trained from another."""
    begun = read_manifest(start)
    learnt = {**provenance.learnt(making.settings), **EXPORTED, "step": step}
    return _model(folder, begun.kind, begun.base, begun.digest, {**learnt, **made_by})


def _responses(making: Making) -> tuple[pa.Table, pa.Table]:
    """Write `responses` and `rewards`, and their metrics."""
    drawn = _table_of(making, tables.RESPONSES, "sample", "policy_1", making.start, WIDTH)
    scores = pa.table(
        {
            "prompt_id": drawn["prompt_id"],
            "response_index": drawn["response_index"],
            "reward": making.normal(len(drawn)),
            "reason": [""] * len(drawn),
        }
    )
    judged = {**_judged_by(making), **tables.digests(responses=drawn), **making.told["rewards"]}
    rewards = _written(making.here, tables.REWARDS, scores, judged)
    _numbers(making, "score", describe.rewards(rewards))
    return drawn, rewards


def _table_of(
    making: Making, table: tables.Table, stage: str, split: str, folder: Path, width: int = 1
) -> pa.Table:
    """Write a table of responses of the policy in a folder, and its metrics."""
    made = responses(making, making.ids(split), stage, 1, width).select(list(table.columns))
    policy = {"policy": read_manifest(folder / "policy").digest}
    told = {**policy, **_asked(making, split), **making.told[table.name]}
    drawn = _written(making.here, table, made, told)
    _numbers(making, stage, describe.responses(drawn))
    return drawn


def _ranked(making: Making, ranked: pa.Table, drawn: pa.Table, rewards: pa.Table) -> pa.Table:
    """Write `ranked_pairs` with random reference log-probs."""
    for name in rank_pairs.REFERENCE:
        logps = pa.array(making.normal(len(ranked)), mask=~ranked["kept"].to_numpy())
        ranked = ranked.append_column(name, logps)
    told = {
        "policy": read_manifest(making.start / "policy").digest,
        **tables.digests(responses=drawn, rewards=rewards),
        **making.told["ranked_pairs"],
    }
    ranked = _written(making.here, tables.RANKED_PAIRS, ranked, told)
    counted = {"active": 1.0, **joins.counts(ranked["kept"], ranked["reason"])}
    _numbers(making, "rank_pairs", counted)
    return ranked


def _dpo(making: Making, ranked: pa.Table, drawn: pa.Table) -> None:
    """Write stand-ins for the candidates, and a curve that a training could have had."""
    settings, start = params.load(learning.Dpo, "1"), making.start / "policy"
    planned = total_steps(int(ranked["kept"].to_numpy().sum()), settings)
    made_by = {
        "stage": "dpo@1",
        "policy": read_manifest(start).digest,
        "dpo": settings.model_dump(),
        **tables.digests(ranked_pairs=ranked, responses=drawn),
    }
    place, steps = making.here / "checkpoints", training.candidates(planned, settings)
    for step in steps:
        _trained(making, place / STEP.format(step), start, made_by, step)
    files.write_json(place / STEPS, {"steps": steps})
    rewards = {"rewards/margins": 0.1, "rewards/chosen": 0.06, "rewards/rejected": -0.04}
    rewards["chosen_logp_change"] = rewards["rewards/chosen"] / settings.beta
    same = {"loss": 0.69, "grad_norm": 1.0, "rewards/accuracies": 0.75, **rewards}
    columns = {name: np.full(planned, value) for name, value in same.items()}
    _curve(making, "dpo", dpo.CURVE, columns, settings)
    last = {name: same[column] for name, column in training.LAST.items()}
    trained = {"active": 1.0, "steps": float(planned), **last}
    candidates = [place / STEP.format(step) for step in steps]
    _numbers(making, "dpo", {**trained, **update_metrics(candidates)})


def _curve(
    making: Making,
    stage: str,
    names: Sequence[str],
    columns: Mapping[str, NDArray[np.float64]],
    settings: learning.Optimisation,
) -> None:
    """Write a curve, with the steps and learning rates of its settings."""
    planned = len(columns["loss"])
    whole = {
        **columns,
        "step": np.arange(1, planned + 1),
        "learning_rate": schedule.learning_rates(settings, planned),
    }
    rows = [{name: whole[name][at].item() for name in names} for at in range(planned)]
    files.write_curve(making.here / "curves" / f"{stage}.csv", list(names), rows)


def _duels(making: Making) -> None:
    """Write the duels of all candidates, and the selection that follows from them."""
    place, ids = making.here / "checkpoints", making.ids("selection")
    steps = files.read_json(place / STEPS)["steps"]
    own, previous = (
        responses(making, ids, stage, 1, 1) for stage in seeds_of(making.settings.duel.draws)
    )
    theirs = making.normal(len(ids))
    fought = [_duel(step, own, previous, making.normal(len(ids), 1.0), theirs) for step in steps]
    folders = [making.start / "policy", *(place / STEP.format(step) for step in steps)]
    told = {
        "policies": [read_manifest(folder).digest for folder in folders],
        **_judged_by(making),
        **_asked(making, "selection"),
        **making.told["duels"],
    }
    duels = _written(making.here, tables.DUELS, pa.concat_tables(fought), told)
    first, settings = decision.Decision(True, "0"), making.settings
    choice = select_policy.Choice(duels, place, making.start / "policy", first)
    select_policy.choose(choice, making.here, "1", settings.select_policy, settings.seed)


def _duel(
    step: int,
    own: pa.Table,
    previous: pa.Table,
    rewards: NDArray[np.float64],
    theirs: NDArray[np.float64],
) -> pa.Table:
    """Lay a candidate's responses beside pi_0's."""
    rows: dict[str, object] = {
        "step": np.full(len(own), step),
        "prompt_id": own["prompt_id"],
        "response_index": own["response_index"],
        "reward": rewards,
        "previous_reward": theirs,
        "outcome": outcomes(rewards, theirs),
        "reason": [""] * len(own),
    }
    for name in ("response", "token_ids", "finish_reason", "seed"):
        rows[name], rows[f"previous_{name}"] = own[name], previous[name]
    return pa.table(rows).select(list(tables.DUELS.columns))


def _answers(making: Making) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Write the answers to D_M of both policies, and their rewards."""
    now = _table_of(making, tables.ANSWERS, "answer", "reward", making.here)
    table = tables.PREVIOUS_ANSWERS
    before = _table_of(making, table, "answer_previous", "reward", making.start)
    scores: dict[str, object] = {"prompt_id": making.ids("reward")}
    for side in ("", "previous_"):
        scores[f"{side}reward"] = making.normal(len(now))
        scores[f"{side}reason"] = [""] * len(now)
    told = {
        **_judged_by(making),
        **tables.digests(answers=now, previous_answers=before),
        **making.told["answer_rewards"],
    }
    return now, before, _written(making.here, tables.ANSWER_REWARDS, pa.table(scores), told)


def _mix(making: Making) -> None:
    """Run the stage build_pairs."""
    here, start, settings = making.here, making.start, making.settings
    read = build_pairs.PairInputs(
        tables.ANSWERS.path(here),
        tables.PREVIOUS_ANSWERS.path(here),
        tables.ANSWER_REWARDS.path(here),
        tables.RANKED_PAIRS.path(here),
        tables.RESPONSES.path(here),
        tables.REWARD_PAIRS.path(start),
        tables.split("reward").path(start / "splits"),
        tables.SEED_PAIRS.path(start),
        tables.DUELS.path(here),
        tables.split("selection").path(start / "splits"),
    )
    build_pairs.build(read, 1, settings.build_pairs, settings.seed, here)


def _train_rm(making: Making) -> None:
    """Write a stand-in for r_1, random rewards of one epoch over the mix, and their curve."""
    settings, start = params.load(learning.TrainRm, "1"), making.start / "reward_model"
    mix = tables.read(tables.REWARD_PAIRS.path(making.here), tables.REWARD_PAIRS)
    made_from = tables.digests(reward_pairs=mix)
    met = _written(making.here, tables.REWARD_TRAINING, _met(making, mix, settings), made_from)
    planned = total_steps(len(mix), settings)
    made_by = {
        "stage": "train_rm@1",
        "reward_model": read_manifest(start).digest,
        "settings": settings.model_dump(),
        **made_from,
    }
    _trained(making, making.here / "reward_model", start, made_by, planned)
    alike = np.ones(len(met))
    columns = {**training.means(met, settings, planned, alike), "grad_norm": np.ones(planned)}
    _curve(making, "train_rm", reward.CURVE, columns, settings)
    trained = {
        "active": 1.0,
        "steps": float(planned),
        **train_rm.accuracy_by_epoch(met),
        **{name: columns[name][-1].item() for name in ("loss", "accuracy", "margin")},
        **update_metrics([making.here / "reward_model"]),
    }
    _numbers(making, "train_rm", trained)


def _met(making: Making, pairs: pa.Table, settings: learning.TrainRm) -> pa.Table:
    chosen, rejected = making.normal(len(pairs)), making.normal(len(pairs))
    return pa.table(
        {
            "pair_id": pairs["pair_id"],
            "step": np.arange(len(pairs)) // settings.batch_size + 1,
            "epoch": np.ones(len(pairs), np.int64),
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "reward_margin": chosen - rejected,
            "correct": chosen > rejected,
        }
    )


def _evaluate(making: Making, t: str) -> None:
    """Write an evaluation of random responses."""
    here, settings = making.run / t, making.settings
    rows = pa.Table.from_pylist(making.split["eval"])
    own = _generations(making, t, rows)
    outputs = model_outputs(own, tables.PROMPTS.sorted(rows), f"mutual-taught-{t}")
    files.write_json(here / "eval" / "model_outputs.json", outputs)
    terms = provenance.terms(t, settings)["judgements"]
    told = {"reward_model": read_manifest(here / "reward_model").digest, **terms}
    base = tables.read(tables.GENERATIONS.path(making.start / "eval"), tables.GENERATIONS)
    systems = Systems(own, base, base)
    judged = _written(here / "eval", tables.JUDGEMENTS, judge(systems), told)
    scores = tables.RM_SCORES.schema.empty_table()
    tables.write(here / "eval", tables.RM_SCORES, scores, told, active=False)
    numbers = {
        "active": 1.0,
        **metrics.policy_metrics(systems, judged, settings.seed),
        **reward_model_metrics(scores, settings.seed),
    }
    files.write_metrics(here / "metrics" / "eval.json", numbers)


def _generations(making: Making, t: str, rows: pa.Table) -> pa.Table:
    """Write the responses to the eval prompts, with gold and random rewards."""
    count = making.settings.eval.responses_per_prompt
    own = add_gold(responses(making, making.ids("eval"), "eval", 0, count), rows)
    # At t = 0 both models are the base, so what they say is the same.
    same = {"reward_rt": "reward_r0", "base_logprob": "logprob"} if t == "0" else {}
    for name in ("reward_r0", "reward_rt", "base_logprob"):
        random = pa.array(making.normal(len(own)))
        own = own.append_column(name, own[same[name]] if name in same else random)
    own = own.append_column("reward_previous", own["reward_r0"])
    own = own.append_column("reason", [[""] * len(own)])
    models = {
        "policy": making.run / t / "policy",
        "base_policy": making.start / "policy",
        "previous_reward_model": making.start / "reward_model",
    }
    told = {name: read_manifest(folder).digest for name, folder in models.items()}
    told |= {**_asked(making, "eval"), **provenance.terms(t, making.settings)["generations"]}
    return _written(making.run / t / "eval", tables.GENERATIONS, own, told)


def _asked(making: Making, split: str) -> dict[str, str]:
    """Digest prompts as the provenance of responses does."""
    rows = pa.Table.from_pylist(making.split[split], tables.PROMPTS.schema)
    conversations = tables.PROMPTS.sorted(rows).select(provenance.CONVERSATION)
    return {"prompts": tables.rows_digest(conversations)}


def _judged_by(making: Making) -> dict[str, str]:
    return {"reward_model": read_manifest(making.start / "reward_model").digest}


def _numbers(making: Making, stage: str, numbers: Mapping[str, float | None]) -> None:
    files.write_metrics(making.here / "metrics" / f"{stage}.json", numbers)


def _written(folder: Path, table: tables.Table, rows: pa.Table, made_from: files.Json) -> pa.Table:
    return tables.read(tables.write(folder, table, rows, made_from), table)
