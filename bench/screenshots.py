"""Takes the pictures of the report's page that README and the documents show.

    python -m bench.screenshots RUN   # docs/pictures/page-*.png, from a finished run

Needs Chromium; CHROMIUM names another than the one that is found.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import click

DRAWN = Path("docs/pictures")
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Shot(NamedTuple):
    """A picture to take: its name, the part of the page, width and height in pixels."""

    name: str
    part: str
    width: int
    height: int


SHOTS = (Shot("page-story", "", 1000, 880), Shot("page-samples", "samples", 1000, 760))


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
def main(run: Path) -> None:
    """Take pictures of the page of a run's last report."""
    reports = sorted(run.glob("[0-9]*/report"), key=lambda path: int(path.parent.name))
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not reports or browser is None:
        raise click.ClickException(f"{run}: expected a report, and Chromium; make test-browser")
    for shot in SHOTS:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder, "index.html")
            page.write_text(_part(reports[-1] / "index.html", shot.part), encoding="utf-8")
            command = (
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                f"--window-size={shot.width},{shot.height}",
                f"--screenshot={(DRAWN / shot.name).with_suffix('.png').resolve()}",
                page.as_uri(),
            )
            subprocess.run(command, check=True, capture_output=True)


def _part(path: Path, part: str) -> str:
    """Give a page that shows only one of its sections; all of them without a name."""
    text = path.read_text(encoding="utf-8")
    rule = f"body > header, main > section:not(#{part}) {{ display: none }}" if part else ""
    return text.replace("</style>", f"{rule}</style>", 1)


if __name__ == "__main__":
    main()
