"""By which values a checkpoint is measured: those of params.yaml, or of another file like it."""

from pathlib import Path
from typing import NamedTuple

from mutual_taught.config import blocks, params
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.pipeline import work

PROTOCOL_TOKENS = 2048  # of a conversation: what RewardBench and those after it are scored with
OUTSIDE = work.ROOT / "presets" / "laptop.yaml"


class Given(NamedTuple):
    """What the command line says otherwise than the file; None is as the file says."""

    responses_per_prompt: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    max_length: int | None = None
    seed: int | None = None


class Terms(NamedTuple):
    """How responses are drawn and scored.

    `responses` is how many to a prompt. `drawing.tokens.max_length` is what a conversation may
    have; a model with fewer positions has its own (`limits.fitted`).
    """

    decoding: blocks.Decoding
    responses: int
    score: blocks.Score
    drawing: blocks.Drawing


def source(path: Path | None) -> Path:
    """Locate the values: the given file, the project's params.yaml, or the laptop preset.

    Raises:
        MissingFileError: outside a project, and the presets are not beside the package.
    """
    if path is not None:
        return path
    if params.PARAMS.is_file():
        return params.PARAMS
    if OUTSIDE.is_file():
        return OUTSIDE
    raise MissingFileError(
        "no params.yaml here; expected one, or --params with a file like it, such as a preset of "
        "the project"
    )


def limited(tokens: blocks.Tokens, response: int, longest: int | None = None) -> blocks.Tokens:
    """Give the limits of benchmarks: those of the published protocol, or the run's if wider.

    Args:
        tokens: of params.yaml.
        response: tokens of the longest response, which a prompt leaves room for.
        longest: tokens of a conversation, where the user says so.

    Raises:
        InputError: there is no room for a prompt.
    """
    longest = longest or max(PROTOCOL_TOKENS, tokens.max_length)
    if (room := longest - response) < 1:
        raise InputError(
            f"max_length is {longest}, max_new_tokens {response}; expected room for a prompt; "
            "raise --max-length or lower --max-new-tokens"
        )
    return blocks.Tokens(max_prompt_tokens=room, max_length=longest, date=tokens.date)


def read(path: Path | None, given: Given) -> Terms:
    """Read the blocks engine, score, tokens and eval, and put what was given in their place.

    Raises:
        MissingFileError: there is no file.
        InputError: a value is not as expected, or there is no room for a response.
    """
    file = source(path)
    own = params.load(blocks.Eval, path=file)
    tokens = params.load(blocks.Tokens, path=file)
    said = {
        "temperature": given.temperature or own.temperature,
        "top_p": given.top_p or own.top_p,
        "max_new_tokens": given.max_new_tokens or own.max_new_tokens,
    }
    decoding = params.checked(blocks.Decoding, said)
    limits = limited(tokens, decoding.max_new_tokens, given.max_length)
    seed = params.seed(file) if given.seed is None else given.seed
    drawing = blocks.Drawing(params.load(blocks.Engine, path=file), limits, seed)
    return Terms(
        decoding,
        given.responses_per_prompt or 1,
        params.load(blocks.Score, path=file),
        drawing,
    )
