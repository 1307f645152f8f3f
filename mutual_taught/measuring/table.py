"""What benchmarks found, as one table for the terminal."""

from collections.abc import Mapping, Sequence

from mutual_taught.measuring.evaluate import Result

NONE = "–"
VALUES = ("mean", "accuracy", "score", "rate")  # what an interval may be of
BOUNDS = ("ci_lo", "ci_hi")
ABOUT = ("n", "ties", "unscored")  # of an interval: they stand in its row
BY_LENGTH = "length_scorer"  # what a reward model that only likes length gets in its place
HEADER = ["benchmark", "metric", "value", "95 % interval", "by length", "n", "ties", "unscored"]


def rows(results: Sequence[Result]) -> list[list[str]]:
    """Lay out every number that has an interval, and of the others those without a dot.

    All of them are in each benchmark's metrics.json. With a model to compare with, its value
    stands beside, and the paired difference with its p. A column that nothing has is left out.
    """
    compared = any(result.other is not None for result in results)
    found = [[*HEADER, *["compared", "p"] * compared]]
    for result in results:
        listed = _listed(result.metrics)
        for name, value, prefix in listed:
            row = [result.name, name, _number(value), _interval(result.metrics, prefix)]
            row.append(_number(result.metrics.get(f"{prefix}{BY_LENGTH}")))
            row += [_count(result.metrics.get(f"{prefix}{key}")) for key in ABOUT]
            if compared:
                other = (result.other or {}).get(name)
                p = result.metrics.get(f"{prefix}p")
                row += [_number(other), NONE if p is None else f"{p:.2g}"]
            found.append(row)
        if not listed:
            found.append([result.name, "exported for its judge", *[NONE] * (len(found[0]) - 2)])
    return _without_empty(found)


def _without_empty(table: list[list[str]]) -> list[list[str]]:
    """Leave out the columns that hold nothing below their header."""
    full = [
        place for place, column in enumerate(zip(*table, strict=True)) if {*column[1:]} != {NONE}
    ]
    return [[row[place] for place in full] for row in table]


def _listed(metrics: Mapping[str, float | None]) -> list[tuple[str, float, str]]:
    """Give names, values and the prefix of each one's bounds, in the order of the metrics."""
    found = []
    for name, value in metrics.items():
        prefix, _, last = name.rpartition(".")
        prefix += "." * bool(prefix)
        if value is None or last in (*BOUNDS, *ABOUT, BY_LENGTH, "p"):
            continue
        if last in VALUES and f"{prefix}ci_lo" in metrics:
            found.append((name, value, prefix))
        elif not prefix:
            found.append((name, value, f"{name}."))
    return found


def _interval(metrics: Mapping[str, float | None], prefix: str) -> str:
    low, high = (metrics.get(f"{prefix}{bound}") for bound in BOUNDS)
    return NONE if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}"
