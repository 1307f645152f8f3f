"""The page: the same bytes every time, all texts escaped, nothing to load."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from mutual_taught.report import page
from mutual_taught.report.page import Browser, Grid, Picture, Section
from mutual_taught.report.samples import Card, Response, Sample

EVIL = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    '"><a href="http://evil.example">x</a>',
    "</script></style>{{ 7 * 7 }}",
    "' onmouseover='alert(3)",
)


class Tags(HTMLParser):
    """Collects the tags and attributes of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def browser(text: str) -> Section:
    response = Response(text, text, 1, 3, text, {"gold": 0.5}, [1.0, 0.5], text)
    sample = Sample("eval", "00ff", [("user", text), (text, text)], [text, text], [response], text)
    card = Card(sample, [(0, sample)], 0.1, 0.2, 3, 3)
    return Section(
        "samples", "Samples", browser=Browser([card], ["eval"], [text], [("change", "x")])
    )


def full(text: str) -> str:
    """Make a page with a text in every place that can have one."""
    grid = Grid(text, [text, text], [[text, text]])
    first = Section("story", text, [text], [text], [(text, text)], tables=[grid], notes=[text])
    return page.render(text, [first, browser(text), Section("made", "Made", commands=[text])])


def test_the_same_sections_make_the_same_bytes() -> None:
    assert full("a") == full("a")


@pytest.mark.parametrize("text", EVIL)
def test_text_is_shown_and_adds_no_tag_or_attribute(text: str) -> None:
    plain, evil = Tags(full("a")), Tags(full(text))
    assert evil.tags == plain.tags
    assert [name for name, _ in evil.attributes] == [name for name, _ in plain.attributes]
    assert any(text in found for found in evil.texts)


@pytest.mark.parametrize("sign", ["\x1b", "\x00", "\u202e", "\u2066", "\u200b", "\ud800"])
def test_sign_that_acts_or_hides_is_shown_by_number(sign: str) -> None:
    text = full(f"a{sign}b")
    assert sign not in text.encode(errors="surrogatepass").decode(errors="replace")
    assert f"a{sign.encode('unicode_escape').decode()}b" in text


def test_lines_of_a_response_stay_lines() -> None:
    assert "one\ntwo" in full("one\ntwo")


def test_page_has_nothing_to_load_and_no_link_out() -> None:
    found = Tags(full("http://evil.example"))
    assert not {"link", "img", "iframe", "object", "base"} & set(found.tags)
    links = [value for name, value in found.attributes if name in ("href", "src")]
    assert links
    assert all(value and value.startswith("#") for value in links)
    [policy] = [value for _, value in found.attributes if value and "default-src" in value]
    assert policy.startswith("default-src 'none';")


def test_policy_of_the_page_names_the_digest_of_its_script() -> None:
    text = full("a")
    [script] = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in text


def test_section_without_content_is_not_filled() -> None:
    assert not Section("pictures", "Pictures", notes=["a note"]).filled
    assert Section("story", "Story", lines=["a"]).filled
    assert browser("a").filled


@pytest.mark.parametrize(
    "svg",
    [
        "<svg><script>x</script></svg>",
        "<svg onload='x'></svg>",
        "<svg><a href='http://evil.example'></a></svg>",
        "<svg><image xlink:href='http://evil.example'/></svg>",
    ],
)
def test_picture_that_is_more_than_drawn_is_refused(svg: str) -> None:
    with pytest.raises(ValueError, match="picture gold has"):
        page.render("a", [Section("pictures", "P", pictures=[Picture("gold", svg, "")])])


@pytest.mark.parametrize("name", ["a onload=1", "url(x)", "href='x'"])
def test_name_that_reads_like_a_script_is_only_a_word(name: str) -> None:
    svg = f'<svg><title>{name}</title><g aria-label="{name}"><text>{name}</text></g></svg>'
    assert name in page.render("a", [Section("p", "P", pictures=[Picture("p", svg, "")])])


def test_picture_is_taken_in_as_it_is() -> None:
    svg = '<svg viewBox="0 0 1 1"><path d="M0,0"/></svg>'
    made = page.render("a", [Section("pictures", "P", pictures=[Picture("gold", svg, "a < b")])])
    assert svg in made
    assert 'id="picture-gold"' in made
    assert "a &lt; b" in made
