"""What a bar says of sampled answers."""

import pytest

from mutual_taught.generate import Draw
from mutual_taught.progress import Tally, bar


def said(capsys: pytest.CaptureFixture[str], reasons: list[str], fresh: bool = True) -> str:
    with bar("sample", 6, "answer", 0 if fresh else 3) as progress:
        tally = Tally(progress, 48)
        if fresh:
            tally.add([Draw([7] * 20, reason, -1.0) for reason in reasons])
        else:
            tally.earlier(reasons)
            tally.add([])
    tally.warn()
    return capsys.readouterr().err


def test_bar_shows_answers_tokens_a_second_and_the_share_that_was_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, ["stop", "stop", "length"])
    assert "3/6" in text
    assert " tokens/s, 33% cut" in text
    assert "max_new_tokens" not in text


def test_answers_of_an_earlier_run_count_once_and_in_no_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, ["stop", "stop", "stop"], fresh=False)
    assert "3/6" in text
    assert " 0 tokens/s, 0% cut" in text


def test_many_answers_that_were_cut_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, ["length", "length", "stop"]).endswith(
        "sample: 67% of 3 answers were cut at 48 tokens; raise max_new_tokens if they are to be "
        "whole\n"
    )
