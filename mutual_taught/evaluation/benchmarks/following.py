"""What IFEval and IFBench have in common: their files, strict and loose reading, their rates."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import checkers, files
from mutual_taught.evaluation.benchmarks.base import SEED, Metrics, Prompt, Prompts
from mutual_taught.evaluation.benchmarks.checkers import Family
from mutual_taught.evaluation.benchmarks.files import BadRowError, BenchmarkRow
from mutual_taught.method.statistics import bootstrap
from mutual_taught.terminal.signs import excerpt

EXPECTED = "rows of key, prompt (text), instruction_id_list and kwargs (an object of each)"


class Followed(NamedTuple):
    """Which of a prompt's instructions a response follows, and how many checks failed."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]
    failed: int


def read(paths: Sequence[Path], family: Family) -> Prompts:
    """Read prompts with their instructions, and refuse those that cannot be checked here.

    Raises:
        InputError: see `files.parsed`; or a key occurs twice; or an instruction needs data of
            NLTK's that is not on this machine.
    """
    prompts = files.parsed(paths, _parser(family), EXPECTED)
    files.require_distinct([prompt.prompt_id for prompt in prompts], paths)
    _require_data(prompts, paths)
    return prompts


def _parser(family: Family) -> Callable[[BenchmarkRow], Prompt]:
    def parse(row: BenchmarkRow) -> Prompt:
        text, names = files.text(row, "prompt"), files.texts(row, "instruction_id_list")
        values = [_without_nulls(one) for one in _objects(row, len(names))]
        for name, one in zip(names, values, strict=True):
            checkers.made(family, name, one)
        note = {"instructions": names, "values": values}
        return Prompt(_key(row), "", [{"role": "user", "content": text}], note)

    return parse


def _key(row: BenchmarkRow) -> str:
    key = files.taken(row, "key")
    if isinstance(key, bool) or not isinstance(key, int | str) or not str(key).strip():
        raise BadRowError(f"key is {excerpt(key)!r}; expected a number or text")
    return str(key)


def _objects(row: BenchmarkRow, count: int) -> list[Mapping[str, Any]]:
    value = files.taken(row, "kwargs")
    if not isinstance(value, list) or not all(isinstance(one, dict | None) for one in value):
        raise BadRowError(f"kwargs is {excerpt(value)!r}; expected a list of objects")
    if len(value) != count:
        raise BadRowError(f"kwargs has {len(value)} objects; expected {count}, one an instruction")
    return [one or {} for one in value]


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _require_data(prompts: Prompts, paths: Sequence[Path]) -> None:
    """Refuse instructions that need what NLTK fetches apart, by name, with their numbers."""
    counts = Counter(
        name for prompt in prompts for name in prompt.note["instructions"] if checkers.missing(name)
    )
    if not counts:
        return
    lacking = sorted({part.split("/")[1] for name in counts for part in checkers.missing(name)})
    raise InputError(
        f"{', '.join(map(str, paths))}: cannot be checked here: "
        f"{', '.join(f'{name} ({count})' for name, count in sorted(counts.items()))}; expected "
        f"NLTK's data {', '.join(lacking)}; fetch it with `python -m nltk.downloader "
        f"{' '.join(lacking)}`, or leave out the rows that need it: then it is another benchmark"
    )


def forms(response: str) -> list[str]:
    """Give the forms of a response that loose reading accepts: itself first, eight in all.

    Without asterisks, without the first line, the last, or both, and these without asterisks.
    """
    lines = response.split("\n")
    parts = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    plain = [text.replace("*", "") for text in (response, *parts)]
    return [response, plain[0], *parts, *plain[1:]]


def followed(prompts: Prompts, responses: Sequence[str], family: Family) -> list[Followed]:
    """Check each response against its prompt's instructions: see `checked`."""
    pairs = zip(prompts, responses, strict=True)
    return [checked(*pair, family) for pair in pairs]


def checked(prompt: Prompt, response: str, family: Family) -> Followed:
    """Check a response against each of its prompt's instructions.

    Strict takes the response as it is; loose any of its `forms`. Where a checker fails on a text,
    the text does not follow.
    """
    strict, loose, failed = [], [], 0
    pairs = zip(prompt.note["instructions"], prompt.note["values"], strict=True)
    for name, values in pairs:
        checker = checkers.made(family, name, values)
        found = [checkers.follows(checker, form) for form in forms(response)]
        failed += found.count(None)
        strict.append(found[0] is True)
        loose.append(True in found)
    return Followed(tuple(strict), tuple(loose), failed)


def metrics(found: Sequence[Followed]) -> Metrics:
    """Give the four rates, with intervals over prompts.

    At the level of prompts a response counts where it follows all instructions, at the level of
    instructions each one counts.

    Args:
        found: of each prompt.
    """
    counts = [len(one.strict) for one in found]
    groups = np.repeat(np.arange(len(found)), counts)
    result: Metrics = {}
    readings = {"strict": [one.strict for one in found], "loose": [one.loose for one in found]}
    for reading, each in readings.items():
        every = np.array([all(one) for one in each], np.float64)
        single = np.array([value for one in each for value in one], np.float64)
        for level, values, units in (("prompt", every, None), ("instruction", single, groups)):
            mean, low, high, _ = bootstrap(values, SEED, units)
            parts = {"mean": mean, "ci_lo": low, "ci_hi": high, "n": float(len(values))}
            result |= {f"{level}_{reading}.{part}": value for part, value in parts.items()}
    return result | {"failed_checks": float(sum(one.failed for one in found))}
