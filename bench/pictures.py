"""Draws the pictures of the documents, and makes the page of `dvc plots show`.

python -m bench.pictures docs RUN   # docs/pictures/*.png, from a finished run
python -m bench.pictures plots      # .dvc/plots/page.html, from the scripts in vl-convert
"""

from pathlib import Path

import click
import vl_convert

from mutual_taught.config import blocks, params
from mutual_taught.report import past
from mutual_taught.report.pictures import gallery

DRAWN = Path("docs/pictures")
SHOWN = ("candidates", "proxy", "agreement")  # in docs/report.md
PAGE = Path(".dvc/plots/page.html")
PAPER = '<rect width="100%" height="100%" fill="#ffffff"/>'  # a PNG on a dark page has its own
LAYOUT = """<!DOCTYPE html>
<!-- Vega, Vega-Lite and Vega-Embed with what they need, as the package vl-convert-python has them.
LICENSES.md beside this file names their licences. Made by: python -m bench.pictures plots -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'\
 'unsafe-eval'; style-src 'unsafe-inline'; img-src 'self' file: data: blob:">
{refresh_tag}
<title>DVC plots</title>
<style>
body { font: 1rem/1.4 sans-serif; margin: 1rem; }
main { display: flex; flex-wrap: wrap; gap: 1.5rem; }
</style>
<script>
BUNDLE
{
  const embed = window.vegaEmbed;
  window.vegaEmbed = (at, spec) => embed(at, spec, {actions: {export: true, editor: false}});
}
</script>
</head>
<body>
<main>
{plot_divs}
</main>
</body>
</html>
"""


def page() -> str:
    """Write the template of DVC's page, with all scripts inside: it loads nothing.

    DVC puts its own scripts, which are on the internet, where a template has `{scripts}`: this one
    has no such place.
    """
    return LAYOUT.replace("BUNDLE", vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


@click.group()
def main() -> None:
    """Draw pictures."""


@main.command()
def plots() -> None:
    """Make the page of `dvc plots show`."""
    PAGE.write_text(page(), encoding="utf-8")


@main.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
def docs(run: Path) -> None:
    """Draw the pictures of docs/report.md from the last report of a run."""
    reports = sorted(run.glob("[0-9]*/report"), key=lambda path: int(path.parent.name))
    threshold = params.load(blocks.SelectPolicy).win_rate_threshold
    for picture in gallery.pictures(past.read(reports[-1]), params.seed(), threshold):
        if picture.name in SHOWN:
            svg = picture.svg.replace("<title", f"{PAPER}<title", 1)
            path = DRAWN / f"{picture.name}.png"
            path.write_bytes(vl_convert.svg_to_png(svg, scale=1.2))


if __name__ == "__main__":
    main()
