"""The report's page in a real Chromium; `make test-browser`."""

import io
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page

from tests.whole.browser.conftest import ATTACKS, opened

SERIOUS = ("serious", "critical")
PAGES = ("attacked", "own_prompts", "compared")
each_page = pytest.mark.parametrize("name", PAGES)


def counted(page: Page) -> tuple[int, int]:
    """Read how many prompts were found, and how many are shown."""
    words = page.locator("#count").inner_text().split()
    return int(words[0]), int(words[-2])


def shown(page: Page) -> list[Locator]:
    return list(page.locator("article.sample:visible").all())


def ink(figure: Locator) -> float:
    """Give the share of a picture's pixels that are not of its most frequent colour."""
    pixels = matplotlib.image.imread(io.BytesIO(figure.screenshot()), format="png")
    colours = (pixels[..., :3] * 255).astype(np.int64) @ np.array([65536, 256, 1])
    counts = np.unique(colours, return_counts=True)[1]
    return float(1 - counts.max() / counts.sum())


@each_page
def test_nothing_is_said_on_the_console_and_nothing_is_loaded(
    name: str, context: BrowserContext, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(name)
    page, console, requests = opened(context, path)
    page.mouse.wheel(0, 4000)
    page.wait_for_load_state("networkidle")
    assert console == []
    assert requests == [path.resolve().as_uri()]


def test_texts_of_a_model_do_not_run(attacked: Path, context: BrowserContext) -> None:
    page, console, _ = opened(context, attacked)
    first = page.locator("article.sample").first
    first.hover()
    first.locator(".text").first.click()
    assert page.evaluate("window.ran") is None
    assert console == []
    texts = page.locator("article.sample .text").all_inner_texts()
    for attack in ATTACKS[:3]:
        assert attack in texts
    assert "\\u202eelpmaxe" in page.content()
    assert page.locator("main a").count() == 0


@each_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_is_drawn(
    name: str, scheme: Any, browser: Browser, request: pytest.FixtureRequest
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1200, "height": 900})
    page = opened(context, request.getfixturevalue(name)).page
    figures = page.locator("figure .wide").all()
    assert len(figures) >= (3 if name != "compared" else 1)
    for figure in figures:
        assert ink(figure) > 0.01, figure.get_attribute("aria-label")
    context.close()


def test_search_shows_what_has_all_words(attacked: Path, context: BrowserContext) -> None:
    page = opened(context, attacked).page
    everything, some = counted(page)
    assert everything == page.locator("article.sample").count() > 20
    assert some == len(shown(page)) == 20
    page.get_by_role("searchbox", name="Search").fill("ELPMAXE evil")
    assert counted(page) == (1, 1)
    [only] = shown(page)
    assert "evil.example" in only.inner_text()
    page.get_by_role("searchbox", name="Search").fill("no such words")
    assert counted(page) == (0, 0)
    assert shown(page) == []


def test_more_are_shown_on_request(attacked: Path, context: BrowserContext) -> None:
    page = opened(context, attacked).page
    everything, _ = counted(page)
    page.get_by_role("button", name="Show 20 more").click()
    assert counted(page) == (everything, min(everything, 40))
    assert len(shown(page)) == min(everything, 40)


def test_filters_show_only_their_split_and_instruction(
    attacked: Path, context: BrowserContext
) -> None:
    page = opened(context, attacked).page
    page.get_by_role("combobox", name="Split").select_option("selection")
    assert {card.get_attribute("data-split") for card in shown(page)} == {"selection"}
    page.get_by_role("combobox", name="Split").select_option("")
    page.get_by_role("combobox", name="Instruction").select_option("punctuation:no_comma")
    found = [str(card.get_attribute("data-instructions")) for card in shown(page)]
    assert found
    assert all("punctuation:no_comma" in names.split() for names in found)


@pytest.mark.parametrize("order", ["change", "disagreement", "longest", "shortest"])
def test_order_puts_the_largest_first_and_the_unknown_last(
    order: str, attacked: Path, context: BrowserContext
) -> None:
    page = opened(context, attacked).page
    page.get_by_role("combobox", name="Order").select_option(order)
    cards = page.locator("article.sample").all()
    values = [abs(float(card.get_attribute(f"data-{order}") or "nan")) for card in shown(page)]
    known = [value for value in values if value == value]
    assert known == sorted(known, reverse=order != "shortest")
    assert np.isnan(values[len(known) :]).all()
    every = [card.get_attribute(f"data-{order}") for card in cards]
    ends = [abs(float(value)) for value in every if value is not None]
    assert known[0] == (min(ends) if order == "shortest" else max(ends))


def test_id_can_be_copied(attacked: Path, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = opened(context, attacked).page
    first = page.locator("article.sample").first
    first.locator("button.copy").click()
    first.get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == first.locator("code").inner_text()


def test_mark_under_the_pointer_is_explained(attacked: Path, context: BrowserContext) -> None:
    page = opened(context, attacked).page
    mark = page.locator("figure svg path[data-says]").first
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    says = page.locator("#hint").inner_text()
    assert says in page.locator("figure svg [data-says]").evaluate_all(
        "marks => marks.map(mark => mark.dataset.says)"
    )


@each_page
def test_page_fits_a_phone(name: str, browser: Browser, request: pytest.FixtureRequest) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True
    )
    page = opened(context, request.getfixturevalue(name)).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 16
    for control in page.locator("input:visible, select:visible, button:visible").all():
        box = control.bounding_box()
        assert box
        assert box["height"] >= 24
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    context.close()


@each_page
def test_print_has_every_picture_and_no_controls(
    name: str, context: BrowserContext, request: pytest.FixtureRequest
) -> None:
    page = opened(context, request.getfixturevalue(name)).page
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})  # of A4
    assert page.locator("form:visible, button:visible, nav:visible").count() == 0
    for figure in page.locator("figure").all():
        box = figure.locator("svg").bounding_box()
        assert box
        assert box["x"] + box["width"] <= 720
        assert ink(figure.locator(".wide")) > 0.01
    assert page.pdf().startswith(b"%PDF")


@each_page
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 390)])
def test_axe_finds_nothing_serious(
    name: str, scheme: Any, width: int, browser: Browser, request: pytest.FixtureRequest
) -> None:
    # axe is put into the page as a script, which the page's own policy would refuse.
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
    )
    page = opened(context, request.getfixturevalue(name)).page
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in SERIOUS
    ]
    assert serious == []
    context.close()


def test_without_a_script_everything_is_shown(attacked: Path, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = opened(context, attacked).page
    assert len(shown(page)) == page.locator("article.sample").count()
    assert page.locator("form:visible").count() == 0
    context.close()


def test_own_prompts_have_a_full_page_without_gold(
    own_prompts: Path, context: BrowserContext
) -> None:
    page = opened(context, own_prompts).page
    assert "there is no gold" in page.locator("#story").inner_text()
    for row in page.locator("#numbers tbody tr").all():
        cells = row.locator("td").all_inner_texts()
        assert set("".join(cells)) - set("–/ "), row.inner_text()
    assert page.locator("figure").count() >= 3
    assert page.get_by_role("combobox", name="Instruction").count() == 0
    assert "disagree" not in page.get_by_role("combobox", name="Order").inner_text()
