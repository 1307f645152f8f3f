"""Processes of ours: started as modules too, on any terminal, with nothing that reports on them."""

import ast
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner

from mutual_taught import __version__
from mutual_taught.artifacts import files, tables
from mutual_taught.cli import main
from mutual_taught.errors import InputError
from mutual_taught.terminal import process
from stages._click import Stage
from tests.project import ROOT

ENCODINGS = pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python on this project, without what conftest.py sets for libraries."""
    kept = {name: value for name, value in os.environ.items() if name not in process.QUIET}
    told = {**kept, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *arguments], env=told, capture_output=True, check=False, timeout=900
    )


@pytest.mark.parametrize("module", ["mutual_taught", "mutual_taught.cli"])
def test_module_is_the_command(here: Path, module: str) -> None:
    said = python("-m", module, "--version")
    assert (said.returncode, said.stdout.decode().split()[-1]) == (0, __version__)
    refused = python("-m", module, "check")
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"Error: params.yaml does not exist; ")


@ENCODINGS
@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["trace", "ID"],
        ["trace", "ID", "--json"],
        ["why", "PAIR"],
        ["verify", "--no-models"],
        ["check"],
    ],
    ids=" ".join,
)
def test_command_ends_well_on_a_terminal_of_few_signs(
    finished: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], encoding: str
) -> None:
    monkeypatch.chdir(finished.parent)
    pairs = tables.read(Path("run/1/reward_pairs.parquet"), tables.REWARD_PAIRS)
    names = {"ID": pairs["prompt_id"][0].as_py(), "PAIR": pairs["pair_id"][0].as_py()}
    wanted = [names.get(word, word) for word in arguments]
    result = CliRunner(charset=encoding).invoke(main, wanted, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout_bytes.decode(encoding)


def test_table_of_a_run_is_aligned_in_ascii(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.parent)
    runner = CliRunner(charset="ascii", env={"COLUMNS": "200"})
    said = runner.invoke(main, ["status"]).stdout_bytes.decode("ascii")
    lines = [line for line in said.splitlines() if line[:1] in ("|", "+")]
    assert len({len(line) for line in lines}) == 1
    assert any(line.startswith("| epsilon_t ") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    "told",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_real_terminal_of_few_signs_shows_status_doctor_and_a_refusal(
    finished: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
) -> None:
    monkeypatch.chdir(finished.parent)
    status = python("-m", "mutual_taught", "status", **told)
    assert (status.returncode, status.stderr) == (0, b"")
    assert b"epsilon_t" in status.stdout
    assert b"Final models" in python("-m", "mutual_taught", "status", **told).stdout
    looked = python("-m", "mutual_taught", "doctor", **told)
    assert b"Traceback" not in looked.stderr
    assert looked.stdout.isascii()
    refused = python("-m", "mutual_taught", "status", "--run", "ε\u202e", **told)
    assert refused.returncode == 1
    assert refused.stderr.isascii()
    assert refused.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_preset_is_written_where_files_are_ascii_by_default(here: Path) -> None:
    shutil.copytree(ROOT / "presets", "presets")
    told = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for preset in ("paper", "laptop"):  # the second time over what the first wrote
        done = python("-m", "mutual_taught", "preset", preset, "--with", "no-filter", **told)
        assert (done.returncode, done.stderr) == (0, b"")
    Path("params.yaml").write_bytes(b"seed: 1  # \xe9\n")
    kept = python("-m", "mutual_taught", "preset", "tiny", **told)
    assert kept.stderr.startswith(b"Error: params.yaml differs from every preset; ")


def test_marks_in_the_name_of_a_run_are_not_followed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("[bold]x[").symlink_to(finished)
    said = CliRunner().invoke(main, ["status", "--run", "[bold]x["], catch_exceptions=False)
    assert "Mutual-Taught in [bold]x[" in said.output


HOSTILE = "a\x1b[2J\x9bb\u202ec\u200b\u2028d\ud800[red]"
SHOWN = r"a\x1b[2J\x9bb\u202ec\u200b\u2028d\ud800[red]"


@ENCODINGS
def test_refusal_of_a_stage_or_command_shows_hostile_text_in_one_line(encoding: str) -> None:
    @click.command(cls=Stage)
    def stage() -> None:
        raise InputError(f"row 3: {HOSTILE}\nand more ≥ 1")

    more = ">=" if encoding in ("ascii", "latin-1") else "≥"
    result = CliRunner(charset=encoding).invoke(stage)
    assert result.exit_code == 1
    assert result.stderr_bytes is not None
    assert result.stderr_bytes.decode(encoding) == f"Error: row 3: {SHOWN}\\nand more {more} 1\n"


def test_refusal_does_not_repeat_a_token() -> None:
    @click.command(cls=Stage)
    def stage() -> None:
        raise InputError("model 'x': 401 for https://ann:secret@h.co/x?token=secret")

    assert "secret" not in CliRunner().invoke(stage).output


def test_doctor_does_not_repeat_a_password(here: Path) -> None:
    text = (ROOT / "presets" / "tiny.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("source: tiny", "source: https://a:pa55@h.co", 1))
    said = CliRunner().invoke(main, ["doctor"]).output
    assert "https://***@h.co" in said
    assert "pa55" not in said


def test_hostile_response_acts_in_no_command(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(finished.parent / "params.yaml", "params.yaml")
    files.link_tree(finished, Path("run"))
    hostile = HOSTILE.replace("\ud800", "")  # which no Parquet file can hold
    edited = ((tables.PSEUDO_PAIRS, "response"), (tables.REWARD_PAIRS, "chosen"))
    rows = {}
    for table, column in edited:
        data = tables.read(Path(f"run/1/{table.name}.parquet"), table)
        texts = pa.array([f"{hostile}{row}" for row in range(len(data))])
        changed = data.set_column(data.column_names.index(column), column, texts)
        tables.write(Path("run/1"), table, changed, tables.provenance(data))
        rows[table.name] = changed.to_pylist()[0]
    prompt = rows["pseudo_pairs"]["prompt_id"]
    commands = [
        ["trace", prompt],
        ["trace", prompt, "--json"],
        ["why", rows["reward_pairs"]["pair_id"]],
        ["verify", "--no-models"],
    ]
    for arguments in commands:
        said = CliRunner().invoke(main, arguments).output
        assert "[red]" in said, arguments
        assert all(sign.isprintable() for sign in said.replace("\n", "")), arguments


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_stream_takes_any_text_once_a_process_has_begun(
    monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, stream, io.TextIOWrapper(raw, encoding="ascii"))
    process.begin()
    print("≥ ☀", file=getattr(sys, stream), flush=True)
    assert raw.getvalue() == b">= \\u2600\n"


ENTRIES = {
    "command": "from mutual_taught.cli import main; main(['check'], standalone_mode=False)",
    "stage": "import click; from stages._click import run; "
    "run(click.Command('x', callback=lambda: None))",
    "bench": "import bench",
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_reports_on_what_is_started(here: Path, entry: str) -> None:
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    tell = "import atexit, os, sys\natexit.register(lambda: print(dict(os.environ)))\n"
    done = python("-c", tell + ENTRIES[entry])
    assert done.returncode == 0, done.stderr
    found = ast.literal_eval(done.stdout.decode().splitlines()[-1])
    assert {name: found.get(name) for name in process.QUIET} == process.QUIET


@pytest.mark.slow
def test_trl_is_told_before_it_is_imported() -> None:
    done = python(
        "-c",
        "import bench.training\n"
        "from huggingface_hub import constants\nprint(constants.HF_HUB_DISABLE_TELEMETRY)",
    )
    assert done.stdout.split()[-1:] == [b"True"], done.stderr


def test_choice_of_the_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    process.begin()
    assert os.environ["DO_NOT_TRACK"] == "0"
