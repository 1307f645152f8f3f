"""vLLM's own API server, on a processor, as a judge: its routes and its log-probs."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mutual_taught.config.judging import Endpoint
from mutual_taught.evaluation.judges import verdict_tables
from mutual_taught.evaluation.judges.asking import ask_all
from mutual_taught.evaluation.judges.request import Spec
from mutual_taught.evaluation.judges.store import opened
from mutual_taught.evaluation.judges.verdict_tables import Comparison

SERVER = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
SETTINGS = ["--served-model-name", "small", "--dtype", "float32", "--enforce-eager"]


@pytest.fixture
def address(first: Path, tmp_path: Path) -> Iterator[str]:
    """Start the server on a free port, and end it with all its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    log = tmp_path / "server.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [*SERVER, "--port", str(port), "--model", str(first), *SETTINGS],
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    until = time.monotonic() + 400
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(1)
    raise AssertionError(log.read_text()[-3000:])


def test_vllm_serves_a_judge_on_a_processor(address: str, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Name a boat."}]
    compared = [Comparison("base", f"{n:032x}", 0, turns, f"Boat {n}.", "X") for n in range(3)]
    place = Endpoint(
        base_url=address,
        key_variable=None,
        concurrency=2,
        requests_per_minute=None,
        timeout_seconds=60.0,
        retries=0,
        prices=None,
    )
    spec = Spec("alpaca_eval", "small", None)
    with opened(tmp_path / "verdicts.jsonl") as store:
        sent = ask_all(verdict_tables.requests(spec, compared), store, place)
        replies = list(store.replies.values())
    # A random model of two layers: that it answers, with log-probs, is all that is tested.
    assert (sent.requests, sent.refused) == (6, {})
    assert all(reply.logprobs is not None and len(reply.logprobs) <= 5 for reply in replies)
    assert sent.prompt_tokens > 6 * 100
    assert 0 < sent.completion_tokens <= 6 * 8
