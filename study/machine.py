"""Where a unit ran: the machine's kind, the versions, the commit of the code."""

import platform
import subprocess
from pathlib import Path

from mutual_taught.pipeline import work
from study.plan import ROOT

FLAGS = ("avx512_bf16", "amx_bf16", "avx512f", "avx2")
CPUINFO = Path("/proc/cpuinfo")


def kind() -> str:
    """Name what computes: the GPU, or the processor with those of its instructions that decide.

    Draws and sums are the same on machines of one kind only.
    """
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    text = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
    return processor(text) or platform.machine()


def processor(cpuinfo: str) -> str:
    """Name a processor by /proc/cpuinfo: its model, and the flags of `FLAGS` that it has."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    has = [flag for flag in FLAGS if flag in fields.get("flags", "").split()]
    return " ".join([fields.get("model name", ""), *has]).strip()


def commit() -> str:
    """Give the commit of the code, with `+` where files differ from it; "" without git."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git(
            "status", "--porcelain", "--", "mutual_taught", "stages", "study", "dvc.yaml"
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head[:12] + "+" * bool(changed)


def code() -> str:
    """Hash the sources of the stages and all they call, which is known without git, too."""
    return work.hash_sources([ROOT / "mutual_taught", ROOT / "stages"])[:12]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
