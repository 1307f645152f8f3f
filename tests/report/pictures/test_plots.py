"""`dvc plots show` draws the trainings' curves, iterations over each other, and loads nothing."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import pictures
from mutual_taught.config import params
from mutual_taught.report.pictures import theme, training
from tests import project
from tests.report.pictures import curves

PLOTS: list[dict[str, Any]] = params.read(project.ROOT / "dvc.yaml")["plots"]
TEMPLATE = json.loads((project.ROOT / ".dvc/plots/iterations.json").read_text())


@pytest.mark.slow
def test_page_of_dvc_is_what_its_command_makes() -> None:
    kept = (project.ROOT / pictures.PAGE).read_text(encoding="utf-8")
    assert kept == pictures.page(), "run python -m bench.pictures plots"


def test_plots_are_the_curves_of_the_reports_picture() -> None:
    shown = {
        (Path(path).stem, column)
        for plot in PLOTS
        for body in plot.values()
        for path, column in body["y"].items()
    }
    assert shown == set(training.CURVES)


def test_each_plot_lies_all_iterations_over_each_other() -> None:
    for plot in PLOTS:
        [(name, body)] = plot.items()
        iterations = [Path(path).parts[1] for path in body["y"]]
        assert iterations == list(params.read(project.ROOT / "params.yaml")["iterations"]), name
        assert len(set(body["y"].values())) == 1
        assert (body["template"], body["title"]) == ("iterations", name)


def test_an_iteration_has_the_same_colour_as_on_the_page() -> None:
    assert TEMPLATE["encoding"]["color"]["scale"]["range"] == list(theme.COLOURS[1:])


@pytest.mark.slow
def test_dvc_writes_a_page_that_loads_nothing(tmp_path: Path) -> None:
    repo = curves.clone(tmp_path / "clone")
    subprocess.run(["dvc", "plots", "show", "-q"], cwd=repo, check=True)
    page = (repo / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    drawn = re.findall(r"var spec = (\{.*\});", page)
    assert len(drawn) == len(PLOTS)
    for text in drawn:
        points = json.loads(text)["data"]["values"]
        assert {point["filename"].split("/")[0] for point in points} == {"1", "2"}
    # Vega's own script speaks of pictures in hints; beside it nothing is loaded, nor could it be.
    beside = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.S)
    assert not re.search(r"\b(?:src|href)\s*=|<link|@import", beside)
    assert "default-src 'none'" in page
