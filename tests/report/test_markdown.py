"""Texts of models in the report are shown: nothing of theirs is markup, link or control sign."""

import re
from pathlib import Path

import pytest

from mutual_taught.report import markdown

# What GitHub's Markdown makes links of, and what acts in a table's cell.
LIVE = re.compile(r"://|www\.|[\w.+-]@[\w-]|@\w|#\d|mailto:|[<>|*_`\[\]~\\]", re.I)


def page(prompt: str, response: str) -> list[str]:
    """Make the page of one iteration with one example; give its last lines."""
    shown = {"prompt_id": "0", "prompt": prompt, "response": response, "gold": 1.0}
    return markdown._page([markdown.entry(0, {}, [shown])]).splitlines()


def shown_as(text: str) -> str:
    """Give what the page has of a response: the last cell of its row."""
    [row] = [line for line in page("q", text) if line.startswith("| 0 | 1.00 | ")]
    return row.removeprefix("| 0 | 1.00 | ").removesuffix(" |").replace("<!-- -->", "")


@pytest.mark.parametrize(
    "text",
    [
        "see http://evil.example/x",
        "HTTPS://EVIL.EXAMPLE",
        "ftp://x.example",
        "www.evil.example",
        "mail ann@evil.example now",
        "mailto:ann@evil.example",
        "xmpp:ann@evil.example",
        "by @octocat",
        "as in #12 and a/b#3",
        "[x](javascript:alert(1))",
        "![x](http://evil.example/x.png)",
        "<img src=x onerror=y>",
        "a | b || c",
        "**bold** `code` ~~x~~ \\| $x$ :smile:",
    ],
)
def test_nothing_of_a_response_is_live(text: str) -> None:
    shown = shown_as(text)
    assert not LIVE.search(re.sub("&#[0-9]+;", " ", shown))
    assert "&#64;<!-- -->" in page("q", "@a")[-2]
    letters = re.sub("&#([0-9]+);", lambda sign: chr(int(sign[1])), shown)
    assert letters == text  # and all of it is there


def test_comment_parts_what_github_would_join_again() -> None:
    assert markdown._safe("a@b #1") == "a&#64;<!-- -->b &#35;<!-- -->1"


@pytest.mark.parametrize("sign", ["\x1b", "\x9b", "\x00", "\u202e", "\u2066", "\u200b", "\ufeff"])
def test_sign_that_acts_or_hides_is_shown(sign: str) -> None:
    name = f"{ord(sign):04x}" if ord(sign) > 255 else f"{ord(sign):02x}"
    kind = "u" if ord(sign) > 255 else "x"
    assert shown_as(f"a{sign}b") == f"a&#92;{kind}{name}b"


def test_half_a_sign_does_not_stop_the_page() -> None:
    assert shown_as("a\ud800b").encode() == rb"a&#92;ud800b"


def test_blank_response_is_said_to_be_one() -> None:
    assert shown_as(" \n") == "(blank)"


def test_lines_of_a_response_are_one_row() -> None:
    assert shown_as("a\n| b |\r\n\x0bc\u2028d") == "a &#124; b &#124; c d"


def test_prompt_is_shown_likewise() -> None:
    lines = page("# see http://evil.example\u202e", "x")
    assert "**&#35;<!-- --> see http&#58;&#47;&#47;evil&#46;example&#92;u202e**" in lines


def test_numbers_of_a_run_cannot_bring_signs_into_the_page() -> None:
    counted = {"kept": 1, "rows": 2, "dropped_\x1b\u202e": 1}
    made = markdown._page([markdown.entry(1, {"rank_pairs": counted}, [])])
    assert "1 / 2 (\\x1b\\u202e 1)" in made


def test_dropped_prompts_are_counted_by_reason(tmp_path: Path) -> None:
    counted = {"rows": 60.0, "dropped": 3.0, "dropped_blank": 1.0, "dropped_duplicate": 2.0}
    markdown.write(tmp_path, [markdown.entry(1, {"prepare_prompts": counted}, [])])
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Dropped prompts\n\n3 of 60 rows of the source are no prompts.\n" in page
    assert "| blank | 1 |\n| duplicate | 2 |\n" in page


def test_report_of_a_source_without_bad_rows_does_not_speak_of_them(tmp_path: Path) -> None:
    counted = {"rows": 60.0, "dropped": 0.0}
    markdown.write(tmp_path, [markdown.entry(1, {"prepare_prompts": counted}, [])])
    assert "Dropped prompts" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_page_says_in_which_iterations_the_chosen_responses_fell() -> None:
    history = [
        markdown.entry(t, {"dpo": {"chosen_logp_change": change}}, [])
        for t, change in ((1, -4.0), (2, -16.0))
    ]
    lines = [line for line in markdown._page(history).splitlines() if "displacement" in line]
    assert [line.split(":")[0] for line in lines] == ["Likelihood displacement at t = 2"]
