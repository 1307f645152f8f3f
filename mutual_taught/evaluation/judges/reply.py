"""What a judge says, and what is read from it."""

import math
from typing import NamedTuple


class Reply(NamedTuple):
    """A judge's answer: its text, the log-probs listed for its first token if any, its tokens.

    logprobs: natural logarithms by token; None where the server gives none. tokens: of the prompt
    and of the answer, as the server counts (and charges) them; 0 where it does not.
    """

    text: str
    logprobs: dict[str, float] | None
    prompt_tokens: int
    completion_tokens: int


class Read(NamedTuple):
    """What a reply says: how far the first answer is preferred, in [0, 1], NaN for no verdict.

    weight: how many battles it counts as. first_logprob, second_logprob: of the answers' names,
    NaN where the text decides.
    """

    preferred: float
    weight: int = 1
    first_logprob: float = math.nan
    second_logprob: float = math.nan
