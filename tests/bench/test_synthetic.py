"""The run that the bench of the method makes is one that verify finds no fault with."""

from pathlib import Path

from bench import synthetic
from bench.method import PRESET
from mutual_taught.audit.verify import verify
from mutual_taught.config import params
from tests import project


def test_synthetic_run_follows_from_itself(here: Path) -> None:
    params.PARAMS.write_text(synthetic.preset(PRESET), encoding="utf-8")
    project.set_param(params.PARAMS, "data.splits.selection.prompts", 20)
    project.set_param(params.PARAMS, "data.splits.eval.prompts", 10)
    synthetic.make(Path("run"), params.validate(params.read(params.PARAMS)), 600)
    assert len(list(Path("run/1/checkpoints").glob("step-*"))) == 1  # 5 batches of 128 pairs
    assert [str(fault) for fault in verify(Path("run"))] == []
