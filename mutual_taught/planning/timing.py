"""How long a stage takes: as this machine measured it before, else from its operations."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from mutual_taught.config.blocks import Params
from mutual_taught.planning.machine import REACHED, Speed
from mutual_taught.planning.needs import BYTES, Shapes
from mutual_taught.planning.rates import START, Numbers, nearest, whole
from mutual_taught.planning.workload import Work, at

# Which count of a stage its time follows, and what run/*/perf calls it.
UNITS = {
    "prepare_reward_model": ("pairs", "pairs"),
    "answer_previous": ("answers", "answers"),
    "sample": ("answers", "answers"),
    "eval_base": ("answers", "answers"),
    "score": ("scores", "answers"),
    "rank_pairs": ("pairs", "pairs"),
    "dpo": ("pairs", "pairs"),
    "duel": ("answers", "answers"),
    "answer": ("answers", "answers"),
    "train_rm": ("pairs", "pairs"),
    "eval": ("answers", "answers"),
}
REWARD = ("prepare_reward_model", "score", "train_rm")  # the others follow the policy's weights
# Parameters whose change makes earlier times useless.
FASTER = (
    "engine.name",
    "engine.dtype",
    "engine.tensor_parallel",
    "training.precision",
    "training.optimizer",
    "training.launcher",
    "training.processes",
    "training.lora",
    "training.gradient_checkpointing",
    "score.dtype",
    "rank_pairs.reference_dtype",
)
ALIKE = 2.0  # times the weights; the time of models of another size does not follow from them
# Of the longest prompt and response that are allowed, the usual one: an assumption.
PROMPT, RESPONSE = 1 / 3, 2 / 3
Source = Literal["measured", "calibrated", "unknown"]


class Estimate(NamedTuple):
    """Seconds of a stage, and where they come from."""

    seconds: float | None
    source: Source


class Basis(NamedTuple):
    """What estimates are made of.

    now: shapes of the models; None if they are not known. then: of those that were measured.
    known: what stages took. speed: of one device. devices: how many there are, at least 1.
    """

    params: Params
    now: Shapes | None
    then: Shapes | None
    known: Mapping[str, Numbers]
    speed: Speed | None
    devices: int


def estimate(stage: str, work: Work, changed: tuple[str, ...], basis: Basis) -> Estimate:
    """Estimate the seconds of a stage.

    Args:
        stage: its name.
        work: what it has to do.
        changed: parameters that differ from those of its last run.
        basis: what is known.
    """
    numbers = nearest(stage, basis.known)
    same = not any(key.startswith(FASTER) for key in changed) and _alike(stage, basis)
    if numbers is not None and same:
        return Estimate(whole(numbers, factor(stage, work, numbers, basis)), "measured")
    name = stage.split("@")[0]
    if name not in UNITS:
        return Estimate(START, "calibrated")
    if basis.now is None or basis.speed is None:
        return Estimate(None, "unknown")
    return Estimate(START + operations(stage, work, basis), "calibrated")


def _alike(stage: str, basis: Basis) -> bool:
    """Tell whether the models that were measured are of about the size of those to come."""
    if stage.split("@")[0] not in UNITS or not basis.now or not basis.then:
        return True
    pairs = zip(basis.now, basis.then, strict=True)
    return all(1 / ALIKE <= now.weights / then.weights <= ALIKE for now, then in pairs)


def factor(stage: str, work: Work, numbers: Numbers, basis: Basis) -> float:
    """Say how many times the measured work there is to do: of its units, tokens and weights."""
    name = stage.split("@")[0]
    if name not in UNITS:
        return 1.0
    unit, called = UNITS[name]
    planned, before = getattr(work, unit), numbers.get(called, 0.0)
    times = planned / before if before else 1.0
    if numbers.get("tokens") and before and work.tokens and work.answers:
        mean = numbers["tokens"] / before
        times *= min(1.0, work.tokens / work.answers / mean)
    if basis.now and basis.then:
        side = 1 if name in REWARD else 0
        times *= basis.now[side].weights / basis.then[side].weights
    return times


def operations(stage: str, work: Work, basis: Basis) -> float:
    """Give the seconds of a stage's floating-point operations, and of reading its weights.

    A forward pass takes two operations a weight and token, a training step six, with gradient
    checkpointing eight. A prompt is read once for all its answers. A token that is decoded takes at
    least the time of reading all weights, once for all responses of a batch.
    """
    assert basis.now is not None
    assert basis.speed is not None
    name, params = stage.split("@")[0], at(basis.params, stage.rpartition("@")[2])
    policy, reward = basis.now.policy.weights, basis.now.reward.weights
    prompt = params.tokens.max_prompt_tokens * PROMPT
    read = prompt / work.width
    flops, reads = 0.0, 0.0
    if work.answers:
        longest = work.tokens / work.answers
        flops += 2 * policy * (work.answers * read + work.tokens * RESPONSE)
        batches = math.ceil(work.answers / params.engine.together(prompt + longest))
        reads += batches * longest * policy * BYTES[str(params.engine.dtype)]
    response = max(params.sample.max_new_tokens, params.answer.max_new_tokens) * RESPONSE
    flops += 2 * (reward * work.scores + policy * work.read) * (read + response)
    weights = reward if name in REWARD else policy
    passes = 2 if name == "rank_pairs" else 8 if params.training.gradient_checkpointing else 6
    trained = passes * weights * work.pairs * (prompt + 2 * response)
    # On a cluster each engine has its GPUs, and each shard of scores or log-probs one.
    spread = basis.devices if params.engine.workers == "ray" else 1
    together = params.engine.tensor_parallel if params.engine.name == "vllm" else 1
    share = params.training.processes if work.steps else spread
    drawn = min(max(together, spread), basis.devices)
    speed = basis.speed.flops * REACHED
    reading = reads / (basis.speed.bandwidth * REACHED) / drawn
    computed = max(flops / speed / spread, reading)
    return computed + trained / speed / min(share, basis.devices)
