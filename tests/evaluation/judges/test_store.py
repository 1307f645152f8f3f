"""Verdicts on disk: a killed run's last line, and lines that are none."""

import json
from pathlib import Path

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.judges.reply import Reply
from mutual_taught.evaluation.judges.store import opened

REPLY = Reply("m\u2028[[A>>B]]", {"m": -0.5}, 10, 1)


def test_what_was_stored_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    with opened(path) as store:
        store.add("one", REPLY)
        store.add("two", Reply("", None, 0, 0))
    with opened(path) as store:
        assert store.replies == {"one": REPLY, "two": Reply("", None, 0, 0)}


def test_half_a_last_line_is_cut_off_and_the_next_stands_on_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "verdicts.jsonl"
    with opened(path) as store:
        store.add("one", REPLY)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-9])
    with opened(path) as store:
        assert list(store.replies) == ["one"]
        store.add("two", REPLY)
    assert "a half-written last line is cut off" in capsys.readouterr().err
    with opened(path) as store:
        assert list(store.replies) == ["one", "two"]


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[]",
        "no json",
        '{"key": 1, "text": "m", "logprobs": null, "prompt_tokens": 0, "completion_tokens": 0}',
        '{"key": "k", "text": "m", "logprobs": {"m": 1}, "prompt_tokens": 0, '
        '"completion_tokens": 0}',
        "\x1b[31m" + "[" * 9999,
    ],
)
def test_a_whole_line_that_is_no_verdict_is_refused_by_its_number(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "verdicts.jsonl"
    with opened(path) as store:
        store.add("one", REPLY)
    with path.open("a") as file:
        file.write(f"{line}\n")
    with (
        pytest.raises(InputError, match=r"verdicts\.jsonl: line 2 is .*; expected a verdict") as no,
        opened(path),
    ):
        pass
    assert str(no.value).isprintable()


def test_a_line_is_in_the_file_as_soon_as_it_is_added(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    with opened(path) as store:
        store.add("one", REPLY)
        assert json.loads(path.read_text())["key"] == "one"
