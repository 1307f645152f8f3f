"""The programs that check IFEval's and IFBench's instructions, and what they need to run here."""

import contextlib
import functools
import importlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

from mutual_taught.errors import first_line
from mutual_taught.evaluation.benchmarks.files import BadRowError
from mutual_taught.terminal.signs import excerpt

Family = Literal["ifeval", "ifbench"]
# What NLTK fetches apart, by what needs it; all other instructions are checked without.
PUNKT, TAGGER = "tokenizers/punkt_tab", "taggers/averaged_perceptron_tagger_eng"
NEEDS: Mapping[str, tuple[str, ...]] = {
    "change_case:capital_word_frequency": (PUNKT,),
    "length_constraints:number_sentences": (PUNKT,),
    "format:title_case": (PUNKT,),
    "ratio:stop_words": ("corpora/stopwords",),
    "words:keywords_specific_position": (PUNKT,),
    "words:start_verb": (PUNKT, TAGGER),
    "words:words_position": (PUNKT,),
}


# Kinds of values by their names in both published files; all others are texts.
LISTS = {"keywords", "forbidden_words"}
NUMBERS = {
    *("N", "capital_frequency", "frequency", "let_frequency", "m", "max_words", "min_words", "n"),
    *("n_end", "n_start", "nth_paragraph", "num_bullets", "num_highlights", "num_paragraphs"),
    *("num_placeholders", "num_sections", "num_sentences", "num_words", "percentage", "small_n"),
}


class Checker(Protocol):
    """One instruction of if-verifiable."""

    def build_description(self, **kwargs: object) -> object:
        """Take the instruction's values."""

    def get_instruction_args(self) -> Mapping[str, object] | None:
        """Give the values that it took."""

    def get_instruction_args_keys(self) -> list[str]:
        """Give the names of the values that it needs."""

    def check_following(self, value: str) -> bool:
        """Tell whether the response follows the instruction."""


@functools.cache
def registry(family: Family) -> Mapping[str, Callable[[str], Checker]]:
    """Import a family's checkers: about 2 s; nothing is fetched.

    langdetect draws at random, so it gets a seed. IFBench's module would have NLTK fetch its data
    when it is imported: what is missing is named by `missing`, and not fetched.
    """
    importlib.import_module("langdetect").DetectorFactory.seed = 0
    with _without_downloads():
        module = importlib.import_module(f"if_verifiable.{family}.instructions_registry")
    found: Mapping[str, Callable[[str], Checker]] = module.INSTRUCTION_DICT
    return found


@contextlib.contextmanager
def _without_downloads() -> Iterator[None]:
    nltk: Any = importlib.import_module("nltk")
    before, nltk.download = nltk.download, lambda *_, **__: False
    try:
        yield
    finally:
        nltk.download = before


@functools.cache
def missing(instruction: str) -> tuple[str, ...]:
    """List the data of NLTK that an instruction needs and this machine lacks."""
    needed = NEEDS.get(instruction, ())
    return tuple(name for name in needed if not _there(name))


def _there(name: str) -> bool:
    try:
        importlib.import_module("nltk").data.find(name)
    except LookupError:
        return False
    return True


def made(family: Family, instruction: str, values: Mapping[str, object]) -> Checker:
    """Make the checker of an instruction, which holds the values that the file gives.

    The library draws values at random where they are missing or not to its liking, such as a 0,
    or `#` as a letter: then the result would say nothing.

    Raises:
        BadRowError: the instruction is unknown, or its values are not its own.
    """
    known = registry(family)
    if instruction not in known:
        raise BadRowError(f"instruction {instruction!r} is unknown to if-verifiable")
    checker = known[instruction](instruction)
    wanted = set(checker.get_instruction_args_keys())
    if set(values) != wanted:
        raise BadRowError(
            f"instruction {instruction!r} has the values {sorted(values)}; expected "
            f"{sorted(wanted)}"
        )
    for name, value in values.items():
        if not _fits(name, value):
            raise BadRowError(
                f"instruction {instruction!r}: {name} is {excerpt(value)!r}; expected {_kind(name)}"
            )
    _build(checker, instruction, values)
    if drawn := _others(checker, values):
        raise BadRowError(f"instruction {instruction!r}: {drawn[0]} is out of its range")
    return checker


def _others(checker: Checker, values: Mapping[str, object]) -> list[str]:
    """List the values that a checker has not taken as they are, but for case and white space."""
    taken = checker.get_instruction_args() or {}
    return [
        name
        for name, value in values.items()
        if name not in LISTS and _plain(taken.get(name)) != _plain(value)
    ]


def _plain(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _kind(name: str) -> str:
    return "texts" if name in LISTS else "a whole number ≥ 0" if name in NUMBERS else "text"


def _fits(name: str, value: object) -> bool:
    """Tell whether a value is of the kind that its name has in the published files."""
    if name in NUMBERS:
        whole = isinstance(value, int | float) and not isinstance(value, bool)
        return whole and value >= 0 and float(value).is_integer()  # type: ignore[operator,arg-type]
    listed = value if name in LISTS and isinstance(value, list) else [value]
    is_list = isinstance(value, list) == (name in LISTS)
    return is_list and bool(listed) and all(isinstance(one, str) and one for one in listed)


def _build(checker: Checker, instruction: str, values: Mapping[str, object]) -> None:
    """Give a checker its values, and try it: some of them end up in regular expressions."""
    try:
        checker.build_description(**values)
        for name in _others(checker, values):
            setattr(checker, f"_{name}", _plain(values[name]))  # in place of a draw
        if not missing(instruction):
            follows(checker, "One.")
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, re.error) as error:
        raise BadRowError(
            f"instruction {instruction!r} cannot be checked with its values: "
            f"{excerpt(first_line(error))}"
        ) from None


def follows(checker: Checker, text: str) -> bool | None:
    """Tell whether a text follows an instruction; None where the checker fails on it.

    A blank text follows nothing. IFBench's checkers raise on some texts, such as punctuation
    alone, IFEval's on JSON that is nested too deeply.
    """
    if not text.strip():
        return False
    with _quiet():
        try:
            return bool(checker.check_following(text))
        except (ArithmeticError, IndexError, RecursionError, ValueError):
            return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep still what the library says: whole responses in logs, words that look like patterns."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(category=FutureWarning, action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)
