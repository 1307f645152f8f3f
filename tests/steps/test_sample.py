"""Which prompts an iteration samples on."""

import pyarrow as pa
import pytest

from mutual_taught.steps.sample import policy_prompts

# D_E^1 has the prompts a and c, D_E^2 has b: N = 2
POLICY = pa.table({"prompt_id": ["a", "b", "c"], "split": ["policy_1", "policy_2", "policy_1"]})


@pytest.mark.parametrize(("t", "prompts"), [(1, ["a", "c"]), (2, ["b"]), (3, ["a", "c"])])
def test_iteration_samples_on_its_part_and_the_parts_come_round_again(
    t: int, prompts: list[str]
) -> None:
    assert policy_prompts(POLICY, t)["prompt_id"].to_pylist() == prompts
