"""What a stage cost: seconds, peak memory, rates. Never an input of anything."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mutual_taught.artifacts.files import write_json

STARTED = "MUTUAL_TAUGHT_STARTED"  # when the process of the stage was made, in seconds since 1970


@contextmanager
def measure(out: Path, stage: str) -> Iterator[dict[str, float]]:
    """Time a stage and write `perf/<stage>.json`; counts put into the dict become rates too.

    `start_seconds` is what went before, from the start of the stage's process.
    """
    counts: dict[str, float] = {}
    begun = os.environ.get(STARTED)
    before = {"start_seconds": time.time() - float(begun)} if begun else {}
    start = time.monotonic()
    yield counts
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    rates = {f"{name}_per_second": count / max(seconds, 1e-9) for name, count in counts.items()}
    numbers = {"seconds": seconds, **before, "peak_memory_gb": peak, **counts, **rates}
    write_json(
        out / "perf" / f"{stage}.json", {name: round(value, 3) for name, value in numbers.items()}
    )
