"""Code that comes with a model or a data set is never run."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT

LOADERS = ("from_pretrained", "load_dataset", "LLM")
CODE = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
LOAD = """
import sys
from pathlib import Path
from mutual_taught.models import load
from mutual_taught.errors import InputError
try:
    getattr(load, sys.argv[1])(Path(sys.argv[2]), *sys.argv[3:])
except InputError as error:
    print(error)
"""


def loading_calls() -> list[tuple[str, ast.Call]]:
    """List the calls in the package, its stages and its benches that load what may bring code."""
    found = []
    for folder in ("mutual_taught", "stages", "bench"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func).split(".")[-1]
                    if name in LOADERS:
                        found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node))
    return found


def test_every_loading_call_says_that_no_code_is_run() -> None:
    calls = loading_calls()
    assert len(calls) >= 5
    for where, call in calls:
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert said.get("trust_remote_code") == "False", where


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "files"),
    [
        (["load_config"], ["config.json"]),
        (["load_policy", "float32"], ["config.json"]),
        (["load_tokenizer"], ["tokenizer_config.json"]),
        (["load_reward_model", "float32"], ["config.json"]),
    ],
)
def test_code_in_a_models_folder_does_not_run_even_if_the_terminal_says_yes(
    policy_folder: Path, reward_folder: Path, tmp_path: Path, load: list[str], files: list[str]
) -> None:
    folder, mark = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(reward_folder if "reward" in load[0] else policy_folder, folder)
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    classes = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForCausalLM": "own.OwnModel",
        "AutoModelForSequenceClassification": "own.OwnModel",
        "AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"],
    }
    for name in files:
        said = json.loads((folder / name).read_text())
        said |= {"auto_map": classes, "tokenizer_class": "OwnTokenizer"}
        if name == "config.json":
            said["model_type"] = "own"
        (folder / name).write_text(json.dumps(said))
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, load[0], str(folder), *load[1:]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "cache")},
        input="y\n" * 20,
        text=True,
        capture_output=True,
        check=False,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stderr
    assert not mark.exists()
    assert "[y/N]" not in ran.stdout + ran.stderr
