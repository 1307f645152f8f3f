"""Prompts of a source: which rows are kept, what is said of the others, and the splits."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutual_taught.config.inputs import Columns, Data, Given, Split, Splits
from mutual_taught.errors import InputError
from mutual_taught.prepare.conversations import REASONS, Prompt
from mutual_taught.prepare.sources import (
    Dropped,
    Read,
    allowed,
    by_split,
    counts,
    read,
    require_watched,
    split_plan,
    summary,
    tables,
)

ALL = Split(share=0.25, prompts=None)


def data(
    path: str,
    splits: Splits | None = None,
    share: float = 1.0,
    refuse: bool = False,
    given: Given | None = None,
) -> Data:
    return Data(
        source="file",
        path=path,
        revision=None,
        subset=None,
        columns=Columns(messages=None, prompt="prompt", chosen=None, rejected=None),
        on_bad_row="refuse" if refuse else "drop",
        max_dropped_share=share,
        given=given,
        policy_parts=1,
        splits=splits or Splits(policy=ALL, reward=ALL, selection=ALL, eval=ALL),
    )


def save(rows: Sequence[Mapping[str, Any]], name: str = "p.jsonl") -> str:
    path = Path("data") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def fits(prompt: Prompt) -> str:
    """Stand in for two models that read whatever is short."""
    return "too_long" if len(prompt.messages[0]["content"]) > 40 else ""


def found(path: str) -> Read:
    return read(data(path), 1, fits)


def refusal(asked: Data) -> str:
    with pytest.raises(InputError) as caught:
        read(asked, 1, fits)
    return str(caught.value)


def test_rows_are_kept_by_their_numbers_and_dropped_with_reason_and_excerpt(here: Path) -> None:
    path = save(
        [{"prompt": "a"}, {"prompt": " "}, {"prompt": 3}, {"prompt": "b" * 41}, {"prompt": "c"}]
    )
    kept, dropped = found(path)
    assert {number: prompt.messages[0]["content"] for number, prompt in kept.items()} == {
        1: "a",
        5: "c",
    }
    assert dropped == [
        Dropped(2, "blank", ""),
        Dropped(3, "not_text", "3"),
        Dropped(4, "too_long", "b" * 41),
    ]


def test_of_equal_prompts_the_first_that_is_fit_is_kept(here: Path) -> None:
    path = save(
        [
            {"prompt": "a", "instruction_ids": ["nothing:such"]},
            {"prompt": " a"},
            {"prompt": "b"},
            {"prompt": "a "},
            {"prompt": "a"},
        ]
    )
    kept, dropped = found(path)
    assert list(kept) == [2, 3]
    assert [(row.row, row.reason) for row in dropped] == [
        (1, "bad_instructions"),
        (4, "duplicate"),
        (5, "duplicate"),
    ]


ROWS = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", " a", "c", "d", "e"]).map(lambda text: {"prompt": text}),
        st.sampled_from(
            [
                {"prompt": " "},
                {"prompt": 3},
                {"prompt": "b" * 41},
                {"prompt": "\ud83d"},
                {},
                {"prompt": "b", "instruction_ids": ["nothing:such"]},
                {"prompt": "\x1b"},
            ]
        ),
    ),
    min_size=1,
    max_size=12,
)


@given(rows=ROWS)
def test_kept_prompts_are_those_of_the_file_without_its_bad_rows(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        rows = [{"prompt": "always"}, *rows]
        kept, dropped = found(save(rows))
        bad = {row.row for row in dropped}
        mended = [row for number, row in enumerate(rows, 1) if number not in bad]
        again = read(data(save(mended), refuse=True), 1, fits)
        assert list(again.kept.values()) == list(kept.values())
        assert sorted([*kept, *bad]) == list(range(1, len(rows) + 1))


MIXED: list[dict[str, Any]] = [
    {"prompt": "a"},
    {"prompt": ""},
    {"prompt": "b"},
    {"prompt": "a"},
    {"prompt": "c"},
    {"prompt": "b "},
    {"prompt": "d"},
    {"prompt": "e"},
    {"prompt": "f"},
    {"prompt": "g"},
]
MIXED_SAID = (
    "data/p.jsonl: 3 of 10 rows cannot be used: 2 duplicate (the same as an earlier prompt, "
    "white space apart: rows 4, 6), 1 blank (nothing visible in a turn: row 2); "
)


def test_more_dropped_rows_than_allowed_are_one_line_with_all_reasons_and_rows(here: Path) -> None:
    path = save(MIXED)
    assert len(read(data(path, share=0.3), 1, fits).dropped) == 3  # 3 of 10 are not more than 0.3
    assert refusal(data(path, share=0.29)) == MIXED_SAID + (
        "expected at most 0.29 of them (data.max_dropped_share); mend or remove them, "
        "or change that"
    )


@pytest.mark.parametrize(("bad", "share"), [(29, 0.29), (58, 0.58), (7, 0.07), (100, 1.0)])
def test_exactly_the_share_may_be_bad_whatever_its_product_is_rounded_to(
    bad: int, share: float
) -> None:
    asked = data("data/p.jsonl", share=share)
    assert allowed(bad, 100, asked)
    assert not allowed(bad + 1, 100, asked)
    assert allowed(0, 100, data("data/p.jsonl", refuse=True))
    assert not allowed(1, 100, data("data/p.jsonl", refuse=True))


def test_any_bad_row_is_refused_if_so_wished(here: Path) -> None:
    assert refusal(data(save(MIXED), refuse=True)) == MIXED_SAID + (
        "expected none (data.on_bad_row is 'refuse'); mend or remove them, or change that"
    )
    assert len(read(data(save([{"prompt": "a"}]), refuse=True), 1, fits).kept) == 1


def test_only_the_first_rows_and_the_commonest_reasons_are_listed(here: Path) -> None:
    once: list[dict[str, Any]] = [
        {},
        {"prompt": 3},
        {"prompt": "\ud83d"},
        {"prompt": "\x1b"},
        {"prompt": "x" * 41},
        {"prompt": "y", "instruction_ids": 3},
        {"prompt": "y", "instruction_ids": ["language:response_language"]},
    ]
    path = save([{"prompt": "a"}, *once, *[{"prompt": ""}] * 7, *[{"prompt": "a"}] * 2])
    with Path(path).open("a") as file:
        file.write("[]\nno json\n")
    with Path(path).open("ab") as binary:
        binary.write(b"\xff\n")
    said = refusal(data(path, share=0.0))
    assert ": 7 blank (nothing visible in a turn: rows 9, 10, 11, 12, 13 and 2 more), 2 dup" in said
    # 12 reasons: blank and duplicate, then eight that occur once by name, two are left
    assert said.count(": row ") == 8
    assert ", 2 more reasons; expected at most 0 of them" in said


def test_source_whose_rows_are_all_bad_is_refused_whatever_the_share(here: Path) -> None:
    assert refusal(data(save([{"prompt": ""}]), share=1.0)) == (
        "data/p.jsonl: 1 of 1 rows cannot be used: 1 blank (nothing visible in a turn: row 1); "
        "expected at least one that can; mend or remove them, or change that"
    )


def test_source_without_rows_is_one_line(here: Path) -> None:
    assert refusal(data(save([]))) == (
        "data/p.jsonl: holds no prompt; expected at least one for every split"
    )


def test_bad_lines_are_rows_like_others(here: Path) -> None:
    path = save([{"prompt": "a"}])
    with Path(path).open("a") as file:
        file.write('{"prompt": \n')
    assert found(path).dropped == [Dropped(2, "not_json", '{"prompt":')]


def test_too_few_prompts_for_a_split_are_one_line(here: Path) -> None:
    few = Split(share=0.001, prompts=1)
    splits = Splits(policy=Split(share=0.997, prompts=50), reward=few, selection=few, eval=few)
    path = save([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}])
    with pytest.raises(InputError) as caught:
        tables(data(path, splits), 1, fits)
    assert str(caught.value) == (
        "split 'policy_1': 3 prompts in its share 0.997 of 3; expected at least 50; give more "
        "prompts, a larger data.splits share or fewer prompts of it"
    )


def test_tables_have_every_prompt_with_its_row_and_split_and_every_dropped_row(here: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"prompt {number}"} for number in range(80)]
    rows[20] = {"prompt": None}
    prompts, dropped, count = tables(data(save(rows)), 1, fits)
    assert count == 80
    assert sorted(prompts["row"].to_pylist()) == [n for n in range(1, 81) if n != 21]
    assert set(prompts["split"].to_pylist()) == {"policy_1", "reward", "selection", "eval"}
    assert dropped.to_pylist() == [
        {"file": "data/p.jsonl", "row": 21, "reason": "not_text", "excerpt": "None"}
    ]
    metrics = counts(prompts["split"], dropped["reason"], count)
    assert (metrics["rows"], metrics["dropped"], metrics["dropped_not_text"]) == (80, 1, 1)
    assert sum(value for name, value in metrics.items() if name.startswith("prompts_")) == 79
    assert summary(metrics) == ["prepare_prompts: 1 of 80 rows dropped (not_text 1)"]


def test_nothing_is_said_where_nothing_was_dropped(here: Path) -> None:
    prompts, dropped, count = tables(data(save([{"prompt": f"{n}"} for n in range(80)])), 1, fits)
    assert summary(counts(prompts["split"], dropped["reason"], count)) == []


def test_parts_of_the_policy_split_share_its_share() -> None:
    tenth = Split(share=0.1, prompts=2)
    splits = Splits(policy=Split(share=0.5, prompts=9), reward=ALL, selection=tenth, eval=tenth)
    plan = data("data/p.jsonl", splits)
    shares, sizes = split_plan(plan.model_copy(update={"policy_parts": 2}))
    # half of all prompts in two parts, each of 9
    assert shares == {
        "policy_1": 0.25,
        "policy_2": 0.25,
        "reward": 0.25,
        "selection": 0.1,
        "eval": 0.1,
    }
    assert sizes == {"policy_1": 9, "policy_2": 9, "reward": None, "selection": 2, "eval": 2}


def test_linked_folders_are_one_line_and_linked_files_are_not(here: Path) -> None:
    (here / "elsewhere" / "deep").mkdir(parents=True)
    (here / "elsewhere" / "p.jsonl").write_text("")
    (here / "data" / "real").mkdir(parents=True)
    (here / "data" / "p.jsonl").symlink_to(here / "elsewhere" / "p.jsonl")
    require_watched(Path("data"))
    (here / "data" / "real" / "mine").symlink_to(here / "elsewhere")
    with pytest.raises(InputError, match=r"^data/real/mine is a linked folder, and DVC does not"):
        require_watched(Path("data"))


def test_data_that_is_itself_a_link_is_one_line(here: Path) -> None:
    (here / "elsewhere").mkdir()
    Path("data").symlink_to("elsewhere")
    with pytest.raises(InputError, match=r"^data is a linked folder, and DVC does not see"):
        require_watched(Path("data"))


def test_reasons_are_words_in_snake_case() -> None:
    assert all(reason.replace("_", "").isalnum() and reason.islower() for reason in REASONS)


PAIRED = Columns(messages=None, prompt="prompt", chosen="chosen", rejected="rejected")


def preferences(part: str, count: int) -> list[dict[str, object]]:
    return [
        {"prompt": f"{part} {n}", "chosen": "Yes.", "rejected": "No.", "part": part}
        for n in range(count)
    ]


@pytest.mark.usefixtures("here")
def test_given_preferences_are_the_policy_split_and_leave_the_others_as_they_are() -> None:
    path = save([{"prompt": f"{n}"} for n in range(80)])
    pairs = save([*preferences("train", 30), *preferences("heldout", 30)], "pairs.jsonl")
    plain, _, _ = tables(data(path), 1, fits)
    given = Given(path=pairs, part="train", columns=PAIRED)
    prompts, dropped, count = tables(data(path, given=given), 1, fits)
    assert (count, len(dropped)) == (80 + 30, 0)
    own = by_split(prompts)
    for name in ("reward", "selection", "eval"):
        assert own[name].equals(by_split(plain)[name])
    policy = own["policy"].to_pylist()
    assert {row["messages"][0]["content"] for row in policy} == {f"train {n}" for n in range(30)}
    assert {(row["chosen"], row["rejected"]) for row in policy} == {("Yes.", "No.")}


@pytest.mark.usefixtures("here")
def test_given_preferences_of_no_such_part_are_one_line() -> None:
    path, pairs = save([{"prompt": "a"}]), save(preferences("train", 3), "pairs.jsonl")
    given = Given(path=pairs, part="test", columns=PAIRED)
    with pytest.raises(InputError, match=r"pairs\.jsonl: holds no row of part 'test'"):
        tables(data(path, given=given), 1, fits)


@pytest.mark.usefixtures("here")
def test_rows_of_given_preferences_that_are_dropped_name_their_file() -> None:
    path = save([{"prompt": f"{n}"} for n in range(80)])
    pairs = save(
        [{**preferences("train", 1)[0], "chosen": " "}, *preferences("train", 30)], "b.jsonl"
    )
    given = Given(path=pairs, part=None, columns=PAIRED)
    _, dropped, _ = tables(data(path, given=given), 1, fits)
    assert [(row["file"], row["row"], row["reason"]) for row in dropped.to_pylist()] == [
        (pairs, 1, "no_answer")
    ]
