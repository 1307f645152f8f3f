"""What a bar says of sampled answers."""

import pytest

from mutual_taught.generate import Draw
from mutual_taught.progress import Tally, bar, say, titled


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


@pytest.mark.parametrize(
    ("stage", "name", "what", "title"),
    [("dvc.yaml:duel@1", "duel@1-step-000016", "answers", "duel@1 step-000016: answers"),
     ("duel@1", "duel@1-rewards", "rewards", "duel@1: rewards"),
     ("duel@1", "sample@1", "answers", "sample@1: answers"),
     ("rank_pairs@2", "", "reference log-probs", "rank_pairs@2: reference log-probs"),
     ("", "", "training", "training")],
)  # fmt: skip
def test_work_is_named_by_its_stage_and_part(
    monkeypatch: pytest.MonkeyPatch, stage: str, name: str, what: str, title: str
) -> None:
    monkeypatch.setenv("DVC_STAGE", stage)
    assert titled(what, name) == title


def test_only_the_first_process_of_a_stage_of_dvcs_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    say("loading a")
    monkeypatch.setenv("DVC_STAGE", "duel@1")
    say("loading b")
    monkeypatch.setenv("LOCAL_RANK", "1")
    say("loading c")
    assert capsys.readouterr().err == "duel@1: loading b\n"


def test_bar_stands_where_no_answer_has_ended_yet(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("sample", 6, "answer") as progress:
        Tally(progress, 48).add([])
    assert "0/6" in capsys.readouterr().err
