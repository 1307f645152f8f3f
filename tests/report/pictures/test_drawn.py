"""Every picture is drawn: the same bytes each time, safe in any page, with words for all."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mutual_taught.planning import rates
from mutual_taught.report import page, past
from mutual_taught.report.page import Picture
from mutual_taught.report.pictures import candidates, costs, gallery, rewards, theme, training
from mutual_taught.report.pictures.gallery import MODULES
from mutual_taught.report.pictures.rows import Rows, Seen

SVG = "{http://www.w3.org/2000/svg}"
LIGHT, DARK = 1.0, 0.008  # luminance of white, and of #14161a


@pytest.fixture(scope="module")
def found(finished: Path) -> dict[str, Rows]:
    seen = [Seen(one, 1, 0.5) for one in past.read(finished / "2" / "report")]
    return {module.NAME: [row for one in seen for row in module.rows(one)] for module in MODULES}


@pytest.fixture(scope="module")
def pictures(found: dict[str, Rows], finished: Path) -> list[Picture]:
    cost = costs.draw(costs.rows(rates.history(finished)))
    assert cost
    return [*gallery.draw(found), cost]


def test_a_run_has_all_eight_pictures(pictures: list[Picture]) -> None:
    names = [picture.name for picture in pictures]
    assert names == [*(module.NAME for module in MODULES), "costs"]


def test_pictures_are_the_same_bytes_each_time(
    found: dict[str, Rows], pictures: list[Picture]
) -> None:
    again = gallery.draw({name: found[name] for name in ("candidates", "agreement", "margins")})
    assert [picture for picture in pictures if picture in again] == again


def test_each_picture_says_its_question_and_how_to_read_it(pictures: list[Picture]) -> None:
    for picture in pictures:
        root = ElementTree.fromstring(picture.svg)
        title, words = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert words is not None
        assert words.text == picture.caption
        assert str(title.text).endswith("?")
        named = [f"{picture.name}-title", f"{picture.name}-desc"]
        assert root.get("aria-labelledby") == " ".join(named)
        assert [title.get("id"), words.get("id")] == named


def test_ids_are_unique_on_a_page_and_references_meet_theirs(pictures: list[Picture]) -> None:
    page = "".join(picture.svg for picture in pictures)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_a_picture_asks_for_nothing_outside(pictures: list[Picture]) -> None:
    for picture in pictures:
        addresses = set(re.findall(r'(?:https?:)?//[^"\s<]+', picture.svg))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert page.live(picture.svg) == []


def luminance(colour: str) -> float:
    """Give WCAG's relative luminance of #rrggbb."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", theme.COLOURS)
def test_colours_stand_out_on_light_and_on_dark_pages(colour: str) -> None:
    own = luminance(colour)
    assert (LIGHT + 0.05) / (own + 0.05) >= 3
    assert (own + 0.05) / (DARK + 0.05) >= 3


def test_every_colour_of_a_picture_is_a_known_one_or_the_pages(pictures: list[Picture]) -> None:
    known = {
        *(colour.lower() for colour in theme.COLOURS),
        theme.INK.lower(),
        "none",
        "transparent",
    }
    for picture in pictures:
        used = re.findall(r'(?:fill|stroke)="([^"]+)"', picture.svg)
        assert {colour.lower() for colour in used} <= known, picture.name


def test_words_of_data_are_shown_and_do_not_act() -> None:
    name = '<script>alert("x")</script>\u202e'
    rows: Rows = [
        {
            "t": 0,
            "model": "r_0",
            "instruction": name,
            "right": 0.5,
            "low": 0.4,
            "high": 0.6,
            "pairs": 3,
        }
    ]
    [picture] = gallery.draw({"agreement": rows})
    root = ElementTree.fromstring(picture.svg)
    shown = "".join(root.itertext())
    assert '<script>alert("x")</script>' in shown
    assert "\\u202e" in shown
    assert "<script" not in picture.svg
    assert "\u202e" not in picture.svg


def test_nothing_to_show_draws_nothing() -> None:
    assert gallery.draw({}) == []
    assert costs.draw([]) is None


def test_without_gold_no_axes_are_empty(found: dict[str, Rows]) -> None:
    bins = [row for row in found["margins"] if row["kind"] == "bin"]
    drawn = gallery.draw({"rewards": found["rewards"], "margins": bins, "proxy": []})
    assert [picture.name for picture in drawn] == ["rewards", "margins"]
    assert "labels right by gold" not in drawn[1].svg


def test_a_stopped_run_has_its_candidates_and_the_start(stopped: Path) -> None:
    seen = [Seen(one, 1, 1.01) for one in past.read(stopped / "2" / "report")]
    assert [bool(candidates.rows(one)) for one in seen] == [False, True, False]
    assert [bool(rewards.rows(one)) for one in seen] == [True, False, False]
    assert [bool(training.rows(one)) for one in seen] == [False, True, False]
