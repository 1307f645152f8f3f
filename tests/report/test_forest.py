"""Differences of runs as a picture: where each mark stands, and what it says."""

import re

from mutual_taught.method.statistics import Interval
from mutual_taught.report import forest


def test_marks_stand_where_their_numbers_are() -> None:
    made = forest.draw(
        "d", "gold", {"wide": Interval(0.5, 0.0, 1.0, 9), "low": Interval(-1, -1, -1, 9)}
    )
    # From -1 at 200 to 1 at 580: 0 is at 390, 0.5 at 485.
    assert re.findall(r'<circle cx="([\d.]+)"', made) == ["485.0", "200.0"]
    assert 'd="M390.0,37.0H580.0"' in made  # the interval of wide, on the first line
    assert 'd="M390.0,16V' in made  # the line at 0
    assert 'aria-label="wide: +0.500 [0.000, 1.000], 9 prompts"' in made


def test_axis_has_zero_though_no_interval_does() -> None:
    made = forest.draw("d", "gold", {"wide": Interval(0.5, 0.4, 0.6, 9)})
    assert re.findall(r">([+-][\d.]+)</text>", made) == ["+0.00", "+0.60"]


def test_differences_that_are_all_zero_are_drawn() -> None:
    assert '<circle cx="200.0"' in forest.draw("d", "gold", {"same": Interval(0.0, 0.0, 0.0, 9)})


def test_long_name_is_cut_and_every_name_is_escaped() -> None:
    made = forest.draw("d", "a < b", {"<b>" + "x" * 30: Interval(0, 0, 0, 9)})
    assert "<b>" not in made
    assert f">&lt;b&gt;{'x' * 20}…</text>" in made
    assert f'aria-label="&lt;b&gt;{"x" * 30}:' in made
    assert '<title id="d-title">a &lt; b</title>' in made


def test_sign_of_a_name_that_acts_or_hides_is_shown_by_number() -> None:
    drawn = forest.draw("f", "a\u202eb", {"c\x01d": Interval(0.1, 0.0, 0.2, 3)})
    assert "\u202e" not in drawn
    assert "\x01" not in drawn
    assert r"c\x01d" in drawn
