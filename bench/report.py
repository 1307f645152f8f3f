"""What the report of a large run takes: seconds, memory, and bytes of its page.

    python -m bench.report                     # 60,000 prompts, as the paper has, 5 responses each
    python -m bench.report --prompts 5000

Makes a run of random tables (no model), then both of its reports, by the commands of dvc.yaml.
"""

import os
import resource
import tempfile
import time
from pathlib import Path

import click
from click.testing import CliRunner

from bench import synthetic
from mutual_taught.config import params
from stages import report, report_base

PRESET = Path(__file__).parent.parent / "presets" / "paper.yaml"
FIRST = (
    *("--metrics", "run/0/metrics"),
    *("--evaluation", "run/0/eval"),
    *("--splits", "run/0/splits"),
    *("--out", "run/0"),
)
SECOND = (
    *("--iteration", "1"),
    *("--previous", "run/0/report"),
    *("--prepared", "run/0/metrics/prepare_prompts.json"),
    *("--metrics", "run/1/metrics"),
    *("--evaluation", "run/1/eval"),
    *("--tables", "run/1"),
    *("--curves", "run/1/curves"),
    *("--splits", "run/0/splits"),
    *("--out", "run/1"),
)


@click.command()
@click.option("--prompts", "count", default=60_000, help="Prompts of the policy's part.")
def main(count: int) -> None:
    """Time the reports of a synthetic run."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        params.PARAMS.write_text(synthetic.preset(PRESET), encoding="utf-8")
        synthetic.make(Path("run"), params.validate(params.read(params.PARAMS)), count)
        click.echo(f"{count} prompts, {synthetic.WIDTH} responses each")
        for stage, arguments in ((report_base, FIRST), (report, SECOND)):
            begun, used = time.perf_counter(), time.process_time()
            CliRunner().invoke(stage.main, arguments, catch_exceptions=False)
            seconds, worked = time.perf_counter() - begun, time.process_time() - used
            page = Path(arguments[-1], "report", "index.html").stat().st_size / 1e6
            folder_bytes = sum(
                path.stat().st_size for path in Path(arguments[-1], "report").rglob("*")
            )
            click.echo(
                f"{stage.__name__}: {seconds:.1f} s, {worked:.1f} s of processor time, "
                f"page {page:.1f} MB, report {folder_bytes / 1e6:.1f} MB"
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        click.echo(f"peak memory, with making the run: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
