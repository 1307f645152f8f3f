"""What every process of ours begins with, and how it speaks: on any terminal, without telemetry."""

import io
import os
import sys

import click

from mutual_taught.terminal import signs

# TRL reports every trainer that is made, vLLM every engine, Ray every cluster; trackio uses gradio.
QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "WANDB_DISABLED": "true",
    "WANDB_ERROR_REPORTING": "false",
}
# Threads that wait must sleep, not spin: with another busy process on the machine spinning made a
# packed step 40 times slower (docs/pipeline.md).
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "THP_MEM_ALLOC_ENABLE": "1",  # large pages: sampling had 789,000 page faults, now 320,000
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def quiet() -> None:
    """Turn off what libraries report to their makers; they look for it when they are imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def begin() -> None:
    """Set what libraries read from the environment, and let both streams take any text."""
    quiet()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    signs.register()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=signs.NAME)


def stage() -> str | None:
    """Name the stage that DVC runs in this process, such as `sample@1`; None if it runs none."""
    address = os.environ.get("DVC_STAGE")
    return None if address is None else address.rpartition(":")[2]


def say(line: str) -> None:
    """Print a line of any text on standard output."""
    click.echo(signs.fit(signs.visible(line), sys.stdout.encoding))


def refusal(message: str) -> click.ClickException:
    """Make of an error of the user's what click prints in one line, exit code 1."""
    line = signs.visible(signs.without_secrets(message))
    return click.ClickException(signs.fit(line, sys.stderr.encoding))
