"""What a stage needs of a device and of the host, and what a run needs of the disk: sums.

Every sum is of what a stage may need at most: the longest prompts and responses that params.yaml
allows, all in one batch. docs/planning.md has the formulas; the numbers of the names are theirs.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from mutual_taught.config.blocks import Decoding, Engine, Params
from mutual_taught.config.learning import Optimisation, Training
from mutual_taught.planning.shapes import Shape
from mutual_taught.planning.workload import Work, at

BYTES = {"float32": 4, "bfloat16": 2, "bfloat16_stochastic": 2}
PROCESS = 500_000_000  # of Python, torch and transformers: 0.44 to 0.53 GB with the tiny model
GROWTH = 32  # tokens by which the key-value cache grows at once (generate.CHUNK)
# What a CPU holds of each of the shards that it computes at a time (models/threads.py): there the
# logits of two are less than what one takes at most.
OF_A_SHARD, SHARDS = ("key-value cache", "activations"), 2
SHARDED = ("fsdp2", "zero3")
STATE = "resumable checkpoints"  # of the training at work: they go when it has ended
SAVED = 2  # resumable checkpoints that stay
PER_TOKEN = 12  # bytes of a token and its text in a table


class Need(NamedTuple):
    """Bytes by what needs them, and the parameter that makes them fewer.

    value: of the parameter, as far as it counts. fixed: bytes that stay whatever it is. least: a
    smaller value changes nothing. step: only its multiples make a difference. in_shards: whether a
    CPU computes several shards at a time.
    """

    parts: Mapping[str, int]
    param: str
    value: int
    fixed: int
    least: int = 1
    step: int = 1
    in_shards: bool = False

    @property
    def total(self) -> int:
        """Sum all parts."""
        return sum(self.parts.values())

    def fitting(self, room: int) -> int:
        """Give the largest value of the parameter with which all fits; 0 if none does."""
        each = max(self.total - self.fixed, 1)
        value = (room - self.fixed) * self.value // each
        value -= value % self.step
        return value if value >= self.least else 0


class Shapes(NamedTuple):
    """The shapes of the policy and of the reward model."""

    policy: Shape
    reward: Shape


def of_stage(stage: str, params: Params, models: Shapes, gpus: bool) -> Need | None:
    """Sum the memory of the device that a stage needs most; None if it computes no model.

    Args:
        stage: such as `dpo@1`.
        params: the values of params.yaml; `auto` must be settled.
        models: their shapes.
        gpus: whether GPUs compute: else the memory of the process counts, too.
    """
    make = NEEDS.get(stage.split("@")[0])
    here = at(params, stage.rpartition("@")[2])
    needs = [one for one in make(here, models) if one] if make else []
    if not needs:
        return None
    if gpus:
        return max(needs, key=lambda one: one.total)
    need = max(map(_on_cpu, needs), key=lambda one: one.total)
    parts = {"the process": PROCESS, **need.parts}
    return need._replace(parts=parts, fixed=need.fixed + PROCESS)


def _on_cpu(need: Need) -> Need:
    if not need.in_shards:
        return need
    parts = {name: n * SHARDS if name in OF_A_SHARD else n for name, n in need.parts.items()}
    return need._replace(parts=parts)


def drawing(block: Decoding, count: int, shape: Shape, params: Params) -> Need:
    """Sum what it takes to draw responses.

    Args:
        block: the stage's, such as `sample`.
        count: responses to each prompt.
        shape: of the policy.
        params: for the blocks `engine` and `tokens`.
    """
    engine, size = params.engine, BYTES[str(params.engine.dtype)]
    if engine.name == "vllm":
        return _vllm(block, shape, engine, params.tokens.max_prompt_tokens)
    rows = max(engine.batch_size // count, 1) * count
    rows = min(rows, engine.shard_size * count)
    length = params.tokens.max_prompt_tokens + block.max_new_tokens + GROWTH
    held = rows * length
    if engine.batch_tokens:  # one prompt's responses are drawn together in any case
        held = min(held, max(engine.batch_tokens, count * length) + rows * GROWTH)
    cache = held * (shape.layers + 1) * 2 * shape.kv_width * size
    logits = 3 * rows * shape.vocabulary * 4
    parts = {"weights": shape.weights * size, "key-value cache": cache, "logits": logits}
    weights = parts["weights"]
    return Need(parts, "engine.batch_size", rows, weights, count, step=count, in_shards=True)


def _vllm(block: Decoding, shape: Shape, engine: Engine, prompt: int) -> Need:
    """Sum a GPU's part of the weights, and the cache of one response: vLLM takes what is left."""
    size, length = BYTES[str(engine.dtype)], prompt + block.max_new_tokens
    shares = {
        "weights": shape.weights * size // engine.tensor_parallel,
        "key-value cache of one answer": length
        * shape.layers
        * 2
        * shape.kv_width
        * size
        // engine.tensor_parallel,
    }
    left = 1 - engine.gpu_memory_utilization  # of the memory; what it takes must hold these
    parts = {**shares, "left to others": round(sum(shares.values()) * left / (1 - left))}
    return Need(parts, "engine.tensor_parallel", engine.tensor_parallel, sum(parts.values()))


def scoring(shape: Shape, params: Params) -> Need:
    """Sum what it takes to score: weights, and a layer's numbers of a packed row."""
    size = BYTES[params.score.dtype]
    tokens = max(params.score.token_budget, params.tokens.max_length)
    need = _reading(shape, size, tokens, "score.token_budget", logits=False)
    return need._replace(least=params.tokens.max_length, in_shards=True)


def referring(params: Params, models: Shapes) -> Need:
    """Sum what the reference's log-probs take: weights in float32, logits of a packed row."""
    tokens = max(params.rank_pairs.token_budget, longest_pair(params))
    need = _reading(models.policy, 4, tokens, "rank_pairs.token_budget", logits=True)
    return _of_rows(need._replace(value=params.rank_pairs.token_budget), tokens, params)


def _reading(shape: Shape, size: int, tokens: int, param: str, logits: bool) -> Need:
    layer = tokens * (6 * shape.width + 2 * shape.kv_width + 3 * shape.inner) * size
    parts = {"weights": shape.weights * size, "activations": layer}
    if logits:
        parts["logits"] = tokens * shape.vocabulary * 4
    return Need(parts, param, tokens, parts["weights"])


def longest_pair(params: Params) -> int:
    """Give the tokens of the longest pair: the prompt once, and two responses."""
    return params.tokens.max_prompt_tokens + 2 * params.sample.max_new_tokens


def _of_rows(need: Need, tokens: int, params: Params) -> Need:
    """Name what makes the rows of a need shorter: its budget, or the responses of the longest pair.

    Args:
        need: for rows of the longer of both; its parameter is the budget, its value the budget's.
        tokens: of a row.
        params: of the longest pair.
    """
    if need.value >= tokens:
        return need._replace(least=longest_pair(params))
    whole = need.total - need.fixed
    prompt = whole * params.tokens.max_prompt_tokens // tokens
    least = max((need.value - params.tokens.max_prompt_tokens) // 2, 1)  # then the budget decides
    return Need(
        need.parts,
        "sample.max_new_tokens",
        params.sample.max_new_tokens,
        need.fixed + prompt,
        least,
    )


def training(shape: Shape, settings: Optimisation, params: Params, logits: bool) -> Need:
    """Sum what a training takes of each device.

    Args:
        shape: of the model.
        settings: block `dpo`, `train_rm` or `base_reward_model`.
        params: for the block `training`, and the longest pair.
        logits: whether a language-model head is computed.
    """
    how, size = params.training, BYTES[str(params.training.precision)]
    tokens = max(settings.token_budget, longest_pair(params))
    parts = {"weights, gradients, optimiser": state(shape, how)}
    parts |= _read(shape, how)
    fixed = sum(parts.values())
    one = tokens * (8 * shape.width + 2 * shape.kv_width + 4 * shape.inner) * size
    # What a layer is given stays float32 under autocast, and is all that checkpointing keeps.
    kept = tokens * shape.width * 4 * shape.layers + one
    parts["activations"] = kept if how.gradient_checkpointing else one * shape.layers
    if logits:
        parts["logits and their gradient"] = 2 * tokens * shape.vocabulary * size
    need = Need(parts, f"{settings.key}.token_budget", settings.token_budget, fixed)
    return _of_rows(need, tokens, params)


def state(shape: Shape, how: Training) -> int:
    """Sum weights, gradients and AdamW's two moments on one device.

    Float32: 4 + 4 + 8 bytes of every weight; with 8-bit moments 2 instead of 8. With adapters the
    weights are frozen, and only the adapters have gradients and moments.
    """
    moments = 2 if how.optimizer == "adamw_8bit" else 8
    if how.lora:
        one = 6 * shape.width + 2 * shape.kv_width + 3 * (shape.width + shape.inner)
        adapters = how.lora.rank * shape.layers * one
        return 4 * shape.weights + (8 + moments) * adapters
    whole = (8 + moments) * shape.weights
    return whole // how.processes if is_sharded(how) else whole


def _read(shape: Shape, how: Training) -> dict[str, int]:
    """Sum the weights as a pass reads them: layers gathered of shards, and casts to bfloat16.

    Casts stay to the way back, but with gradient checkpointing no longer than their layer.
    """
    parts = {}
    if is_sharded(how):
        largest = max(2 * shape.per_layer, 2 * shape.vocabulary * shape.width)
        parts["gathered weights"] = round(4 * largest)
    if how.precision == "bfloat16":
        brief = is_sharded(how) and how.gradient_checkpointing
        parts["weights in bfloat16"] = round(2 * (2 * shape.per_layer if brief else shape.weights))
    return parts


def is_sharded(how: Training) -> bool:
    """Tell whether each process holds a part of the weights, by the name of accelerate's file."""
    return how.launcher == "accelerate" and any(
        name in str(how.accelerate_config) for name in SHARDED
    )


def host(params: Params, models: Shapes) -> dict[str, int]:
    """Sum the host's memory in trainings on GPUs: each process reads the model."""
    largest = max(models.policy.weights, models.reward.weights)
    return {"processes": params.training.processes * (4 * largest + PROCESS)}


def disk(params: Params, models: Shapes, works: Mapping[str, Work], t: str) -> dict[str, int]:
    """Sum what an iteration writes to disk; DVC's cache links the same bytes.

    Args:
        params: the values of params.yaml.
        models: their shapes.
        works: of every stage.
        t: the iteration; `0` for the start.
    """
    size = BYTES[params.training.export_dtype]
    resumed = (SAVED + 1) * 3 * 4  # one more while it is written: weights and moments, float32
    if t == "0":
        parts = {"models": size * (models.policy.weights + models.reward.weights)}
        if works["prepare_reward_model"].steps:
            parts[STATE] = resumed * models.reward.weights
        return parts
    trained = models.reward.weights if works[f"train_rm@{t}"].steps else 0
    drawn = ("answer_previous", "sample", "duel", "answer", "eval")
    tokens = sum(works[f"{name}@{t}"].tokens for name in drawn)
    return {
        "candidates": works[f"dpo@{t}"].candidates * models.policy.weights * size,
        "reward model": trained * size,
        STATE: resumed * max(models.policy.weights, trained),
        "tables": tokens * PER_TOKEN,
    }


def disk_of_run(iterations: Mapping[str, Mapping[str, int]]) -> int:
    """Sum what a run writes to disk: all that stays, and the most that goes again."""
    stays = sum(sum(parts.values()) - parts.get(STATE, 0) for parts in iterations.values())
    return stays + max((parts.get(STATE, 0) for parts in iterations.values()), default=0)


Needs = list[Need | None]
NEEDS: dict[str, Callable[[Params, Shapes], Needs]] = {
    "prepare_reward_model": lambda params, models: [
        training(models.reward, params.base_reward_model, params, logits=False)
        if params.models.reward_model.source in ("trained", "tiny")
        else None
    ],
    "eval_base": lambda params, models: _evaluating(params, models),
    "answer_previous": lambda params, models: [drawing(params.answer, 1, models.policy, params)],
    "sample": lambda params, models: [
        drawing(params.sample, params.sample.responses_per_prompt, models.policy, params)
    ],
    "score": lambda params, models: [scoring(models.reward, params)],
    "rank_pairs": lambda params, models: [referring(params, models)],
    "dpo": lambda params, models: [training(models.policy, params.dpo, params, logits=True)],
    "duel": lambda params, models: [
        drawing(params.duel, params.duel.responses_per_prompt, models.policy, params),
        scoring(models.reward, params),
    ],
    "answer": lambda params, models: [
        drawing(params.answer, 1, models.policy, params),
        scoring(models.reward, params),
    ],
    "train_rm": lambda params, models: [
        None
        if params.train_rm.fixed
        else training(models.reward, params.train_rm, params, logits=False)
    ],
    "eval": lambda params, models: [
        *_evaluating(params, models),
        comparing(params, models),
    ],
}


def _evaluating(params: Params, models: Shapes) -> Needs:
    count = params.eval.responses_per_prompt
    return [drawing(params.eval, count, models.policy, params), scoring(models.reward, params)]


def comparing(params: Params, models: Shapes) -> Need:
    """Sum what pi_0's pass over eval responses takes: float32 weights, a packed row's logits."""
    responses = params.eval.responses_per_prompt * params.eval.max_new_tokens
    longest = params.tokens.max_prompt_tokens + responses
    tokens = max(params.score.token_budget, longest)
    need = _reading(models.policy, 4, tokens, "score.token_budget", logits=True)
    return need._replace(least=longest)
