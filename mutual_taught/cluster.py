"""A pool of workers on Ray Data: it turns shards into results, and knows no engine.

A shard is the unit. To a worker travel its number, token ids and seeds, and back its draws or
rewards; models are read from a path that all nodes share. DVC drives the stage, which is Ray's
driver and writes each shard when it arrives (docs/cluster.md).
"""

import logging
import os
import pickle
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil
import torch

from mutual_taught.artifacts.manifests import read_manifest
from mutual_taught.errors import InputError, MutualTaughtError
from mutual_taught.pipeline import work
from mutual_taught.terminal import process, shortage


class ShardJob(Protocol):
    """What a worker does with a shard: it is made here, and begun in the worker."""

    @property
    def folder(self) -> Path:
        """Of the model."""

    @property
    def gpus(self) -> int:
        """How many a worker takes on a cluster that has them."""

    def begin(self) -> Callable[[int, Any], Any]:
        """Load the model and give what turns a shard into its result."""


class Same(NamedTuple):
    """What must be the same in the stage and in every worker for the same bits."""

    model: str
    code: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls, folder: Path) -> "Same":
        """Give that of this process."""
        return cls(read_manifest(folder).digest, work.code(), work.versions())


class Worker:
    """A process of the pool: loads its model with the first shard, keeps it for the others.

    What we say in one line comes back as a value, for an exception would come back as a traceback.
    """

    def __init__(self, job: ShardJob, same: Same, threads: int, stage: str) -> None:
        process.begin()  # on another machine nothing was set
        torch.set_num_threads(threads)
        self.job, self.same, self.stage = job, same, stage
        self.run: Callable[[int, Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Turn a shard into its result."""
        try:
            with shortage.as_ours(self.stage):
                if self.run is None:
                    self._compare()
                    self.run = self.job.begin()
                result = self.run(row["number"], pickle.loads(row["shard"]))
        except MutualTaughtError as error:
            return {"number": row["number"], "result": b"", "error": str(error)}
        return {"number": row["number"], "result": pickle.dumps(result), "error": ""}

    def _compare(self) -> None:
        folder = self.job.folder
        for name, own, expected in zip(Same._fields, Same.here(folder), self.same, strict=True):
            if own != expected:
                raise InputError(
                    f"{socket.gethostname()}, a worker with {folder}: its {name} is {own}; "
                    f"expected {expected}, as where the stage runs; share the folder, install the "
                    "same"
                )


def connect() -> Callable[[], None]:
    """Join the cluster of RAY_ADDRESS, or start one of only this machine, on loopback.

    Returns:
        What leaves it again; a cluster that was started here ends.

    Raises:
        InputError: ray is not installed, or the cluster does not answer.
    """
    address = os.environ.get("RAY_ADDRESS", "local")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local":
        # On Linux Ray listens on all interfaces, even with 127.0.0.1 as its node's address, unless
        # its clusters of several machines are off; the variable is named after where they are so
        # by default.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of what it says on the terminal
    try:
        import ray
        import ray.data
        from ray.data.context import AutoscalingConfig
    except ImportError:
        raise InputError(
            "params.yaml: engine.workers is ray, which is not installed; expected the package; "
            "pip install -c constraints.txt -e '.[ray]', or engine.workers: local"
        ) from None
    options: dict[str, Any] = {"logging_level": "warning", "log_to_driver": False}
    if address == "local":
        options["include_dashboard"] = False
    try:
        _knock(address)
        ray.init(address, **options)
    except OSError as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"RAY_ADDRESS is {address!r}: no cluster answers there ({reason}); expected a running "
            "one; start it, or unset RAY_ADDRESS"
        ) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.autoscaling_config = AutoscalingConfig(1.0)  # more workers while all are busy
    context.execution_no_progress_timeout_s = -1  # a shard may take hours
    if address != "local":
        return ray.shutdown  # type: ignore[no-any-return]
    watch = _end_with_me()

    def end() -> None:
        ray.shutdown()
        watch.kill()
        watch.communicate()

    return end


def _knock(address: str) -> None:
    """Fail within seconds where nobody listens; Ray tries for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _end_with_me() -> "subprocess.Popen[bytes]":
    """Have what this process started end at once with it, also if it is killed.

    By themselves two of Ray's processes stay for a minute to tell a cluster that is gone.
    """
    started = " ".join(str(one.pid) for one in psutil.Process().children(recursive=True))
    return subprocess.Popen(
        ["sh", "-c", f"cat; kill -9 {started}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class Share(NamedTuple):
    """What a worker takes of its node: its GPUs, or as many cores as the stage has threads."""

    cpus: int
    gpus: int

    @classmethod
    def of(cls, cluster: Mapping[str, float], gpus: int) -> "Share":
        """Choose by what the cluster has."""
        return cls(gpus, gpus) if cluster.get("GPU", 0) >= 1 else cls(torch.get_num_threads(), 0)

    def fitting(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """Count the workers that fit on nodes with these resources.

        Raises:
            InputError: not one does; Ray would wait for ever.
        """
        fit = 0
        for node in nodes:
            fits = [node.get("CPU", 0) // self.cpus]
            if self.gpus:
                fits.append(node.get("GPU", 0) // self.gpus)
            fit += int(min(fits))
        if not fit and self.gpus:
            most = max(int(node.get("GPU", 0)) for node in nodes)
            raise InputError(
                f"the Ray cluster: its largest node has {most} GPUs and no worker fits; expected "
                f"{self.gpus} GPUs and as many cores; lower engine.tensor_parallel"
            )
        if not fit:
            most = max(int(node.get("CPU", 0)) for node in nodes)
            raise InputError(
                f"the Ray cluster: its largest node has {most} cores; expected {self.cpus}, as "
                f"many as the stage has threads; set OMP_NUM_THREADS={max(most, 1)}"
            )
        return fit


def run(job: ShardJob, shards: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
    """Turn shards into their results in a pool of workers, each given when it is finished.

    A worker or node that is lost is replaced, and its shard done again: the same bits, because they
    depend only on the shard.

    Args:
        job: what to do with a shard.
        shards: by number.

    Raises:
        InputError: what a worker could not use.
    """
    import ray

    if not shards:
        return
    stage = f"a worker of {process.stage() or 'this command'}"
    share = Share.of(ray.cluster_resources(), job.gpus)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    count = min(share.fitting(nodes), len(shards))
    rows = [{"number": n, "shard": pickle.dumps(shard)} for n, shard in shards.items()]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Worker,
        fn_constructor_args=(job, Same.here(job.folder), torch.get_num_threads(), stage),
        compute=ray.data.ActorPoolStrategy(
            min_size=count, max_size=len(shards), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=share.cpus,
        num_gpus=share.gpus,
    )
    # Without prefetching: it would hold a finished shard back until the next one is.
    for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch.to_pylist():
            if row["error"]:
                raise InputError(row["error"])
            yield row["number"], pickle.loads(row["result"])
