"""All pictures of a report."""

from collections.abc import Mapping

from mutual_taught.report.page import Picture
from mutual_taught.report.past import History
from mutual_taught.report.pictures import (
    agreement,
    candidates,
    lengths,
    margins,
    proxy,
    rewards,
    training,
)
from mutual_taught.report.pictures.rows import Rows, Seen

MODULES = (candidates, rewards, proxy, agreement, lengths, margins, training)


def pictures(history: History, seed: int, threshold: float | None) -> list[Picture]:
    """Draw every picture that has something to show, in the order in which they tell a run.

    Args:
        history: what a report remembers, iterations 0 to t.
        seed: the run's, of the intervals.
        threshold: tau; None where the last candidate is taken whatever its win rate.

    Returns:
        The pictures, the same bytes each time. Without gold `proxy` and `agreement` are missing;
        no axes are empty.
    """
    seen = [Seen(past, seed, threshold) for past in history]
    return draw(
        {module.NAME: [row for one in seen for row in module.rows(one)] for module in MODULES}
    )


def draw(found: Mapping[str, Rows]) -> list[Picture]:
    """Draw the pictures from the rows of all iterations, by the picture's name.

    However many prompts a run has, rows are a few hundred: counts, means, and points of lines.
    """
    drawn = (module.draw(found.get(module.NAME, [])) for module in MODULES)
    return [picture for picture in drawn if picture is not None]
