"""Gold: how far a response follows its prompt's instructions, measured by a program."""

import functools
import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from mutual_taught.errors import InputError


class Checker(Protocol):
    """One of IFEval's checkers."""

    def build_description(self, **kwargs: object) -> object:
        """Take the instruction's values."""

    def check_following(self, value: str) -> bool:
        """Tell whether the response follows the instruction."""


class Kind(NamedTuple):
    """What a value must be, in code and in words."""

    holds: Callable[[object], bool]
    expected: str


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_word(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w '-]*\w[\w '-]*", value) is not None


COUNT = Kind(_is_count, "a whole number ≥ 1")
RELATION = Kind(lambda value: value in ("less than", "at least"), "'less than' or 'at least'")
TEXT = Kind(lambda value: isinstance(value, str) and bool(value.strip()), "a text")
# The library puts words into regular expressions as they are.
WORD = Kind(_is_word, "a word of letters, digits, spaces, ' and -")
WORDS = Kind(
    lambda value: isinstance(value, list) and bool(value) and all(map(_is_word, value)),
    "a list of words of letters, digits, spaces, ' and -",
)
LETTER = Kind(
    lambda value: isinstance(value, str) and re.fullmatch("[A-Za-z]", value) is not None,
    "one letter from a to z",
)
MARKER = Kind(lambda value: value in ("P.S.", "P.P.S"), "'P.S.' or 'P.P.S'")

# Every kwarg is needed: the library fills a missing one at random.
KWARGS: Mapping[str, Mapping[str, Kind]] = {
    "change_case:english_capital": {},
    "change_case:english_lowercase": {},
    "combination:repeat_prompt": {"prompt_to_repeat": TEXT},
    "combination:two_responses": {},
    "detectable_content:number_placeholders": {"num_placeholders": COUNT},
    "detectable_content:postscript": {"postscript_marker": MARKER},
    "detectable_format:constrained_response": {},
    "detectable_format:json_format": {},
    "detectable_format:multiple_sections": {"num_sections": COUNT, "section_spliter": WORD},
    "detectable_format:number_bullet_lists": {"num_bullets": COUNT},
    "detectable_format:number_highlighted_sections": {"num_highlights": COUNT},
    "detectable_format:title": {},
    "keywords:existence": {"keywords": WORDS},
    "keywords:forbidden_words": {"forbidden_words": WORDS},
    "keywords:frequency": {"frequency": COUNT, "keyword": WORD, "relation": RELATION},
    "keywords:letter_frequency": {
        "let_frequency": COUNT,
        "let_relation": RELATION,
        "letter": LETTER,
    },
    "length_constraints:number_paragraphs": {"num_paragraphs": COUNT},
    "length_constraints:number_words": {"num_words": COUNT, "relation": RELATION},
    "punctuation:no_comma": {},
    "startend:end_checker": {"end_phrase": TEXT},
    "startend:quotation": {},
}
NEEDS_PUNKT = "needs NLTK's punkt data, which is downloaded apart; leave this instruction out"
UNSUPPORTED: Mapping[str, str] = {
    "change_case:capital_word_frequency": NEEDS_PUNKT,
    "length_constraints:nth_paragraph_first_word": "may be checked against a random paragraph; "
    "leave this instruction out",
    "length_constraints:number_sentences": NEEDS_PUNKT,
    "language:response_language": "guesses on short responses; leave this instruction out",
}


def gold(response: str, instruction_ids: Sequence[str], instruction_kwargs: Sequence[str]) -> float:
    """Tell how far a response follows its prompt's instructions: the mean over them.

    An instruction that is followed counts 1: IFEval's strict reading of the response as it is,
    but for white space at its ends. One that is not followed counts by its kind (see
    `_partly`), always less than 1. So gold is 1 exactly where all are followed (see `passed`).
    A blank response has gold 0.

    Args:
        response: the text.
        instruction_ids: IFEval's names, at least one.
        instruction_kwargs: the values of each, as JSON; nulls count as absent.

    Returns:
        A number in [0, 1].

    Raises:
        InputError: see `check_instructions`; or there is no instruction.
    """
    kwargs = check_instructions(instruction_ids, instruction_kwargs)
    if not kwargs:
        raise InputError("instruction_ids is empty; expected a verifiable prompt")
    text = response.strip()
    if not text:
        return 0.0
    pairs = zip(instruction_ids, kwargs, strict=True)
    degrees = [1.0 if _follows(text, *pair) else _partly(text, *pair) for pair in pairs]
    return sum(degrees) / len(degrees)


def passed(
    response: str, instruction_ids: Sequence[str], instruction_kwargs: Sequence[str]
) -> bool:
    """Tell whether a response follows all of its prompt's instructions (see `gold`)."""
    return gold(response, instruction_ids, instruction_kwargs) == 1.0


def check_instructions(
    instruction_ids: Sequence[str], instruction_kwargs: Sequence[str]
) -> list[dict[str, object]]:
    """Check that every instruction is one that can be verified; none at all is right too.

    The library itself skips an unknown id in silence and fills missing values at random.

    Returns:
        The values of each instruction, without nulls.

    Raises:
        InputError: an id is unknown or not supported, or its values are not its own.
    """
    if len(instruction_ids) != len(instruction_kwargs):
        raise InputError(
            f"instruction_kwargs has {len(instruction_kwargs)} values; "
            f"expected one for each of the {len(instruction_ids)} instruction_ids"
        )
    pairs = zip(instruction_ids, instruction_kwargs, strict=True)
    return [_check_instruction(name, text) for name, text in pairs]


def _check_instruction(name: str, text: str) -> dict[str, object]:
    if name in UNSUPPORTED:
        raise InputError(f"instruction {name!r} {UNSUPPORTED[name]}")
    if name not in KWARGS:
        raise InputError(f"instruction {name!r} is unknown; expected one of {', '.join(KWARGS)}")
    values = _parse(name, text)
    if set(values) != set(KWARGS[name]):
        raise InputError(
            f"instruction {name!r}: kwargs are {sorted(values)}; expected {sorted(KWARGS[name])}"
        )
    for key, kind in KWARGS[name].items():
        if not kind.holds(values[key]):
            raise InputError(
                f"instruction {name!r}: {key} is {values[key]!r}; expected {kind.expected}"
            )
    return values


def _parse(name: str, text: str) -> dict[str, object]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(f"instruction {name!r}: kwargs are {text!r}; expected a JSON object")
    return {key: value for key, value in values.items() if value is not None}


def _follows(text: str, name: str, kwargs: Mapping[str, object]) -> bool:
    checker = _checkers()[name](name)
    checker.build_description(**kwargs)
    try:
        return bool(checker.check_following(text))
    except RecursionError:  # JSON that is nested too deeply to be read, such as [[[[ on and on
        return False


def _partly(text: str, name: str, kwargs: Mapping[str, object]) -> float:
    """Grade a response that does not follow an instruction, in [0, 1).

    Words to use: the share of them that is there. A number of words: the ratio of the actual
    number to the nearest one that is allowed, or its inverse. No commas: 1 / (1 + commas), which
    more text cannot raise. Every other kind: 0.
    """
    if name == "keywords:existence":
        keywords = cast(list[str], kwargs["keywords"])
        return sum(_follows(text, name, {"keywords": [word]}) for word in keywords) / len(keywords)
    if name == "length_constraints:number_words":
        words, bound = len(re.findall(r"\w+", text)), cast(int, kwargs["num_words"])
        return words / bound if kwargs["relation"] == "at least" else (bound - 1) / words
    if name == "punctuation:no_comma":
        return 1 / (1 + text.count(","))
    return 0.0


@functools.cache
def _checkers() -> Mapping[str, Callable[[str], Checker]]:
    """Import IFEval's checkers: about 2 s, for the library imports `datasets` too."""
    importlib.import_module("langdetect").DetectorFactory.seed = 0  # verdicts vary otherwise
    registry = importlib.import_module("if_verifiable.ifeval.instructions_registry")
    checkers: Mapping[str, Callable[[str], Checker]] = registry.INSTRUCTION_DICT
    return checkers
