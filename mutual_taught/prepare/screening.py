"""Whether the models can read a prompt: marks of their templates, their turns, their limits."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from mutual_taught.artifacts.texts import CONTROL
from mutual_taught.config.blocks import Tokens
from mutual_taught.errors import InputError
from mutual_taught.models import chat
from mutual_taught.models.message import Message
from mutual_taught.prepare.conversations import Prompt

RESPONSE = "Yes"  # one token, or a few, of a response whose length is counted apart
PROBES: tuple[list[Message], ...] = (
    [{"role": "user", "content": "Why?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
)


class Screen(NamedTuple):
    """What both models' tokenizers, templates and limits say of a prompt."""

    policy: PreTrainedTokenizerBase
    reward_model: PreTrainedTokenizerBase
    limits: Tokens
    longest: int
    marks: re.Pattern[str]

    def reason(self, prompt: Prompt) -> str:
        """Say why a prompt is unfit, in a word of `conversations.REASONS`; empty if it is fit.

        A response is taken to have as many tokens for the reward model as for the policy. One that
        has more and does not fit has no reward later.
        """
        given = [text for text in (prompt.chosen, prompt.rejected) if text is not None]
        contents = [turn["content"] for turn in prompt.messages]
        if any(map(self.marks.search, [*contents, *given])):
            return "special_token"
        try:
            return self._length(prompt, given)
        except InputError:
            return "template_refuses"

    def _length(self, prompt: Prompt, given: Sequence[str]) -> str:
        asked = len(chat.prompt_tokens(self.policy, prompt.messages, prompt.prompt_id))
        if asked > self.limits.max_prompt_tokens:
            return "too_long"
        if self._scored(prompt, RESPONSE) + self.longest > self.limits.max_length:
            return "too_long_for_reward_model"
        for text in given:
            learnt = asked + len(chat.response_tokens(self.policy, text, prompt.messages))
            if max(learnt, self._scored(prompt, text)) > self.limits.max_length:
                return "answer_too_long"
        return ""

    def _scored(self, prompt: Prompt, response: str) -> int:
        return len(chat.scored_tokens(self.reward_model, prompt.messages, response))


def screen(
    policy: PreTrainedTokenizerBase,
    reward_model: PreTrainedTokenizerBase,
    limits: Tokens,
    longest: int,
) -> Screen:
    """Prepare to look at prompts.

    Args:
        policy: its tokenizer, with its chat template.
        reward_model: its; the same object if the two share one.
        limits: in tokens.
        longest: the largest `max_new_tokens` of all stages that draw responses.

    Raises:
        InputError: a template refuses a single question, so that no prompt could be read.
    """
    chat.prompt_tokens(policy, PROBES[0], "probe")
    marks = sorted({*_marks(policy), *_marks(reward_model)}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, marks)) or r"(?!)")
    return Screen(policy, reward_model, limits, longest, pattern)


def _marks(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """List a model's special tokens, and what its template writes that looks like one.

    Templates also write marks that are no special tokens, such as `[INST]` or `<|user|>`. A model
    obeys them all the same, so a text must not hold them. Marks of other models do no harm.
    """
    added = tokenizer.added_tokens_decoder.values()
    yield from {*(token.content for token in added if token.special), *tokenizer.all_special_tokens}
    for place, messages in enumerate(PROBES):
        try:
            tokens = chat.scored_tokens(tokenizer, messages, RESPONSE)
        except InputError:  # many templates know no system turn
            if place == 0:
                raise
            continue
        yield from CONTROL.findall(str(tokenizer.decode(tokens)))
