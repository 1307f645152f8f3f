"""A page of HTML from sections: one file, which needs no network and runs no text of a model.

Texts are escaped by the template, and signs that act or hide are shown by number. The page's policy
(CSP) lets the browser load nothing, and run only the one script whose digest it names.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import jinja2

from mutual_taught.report.samples import Card
from mutual_taught.terminal.signs import visible

LAYOUT = Path(__file__).parent / "layout"
LIVE = {"script", "foreignobject", "image", "a", "iframe", "style"}
SAID = {"aria-label", "data-says"}  # what is said of a mark acts on nothing, whatever it is
LOADS = re.compile(r"url\((?!#)", re.I)


class Grid(NamedTuple):
    """A table: a caption, the cells of its head, and rows whose first cell names them."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """A picture: a name that is unique on the page, SVG, and what it says in a sentence or two."""

    name: str
    svg: str
    caption: str


class Browser(NamedTuple):
    """Samples to look through: what they can be filtered by, and ordered by (name, text)."""

    cards: Sequence[Card]
    splits: Sequence[str]
    instructions: Sequence[str]
    orders: Sequence[tuple[str, str]]


class Section(NamedTuple):
    """A part of the page, laid out in this order; what is empty is not there.

    `style` is the look of `facts`, (name, text) each: `facts` in two columns, or `glossary`.
    """

    id: str
    title: str
    lines: Sequence[str] = ()
    alarms: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    style: str = "facts"
    tables: Sequence[Grid] = ()
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    commands: Sequence[str] = ()
    browser: Browser | None = None

    @property
    def filled(self) -> bool:
        """Whether there is more to show than notes."""
        return any((self.lines, self.alarms, self.facts, self.tables, self.pictures, self.browser))


def render(title: str, sections: Sequence[Section]) -> str:
    """Write the page; the same sections make the same bytes.

    Raises:
        ValueError: a picture has a script, a link, or something to load.
    """
    script, style = ((LAYOUT / name).read_text("utf-8") for name in ("page.js", "page.css"))
    digest = hashlib.sha256(f"\n{script}".encode()).digest()
    return _template().render(
        title=title,
        sections=[_drawn(section) for section in sections],
        style=style,
        script=script,
        script_hash=f"sha256-{base64.b64encode(digest).decode()}",
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(LAYOUT),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html")


def shown(value: object) -> object:
    """Show the signs of a text that act or hide. Lines stay lines; what is marked safe is ours."""
    if type(value) is not str:
        return value
    return "\n".join(map(visible, value.split("\n")))


def _drawn(section: Section) -> Section:
    """Refuse a picture that is more than drawn: the template takes pictures in as they are.

    What a mark stands for becomes the script's hint. A picture is one image to a screen reader,
    which hears its title and description.
    """
    for picture in section.pictures:
        if found := live(picture.svg):
            raise ValueError(f"picture {picture.name} has {found[0]}; expected only shapes")
    pictures = [
        picture._replace(svg=picture.svg.replace(" aria-label=", " data-says="))
        for picture in section.pictures
    ]
    return section._replace(pictures=pictures)


def live(svg: str) -> list[str]:
    """List what a picture has that may run, lead or load, as a browser reads it; words do not."""
    parts = _Parts()
    parts.feed(svg)
    return parts.live


class _Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.live: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at an element and its attributes."""
        self.live += [f"<{tag}>"] * (tag in LIVE)
        self.live += [f"{name}={value!r}" for name, value in attrs if _acts(name, value or "")]


def _acts(name: str, value: str) -> bool:
    if name in SAID:
        return False
    leads = name.endswith("href") and not value.startswith("#")
    return name.startswith("on") or leads or LOADS.search(value) is not None
