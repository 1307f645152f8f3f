"""Signs that act or hide are shown, what an encoding lacks is written plainly, secrets left out."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.terminal.signs import fit, visible, without_secrets

ANY = st.text(st.characters(), max_size=40)  # lone surrogates among them

SHOWN = {
    "escape sequence": ("\x1b[2Jgone\x07", r"\x1b[2Jgone\x07"),
    "second set of controls": ("\x9b31m\x85", r"\x9b31m\x85"),
    "delete and null": ("a\x7fb\x00", r"a\x7fb\x00"),
    "lines": ("a\r\nb\tc", r"a\r\nb\tc"),
    "other separators of lines": ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
    "turned direction": ("\u202eevil\u202c \u2066x\u2069", r"\u202eevil\u202c \u2066x\u2069"),
    "marks of direction": ("\u200e\u200f\u061c", r"\u200e\u200f\u061c"),
    "no width": ("a\u200bb\u200dc\ufeffd\u2060", r"a\u200bb\u200dc\ufeffd\u2060"),
    "soft hyphen": ("a\u00adb", r"a\xadb"),
    "tags": ("\U000e0041", r"\U000e0041"),
    "fillers": ("\u3164\u115f\uffa0\u2800\u034f", r"\u3164\u115f\uffa0\u2800\u034f"),
    "selectors": ("a\U000e0100b\ufe00", r"a\U000e0100b\ufe00"),
    "half a sign": ("\ud83d", r"\ud83d"),
    "private": ("\ue000", r"\ue000"),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_sign_that_acts_or_hides_is_shown_by_its_number(kind: str) -> None:
    text, shown = SHOWN[kind]
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text", ["", "plain (50 %) \\n", "Größe – naïve …", "π_t ≥ ε", "你好\u3000世界", "שלום", "☀️ 😀"]
)
def test_text_that_is_seen_is_left_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(ANY)
def test_nothing_unseen_is_left_of_any_text(text: str) -> None:
    kinds = {unicodedata.category(sign) for sign in visible(text)}
    assert kinds.isdisjoint({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
    assert visible(visible(text)) == visible(text)


def test_what_an_encoding_lacks_is_written_in_letters() -> None:
    assert fit("ε_t ≥ 0 – π_t", "ascii") == "epsilon_t >= 0 - pi_t"
    assert fit("é ≥ ☀", "latin-1") == r"é >= \u2600"
    assert fit("é ≥ ☀", "ascii") == r"\xe9 >= \u2600"
    assert fit("é ≥ ☀", "utf-8") == "é ≥ ☀"
    assert fit("│ └── ┼ ╋ ═", "ascii") == "| +-- + + -"


def test_stream_that_names_no_encoding_gets_ascii() -> None:
    assert fit("≥", None) == ">="


@given(ANY, st.sampled_from(["ascii", "latin-1", "cp1252", "cp437", "utf-8", "koi8-r"]))
def test_any_text_can_be_written_in_any_encoding(text: str, encoding: str) -> None:
    shown = fit(text, encoding)
    assert shown.encode(encoding).decode(encoding) == shown


SECRETS = {
    "user and password": (
        "Error for https://ann:pa55@mirror.example/x/y.json at",
        "Error for https://***@mirror.example/x/y.json at",
    ),
    "token as the user": ("https://hf_abc@h.co/a", "https://***@h.co/a"),
    "signed address": (
        "url: https://cdn.example/a.bin?X-Amz-Signature=f00&Expires=1 (403)",
        "url: https://cdn.example/a.bin?*** (403)",
    ),
    "token of the hub": ("bad token hf_" + "aB3" * 8 + "!", "bad token ***!"),
    "header": ("Authorization: Bearer abc.def-1 refused", "Authorization: Bearer *** refused"),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_what_gives_access_is_left_out(kind: str) -> None:
    text, shown = SECRETS[kind]
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text", ["https://h.co/org/model@main", "is it? yes", "hf_transfer", "a@b", "data/x.csv row 3"]
)
def test_what_gives_no_access_is_left(text: str) -> None:
    assert without_secrets(text) == text
