"""The embedded prompts: our own sentences with instructions that a program can check."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mutual_taught.errors import InputError, MissingFileError

TOPIC = "{topic}"
RUN_SHARE = 0.7

Part = Literal["run", "seed"]
T = TypeVar("T")


class Instruction(NamedTuple):
    """One instruction that a program can check, and the ways to say it."""

    instruction_id: str
    kwargs: Mapping[str, object]
    texts: tuple[str, ...]


class Templates(NamedTuple):
    """What prompts are made of: a task about a topic, a style, a lower bound."""

    tasks: tuple[str, ...]
    topics: tuple[str, ...]
    style: tuple[Instruction, ...]
    lower_bound: tuple[Instruction, ...]


class EmbeddedPrompt(TypedDict):
    """One prompt: its text, and its instructions in the order of the text."""

    prompt: str
    instruction_ids: list[str]
    instruction_kwargs: list[str]


def expand(templates: Templates, count: int, seed: int, part: Part) -> list[EmbeddedPrompt]:
    """Draw distinct prompts.

    Draw i takes a task, a topic, a style and a lower bound, each by a hash of (seed, part, i);
    a text that was drawn before is skipped. So a larger count only adds prompts at the end.
    Kinds of instruction (ids) are equally likely, and so are one kind's groups, then wordings.

    Args:
        templates: from `read_templates`.
        count: how many prompts.
        seed: the run's global seed.
        part: `run` for the run's prompts, `seed` for those of the seed preferences. Each has
            topics of its own, whatever the seed (see `topics_of`).

    Returns:
        The prompts, in the order of the draws.

    Raises:
        InputError: the templates have fewer than `count` distinct prompts in this part.
    """
    topics = topics_of(templates.topics, part)
    _check_count(templates, topics, count, part)
    prompts: dict[str, EmbeddedPrompt] = {}
    draw = 0
    while len(prompts) < count:
        made = _draw(templates, topics, f"{seed}|{part}|{draw}")
        prompts.setdefault(made["prompt"], made)
        draw += 1
    return list(prompts.values())


def topics_of(topics: Sequence[str], part: Part) -> list[str]:
    """Keep one part's topics: about 70 % are the run's, by a hash of only the topic.

    The seed preferences are made once and kept, so the split must not move with a run's seed.
    """
    return [topic for topic in topics if (_hash(topic) < RUN_SHARE * 2**64) == (part == "run")]


def read_templates(path: Path) -> Templates:
    """Read the template file.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is not YAML, or a key is missing, empty, unknown or of the wrong type.
    """
    values = _mapping(path, "the file", _load(path), ("tasks", "topics", "instructions"))
    kinds = _mapping(path, "instructions", values["instructions"], ("style", "lower_bound"))
    tasks = _texts(path, "tasks", values["tasks"])
    for index, task in enumerate(tasks):
        if task.count(TOPIC) != 1:
            raise _wrong(path, f"tasks[{index}]", task, f"a sentence with one {TOPIC}")
    return Templates(
        tasks,
        _texts(path, "topics", values["topics"]),
        _groups(path, "instructions.style", kinds["style"]),
        _groups(path, "instructions.lower_bound", kinds["lower_bound"]),
    )


def _draw(templates: Templates, topics: Sequence[str], key: str) -> EmbeddedPrompt:
    task = _pick(templates.tasks, f"{key}|task")
    topic = _pick(topics, f"{key}|topic")
    style = _pick_group(templates.style, f"{key}|style")
    bound = _pick_group(templates.lower_bound, f"{key}|bound")
    says = [_pick(style.texts, f"{key}|style_text"), _pick(bound.texts, f"{key}|bound_text")]
    return EmbeddedPrompt(
        prompt=" ".join([task.replace(TOPIC, topic), *says]),
        instruction_ids=[style.instruction_id, bound.instruction_id],
        instruction_kwargs=[json.dumps(g.kwargs, sort_keys=True) for g in (style, bound)],
    )


def _pick_group(groups: Sequence[Instruction], key: str) -> Instruction:
    kind = _pick(sorted({group.instruction_id for group in groups}), f"{key}_kind")
    return _pick([group for group in groups if group.instruction_id == kind], key)


def _pick(items: Sequence[T], key: str) -> T:
    return items[_hash(key) % len(items)]


def _check_count(templates: Templates, topics: Sequence[str], count: int, part: Part) -> None:
    says = [sum(len(g.texts) for g in kind) for kind in (templates.style, templates.lower_bound)]
    distinct = math.prod([len(templates.tasks), len(topics), *says])
    if count > distinct:
        raise InputError(
            f"templates: {distinct} distinct prompts in part {part!r}; "
            f"expected at least {count}; add topics or ask for fewer prompts"
        )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _load(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist; expected a template file") from None
    try:
        values: object = YAML(typ="safe").load(text)
    except YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not valid YAML ({reason}); expected a template file") from None
    return values


def _mapping(path: Path, key: str, value: object, names: Sequence[str]) -> dict[str, object]:
    """Check a block: exactly the keys named."""
    if not isinstance(value, dict):
        raise _wrong(path, key, value, f"a block with {', '.join(names)}")
    lacking = [name for name in names if name not in value]
    unknown = [str(name) for name in value if name not in names]
    if lacking or unknown:
        fault = f"lacks {lacking[0]!r}" if lacking else f"has the unknown key {unknown[0]!r}"
        raise InputError(f"{path}: {key} {fault}; expected exactly {', '.join(names)}")
    return value


def _texts(path: Path, key: str, value: object) -> tuple[str, ...]:
    """Check a list: at least one text, none empty, none twice."""
    if not isinstance(value, list) or not value:
        raise _wrong(path, key, value, "a list with at least one text")
    for index, text in enumerate(value):
        if not isinstance(text, str) or not text.strip():
            raise _wrong(path, f"{key}[{index}]", text, "a text")
        if text in value[:index]:
            raise _wrong(path, f"{key}[{index}]", text, "each text once")
    return tuple(value)


def _groups(path: Path, key: str, value: object) -> tuple[Instruction, ...]:
    if not isinstance(value, list) or not value:
        raise _wrong(path, key, value, "a list with at least one instruction")
    groups = tuple(_group(path, f"{key}[{index}]", item) for index, item in enumerate(value))
    _texts(path, f"{key} wordings", [text for group in groups for text in group.texts])
    return groups


def _group(path: Path, key: str, value: object) -> Instruction:
    fields = _mapping(path, key, value, ("instruction_id", "kwargs", "texts"))
    name, kwargs = fields["instruction_id"], fields["kwargs"]
    if not isinstance(name, str) or not name:
        raise _wrong(path, f"{key}.instruction_id", name, "an id such as 'punctuation:no_comma'")
    if not isinstance(kwargs, dict) or None in kwargs.values():
        raise _wrong(path, f"{key}.kwargs", kwargs, "a block without nulls ({} for none)")
    return Instruction(name, kwargs, _texts(path, f"{key}.texts", fields["texts"]))


def _wrong(path: Path, key: str, value: object, expected: str) -> InputError:
    return InputError(f"{path}: {key} is {value!r}; expected {expected}")
