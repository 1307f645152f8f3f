"""How much there is to do: the responses, scores, pairs and steps of every stage, from params.yaml.

What depends on decisions of the run is an upper bound: all pairs are kept, no iteration stops.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.files import read_json
from mutual_taught.config.blocks import Params
from mutual_taught.config.inputs import Data, Given
from mutual_taught.config.learning import Optimisation
from mutual_taught.errors import InputError
from mutual_taught.method.splits import policy_part

KNOWN_ROWS = {("HuggingFaceH4/ultrafeedback_binarized", "train_prefs"): 61135}
PREPARED = Path("run/0/metrics/prepare_prompts.json")
PREFERENCES = Path("data/seed_preferences.parquet")


class Work(NamedTuple):
    """What a stage does.

    answers: drawn. tokens: of these, at most. scores: answers scored. read: answers whose log-probs
    a policy that is not trained gives. pairs: trained on, as often
    as they are met, or read by the reference. steps: of the optimiser. candidates: policies that
    are kept. width: how many of the answers have one prompt, which is read once for them.
    """

    answers: int = 0
    tokens: int = 0
    scores: int = 0
    pairs: int = 0
    steps: int = 0
    candidates: int = 0
    read: int = 0
    width: int = 1


def sizes(data: Data, prepared: Mapping[str, float] | None) -> dict[str, int]:
    """Count the prompts of every split.

    Args:
        data: block `data`.
        prepared: the metrics of `prepare_prompts`, if they are those of these parameters.

    Raises:
        InputError: a split takes all there are, and nobody has counted them.
    """
    parts = {f"policy_{k}": data.splits.policy for k in range(1, data.policy_parts + 1)}
    splits = {
        **parts,
        "reward": data.splits.reward,
        "selection": data.splits.selection,
        "eval": data.splits.eval,
    }
    found = {}
    for name, split in splits.items():
        counted = (prepared or {}).get(f"prompts_{name}")
        share = split.share / (data.policy_parts if name in parts else 1)
        if counted is not None:
            found[name] = int(counted)
        else:
            whole = data if data.given is None or name not in parts else _given(data.given, data)
            share = 1 / data.policy_parts if whole is not data else share
            found[name] = split.prompts or round(share * rows(whole))
    return found


def _given(given: Given, data: Data) -> Data:
    """Describe the file of given preferences as a source of prompts."""
    return data.model_copy(update={"source": "file", "path": given.path, "given": None})


def rows(data: Data) -> int:
    """Count the rows of a source, before any is left out.

    Raises:
        InputError: it is of the hub and not in the table, or a file that is not here or damaged.
    """
    if (data.path, data.subset) in KNOWN_ROWS and data.source == "hub":
        return KNOWN_ROWS[data.path, str(data.subset)]
    path = Path(data.path)
    if data.source != "file" or not path.is_file():
        raise InputError(
            f"params.yaml: data.splits takes all prompts of {data.path!r}, which are not counted "
            "yet; expected numbers of prompts; run dvc repro prepare_prompts, then plan again"
        )
    if path.suffix == ".parquet":
        try:
            return int(pq.read_metadata(path).num_rows)
        except pa.ArrowInvalid:
            raise InputError(f"{path}: not readable as Parquet; expected prompts") from None
    with path.open("rb") as file:
        return sum(1 for _ in file) - (path.suffix == ".csv")


def of_run(params: Params, prompts: Mapping[str, int], seed_pairs: int) -> dict[str, Work]:
    """Count the work of every stage.

    Args:
        params: the values of params.yaml.
        prompts: of each split, from `sizes`.
        seed_pairs: preferences that r_0 is trained on; 0 if it is not trained here.
    """
    reward, judged = prompts["reward"], prompts["eval"] * params.eval.responses_per_prompt
    width = params.eval.responses_per_prompt
    evaluated = Work(judged, judged * params.eval.max_new_tokens, judged, width=width)
    found = {
        "prepare_reward_model": _trained(seed_pairs, params.base_reward_model),
        "eval_base": evaluated,
    }
    carried: list[int] = []
    for t in params.iterations:
        own = at(params, t)
        asked = prompts[policy_part(int(t), params.data.policy_parts)]
        found.update(_e_step(t, own, asked, prompts["selection"]))
        carried.append(asked * params.build_pairs.ranked + reward * params.build_pairs.pseudo)
        mixed = {"none": carried[-1:], "last": carried[-2:], "all": carried}
        share = params.build_pairs.seed_preferences
        seeds = max(1, round(share * seed_pairs)) if share else 0
        pairs = sum(mixed[params.build_pairs.accumulate]) + seeds
        reused = params.answer.previous == "reuse" and t != "1"
        answered = Work(reward, reward * params.answer.max_new_tokens)
        found[f"answer_previous@{t}"] = Work() if reused else answered
        found[f"answer@{t}"] = answered._replace(scores=(4 if reused else 2) * reward)
        found[f"train_rm@{t}"] = Work() if own.train_rm.fixed else _trained(pairs, own.train_rm)
        judges = 1 if own.train_rm.fixed else min(int(t) + 1, 3)  # r_t, r_{t-1}, r_0
        found[f"eval@{t}"] = evaluated._replace(scores=judges * judged, read=judged)
    return found


def at(params: Params, t: str) -> Params:
    """Give the values of an iteration: its own where it has some."""
    item = params.iterations.get(t)
    if item is None:
        return params
    own = {"sample": item.sample, "dpo": item.dpo, "train_rm": item.train_rm}
    values = {key: {**getattr(params, key).model_dump(), **more} for key, more in own.items()}
    return Params.model_validate({**params.model_dump(), **values})


def _e_step(t: str, params: Params, asked: int, fought: int) -> dict[str, Work]:
    """Count the work from `sample` to `duel`, for so many policy and selection prompts."""
    given = params.sample.source == "given"
    width = 2 if given else params.sample.responses_per_prompt
    drawn = asked * width
    trained = _trained(asked, params.dpo)
    candidates = math.ceil(trained.steps / params.dpo.save_steps)
    candidates = min(candidates, params.dpo.keep_checkpoints or candidates)
    fighters = params.duel.responses_per_prompt
    duels = (candidates + 1) * fought * fighters
    sampled = Work(drawn, drawn * params.sample.max_new_tokens, width=width)
    return {
        f"sample@{t}": Work() if given else sampled,
        f"score@{t}": Work(scores=drawn, width=width),
        f"rank_pairs@{t}": Work(pairs=asked),
        f"dpo@{t}": trained._replace(candidates=candidates),
        f"duel@{t}": Work(duels, duels * params.duel.max_new_tokens, duels, width=fighters),
    }


def _trained(pairs: int, settings: Optimisation) -> Work:
    """Count the pairs met in all epochs, and the steps: the last of an epoch may be smaller."""
    steps = math.ceil(pairs / settings.batch_size) * settings.epochs
    return Work(pairs=pairs * settings.epochs, steps=steps)


def seed_pairs(params: Params) -> int:
    """Count the seed preferences that r_0 is trained on; 0 if it comes trained."""
    if params.models.reward_model.source not in ("trained", "tiny") or not PREFERENCES.is_file():
        return 0
    parts = tables.read(PREFERENCES, tables.GOLD_PAIRS)["part"].to_pylist()
    return sum(part == "train" for part in parts)


def prepared() -> dict[str, float] | None:
    """Read how many prompts the run's splits have, if they were made."""
    return dict(read_json(PREPARED)) if PREPARED.is_file() else None
