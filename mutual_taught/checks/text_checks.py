"""What must hold of a model's tokenizer and chat template; each check says what it found."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

from jinja2 import Environment, TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from mutual_taught.checks.check import Check
from mutual_taught.models.chat import QUESTION, TURNS, prompt_tokens, render, scored_tokens, texts
from mutual_taught.models.message import Message

RESPONSES = ("Great Wave.", "Call it Great Wave, for it is large and the sea is wide.", "No idea")
SAMPLES = {
    "spaces": "A boat  for two, small and blue.",
    "line breaks": "First.\n\nSecond:\n- one\n\t- two\n",
    "blanks at the start": "    indented = 1",
    "blanks before signs": "Yes , it is n't so .",
    "accents": "Über façade, señor, naïve Ænima",
    "other scripts": "Привет, 世界, こんにちは, مرحبا",
    "emoji": "a 🙂 b 👍🏽",
}


def policy(tokenizer: PreTrainedTokenizerBase, stop_ids: frozenset[int]) -> Iterator[Check]:
    """Check that a policy reads its prompts whole and that its responses become text unchanged.

    Args:
        tokenizer: the policy's.
        stop_ids: the tokens that end a response.
    """
    yield (found := template(tokenizer))
    if found.fault:
        return
    yield _kept(tokenizer)
    for messages in (QUESTION, TURNS):
        yield _bos(tokenizer, messages)
        yield _asked(tokenizer, messages)
        yield _prefix(tokenizer, messages)
    names = [tokenizer.convert_ids_to_tokens(token) for token in sorted(stop_ids)]
    ending = scored_tokens(tokenizer, QUESTION, RESPONSES[0])[-4:]
    ends = bool(stop_ids & set(ending))
    yield Check(
        "an answer ends in a stop token",
        ", ".join(map(str, names)),
        ""
        if ends
        else "the template ends a turn in none of these; set eos_token_id in "
        "generation_config.json to the token that ends a turn",
    )


def reward_model(tokenizer: PreTrainedTokenizerBase) -> Iterator[Check]:
    """Check that a reward model reads conversations whole; it may change case and white space."""
    yield (found := template(tokenizer))
    if found.fault:
        return
    yield _words(tokenizer)
    for messages in (QUESTION, TURNS):
        yield _bos(tokenizer, messages)
        yield _asked(tokenizer, messages)
        yield _shown(tokenizer, messages)


def same(tokenizer: PreTrainedTokenizerBase, original: PreTrainedTokenizerBase) -> Check:
    """Compare a copied tokenizer with the one it is a copy of: both read texts alike."""
    other = [
        name
        for name, text in SAMPLES.items()
        if tokenizer(text)["input_ids"] != original(text)["input_ids"]
    ]
    return Check(
        "copy of the tokenizer",
        f"reads {', '.join(other)} otherwise" if other else "the same",
        "expected the tokens of the original; save the model anew with transformers, which writes "
        "a tokenizer.json"
        if other
        else "",
    )


def template(tokenizer: PreTrainedTokenizerBase) -> Check:
    """Check that there is one chat template to use, which writes the same every time."""
    name, found = "chat template", tokenizer.chat_template
    if not found:
        return Check(name, "none", "expected one; use an instruction-tuned model")
    if not isinstance(found, str):
        if "default" not in found:
            return Check(
                name,
                f"{', '.join(sorted(found))}",
                "expected one called default; write the one to use into chat_template.jinja",
            )
        found = str(found["default"])
    try:
        chance = _draws(found)
    except TemplateSyntaxError as error:
        return Check(
            name, f"no Jinja ({error.message})", "expected a template in it; mend chat_template"
        )
    fault = "it draws by chance; expected the same text every time; mend chat_template"
    return Check(name, hashlib.sha256(found.encode()).hexdigest()[:12], fault if chance else "")


def _draws(text: str) -> bool:
    """Look for what writes another text each time: the filter random, and lipsum."""
    signs = [(kind, sign) for _, kind, sign in Environment().lex(text) if kind != "whitespace"]
    filters = {sign for before, (_, sign) in pairwise(signs) if before == ("operator", "|")}
    return "random" in filters or ("name", "lipsum") in signs


def _kept(tokenizer: PreTrainedTokenizerBase) -> Check:
    """Compare texts with what becomes of them as tokens; blanks at the start may be fewer."""
    lost = []
    for name, text in SAMPLES.items():
        [found] = texts(tokenizer, [tokenizer(text, add_special_tokens=False)["input_ids"]])
        if found.lstrip(" ") != text.lstrip(" "):
            lost.append(name)
    return _text_check(lost)


def _words(tokenizer: PreTrainedTokenizerBase) -> Check:
    """Look for the letters of texts in what becomes of them as tokens, and for its words apart."""
    lost = []
    for name, text in SAMPLES.items():
        [found] = texts(tokenizer, [tokenizer(text, add_special_tokens=False)["input_ids"]])
        read, written = _bare(found), _bare(text)
        if "".join(read) != "".join(written) or (name == "spaces" and read != written):
            lost.append(name)
    return _text_check(lost)


def _text_check(lost: Sequence[str]) -> Check:
    return Check(
        "text as tokens and back",
        f"loses {', '.join(lost)}" if lost else "the same text",
        "expected the same text; if tokenizer_config.json names another class than tokenizer.json "
        "is of, set tokenizer_class to PreTrainedTokenizerFast"
        if lost
        else "",
    )


def _bare(text: str) -> list[str]:
    """List a text's words without case and accents."""
    split = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"\w+", "".join(sign for sign in split if not unicodedata.combining(sign)))


def _bos(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Check:
    """Count BOS tokens at the start: one if the tokenizer has it that way, never two."""
    whole, bos = scored_tokens(tokenizer, messages, RESPONSES[0]), tokenizer.bos_token_id
    count = next((i for i, token in enumerate(whole) if token != bos), len(whole))
    adds = bos is not None and tokenizer("x")["input_ids"][:1] == [bos]
    right = count == 1 if adds else count <= 1
    return Check(
        f"BOS at the start of {_turns(messages)}",
        str(count),
        ""
        if right
        else "expected one; the template and the tokenizer disagree on who adds it; "
        "mend chat_template",
    )


def _asked(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Check:
    """Look for every turn of the question in what the model reads."""
    read = _letters(render(tokenizer, messages, add_generation_prompt=True))
    hidden = [turn["role"] for turn in messages if _letters(turn["content"]) not in read]
    return Check(
        f"question of {_turns(messages)} is in what is read",
        "no" if hidden else "yes",
        "expected a template that shows every turn; mend chat_template" if hidden else "",
    )


def _shown(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Check:
    """Look for the responses in what the reward model reads."""
    read = [scored_tokens(tokenizer, messages, text) for text in RESPONSES]
    hidden = [
        text
        for text, tokens in zip(RESPONSES, read, strict=True)
        if _letters(text) not in _letters(str(tokenizer.decode(tokens)))
    ]
    return Check(
        f"answer to {_turns(messages)} is in what is scored",
        "no" if hidden else "yes",
        "expected a template that shows the assistant's turn; mend chat_template" if hidden else "",
    )


def _letters(text: str) -> str:
    """Keep only letters: tokenizers may change case, white space and signs."""
    return "".join(sign for sign in text.lower() if sign.isalpha())


def _prefix(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Check:
    """Compare a prompt's tokens with the beginning of the same prompt and its response."""
    prompt = prompt_tokens(tokenizer, messages, "preflight")
    whole = scored_tokens(tokenizer, messages, RESPONSES[0])
    same = [a == b for a, b in zip(prompt, whole, strict=False)]
    begins = all(same) and len(whole) > len(prompt)
    return Check(
        f"prompt of {_turns(messages)} begins prompt + answer",
        "yes" if begins else f"not from token {same.index(False) if False in same else 0} on",
        ""
        if begins
        else "expected a template that renders a conversation the same with and "
        "without its answer; mend chat_template",
    )


def _turns(messages: Sequence[Message]) -> str:
    return "one turn" if len(messages) == 1 else f"{len(messages)} turns"
