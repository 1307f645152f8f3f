"""The public files of length control: joined by index, and refused where they cannot be right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import alpaca_gamed
from tests.evaluation.benchmarks import written


def difficulties(folder: Path, *rows: tuple[int, float]) -> Path:
    named = [{"index": at, "instruction_difficulty": value} for at, value in rows]
    return written.table(folder / "instruction_difficulty.csv", named)


def test_difficulty_is_found_by_index_whatever_the_order(tmp_path: Path) -> None:
    table = written.table(tmp_path / "df_gamed.csv", written.gamed(4)[::-1])
    found = alpaca_gamed.read([table], 4)
    assert found.difficulty.tolist() == [-0.5, -0.25, 0.0, 0.25]
    assert len(found.rows.preference) == 8


def test_the_second_file_has_to_agree_with_the_first(tmp_path: Path) -> None:
    table = written.table(tmp_path / "df_gamed.csv", written.gamed(4))
    same = difficulties(tmp_path, (1, -0.25), (0, -0.5), (3, 0.25), (2, 0.0))
    assert alpaca_gamed.read([same, table], 4).difficulty.tolist() == [-0.5, -0.25, 0.0, 0.25]
    difficulties(tmp_path, (0, -0.5), (1, 0.125), (2, 0.0), (3, 0.25))
    with pytest.raises(InputError, match=r"row 2: 0\.125, in df_gamed\.csv -0\.25; expected both"):
        alpaca_gamed.read([table, same], 4)
    difficulties(tmp_path, (0, -0.5), (1, -0.25), (2, 0.0), (0, -0.5))
    with pytest.raises(InputError, match="row 4: index is 0, again or too large; no row of index"):
        alpaca_gamed.read([table, same], 4)


@pytest.mark.parametrize(
    ("row", "change", "said"),
    [
        (1, {"index": 4}, "row 1: index is 4; expected 0 to 3"),
        (6, {"index": 0, "instruction_difficulty": -0.5}, "row 6: index 0 of verbose again"),
        (1, {"not_gamed_baseline": True}, "row 1: not_gamed_baseline is not False"),
        (1, {"instruction_difficulty": 3}, "row 5: difficulty is -0.5, of the same index 3"),
        (1, {"std_delta_len": "long"}, "row 1: std_delta_len is 'long'; expected a number"),
        (2, {"std_delta_len": ""}, "row 2: std_delta_len is ''; expected a number"),
        (2, {"preference": "inf"}, "row 2: preference is 'inf'; expected a number"),
    ],
)
def test_a_row_that_cannot_be_right_is_named(
    tmp_path: Path, row: int, change: dict[str, Any], said: str
) -> None:
    rows = written.gamed(4)  # four of concise, four of verbose
    rows[row - 1] |= change
    path = written.table(tmp_path / "df_gamed.csv", rows)
    with pytest.raises(InputError) as error:
        alpaca_gamed.read([path], 4)
    assert said in str(error.value)


def test_an_instruction_without_a_row_is_named(tmp_path: Path) -> None:
    path = written.table(tmp_path / "df_gamed.csv", written.gamed(2))
    with pytest.raises(InputError, match="no row of index 2; no row of index 3; expected every"):
        alpaca_gamed.read([path], 4)


def test_a_preference_may_be_missing_but_not_nearly_all(tmp_path: Path) -> None:
    rows = written.gamed(4)
    rows[0]["preference"] = ""
    path = written.table(tmp_path / "df_gamed.csv", rows)
    found = alpaca_gamed.read([path], 4).rows.preference
    assert np.isnan(found).tolist() == [True, *[False] * 7]
    for row in rows[:4]:
        row["preference"] = ""
    written.table(path, rows)
    with pytest.raises(InputError, match="4 rows with a preference; expected at least 5, one a"):
        alpaca_gamed.read([path], 4)


def test_other_tables_and_two_of_a_kind_are_refused(tmp_path: Path) -> None:
    table = written.table(tmp_path / "df_gamed.csv", written.gamed(4))
    other = written.table(tmp_path / "other.csv", [{"a": 1}])
    with pytest.raises(InputError, match=r"other.csv: lacks index, instruction_difficulty"):
        alpaca_gamed.read([other], 4)
    with pytest.raises(InputError, match="of the same kind as"):
        alpaca_gamed.read([table, table], 4)
    with pytest.raises(InputError, match=r"no df_gamed.csv; expected df_gamed.csv"):
        alpaca_gamed.read([difficulties(tmp_path, (0, 1.0))], 1)
    other.write_text("")
    with pytest.raises(InputError, match="has no row"):
        alpaca_gamed.read([other], 4)
