"""The page of `dvc plots show`, in Chromium: all plots are drawn, and nothing is asked for."""

import subprocess
from pathlib import Path

from playwright.sync_api import BrowserContext

from tests.report.pictures import curves
from tests.report.pictures.test_plots import PLOTS
from tests.whole.browser.conftest import opened

# Counts the plots that have a line for each of the two iterations, as wide as something.
DRAWN = """() => [...document.querySelectorAll('svg.marks')].filter(plot =>
  [...plot.querySelectorAll('.mark-line path')].filter(one => one.getBBox().width > 0).length === 2
).length"""


def test_every_plot_is_drawn_without_a_network(context: BrowserContext, tmp_path: Path) -> None:
    repo = curves.clone(tmp_path / "clone")
    subprocess.run(["dvc", "plots", "show", "-q"], cwd=repo, check=True)
    path = repo / "dvc_plots" / "index.html"
    context.set_offline(True)
    page, console, requests = opened(context, path)
    page.locator("svg.marks").nth(len(PLOTS) - 1).wait_for()
    assert page.evaluate(DRAWN) == len(PLOTS)
    assert console == []
    assert requests == [path.resolve().as_uri()]
