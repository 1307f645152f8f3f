"""How every picture looks, and how it becomes SVG: one place for colours, fonts and sizes.

Vega-Lite is the language, vl-convert the program that draws. It takes no network and no clock, and
the font is one that it brings along, so the same rows give the same bytes on every machine.
"""

import html
import re
from typing import Any

import altair as alt

from mutual_taught.report.page import Picture

FONT = "Liberation Sans"  # vl-convert has it built in; Arial and Helvetica have the same widths
FONTS = f"{FONT},Arial,Helvetica,sans-serif"
# After Okabe and Ito, for all kinds of colour vision; each has a contrast of 3 : 1 or more on white
# and on the near-black of dark pages. t = 0 is grey. A ninth iteration has the second's again.
COLOURS = ("#808080", "#0072B2", "#D55E00", "#009E73", "#B0588A", "#9A7500", "#3C8FC4", "#B8432F")
FIRST, SECOND = COLOURS[3], COLOURS[4]  # of two sides, such as kept and dropped
INK = "currentColor"  # of words and axes: the page's own, light or dark
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

NOTHING = re.compile(
    r'<path class="(?:foreground|background)" aria-hidden="true" d="(?:M0,0h0v0h0Z)?"[^>]*/>'
    r'|<text [^>]*opacity="0">[^<]*</text>|<rect [^>]*fill="transparent"/>'
)
LONG = re.compile(r"-?\d*\.\d{3,}(?:e-?\d+)?")
NOISE = re.compile(r' (?:aria-roledescription|role|pointer-events)="[^"]*"| opacity="1"')
OWN_FONT = re.compile(rf' font-family="{FONT}"')
IDENTIFIER = re.compile(r'(?<=\bid=")[^"]+|(?<=url\(#)[^)]+|(?<=href="#)[^"]+')
ROOT = re.compile(r"<svg [^>]*>")


def colour_of(iteration: int) -> str:
    """Give an iteration's colour, the same in every picture."""
    later = COLOURS[1:]
    return COLOURS[0] if iteration == 0 else later[(iteration - 1) % len(later)]


def colours(iterations: list[int]) -> alt.Scale:
    """Give the scale of colours of some iterations."""
    return alt.Scale(domain=iterations, range=[colour_of(t) for t in iterations])


def by_iteration(iterations: list[int], legend: bool = True) -> alt.Color:
    """Give the channel that colours marks by their row's `t`."""
    shown = alt.Legend(title="iteration t") if legend else None
    return alt.Color("t:O", scale=colours(iterations), legend=shown)


def shaped(iterations: list[int]) -> alt.Shape:
    """Give the channel that shapes points by their row's `t`, for who sees colours alike."""
    shapes = [SHAPES[t % len(SHAPES)] for t in iterations]
    scale = alt.Scale(domain=iterations, range=shapes)
    return alt.Shape("t:O", scale=scale, legend=alt.Legend(title="iteration t"))


def panels() -> alt.Facet:
    """Give the channel that draws a panel for each iteration."""
    return alt.Facet("t:O", title=None, header=alt.Header(labelExpr="'t = ' + datum.value"))


def configured(chart: alt.TopLevelMixin, title: str) -> dict[str, Any]:
    """Give a chart as Vega-Lite, with the title and the look that all share.

    They are added to the finished chart: every method of altair's charts copies all of one.
    """
    words = {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "titleFontSize": 12}
    lines = {"domainColor": INK, "tickColor": INK, "domainOpacity": 0.4, "tickOpacity": 0.4}
    grid = {"gridColor": INK, "gridOpacity": 0.12}
    legend = {"orient": "top", "titleOrient": "left", "symbolOpacity": 1}
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return spec | {
        "background": "transparent",
        "padding": 6,
        "title": {"text": title, "anchor": "start", "offset": 12},
        "config": {
            "font": FONT,
            "view": {"stroke": None},
            "axis": {**words, **lines, **grid, "titleFontWeight": "normal", "titlePadding": 8},
            "legend": {**words, **legend, "titleFontWeight": "normal"},
            "header": {**words, "labelFontWeight": "bold", "titleFontWeight": "normal"},
            "title": {"color": INK, "fontSize": 15, "fontWeight": "bold"},
        },
    }


def drawn(chart: alt.TopLevelMixin, name: str, title: str, says: str) -> Picture:
    """Draw a chart as an SVG that may stand in any page.

    Args:
        chart: of altair.
        name: of the picture; begins every id in it, so that ids are unique on a page.
        title: the question that the picture answers; stands above it.
        says: how to read it; a screen reader says title and this.

    Returns:
        The picture; its SVG begins with `<svg`, is wide as its viewBox says and no wider than the
        page, and has the page's colour of text.
    """
    import vl_convert

    svg = vl_convert.vegalite_to_svg(configured(chart, title))
    return Picture(name, embedded(svg, name, title, says), says)


def embedded(svg: str, name: str, title: str, says: str) -> str:
    """Make a drawn SVG small, its ids unique on a page, and its words heard by screen readers."""
    for pattern in (NOTHING, NOISE, OWN_FONT):
        svg = pattern.sub("", svg)
    svg = LONG.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), svg)
    svg = IDENTIFIER.sub(lambda found: f"{name}-{found[0]}", svg)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="{size[0][9:-1]}" '
        f'width="{size[1]}" height="{size[2]}" style="max-width:100%;height:auto" '
        f'font-family="{FONTS}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-desc">{html.escape(says)}</desc>'
    )
    return ROOT.sub(lambda _: root, svg, count=1)
