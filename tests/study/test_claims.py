"""Claims against results made by hand."""

from pathlib import Path

import pyarrow as pa
import pytest

from mutual_taught.errors import InputError
from study import claims, results
from study import plan as planning
from study.outcomes import Numbers
from study.plan import Unit
from study.results import ResultRow

ARMS = """
testbeds: {laptop: {preset: tiny}}
arms: {mutual: {is: both learn}, fixed: {is: r_0 stays}}
order:
  - {name: core, arms: [mutual, fixed], seeds: [1, 2, 3], formats: [float32]}
claims:
  - {of: H, is: it, ARM, measure: MEASURE, within: [LOW, HIGH]}
"""


def unit(arm: str, seed: int, value: float, number_format: str = "float32") -> Numbers:
    """A unit of two iterations: gold, r_t's agreement and length are `value`; iteration 2 stops."""
    found = []
    for t, active in ((0, 1.0), (1, 1.0), (2, 0.0)):
        found.append(ResultRow(t, "eval.active", "", "", active, 1))
        found.append(ResultRow(t, "gold", "", "a", value if t else 0.1, 4))
        found.append(ResultRow(t, "length", "", "a", value if t else 1.0, 4))
        found.append(ResultRow(t, "own_samples.rt", "", "a", value, 2))
        found.append(ResultRow(t, "own_samples.r0", "", "a", 0.5, 2))
        found.append(ResultRow(t, "gold_pairs.rt", "", "b", value, 2))
        found.append(ResultRow(t, "gold_pairs.r0", "", "b", 0.6, 2))
    # The label is right, the sign of the margin wrong.
    for name, number in {"gold": 1.0, "gold_previous": 0.0, "margin": -1.0, "kept": 1.0}.items():
        found.append(ResultRow(1, f"dm.{name}", "", "a", number, 1))
    rows = pa.Table.from_pylist([row._asdict() for row in found], results.SCHEMA)
    return Numbers(results.Result(Unit(arm, seed, number_format)._asdict(), rows))


def judged(
    tmp_path: Path, measure: str, low: str, high: str, *done: Numbers, arm: str = "arm: mutual"
) -> claims.Found:
    text = ARMS.replace("ARM", arm).replace("MEASURE", measure)
    (tmp_path / "arms.yaml").write_text(text.replace("LOW", low).replace("HIGH", high))
    [found] = claims.judge(planning.load(tmp_path / "arms.yaml"), done)
    return found


THREE = [unit("mutual", seed, value) for seed, value in ((1, 0.7), (2, 0.8), (3, 0.9))]
# mean 0.8, standard error 0.1 / sqrt(3), times 4.303: 0.552 to 1.048


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [("0.5", "1.1", "holds"), ("0.6", ".inf", "is not shown"), ("-.inf", "0.5", "is wrong")],
)
def test_a_claim_holds_where_its_whole_interval_lies_in_the_range(
    tmp_path: Path, low: str, high: str, state: str
) -> None:
    found = judged(tmp_path, "gold", low, high, *THREE)
    assert found.state == state
    assert (found.estimate.seeds, found.wanted) == (3, 3)
    assert found.estimate.mean == pytest.approx(0.8)
    assert found.estimate.low == pytest.approx(0.8 - 4.30265 * 0.1 / 3**0.5, abs=1e-5)


def test_a_claim_waits_for_all_its_seeds_and_other_formats_and_seeds_do_not_count(
    tmp_path: Path,
) -> None:
    others = [unit("mutual", 3, 0.5, "bfloat16"), unit("mutual", 101, 0.5)]
    found = judged(tmp_path, "gold", "0", "1", *THREE[:2], *others)
    assert (found.state, found.estimate.seeds) == ("waits", 2)


def test_an_arm_is_compared_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    other = [unit("fixed", seed, value) for seed, value in ((2, 0.7), (3, 0.8), (4, 0.0))]
    found = judged(tmp_path, "gold", "0", "1", *THREE, *other, arm="arm: mutual, minus: fixed")
    assert found.estimate.each == pytest.approx((0.1, 0.1))


def test_a_claim_of_a_block_has_the_seeds_of_that_block_alone(tmp_path: Path) -> None:
    text = ARMS.replace("ARM", "arm: mutual, block: more").replace("MEASURE", "gold")
    more = "  - {name: more, arms: [mutual], seeds: [3, 4], formats: [float32]}\nclaims:"
    text = text.replace("LOW", "0").replace("HIGH", "1").replace("claims:", more)
    (tmp_path / "arms.yaml").write_text(text)
    [found] = claims.judge(planning.load(tmp_path / "arms.yaml"), THREE)
    assert found.estimate.each == pytest.approx((0.9,))
    assert found.wanted == 2
    for wrong, said in (
        ("block: les", "names block 'les'"),
        ("minus: fixed, block: more", "names arm 'fixed'"),
    ):
        (tmp_path / "arms.yaml").write_text(text.replace("block: more", wrong))
        with pytest.raises(InputError, match=said):
            planning.load(tmp_path / "arms.yaml")


@pytest.mark.parametrize(
    ("measure", "each"),
    [
        ("rise", (0.6, 0.7, 0.8)),
        ("gain", (0.2, 0.3, 0.4)),
        ("held-out", (0.1, 0.2, 0.3)),
        ("label", (1.0, 1.0, 1.0)),
        ("length", (0.7, 0.8, 0.9)),
        ("active", (1.0, 1.0, 1.0)),
    ],
)
def test_what_is_measured(tmp_path: Path, measure: str, each: tuple[float, ...]) -> None:
    assert judged(tmp_path, measure, "0", "1", *THREE).estimate.each == pytest.approx(each)


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.9), (0.1, 0.05, 0.3)])
def test_a_number_that_cannot_be_negative_needs_no_lower_end(
    tmp_path: Path, values: tuple[float, ...]
) -> None:
    done = [unit("mutual", seed, value) for seed, value in enumerate(values, 1)]
    found = judged(tmp_path, "length", "-.inf", "2", *done)
    assert found.estimate.low < 0
    assert found.state == "holds"


def test_the_ranges_of_the_study_leave_open_what_an_interval_may_pass() -> None:
    for claim in planning.load().claims:
        if claim.measure in ("active", "length"):
            assert claim.within[0] == -float("inf")


@pytest.mark.parametrize("low", ["1.0", "1.5", ".nan"])
def test_a_range_must_ascend(tmp_path: Path, low: str) -> None:
    with pytest.raises(InputError, match=r"claims\.0\.within: .*a lower and a higher end"):
        judged(tmp_path, "gold", low, "1.0")


def test_a_claim_of_an_arm_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a claim of H names arm 'mutal'; .*did you mean 'mutual'"
    ):
        judged(tmp_path, "gold", "0", "1", arm="arm: mutal")
