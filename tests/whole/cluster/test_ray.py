"""Ray: a cluster of two nodes on loopback gives the bytes of one process, whatever it loses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import torch

from mutual_taught.artifacts import tables
from mutual_taught.config.blocks import Drawing, Engine, RankPairs, Sample, Score, Tokens, Workers
from mutual_taught.sampling.shards import draw, make_plan
from mutual_taught.sampling.start import start_sampler
from mutual_taught.scoring.shards import score_all
from mutual_taught.scoring.start import start_scorer
from mutual_taught.steps import frozen, reference
from tests import project
from tests.scoring.test_shards import questions

pytestmark = pytest.mark.slow
TOKENS = Tokens(max_prompt_tokens=200, max_length=400, date=None)
SCORE = Score(dtype="float32", token_budget=200, shard_size=20)
DECODING = Sample(
    temperature=1.0, top_p=1.0, max_new_tokens=100, source="policy", responses_per_prompt=4
)
SHARDS = 24
ALONE = {
    **project.ENVIRONMENT,
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what keeps Ray on loopback, see cluster.py
}
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
cluster, second = Cluster(initialize_head=True, head_node_args=node), None
for line in sys.stdin:
    if line == "join\\n" and second is None:
        second = cluster.add_node(**node)
        cluster.wait_for_nodes()
    if line == "lose\\n":  # all its processes, by SIGKILL
        cluster.remove_node(second, allow_graceful=False)
        second = None
    if line == "end\\n":
        cluster.shutdown()
        break
    print("done", cluster.address, flush=True)
"""
CHILD = """
import sys
from pathlib import Path
from tests.whole.cluster import test_ray
test_ray.work(Path(sys.argv[1]), Path(sys.argv[2]), "ray", sys.argv[3] == "score")
"""


def work(policy: Path, reward_model: Path, workers: Workers, scored: bool) -> list[pa.Table]:
    """Sample, and perhaps score, in many shards."""
    engine = Engine(
        name="transformers",
        dtype="float32",
        shard_size=2,
        batch_size=8,
        workers=workers,
        batch_tokens=None,
        tensor_parallel=1,
        gpu_memory_utilization=0.5,
    )
    asked = questions(2 * SHARDS)
    columns = {
        "prompt_id": [one.prompt_id for one in asked],
        "messages": [one.messages for one in asked],
    }
    kinds = {name: tables.PROMPTS.columns[name] for name in columns}
    prompts = pa.table(columns, schema=pa.schema(list(kinds.items())))
    plan = make_plan("sample", 1, 4, DECODING, Drawing(engine, TOKENS, 1))
    with start_sampler(engine, plan.context, TOKENS) as running:
        found = [draw(policy, prompts, plan, running, "sample@1")[0]]
    if scored:
        with start_scorer(SCORE, workers, TOKENS) as scorer:
            found.append(score_all(scorer, reward_model, asked, TOKENS, "score@1"))
        measure(policy, found[0], prompts, workers)
    return found


def measure(policy: Path, responses: pa.Table, prompts: pa.Table, workers: Workers) -> None:
    """Give the log-probs of a pair of each prompt, in many shards."""
    frozen.SHARD = 2
    count = len(prompts)
    pairs = {
        "prompt_id": prompts["prompt_id"],
        "chosen_index": pa.array([0] * count),
        "rejected_index": pa.array([1] * count),
        "kept": [True] * count,
    }
    settings = RankPairs(
        length_neutral=False,
        ended_only=False,
        chosen="highest",
        reference="previous",
        reference_logps="trainer",
        reference_dtype="float32",
        token_budget=400,
    )
    inputs = reference.Pairs(pa.table(pairs), responses, responses, prompts, Path("prompts"))
    model = reference.Reference(policy, settings, TOKENS)
    reference.add_logps(inputs, model, workers, "rank_pairs@1")


def parts(here: Path, name: str = "responses") -> dict[str, bytes]:
    """The finished shards."""
    paths = (here / ".work").rglob(f"{name}.parquet")
    return {path.parent.name: path.read_bytes() for path in paths}


def logps(here: Path) -> dict[str, bytes]:
    """The finished shards of reference log-probs."""
    return {path.name: path.read_bytes() for path in (here / ".work").rglob("part-*.json")}


@pytest.fixture(scope="module")
def models(policy_folder: Path, reward_folder: Path) -> list[str]:
    return [str(policy_folder), str(reward_folder)]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As in ALONE: the number of threads decides the last bits of log-probs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, models: list[str], one_thread: None) -> Path:
    """What one process makes."""
    here = tmp_path_factory.mktemp("one")
    before = Path.cwd()
    os.chdir(here)
    try:
        work(Path(models[0]), Path(models[1]), "local", scored=True)
    finally:
        os.chdir(before)
    assert len(parts(here)) == SHARDS
    return here


class Nodes:
    """Two nodes of one core in a process of their own; the second can be lost and come again."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            env=ALONE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self.tell("begin")

    def tell(self, what: str) -> str:
        """Have something done, and wait until it is."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        while said := self.process.stdout.readline():
            if said.startswith("done "):
                return said.split()[1]
        raise AssertionError(f"the cluster ended at {what}")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    yield found
    found.process.communicate("end\n", timeout=120)


@pytest.fixture
def joined(nodes: Nodes) -> Nodes:
    nodes.tell("join")
    return nodes


def begin(here: Path, models: list[str], what: str, address: str) -> subprocess.Popen[bytes]:
    """Start a stage's work on a cluster."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *models, what],
        cwd=here,
        stderr=subprocess.PIPE,
        env={**ALONE, "RAY_ADDRESS": address},
    )


def until(here: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait for finished shards."""
    while len(parts(here)) < count:
        assert process.poll() is None, process.communicate()[1].decode()[-3000:]
        time.sleep(0.02)
    assert len(parts(here)) < SHARDS / 2, "too late to disturb it"


def finish(process: subprocess.Popen[bytes]) -> None:
    said = process.communicate(timeout=600)[1].decode()
    assert process.returncode == 0, said[-3000:]


def pool() -> list[psutil.Process]:
    """The workers that are at work."""
    return [
        one
        for one in psutil.process_iter(["cmdline"])
        if one.info["cmdline"] and "MapWorker" in one.info["cmdline"][0]
    ]


def at_work(process: psutil.Process) -> bool:
    """Whether a process is there, and not only waiting for its parent to notice its end."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_two_nodes_give_the_bytes_of_one_process(
    here: Path, joined: Nodes, models: list[str], expected: Path
) -> None:
    process = begin(here, models, "score", joined.address)
    until(here, 2, process)
    assert len({one.ppid() for one in pool()}) == 2
    finish(process)
    assert parts(here) == parts(expected)
    assert parts(here, "rewards") == parts(expected, "rewards")
    assert logps(here) == logps(expected)
    assert len(logps(here)) == SHARDS


def test_a_killed_worker_is_replaced_and_a_lost_node_is_done_without(
    here: Path, joined: Nodes, models: list[str], expected: Path
) -> None:
    process = begin(here, models, "sample", joined.address)
    until(here, 2, process)
    killed, *_ = pool()
    killed.kill()
    until(here, len(parts(here)) + 2, process)
    joined.tell("lose")
    finish(process)
    assert parts(here) == parts(expected)


def test_a_killed_stage_leaves_no_process_and_another_goes_on(
    here: Path, models: list[str], expected: Path
) -> None:
    process = begin(here, models, "sample", "local")
    until(here, 3, process)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    patience = time.monotonic() + 60
    while any(map(at_work, started)):
        assert time.monotonic() < patience, [one for one in started if at_work(one)]
        time.sleep(0.1)
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in (here / ".work").rglob("responses.parquet")}
    work(Path(models[0]), Path(models[1]), "local", scored=False)
    assert parts(here) == parts(expected)
    assert len(kept) < SHARDS
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in kept.items())


def test_cluster_that_is_not_there_is_one_line(here: Path, models: list[str]) -> None:
    process = begin(here, models, "sample", "127.0.0.1:1")
    said = process.communicate(timeout=400)[1].decode().splitlines()[-1]
    assert said.startswith("mutual_taught.errors.InputError: RAY_ADDRESS is '127.0.0.1:1': no ")
