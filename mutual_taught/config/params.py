"""Reading `params.yaml`: every block typed and range-checked; one line says what is wrong."""

import datetime
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mutual_taught.config.blocks import AUTO, SUBSET, Decoding, Params, Sample, Workers
from mutual_taught.config.fields import Block
from mutual_taught.config.judging import Endpoint
from mutual_taught.config.learning import Dpo, TrainRm
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.method.selection import Judge

PARAMS = Path("params.yaml")
TEMPLATE_END = 8  # tokens with which a template may end a response
B = TypeVar("B", bound=Block)


def load(block: type[B], iteration: str | None = None, path: Path = PARAMS) -> B:
    """Read a block of params.yaml, with the iteration's own values where it has some.

    Args:
        block: which block.
        iteration: t, whose `iterations.<t>.<block>` overrides single keys; None for none.
        path: the file.

    Raises:
        InputError: anything in the file, in this block or another, is not as expected.
    """
    raw = read(path)
    validate(raw, path)
    values: dict[str, Any] = dict(raw[block.key])
    if iteration is not None and block.key in ("sample", "dpo", "train_rm"):
        if iteration not in raw["iterations"]:
            raise InputError(
                f"{path}: iterations has no {iteration!r}; expected one of "
                f"{', '.join(raw['iterations'])}; add it, or run another iteration"
            )
        values |= raw["iterations"][iteration][block.key]
    return block.model_validate(values)


def seed(path: Path = PARAMS) -> int:
    """Read the run's global seed."""
    return validate(read(path), path).seed


def longest_response(path: Path = PARAMS) -> int:
    """Read the largest `max_new_tokens` of all stages that draw responses."""
    return _longest(validate(read(path), path))


def gold_pairs(preferences: Path, path: Path = PARAMS) -> str | None:
    """Read where held-out pairs are, if there are any: see `named_pairs`."""
    return named_pairs(validate(read(path), path), preferences)


def named_pairs(params: Params, preferences: Path) -> str | None:
    """Say where the pairs are that reward models are measured on.

    `auto` names the seed preferences where they fit: for the embedded prompts, answered by the
    embedded policy (or the tiny one of tests). They hold that policy's own responses, so for other
    prompts or another policy nothing is measured on them unless params name their file.

    Args:
        params: the values of params.yaml.
        preferences: the file of seed preferences.

    Returns:
        A file, `subset:` and a subset of `data.path`, or None.
    """
    named = params.eval.gold_pairs
    if named != AUTO:
        return named
    own = params.data.source == "embedded" and params.models.policy.source in ("embedded", "tiny")
    return str(preferences) if own else None


def judged_by_gold(path: Path = PARAMS) -> list[tuple[str, str]]:
    """Name the splits whose prompts must be verifiable, each with the parameter that says so.

    In the params of no stage that only refuses: it decides nothing there.
    """
    values = validate(read(path), path)
    pairs, selection = values.build_pairs, values.select_policy
    asked = [
        ("reward", "build_pairs.labels is verifiable", pairs.labels == "verifiable"),
        ("selection", "select_policy.judge is verifiable", selection.judge == "verifiable"),
        ("selection", "build_pairs.weights is calibrated", pairs.weights == "calibrated"),
    ]
    return [(split, said) for split, said, needed in asked if needed]


def judge(path: Path = PARAMS) -> Judge:
    """Read who judges duels; the rest of `select_policy` decides nothing about them."""
    return validate(read(path), path).select_policy.judge


def judge_model(path: Path = PARAMS) -> str | None:
    """Read which language model judges duels; None where none does."""
    values = validate(read(path), path).select_policy
    return values.judge_model if values.judge == "openai" else None


def endpoint(path: Path = PARAMS) -> Endpoint:
    """Read where a judge is asked: in the params of no stage, because it decides no verdict."""
    return validate(read(path), path).judge.endpoint


def workers(path: Path = PARAMS) -> Workers:
    """Read where shards are scored: in the params of no stage, because it decides nothing."""
    return validate(read(path), path).engine.workers


def read(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping (`5e-07` is a number in it, unlike in YAML 1.1)."""
    try:
        return _parse(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise MissingFileError(
            f"{path} does not exist; run in the project's folder, or mutual-taught preset laptop"
        ) from None


@functools.lru_cache(maxsize=4)
def _parse(path: Path, _mtime_ns: int) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds {type(values).__name__}; expected blocks of parameters")
    return values


def validate(raw: Mapping[str, Any], path: Path = PARAMS) -> Params:
    """Check a whole params file, every iteration's overrides included.

    Raises:
        InputError: naming the first key that is wrong, what it is and what was expected.
    """
    _check_iteration_keys(raw, path)
    params = _validated(Params, raw, path, "")
    for name, item in params.iterations.items():
        for block in (Sample, Dpo, TrainRm):
            override = getattr(item, block.key)
            given = _validated(
                block, {**raw[block.key], **override}, path, f"iterations.{name}.{block.key}."
            )
            if isinstance(given, Sample):
                _check_given(given, params, name, path)
                _check_longest(given, params, name, path)
    _check_formats(params, path)
    _check_seeds(params, path)
    _check_weights(params, path)
    _check_room(params, path)
    _check_judge(params, path)
    _check_places(params, path)
    return params


def _check_formats(params: Params, path: Path) -> None:
    """The reference and the policy compute alike, so that DPO starts from margins of 0.

    They must be written alike: what `auto` becomes depends on the machine.
    """
    reference, policy = params.rank_pairs.reference_dtype, params.training.precision
    if reference != policy:
        raise InputError(
            f"{path}: rank_pairs.reference_dtype is {reference}, training.precision is {policy}; "
            "expected the same in both, or DPO would start from a margin that is not 0; change one"
        )


def _check_seeds(params: Params, path: Path) -> None:
    """Training pairs of r_0 are in the mix only where r_0 was trained here."""
    share, source = params.build_pairs.seed_preferences, params.models.reward_model.source
    if share and not params.models.reward_model.trained_here:
        raise InputError(
            f"{path}: build_pairs.seed_preferences is {share}, models.reward_model.source is "
            f"{source}; expected 0, because what such a reward model was trained on is not here; "
            "set it to 0, or the source to trained"
        )


def _check_weights(params: Params, path: Path) -> None:
    """Duels say how right pseudo labels are where both compare the same two policies."""
    if params.build_pairs.weights == "calibrated" and params.answer.against == "base":
        raise InputError(
            f"{path}: build_pairs.weights is calibrated, answer.against is base; expected "
            "against previous, because duels compare with the previous policy; change one"
        )


def _check_judge(params: Params, path: Path) -> None:
    """A judge compares no more responses than there are."""
    compared, drawn = params.judge.responses_per_prompt, params.eval.responses_per_prompt
    if params.judge.iterations and compared > drawn:
        raise InputError(
            f"{path}: judge.responses_per_prompt is {compared}; expected at most {drawn}, as many "
            "as eval.responses_per_prompt draws; change one"
        )


def _longest(params: Params) -> int:
    return max(block.max_new_tokens for block in _drawing(params).values())


def _drawing(params: Params) -> dict[str, Decoding]:
    listed = (params.sample, params.duel, params.answer, params.eval)
    return {block.key: block for block in listed}


def _check_longest(sample: Sample, params: Params, iteration: str, path: Path) -> None:
    """Prompts leave room for the longest response of the blocks, so no iteration has longer."""
    if sample.max_new_tokens > (longest := _longest(params)):
        raise InputError(
            f"{path}: iterations.{iteration}.sample.max_new_tokens is {sample.max_new_tokens}; "
            f"expected at most {longest}, the largest max_new_tokens of "
            f"{', '.join(_drawing(params))}; raise one of these"
        )


def _check_room(params: Params, path: Path) -> None:
    """The longest prompt, the longest response and the end of a template fit a reward model."""
    limits, longest = params.tokens, _longest(params)
    room = limits.max_prompt_tokens + longest + TEMPLATE_END
    if room > limits.max_length:
        name = next(n for n, b in _drawing(params).items() if b.max_new_tokens == longest)
        raise InputError(
            f"{path}: tokens.max_length is {limits.max_length}; expected at least {room}: "
            f"tokens.max_prompt_tokens {limits.max_prompt_tokens} + {name}.max_new_tokens "
            f"{longest} + {TEMPLATE_END} for the template's end; raise it, or lower one of these"
        )


def _check_places(params: Params, path: Path) -> None:
    """No file is reached through a link that leaves the project, or that DVC does not follow."""
    data, gold, settings = params.data, params.eval.gold_pairs, params.training.accelerate_config
    if gold is not None and gold.startswith(SUBSET) and data.source != "hub":
        raise InputError(
            f"{path}: eval.gold_pairs is {gold!r}, data.source is {data.source}; expected hub, "
            "because the subset is one of the data set at data.path; name a file, auto or null"
        )
    if data.source == "hub" and (path.parent / data.path).exists():
        raise InputError(
            f"{path}: data.path is {data.path!r}, which is here, too, and would be read instead "
            "of the hub's; expected a data set of the hub; rename what is here, or use source file"
        )
    files = {
        "data.path": None if data.source == "hub" else data.path,
        "data.given.path": data.given and data.given.path,
        "eval.gold_pairs": None if gold is None or gold.startswith((AUTO, SUBSET)) else gold,
    }
    for name, place in files.items():
        parents = [path.parent / parent for parent in Path(place or "").parents]
        for parent in parents:
            if parent != path.parent and parent.is_symlink():
                raise InputError(
                    f"{path}: {name} is {place!r}, and {parent} is a linked folder; expected a "
                    "folder, or a linked file; DVC does not see what changes in linked folders"
                )
    if settings and not (path.parent / settings).resolve().is_relative_to(path.parent.resolve()):
        raise InputError(
            f"{path}: training.accelerate_config is {settings!r}, a link out of the project; "
            "expected a file inside it; copy it here"
        )


def _check_given(sample: Sample, params: Params, iteration: str, path: Path) -> None:
    """Given preferences need their columns, their pair rule, and a file or hub data set."""
    given = sample.source == "given"
    if given != (params.rank_pairs.chosen == "given"):
        raise InputError(
            f"{path}: sample.source of iteration {iteration} is {sample.source}, rank_pairs.chosen "
            f"is {params.rank_pairs.chosen}; expected both given, or neither"
        )
    if given and params.rank_pairs.reference_logps == "sampler":
        raise InputError(
            f"{path}: rank_pairs.reference_logps is sampler; expected trainer, for given "
            "preferences come without log-probs"
        )
    if given and params.data.columns.chosen is None and params.data.given is None:
        raise InputError(
            f"{path}: data.given and data.columns.chosen are null; expected a file of preferences, "
            "or a column of data.path, because sample.source is given"
        )


def _check_iteration_keys(raw: Mapping[str, Any], path: Path) -> None:
    iterations = raw.get("iterations")
    if not isinstance(iterations, Mapping):
        return
    for name in iterations:
        if not isinstance(name, str):
            raise InputError(
                f'{path}: iterations has the key {name!r}; expected it quoted, "{name}" '
                "(without quotes DVC runs no stage at all)"
            )


def checked(block: type[B], values: Mapping[str, Any], where: str = "the command line") -> B:
    """Check values that are in no file.

    Raises:
        InputError: one is wrong.
    """
    return _validated(block, values, Path(where), "")


def _validated(block: type[B], raw: Mapping[str, Any], path: Path, prefix: str) -> B:
    try:
        return block.model_validate(dict(raw))
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error.errors()[0], block, prefix)}") from None


def _explain(error: ErrorDetails, block: type[Block], prefix: str) -> str:
    name = prefix + ".".join(str(part) for part in error["loc"])
    value = error["input"]
    match error["type"]:
        case "missing":
            return f"{name} is missing; expected a value, see presets/laptop.yaml"
        case "extra_forbidden":
            known = ", ".join(_siblings(block, error["loc"]))
            return f"{name} is unknown; expected one of {known}"
        case "value_error":
            where = name.rstrip(".") or "the file"
            return f"{where}: expected {error['ctx']['error']!s}"
        case "model_type" | "dict_type":
            return f"{name} is {value!r}; expected a block of keys"
    expected = error["msg"].removeprefix("Input should be ")
    wants_number = "number" in expected or "integer" in expected
    advice = ""
    if wants_number and isinstance(value, str) and _numeric(value):
        advice = "; write it without quotes"
    if expected == "a valid string" and not isinstance(value, (dict, list, type(None))):
        # YAML reads a commit of digits as a number, a date as a date.
        advice = "; write it in quotes"
    is_ = value.isoformat() if isinstance(value, datetime.date) else repr(value)
    return f"{name} is {is_}; expected {expected}{advice}"


def _siblings(block: type[Block], loc: tuple[int | str, ...]) -> list[str]:
    fields = block.model_fields
    for part in loc[:-1]:
        inner = fields[str(part)].annotation if str(part) in fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ["the keys of presets/laptop.yaml"]
        fields = inner.model_fields
    return sorted(fields)


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
