"""A clone with curves of two iterations, as both trainings log them."""

from pathlib import Path

from mutual_taught.report.pictures import training
from tests import project


def clone(folder: Path) -> Path:
    """Make a clone whose curves rise from 1 to 3 in three steps; give its folder."""
    repo = project.copy(folder, "tiny", fake=True)
    for key in ("1", "2"):
        for stage in ("dpo", "train_rm"):
            columns = ["step", *(column for owner, column in training.CURVES if owner == stage)]
            path = repo / "run" / key / "curves" / f"{stage}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [columns, *([str(step)] * len(columns) for step in (1, 2, 3))]
            path.write_text("".join(",".join(line) + "\n" for line in lines))
    return repo
