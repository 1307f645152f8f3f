"""How long the decisions take on tables of the paper's size, and how much memory.

    python -m bench.method                     # 100,000 prompts, 5 responses each
    python -m bench.method --prompts 60000     # the paper's number

Makes a run of random tables (no model), then pairs, filters, verifies and traces. Verifying is
timed five times, each in a process of its own that has imported what it needs; medians are given.
On a virtual machine the first may wait for memory that the host has to hand out first.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from bench import synthetic
from bench.turns import timed
from mutual_taught.artifacts import files, tables
from mutual_taught.config import params
from mutual_taught.reading import trace

PRESET = Path(__file__).parent.parent / "presets" / "paper.yaml"

ALONE = """
import time
begin = time.perf_counter()
from pathlib import Path
from mutual_taught.audit.verify import verify
ready, used = time.perf_counter(), time.process_time()
faults = list(verify(Path("run")))
assert not faults, [str(fault) for fault in faults[:5]]
taken, used = time.perf_counter() - ready, time.process_time() - used
status = Path("/proc/self/status").read_text()
print(taken, ready - begin, used, int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def alone() -> tuple[float, ...]:
    """Verify in a process of its own: seconds, those of its imports, processor time, MiB."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PRESET.parent.parent)},
    )
    return tuple(map(float, done.stdout.split()))


def peak() -> float:
    """Give this process's peak memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@click.command()
@click.option("--prompts", "count", default=100_000, help="Prompts of the policy's part.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the numbers here.")
def main(count: int, out: Path | None) -> None:
    """Time the decisions on a synthetic run."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        params.PARAMS.write_text(synthetic.preset(PRESET), encoding="utf-8")
        settings = params.validate(params.read(params.PARAMS))
        run = Path("run")
        seconds = synthetic.make(run, settings, count)
        made = peak()
        os.sync()  # what was just written is not to be waited for below
        said = [alone() for _ in range(5)]
        taken, starting, used, verifying = map(statistics.median, zip(*said, strict=True))
        seconds |= {"verify": taken, "its processor time": used, "its imports": starting}
        name = tables.read(tables.RANKED_PAIRS.path(run / "1"), tables.RANKED_PAIRS)["prompt_id"]
        seconds["trace"] = timed(lambda: trace.prompt(run, name[count // 2].as_py()))[1]
    click.echo(f"{count} prompts, {synthetic.WIDTH} responses each")
    for what, value in seconds.items():
        click.echo(f"{what:40} {value:6.2f} s")
    click.echo(
        f"peak memory: verify alone {verifying:.0f} MiB, pairing and filtering {made:.0f} MiB"
    )
    if out:
        files.write_json(
            out,
            {"seconds": seconds, "peak_mib": {"verify": verifying, "all": made}, "prompts": count},
        )


if __name__ == "__main__":
    main()
