"""Tiny models shared by all tests, and an environment without a network."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.once import once

hypothesis.settings.register_profile("busy", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("busy")

for _name, _value in {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
    "WANDB_DISABLED": "true",
}.items():
    os.environ.setdefault(_name, _value)

# What a shell starts in the background is deaf to Ctrl-C, and what nohup starts to a terminal that
# goes. So would be what tests interrupt.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)

if TYPE_CHECKING:
    from mutual_taught.models.load import Policy, RewardModel


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Count a test of a whole run among the slow ones: the run is made first, by all stages."""
    for item in items:
        if {"finished", "stopped"} & set(item.fixturenames):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer policy with its manifest; read it, never write into it."""
    from mutual_taught.config.blocks import Tokens
    from mutual_taught.config.inputs import Model
    from mutual_taught.prepare.base_models import make_policy

    folder = tmp_path_factory.mktemp("models") / "policy"
    tokens = Tokens(max_prompt_tokens=512, max_length=768, date=None)
    make_policy(Model(source="tiny", path="tiny", revision=None), folder, 1, tokens)
    return folder


@pytest.fixture(scope="session")
def reward_folder(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with a random head on the tiny policy; read it, never write into it."""
    from mutual_taught.models.load import new_reward_model
    from mutual_taught.training.export import save_model
    from mutual_taught.training.rounding import EXACT

    folder = tmp_path_factory.mktemp("models") / "reward_model"
    model, tokenizer = new_reward_model(policy_folder, 1, None)
    save_model(
        model,
        model.state_dict(),
        tokenizer,
        folder,
        EXACT,
        {"kind": "reward_model", "base": "tiny", "parent": None, "made_by": {}},
    )
    return folder


@pytest.fixture(scope="session")
def policy(policy_folder: Path) -> "Policy":
    """The tiny policy in float32, only for inference."""
    from mutual_taught.models.load import load_policy

    return load_policy(policy_folder, "float32")


@pytest.fixture(scope="session")
def reward_model(reward_folder: Path) -> "RewardModel":
    """The tiny reward model in float32, only for inference."""
    from mutual_taught.models.load import load_reward_model

    return load_reward_model(reward_folder, "float32")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with work in progress inside it, in which nothing was done."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mutual_taught.pipeline.work._ENTERED", [])
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch compute with two threads, as on two cores; tests have one otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny preset; read it, never write into it."""
    return once(tmp_path_factory, "finished", lambda repo: run_tiny(repo, {})) / "run"


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose threshold no checkpoint can reach; read it, never write into it."""
    changes: dict[str, object] = {"select_policy.win_rate_threshold": 1.01}
    return once(tmp_path_factory, "stopped", lambda repo: run_tiny(repo, changes)) / "run"


def run_tiny(repo: Path, changes: dict[str, object]) -> Path:
    """Run all stages of the tiny preset in this process; give the folder of the run."""
    from tests import in_process, project

    project.copy(repo, "tiny")
    for name, value in changes.items():
        project.set_param(repo / "params.yaml", name, value)
    before = Path.cwd()
    os.chdir(repo)
    try:
        in_process.run_all(Path("params.yaml"))
    finally:
        os.chdir(before)
    return repo / "run"
