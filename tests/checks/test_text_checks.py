"""Text that changes on its way to tokens and back."""

from collections.abc import Callable

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mutual_taught.checks import text_checks
from mutual_taught.prepare.base_models import CHATML
from tests.families import FAMILIES, tokenizer

LOST = "text as tokens and back"
SPECIALS = ["<unk>", "<|im_start|>", "<|im_end|>"]
BYTES = [f"<0x{number:02X}>" for number in range(256)]
TEXTS = [
    *text_checks.SAMPLES.values(),
    "user assistant a b c d e f g h i j k l m n o p q r s t u v",
]


def made(backend: Tokenizer) -> PreTrainedTokenizerFast:
    found = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>"],
    )
    found.chat_template = CHATML
    return found


def byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama 2 and Mistral have it: blanks as signs, one put first, unknown signs as bytes."""
    pieces = [*SPECIALS, *BYTES, "\u2581", *map(chr, range(0x21, 0x7F))]
    ids = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.BPE(ids, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return made(backend)


def metaspace() -> PreTrainedTokenizerFast:
    """As T5 has it, with every sign of the samples in its vocabulary: no sign before the first."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    backend.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(special_tokens=SPECIALS, unk_token="<unk>", vocab_size=400)
    )
    return made(backend)


def lower_case() -> PreTrainedTokenizerFast:
    """As BERT has it: no case, no accents, any white space is a blank."""
    backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.train_from_iterator(
        TEXTS * 9, trainers.WordPieceTrainer(special_tokens=SPECIALS, vocab_size=600)
    )
    return made(backend)


def spaceless() -> PreTrainedTokenizerFast:
    """Byte-level pieces with the decoder of another kind, which writes no blanks."""
    found = tokenizer("chatml")
    found.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    found.backend_tokenizer.decoder = decoders.Fuse()
    return found


def latin() -> PreTrainedTokenizerFast:
    """Knows the letters from a to z and no other sign."""
    ids = {piece: place for place, piece in enumerate([*SPECIALS, *map(chr, range(0x20, 0x7F))])}
    backend = Tokenizer(models.BPE(ids, [], unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    return made(backend)


def folded() -> PreTrainedTokenizerFast:
    """Byte-level, with every run of white space made a blank first."""
    found = tokenizer("chatml")
    found.backend_tokenizer.normalizer = normalizers.Replace(Regex(r"\s+"), " ")
    return found


Make = Callable[[], PreTrainedTokenizerFast]


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "dated"])
def test_tokenizers_of_many_families_pass(name: str) -> None:
    one = tokenizer(name)
    end = {"gemma": "<end_of_turn>", "phi": "<|end|>"}.get(name, one.eos_token)
    checks = [
        *text_checks.policy(one, frozenset({one.convert_tokens_to_ids(end)})),
        *text_checks.reward_model(one),
    ]
    assert [check for check in checks if check.fault] == []


@pytest.mark.parametrize("make", [byte_fallback, metaspace])
def test_tokenizers_with_signs_for_blanks_pass(make: Make) -> None:
    one = make()
    for checks in (text_checks.policy(one, frozenset({2})), text_checks.reward_model(one)):
        assert [check.found for check in checks if check.name == LOST] == ["the same text"]


@pytest.mark.parametrize(
    ("make", "of_policy", "of_reward_model"),
    [
        (lower_case, True, False),
        (spaceless, True, True),
        (latin, True, True),
        (folded, True, False),
    ],
)
def test_reward_model_may_change_case_but_lose_no_word(
    make: Make, of_policy: bool, of_reward_model: bool
) -> None:
    one = make()
    found = {check.name: check for check in text_checks.policy(one, frozenset({2}))}
    assert bool(found[LOST].fault) is of_policy
    read = {check.name: check for check in text_checks.reward_model(one)}
    assert bool(read[LOST].fault) is of_reward_model


def test_what_is_lost_is_named() -> None:
    found = {check.name: check for check in text_checks.policy(latin(), frozenset({2}))}
    assert found[LOST].found == "loses line breaks, accents, other scripts, emoji"


def test_copy_that_reads_otherwise_is_named() -> None:
    one, other = tokenizer("chatml"), tokenizer("chatml")
    assert text_checks.same(one, other).fault == ""
    other.backend_tokenizer.normalizer = normalizers.Lowercase()
    found = text_checks.same(one, other)
    assert (
        found.found
        == "reads spaces, line breaks, blanks before signs, accents, other scripts otherwise"
    )
    assert found.fault.startswith("expected the tokens of the original")


def test_template_that_hides_an_earlier_turn_is_refused() -> None:
    one = tokenizer(
        "chatml",
        "{% set m = messages[-1] %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>",
    )
    with pytest.raises(ValueError, match="leaves out a turn of 'user'"):
        list(text_checks.reward_model(one))


def test_template_that_hides_an_earlier_response_is_refused() -> None:
    one = tokenizer(
        "chatml",
        "{% for m in messages %}{% if m.role == 'user' or loop.last %}{{ m.content }}"
        "<|im_end|>{% endif %}{% endfor %}",
    )
    found = {check.name: check for check in text_checks.reward_model(one)}
    assert found["question of one turn is in what is read"].fault == ""
    assert found["question of 3 turns is in what is read"].fault == (
        "expected a template that shows every turn; mend chat_template"
    )
