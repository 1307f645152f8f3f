"""`mutual-taught doctor` compares the preset with the machine, and asks the hub."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mutual_taught.checks.check import Check
from mutual_taught.config import params
from mutual_taught.config.blocks import Params
from mutual_taught.planning import doctor_machine, hub, machine, shapes, workload
from mutual_taught.planning.doctor_machine import Note
from mutual_taught.planning.machine import GB, Machine
from mutual_taught.planning.needs import Shapes
from tests import project


def preset(name: str, **changes: dict[str, Any]) -> Params:
    raw = params.read(project.ROOT / "presets" / f"{name}.yaml")
    return params.validate({**raw, **{key: {**raw[key], **new} for key, new in changes.items()}})


PAPER = preset("paper")
BOTH = Shapes(
    *(shapes.KNOWN["hub", one.path] for one in (PAPER.models.policy, PAPER.models.reward_model))
)
WORKS = workload.of_run(PAPER, workload.sizes(PAPER.data, None), 0)


def test_the_paper_on_its_machine_is_in_order_but_for_a_small_disk() -> None:
    large = Machine("eight", 8, 80 * GB, 512 * GB, 2000 * GB)
    checks = list(doctor_machine.fit(PAPER, BOTH, WORKS, large))
    assert [(check.name, check.fault) for check in checks] == [("memory", ""), ("disk", "")]
    small = large._replace(disk=100 * GB)
    *_, disk = doctor_machine.fit(PAPER, BOTH, WORKS, small)
    assert disk.found == "100.0 GB free"
    assert disk.fault.startswith(
        "expected 482.3 GB for what will run; free some (mutual-taught gc)"
    )
    assert "dvc gc" not in disk.fault


def test_memory_and_gpus_that_do_not_suffice_name_the_parameter() -> None:
    one = Machine("one card", 1, 24 * GB, 512 * GB, 2000 * GB)
    drawing = preset("paper", engine={"name": "transformers"})
    said = {check.found: check.fault for check in doctor_machine.fit(drawing, BOTH, WORKS, one)}
    assert "params.yaml: training.processes is 8" in said
    [sampling] = [found for found in said if found.startswith("sample@1: needs up to ")]
    assert said[sampling].endswith(" or less")
    assert "lower engine.batch_size to " in said[sampling]


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({}, []),
        ({"engine": {"name": "vllm"}}, ["engine.name vllm"]),
        ({"engine": {"workers": "ray"}}, ["engine.workers ray"]),
        ({"training": {"optimizer": "adamw_8bit"}}, ["training.optimizer adamw_8bit"]),
    ],
)
def test_packages_that_settings_need_are_looked_for(
    changes: dict[str, dict[str, Any]], lacking: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])  # nothing is installed
    for module in ("vllm", "ray", "bitsandbytes"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    sys.path_importer_cache.clear()
    checks = list(doctor_machine.installed(preset("laptop", **changes)))
    assert [check.name for check in checks if check.fault] == lacking
    for check in checks:
        assert 'expected it; pip install -e ".[' in check.fault


def test_zero3_needs_deepspeed() -> None:
    zero = {"accelerate_config": "presets/accelerate/zero3.yaml"}
    checks = doctor_machine.installed(preset("paper", training=zero))
    [check] = [found for found in checks if "training" in found.name]
    assert check.name == "training.accelerate_config zero3"


def named(checks: Iterator[Check | Note]) -> dict[str, str]:
    """Give what to do by what was looked at; the last where one name has several."""
    return {check.name: check[2] for check in checks}


@pytest.fixture
def nobody(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, and a git without an author."""
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(here.parent))
    return here


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True)


def test_folder_outside_git_says_how_to_get_a_repository(nobody: Path) -> None:
    assert named(doctor_machine.tools()) == {
        "git": "expected one; git clone the project, or git init"
    }


def test_repository_without_author_commit_and_dvc_says_what_is_lacking(nobody: Path) -> None:
    git("init", "-q")
    git("config", "user.useConfigOnly", "true")
    repository, author, dvc = doctor_machine.tools()
    assert repository == Check("git", "a repository", "")
    lacks = "git config user.name and user.email, then git commit"
    assert author == Note("git", "no commit, no author", f"dvc exp run needs both; {lacks}")
    assert "dvc init" in dvc[2]


def test_repository_with_all_of_it_is_in_order(nobody: Path) -> None:
    git("init", "-q")
    git("config", "user.name", "Ann")
    git("config", "user.email", "ann@example.invalid")
    git("commit", "-q", "--allow-empty", "-m", "start")
    Path(".dvc").mkdir()
    assert set(named(doctor_machine.tools()).values()) == {""}


def test_machine_without_git_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    assert shutil.which("git") is None
    assert named(doctor_machine.tools()) == {"git": "expected git; install it"}


def test_memory_is_no_more_than_the_container_may_use(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "limit").write_text("1000000\n")
    (here / "none").write_text("max\n")
    monkeypatch.setattr(machine, "LIMITS", (str(here / "none"), str(here / "limit")))
    assert machine.memory() == 1_000_000
    monkeypatch.setattr(machine, "LIMITS", (str(here / "none"), str(here / "missing")))
    assert machine.memory() > 10**8


def test_only_what_comes_from_the_hub_is_asked_for() -> None:
    assert [one.param for one in hub.wanted(PAPER)] == [
        "models.policy",
        "models.reward_model",
        "data",
    ]
    assert hub.wanted(preset("laptop")) == []


LOOK = """
import json, sys
from mutual_taught.planning import hub
for kind, path in json.loads(sys.argv[1]):
    check = hub.look(hub.Wanted("models.policy", kind, path, "0" * 40))
    print(json.dumps([check.found, check.fault]))
"""


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: one model that anyone may have, a gated one, and no other."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Describe a model, or say who may have it."""
        gated = "/gated/" in self.path
        if self.path.endswith("/auth-check") and gated:
            self.refuse(403, "GatedRepo")
        elif "/none/" in self.path:
            self.refuse(404, "RepoNotFound")
        else:
            found: dict[str, object] = {
                "id": "someone/model",
                "gated": "manual" if gated else False,
                "siblings": [],
            }
            content = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    def refuse(self, code: int, why: str) -> None:
        """Refuse as the hub does."""
        self.send_response(code)
        self.send_header("X-Error-Code", why)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def ask(endpoint: str, tmp_path: Path, *wanted: tuple[str, str], **more: str) -> list[list[str]]:
    """Look for things of a hub in another process, which reads its address when it starts."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(wanted)],
        env={
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path),
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(project.ROOT),
            **more,
        },
        text=True,
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_hub_is_asked_for_access_and_every_refusal_says_what_to_do(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        mine, gated, none, data = ask(
            endpoint,
            tmp_path,
            ("model", "someone/model"),
            ("model", "gated/model"),
            ("model", "none/model"),
            ("dataset", "someone/data"),
        )
        [[with_token, _]] = ask(endpoint, tmp_path, ("model", "someone/model"), HF_TOKEN="hf_x")
    finally:
        server.shutdown()
        server.server_close()
    assert mine == ["someone/model can be had, no log-in", ""]
    assert data == ["someone/data can be had, no log-in", ""]
    assert with_token == "someone/model can be had, log-in found"
    assert gated[0] == "gated/model is gated, no log-in"
    assert gated[1].startswith("expected access; accept its licence on the hub, then hf auth login")
    assert none[1].startswith("expected a model of the hub; mend models.policy.path")
    [[found, fault]] = ask(endpoint, tmp_path, ("model", "someone/model"))  # it is gone now
    assert "ConnectError" in found
    assert "check models.policy.revision, network and HF_HUB_OFFLINE" in fault


def test_models_and_prompts_of_an_earlier_preset_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = project.copy(tmp_path / "repo", "tiny", fake=True)
    monkeypatch.chdir(repo)
    (repo / "run/0/policy").mkdir(parents=True)
    (repo / "run/0/policy/config.json").write_text("{}")  # no matter what is in it
    (repo / "run/0/metrics").mkdir()
    (repo / "run/0/metrics/prepare_prompts.json").write_text('{"prompts_policy_1": 1}')
    checks = {check.name: check for check in doctor_machine.checks(PAPER)}
    assert "a whole run needs 482.3 GB" in checks["disk"].found or (
        "expected 482.3 GB" in checks["disk"][2]
    )
