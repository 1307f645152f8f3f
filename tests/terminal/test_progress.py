"""What bars say: which stage, what of it, how far; and when they say it."""

import os
import pty
import re
import sys
import termios

import pytest

from mutual_taught.sampling.keyed import Draw, moved
from mutual_taught.terminal.progress import Moved, Tally, bar, each, line, title


def said(capsys: pytest.CaptureFixture[str], reasons: list[str], fresh: bool = True) -> str:
    with bar("answers", 6, "answer", 0 if fresh else 3) as progress:
        tally = Tally(progress, 48)
        if fresh:
            tally.add(moved([Draw([7] * 20, reason, -1.0) for reason in reasons]))
        else:
            tally.earlier(reasons)
            tally.add(moved([]))
    tally.warn()
    return capsys.readouterr().err


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)


def test_bar_shows_responses_tokens_a_second_and_the_share_that_was_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, ["stop", "stop", "length"])
    assert "3/6" in text
    assert re.search(r", 60 tokens, [\d,]+/s, 33% cut", text)
    assert "max_new_tokens" not in text


def test_responses_of_an_earlier_run_count_once_and_in_no_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, ["stop", "stop", "stop"], fresh=False)
    assert "3/6" in text
    assert " 0 tokens, 0/s, 0% cut" in text


def test_many_responses_that_were_cut_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, ["length", "length", "stop"]).endswith(
        "answers: 67% of 3 were cut at 48 tokens; raise max_new_tokens if they are to be whole\n"
    )


def test_no_share_of_cut_responses_is_said_before_one_has_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bar("answers", 6, "answer") as progress:
        Tally(progress, 48).add(Moved(6, 0, 0))
    last = capsys.readouterr().err
    assert " 6 tokens, " in last
    assert "cut" not in last


def test_bar_is_named_by_the_part_of_the_stage_that_its_work_folder_is_of() -> None:
    assert title("sample@1", "answers") == "answers"
    assert title("duel@1-step-000016", "answers") == "step-000016"
    assert title("eval@2-rewards-r0", "rewards") == "rewards-r0"


@pytest.mark.parametrize("stage", ["duel@1", "/somewhere/dvc.yaml:duel@1"])
def test_name_of_the_stage_stands_before_every_bar_and_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    monkeypatch.setenv("DVC_STAGE", stage)
    with bar("answers", 2, "answer"):
        line("starting vllm")
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("duel@1: answers:   0%|")
    assert second == "duel@1: starting vllm"
    assert third.startswith("duel@1: answers:   0%|")


def test_of_several_processes_only_the_first_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        line(f"process {rank}")
        with bar(f"bar {rank}", 2, "answer") as progress:
            progress.update()
    said = capsys.readouterr().err
    assert "process 0" in said
    assert "bar 0" in said
    assert "bar 1" not in said
    assert "process 1" not in said


def test_signs_that_cannot_be_seen_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    line("loading run/\x1b[31m")
    assert "\x1b" not in capsys.readouterr().err


def test_where_nobody_watches_bars_are_lines_at_the_start_and_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bar("rewards", 100, "answer") as progress:
        for _ in range(100):
            progress.update()
    text = capsys.readouterr().err
    assert "\r" not in text
    assert [re.split(r": +|%", one)[1] for one in text.splitlines()] == ["0", "100"]


def test_where_nobody_watches_there_is_a_line_every_half_minute_though_nothing_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bar("answers", 4, "answer") as progress:
        progress.last_print_t -= 29
        progress.update(0)
        progress.last_print_t -= 2
        progress.update(0)
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_what_takes_a_moment_shows_no_bar_and_loses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(each("loading run/0/policy", {"a": 1, "b": 2}.items(), "tensor")) == [
        ("a", 1),
        ("b", 2),
    ]
    assert capsys.readouterr().err == ""


def test_rate_is_that_of_all_responses_however_often_nothing_new_was_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # 2 responses in 100 seconds, the second just after a refresh: a response in 50 seconds
    with bar("answers", 4, "answer") as progress:
        progress.start_t -= 100
        progress.last_print_t -= 99
        progress.update()
        progress.last_print_t -= 31
        progress.update()
        shown = str(progress)
    assert re.search(r", 50\.\d+s/ answer", shown)


# a terminal that does not know how large it is gets a bar of 80 columns
@pytest.mark.parametrize(("size", "columns"), [((24, 110), 110), ((0, 0), 80), ((0, 110), 80)])
def test_watched_bar_replaces_its_line_and_moves_while_no_response_ends(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], columns: int
) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, size)
    shown = b""
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with bar("answers", 4, "answer") as progress:
            tally = Tally(progress, 48)
            for _ in range(2):
                progress.last_print_t -= 1
                tally.add(Moved(4, 0, 0))
        while not shown.endswith(b"\n"):
            shown += os.read(ours, 1 << 16)
    os.close(ours)
    first, second, third, _ = shown.decode().strip().split("\r")
    assert len(first) == columns - 1
    assert "tokens" not in first
    assert " 0/4 [" in second
    assert " 4 tokens, " in second
    assert " 0/4 [" in third
    assert " 8 tokens, " in third
