"""Means of an evaluation as named numbers: with intervals, and with a p where they are changes."""

from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mutual_taught.method.statistics import Floats, Interval, bootstrap, sign_flip_p

Metrics = dict[str, float | None]
Groups = NDArray[np.int64]


def where(data: pa.Table, **values: str) -> pa.Table:
    """Take the rows whose columns have these values."""
    wanted = [pc.equal(data[column], value) for column, value in values.items()]
    return data.filter(reduce(pc.and_, wanted))


def prompts(data: pa.Table) -> Groups:
    """Number each row's prompt: rows of one prompt are resampled together."""
    names = data["prompt_id"].to_numpy(zero_copy_only=False).astype(str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def mean(name: str, values: Floats, groups: Groups, seed: int) -> Metrics:
    """Give a mean with its interval, over the rows that have a number.

    Args:
        name: what the numbers are called by.
        values: NaN where there is none, shape (rows,).
        groups: the prompt of each row, shape (rows,).
        seed: of the bootstrap.

    Returns:
        `mean`, `ci_lo`, `ci_hi`; `n`, over how many rows the mean is; `prompts`, how many prompts
        these are, which is what the interval resamples. Only the counts are numbers without a row.
    """
    known = ~np.isnan(values)
    return spread(name, bootstrap(values[known], seed, groups[known]), int(known.sum()))


def spread(name: str, interval: Interval, rows: int) -> Metrics:
    """Name the numbers of an interval over so many rows: see `mean`."""
    means = {key: getattr(interval, key) for key in ("mean", "ci_lo", "ci_hi")}
    known: Metrics = {f"{name}.{key}": value if rows else None for key, value in means.items()}
    return {**known, f"{name}.n": float(rows), f"{name}.prompts": float(interval.n)}


def change(name: str, differences: Floats, groups: Groups, seed: int) -> Metrics:
    """Give a mean paired difference with its interval and its p: see `mean`.

    The test flips the signs of whole prompts, because the responses of one are no independent
    draws.
    """
    known = ~np.isnan(differences)
    values, place = differences[known], np.unique(groups[known], return_inverse=True)[1]
    each = np.bincount(place, values) / np.bincount(place) if values.size else values
    return {**mean(name, differences, groups, seed), f"{name}.p": sign_flip_p(each, seed)}
