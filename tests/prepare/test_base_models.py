"""What is fetched of a model, and what is left where it is."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mutual_taught.config.blocks import Tokens
from mutual_taught.config.inputs import Model
from mutual_taught.errors import InputError, MissingFileError, first_line
from mutual_taught.models import folders
from mutual_taught.models.load import load_tokenizer
from mutual_taught.prepare import base_models
from tests.project import ROOT

MODEL = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
    "model.safetensors",
}
OTHERS = (
    "credentials.json",
    "notes.txt",
    ".env",
    "training_args.bin",
    "trainer_state.json",
    "consolidated.safetensors",
    "adapter_model.safetensors",
    "optimizer.safetensors",
    "modeling_own.py",
    "original/params.json",
    "README.md",
    "secret.jinja",
    "keys.model",
    "model.safetensors.index.json",
)


def source(folder: Path) -> Model:
    return Model(source="path", path=str(folder), revision=None)


def put(folder: Path, *names: str) -> Path:
    """Make files that hold an empty JSON object."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


def weights(folder: Path, name: str = "model.safetensors") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.ones(2)}, folder / name, {"format": "pt"})


def copied(theirs: Path, own: Path) -> set[str]:
    own.mkdir()
    base_models.fetch(source(theirs), own)
    return {path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file()}


def index(folder: Path, *names: object) -> None:
    content = {"weight_map": {f"layer.{place}": name for place, name in enumerate(names)}}
    (folder / folders.INDEX).write_text(json.dumps(content))


def test_known_names_alone_are_copied(tmp_path: Path) -> None:
    theirs = put(tmp_path / "theirs", *MODEL, *OTHERS)
    weights(theirs)
    assert copied(theirs, tmp_path / "own") == MODEL


def test_shards_of_the_index_are_copied_and_no_other_safetensors(tmp_path: Path) -> None:
    theirs = put(tmp_path / "theirs", "config.json")
    for name in ("model-00001-of-00002", "model-00002-of-00002", "model-00003-of-00003"):
        weights(theirs, f"{name}.safetensors")
    index(theirs, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert copied(theirs, tmp_path / "own") == {
        "config.json",
        folders.INDEX,
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }


def test_shard_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    theirs = put(tmp_path / "theirs", "config.json")
    weights(theirs, "model-1.safetensors")
    index(theirs, "model-1.safetensors", "model-2.safetensors")
    with pytest.raises(InputError) as caught:
        copied(theirs, tmp_path / "own")
    assert str(caught.value) == (
        f"{theirs}: lacks 'model-2.safetensors', which its model.safetensors.index.json names; "
        "expected all its weights; fetch the model again"
    )


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "config.json", 5, "*", ""]
)
def test_index_cannot_name_a_file_elsewhere(tmp_path: Path, name: object) -> None:
    theirs = put(tmp_path / "theirs", "config.json")
    index(theirs, name)
    with pytest.raises(InputError, match="weight_map names"):
        copied(theirs, tmp_path / "own")


@pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": 3}', "{}"])
def test_index_that_is_none_is_one_line(tmp_path: Path, content: str) -> None:
    theirs = put(tmp_path / "theirs", "config.json")
    (theirs / folders.INDEX).write_text(content)
    with pytest.raises(InputError, match=r"index\.json"):
        copied(theirs, tmp_path / "own")


def test_weights_in_another_format_are_one_line(tmp_path: Path) -> None:
    theirs = put(tmp_path / "theirs", "config.json", "pytorch_model.bin", "adapter.safetensors")
    with pytest.raises(
        InputError, match=r"has neither model\.safetensors nor model\.safetensors\."
    ):
        copied(theirs, tmp_path / "own")


def test_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"holds no model \(no config\.json\)"):
        copied(put(tmp_path / "theirs", "notes.txt"), tmp_path / "own")


def test_model_of_the_hub_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    wanted = Model(source="hub", path="nobody/nothing", revision="0" * 40)
    with pytest.raises(InputError) as caught:
        base_models.fetch(wanted, tmp_path)
    said = str(caught.value)
    assert said.startswith(f"model 'nobody/nothing' at {'0' * 40}: ")
    assert said.endswith("; expected it on the hub; check id, access and network")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionError(), "ConnectionError"),
        (ConnectionError("\n \n"), "ConnectionError"),
        (OSError("\n\n401 Client Error\n\nCannot access"), "OSError: 401 Client Error"),
    ],
)
def test_error_of_a_library_is_one_line_even_without_text(error: OSError, expected: str) -> None:
    assert first_line(error) == expected


def test_tokenizer_that_transformers_mends_by_its_models_name_reads_the_same_in_the_copy(
    policy_folder: Path, here: Path
) -> None:
    theirs = Path("deepseek-ai/DeepSeek-Coder-tiny")
    shutil.copytree(policy_folder, theirs)
    said = json.loads((theirs / "tokenizer_config.json").read_text())
    said["tokenizer_class"] = "LlamaTokenizerFast"  # which would lose spaces
    (theirs / "tokenizer_config.json").write_text(json.dumps(said))
    Path("own").mkdir()
    limits = Tokens(max_prompt_tokens=400, max_length=500, date=None)
    assert base_models.take(source(theirs), Path("own"), "policy", limits) == str(theirs)
    found = load_tokenizer(Path("own"))
    ids = found("a boat for two", add_special_tokens=False)["input_ids"]
    assert found.decode(ids) == "a boat for two"


FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "notes.txt": b"private",
    "extra.safetensors": b"",
    "model-00001-of-00001.safetensors": b"weights",
    "credentials.json": b"{}",
    "model.safetensors.index.json": (
        b'{"weight_map": {"weight": "model-00001-of-00001.safetensors"}}'
    ),
}
FETCH = """
import sys
from pathlib import Path
from mutual_taught.prepare import base_models
from mutual_taught.config.inputs import Model
source = Model(source="hub", path="someone/model", revision="0" * 40)
print(base_models.fetch(source, Path(sys.argv[1])))
"""


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for one model."""

    def do_HEAD(self) -> None:
        """Describe a file."""
        self.do_GET()

    def do_GET(self) -> None:
        """Give the list of files, or one of them."""
        name = self.path.split("/resolve/")[-1].split("/", 1)[-1]
        if self.path.startswith("/api/models/someone/model/tree/"):
            listed = [
                {"type": "file", "path": name, "oid": "0" * 40, "size": len(inside)}
                for name, inside in FILES.items()
            ]
            content = json.dumps(listed).encode()
        elif name in FILES:
            content = FILES[name]
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", hashlib.sha256(content).hexdigest())
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_known_names_alone_are_fetched_from_the_hub(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(
            [sys.executable, "-c", FETCH, str(tmp_path / "own")],
            env={
                **os.environ,
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
                "HF_HUB_OFFLINE": "0",
                "HF_HOME": str(tmp_path / "cache"),
                "HF_HUB_DISABLE_XET": "1",
                "NO_PROXY": "127.0.0.1",
                "PYTHONPATH": str(ROOT),
            },
            text=True,
            capture_output=True,
            check=False,
            timeout=900,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"someone/model@{'0' * 40}"
    own = tmp_path / "own"
    assert {path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file()} == {
        "config.json",
        "tokenizer.json",
        "model-00001-of-00001.safetensors",
        folders.INDEX,
    }
