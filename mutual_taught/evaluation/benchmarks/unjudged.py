"""What is known of responses that a judge has yet to compare: how long they are."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mutual_taught.evaluation.benchmarks.base import Metrics, Prompts, prompt_table


def lengths(responses: Sequence[str]) -> Metrics:
    """Give the number of responses and their mean length in characters."""
    counts = np.array([len(response) for response in responses])
    return {"n": float(len(responses)), "length_chars": float(counts.mean())}


def length_records(prompts: Prompts, responses: Sequence[str]) -> pa.Table:
    """Give the length of each response, in characters, as its value."""
    return prompt_table(prompts, [float(len(response)) for response in responses])
