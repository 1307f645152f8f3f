"""Pages of real runs, one of whose responses attacks, and a Chromium without a window."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from mutual_taught.config import inputs, params
from mutual_taught.reading import side_by_side
from mutual_taught.report import gathered, past, samples
from tests import in_process, project

NAMES = ("chromium", "chromium-browser", "google-chrome")
ATTACKS = (
    "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'>",
    "</script></style></textarea>--><svg onload='window.ran = 3'>",
    '" onmouseover="window.ran = 4" autofocus onfocus="window.ran = 5',
    "see http://evil.example/a \u202eelpmaxe.live\u202c and javascript:alert(1)",
)


class Opened(NamedTuple):
    """A page that was opened, what its console said, and what it asked for."""

    page: Page
    console: list[str]
    requests: list[str]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    place = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert place, "no Chromium; expected one; make test-browser installs it"
    with sync_playwright() as playwright:
        # Its sandbox does not start as root, as which containers run.
        started = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def attacked(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a finished run whose first responses and prompt attack the reader."""
    report = tmp_path_factory.mktemp("attacked") / "report"
    shutil.copytree(finished / "2" / "report", report)
    folder = report / past.FOLDER / "2"
    known = samples.read(folder)
    first = known[0]
    responses = [
        first.answers[0]._replace(who=f"answer {place}", text=text)
        for place, text in enumerate(ATTACKS)
    ]
    known[0] = first._replace(turns=[["user", " ".join(ATTACKS)]], answers=responses)
    samples.write(folder, known)
    return written(report, finished.parent / "params.yaml")


def written(report: Path, file: Path) -> Path:
    """Write the page of a report again; give its path."""
    values = params.validate(params.read(file), file)
    threshold = values.select_policy.win_rate_threshold
    gathered.write_page(report, values.seed, threshold, params.load(inputs.Models, path=file))
    return report / "index.html"


@pytest.fixture(scope="session")
def own_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run on prompts of one's own, which no program can check."""
    repo = project.copy(tmp_path_factory.mktemp("own") / "repo", "tiny")
    topics = ("boats", "bread", "rain", "clocks", "bees", "maps")
    lines = [
        json.dumps({"prompt": f"What is good to know about {topic}? Part {part}."})
        for topic in topics
        for part in range(8)
    ]
    (repo / "data" / "own.jsonl").write_text("\n".join(lines), "utf-8")
    changes: dict[str, object] = {"data.source": "file", "data.path": "data/own.jsonl"}
    for name in ("policy", "reward", "selection", "eval"):
        changes[f"data.splits.{name}"] = {"share": 0.25, "prompts": None}
    changes |= {"eval.gold_pairs": None, "select_policy.win_rate_threshold": 0.0}
    for key, value in changes.items():
        project.set_param(repo / "params.yaml", key, value)
    with contextlib.chdir(repo):
        in_process.run_all(Path("params.yaml"))
    return repo / "run" / "2" / "report" / "index.html"


@pytest.fixture(scope="session")
def compared(finished: Path, stopped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page over two runs."""
    out = tmp_path_factory.mktemp("compared")
    path, _ = side_by_side.write([str(finished.parent), str(stopped.parent)], out)
    return path


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A context of its own, as wide as a laptop."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    yield context
    context.close()


def opened(context: BrowserContext, path: Path) -> Opened:
    """Open a page, and note what it says and asks for."""
    context.set_default_timeout(10_000)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.resolve().as_uri())
    return Opened(page, said, asked)
