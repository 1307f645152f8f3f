"""What the commands refuse: one line, exit code 1, before torch is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mutual_taught.cli import main
from tests.measuring import checkpoints
from tests.project import ENVIRONMENT


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def world(here: Path) -> Path:
    """A policy, a reward model and a file of pairs, in a folder that is no project."""
    checkpoints.policy(here / "policy")
    checkpoints.reward_model(here / "reward")
    checkpoints.pairs(here)
    return here


CASES = {
    "an unknown benchmark": (
        ["evaluate", "reward", "--on", "rewardbench9"],
        "benchmark 'rewardbench9' is unknown; expected one of pairs, best-of-n",
    ),
    "a benchmark named twice": (
        ["evaluate", "reward", "--on", "pairs,pairs"],
        "--on names 'pairs' twice",
    ),
    "a policy where a reward model is due": (
        ["evaluate", "policy", "--on", "pairs", "--data", "pairs.jsonl"],
        "policy: config.json names a policy; benchmark 'pairs' needs a reward model; expected a "
        "sequence classifier with one label",
    ),
    "another model of the wrong kind": (
        ["evaluate", "reward", "--on", "pairs", "--data", "pairs.jsonl", "--compare", "policy"],
        "policy: config.json names a policy; benchmark 'pairs' needs a reward model",
    ),
    "no data": (
        ["evaluate", "reward", "--on", "pairs"],
        "benchmark 'pairs' has no data of its own; expected --data with a file",
    ),
    "one file for two benchmarks": (
        ["evaluate", "reward", "--on", "pairs,best-of-n", "--data", "pairs.jsonl"],
        "--data names one place for 2 benchmarks",
    ),
    "the format of another benchmark": (
        ["evaluate", "reward", "--on", "best-of-n", "--data", "pairs.jsonl"],
        "pairs.jsonl: 3 of 3 rows cannot be used: row 1: lacks responses; it has prompt, chosen, "
        "rejected; row 2",
    ),
    "a file that is not there": (
        ["evaluate", "reward", "--on", "pairs", "--data", "none.jsonl"],
        "none.jsonl does not exist; expected rows of prompt",
    ),
    "verdicts for what no judge decides": (
        ["evaluate", "reward", "--on", "pairs", "--data", "pairs.jsonl", "--judgements", "x.json"],
        "--judgements with pairs; expected one benchmark whose answers a judge compares",
    ),
    "verdicts for what programs check": (
        ["evaluate", "policy", "--on", "ifeval", "--judgements", "x.json"],
        "--judgements with ifeval; expected one benchmark whose answers a judge compares",
    ),
    "a place that is taken": (
        ["evaluate", "reward", "--on", "pairs", "--data", "pairs.jsonl", "--out", "."],
        "pairs exists; expected a new place",
    ),
    "answers longer than a conversation": (
        ["evaluate", "reward", "--on", "pairs", "--max-length", "40", "--max-new-tokens", "40"],
        "max_length is 40, max_new_tokens 40; expected room for a prompt",
    ),
    "a temperature that is no number": (
        ["evaluate", "policy", "--on", "ifeval", "--data", "x.jsonl", "--temperature", "nan"],
        "the command line: temperature is nan; expected a finite number",
    ),
    "a share that is no number": (
        ["sample", "prompts.jsonl", "--policy", "policy", "--out", "new.jsonl", "--top-p", "nan"],
        "the command line: top_p is nan; expected a finite number",
    ),
    "a place inside a file": (
        ["evaluate", "reward", "--on", "pairs", "--data", "pairs.jsonl", "--out", "pairs.jsonl"],
        "pairs.jsonl is a file; expected a folder; name another --out",
    ),
    "scores inside a file": (
        ["score", "pairs.jsonl", "--reward-model", "reward", "--out", "pairs.jsonl/new.jsonl"],
        "pairs.jsonl is a file; expected a folder; name another --out",
    ),
    "a name too long for a disk": (
        ["evaluate", "reward", "--on", "pairs", "--data", "pairs.jsonl", "--out", "a" * 300],
        "File name too long",
    ),
    "a commit of files that are not of the hub": (
        ["evaluate", "reward", "--on", "pairs", "--data", "pairs.jsonl", "--revision", "a" * 40],
        "--revision is of the hub's files, --data names others; expected one of both",
    ),
    "a branch in place of a commit": (
        ["evaluate", "reward", "--on", "rewardbench2", "--revision", "../main"],
        "--revision is '../main'; expected a commit of allenai/reward-bench-2, 40 hex digits",
    ),
    "verdicts on two models": (
        ["evaluate", "policy", "--on", "ifeval", "--judgements", "x", "--compare", "policy"],
        "--compare with --judgements; expected the verdicts on one model",
    ),
    "a file of unknown letters": (
        ["score", "latin.jsonl", "--reward-model", "reward", "--out", "new.jsonl"],
        "latin.jsonl: has no row that can be read (1 not_utf8 (",
    ),
    "scoring with a policy": (
        ["score", "pairs.jsonl", "--reward-model", "policy", "--out", "new.jsonl"],
        "policy: config.json names a policy; scoring needs a reward model",
    ),
    "scores in an unknown format": (
        ["score", "pairs.jsonl", "--reward-model", "reward", "--out", "new.txt"],
        "new.txt: ends in '.txt'; expected a name that ends in .parquet, .jsonl, .csv",
    ),
    "scores over the file itself": (
        ["score", "pairs.jsonl", "--reward-model", "reward", "--out", "pairs.jsonl"],
        "pairs.jsonl exists; expected a new place",
    ),
    "scores that are there already": (
        ["score", "scored.jsonl", "--reward-model", "reward", "--out", "new.jsonl"],
        "the file has a column 'reward' already",
    ),
    "a file to score that is not there": (
        ["score", "none.jsonl", "--reward-model", "reward", "--out", "new.jsonl"],
        "none.jsonl does not exist; expected a file of prompts or conversations",
    ),
    "a file without answers": (
        ["score", "prompts.jsonl", "--reward-model", "reward", "--out", "new.jsonl"],
        "prompts.jsonl: has prompt; expected chosen and rejected; or a prompt",
    ),
    "sampling with a reward model": (
        ["sample", "prompts.jsonl", "--policy", "reward", "--out", "new.jsonl"],
        "reward: config.json names a reward model; sampling needs a policy",
    ),
    "a file without prompts": (
        ["sample", "other.jsonl", "--policy", "policy", "--out", "new.jsonl"],
        "other.jsonl: has question; expected a column of prompts: prompt, instruction, messages",
    ),
    "a file of bad rows": (
        ["sample", "bad.jsonl", "--policy", "policy", "--out", "new.jsonl"],
        "bad.jsonl: none of 2 rows can be used (1 blank (nothing visible in a turn), 1 not_json",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line(case: str, world: Path) -> None:
    words, said = CASES[case]
    if "." in words[-1:]:
        (world / "pairs").mkdir()
        (world / "pairs" / "metrics.json").touch()
    row = {"prompt": "a", "response": "b"}
    (world / "scored.jsonl").write_text(json.dumps({**row, "reward": 1.0}) + "\n")
    (world / "prompts.jsonl").write_text('{"prompt": "a"}\n')
    (world / "other.jsonl").write_text('{"question": "a"}\n')
    (world / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9"}\n')
    (world / "bad.jsonl").write_text('{"prompt": " "}\nno json\n')
    found = run(*words)
    assert found.exit_code == 1, found.output
    assert said in found.output
    assert found.output.count("\n") == 1
    assert not list(world.glob("new.*"))


def test_refusals_come_without_torch(world: Path) -> None:
    lines = [case[0] for case in CASES.values() if not {"scored.jsonl", "latin.jsonl"} & {*case[0]}]
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom mutual_taught.cli import main\n"
        f"for words in {lines!r}:\n"
        "    found = CliRunner().invoke(main, words)\n"
        "    assert found.exit_code == 1, (words, found.output)\n"
        "    assert not {'torch', 'transformers', 'datasets'} & set(sys.modules), words\n"
    )
    (world / "pairs").mkdir()
    (world / "pairs" / "metrics.json").touch()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=world, env=ENVIRONMENT)
