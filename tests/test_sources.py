"""Prompts from a file: what is read, and every fault as one whole line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mutual_taught.blocks import Columns, Data, Split, Splits
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.sources import read_prompts, split_plan, table

ALL = Split(share=0.25, prompts=None)
USER = {"role": "user", "content": "Hi"}
ANSWERED = {"role": "assistant", "content": "Yes?"}


def data(path: str, splits: Splits | None = None, messages: bool = False) -> Data:
    return Data(
        source="file",
        path=path,
        revision=None,
        subset=None,
        columns=Columns(
            messages="messages" if messages else None,
            prompt=None if messages else "prompt",
            chosen=None,
            rejected=None,
        ),
        policy_parts=1,
        splits=splits or Splits(policy=ALL, reward=ALL, selection=ALL, eval=ALL),
    )


def save(rows: Sequence[Mapping[str, object]], name: str = "p.jsonl") -> str:
    path = Path("data") / name
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return str(path)


def asked(path: str, messages: bool = False) -> list[object]:
    return [
        [turn["content"] for turn in prompt.messages]
        for prompt in read_prompts(data(path, messages=messages), 1)
    ]


def refusal(path: str, messages: bool = False) -> str:
    with pytest.raises((InputError, MissingFileError)) as caught:
        read_prompts(data(path, messages=messages), 1)
    return str(caught.value)


def test_text_becomes_a_user_turn(here: Path) -> None:
    first = read_prompts(data(save([{"prompt": "Why?", "other": 1}])), 1)[0]
    assert first.messages == [{"role": "user", "content": "Why?"}]
    assert (first.source, first.instruction_ids, first.instruction_kwargs) == ("p.jsonl", [], [])


def test_conversation_is_kept_as_it_is(here: Path) -> None:
    turns = [{"role": "system", "content": ""}, USER, ANSWERED, {"role": "user", "content": "  a "}]
    path = save([{"messages": turns}])
    assert read_prompts(data(path, messages=True), 1)[0].messages == turns


def test_line_separator_inside_a_text_does_not_end_the_line(here: Path) -> None:
    path = save([{"prompt": "one\u2028two\u0085three"}, {"prompt": "four"}])
    assert asked(path) == [["one\u2028two\u0085three"], ["four"]]


def test_blank_lines_and_windows_line_ends_do_no_harm(here: Path) -> None:
    save([])
    Path("data/p.jsonl").write_bytes(b'{"prompt": "a"}\r\n\r\n{"prompt": "b"}')
    assert asked("data/p.jsonl") == [["a"], ["b"]]


def test_csv_is_read_with_quoted_line_ends(here: Path) -> None:
    save([])
    Path("data/p.csv").write_text('id,prompt\n1,"a, ""b""\nc"\n2,d\n')
    assert asked("data/p.csv") == [['a, "b"\nc'], ["d"]]


def test_csv_with_the_mark_a_spreadsheet_puts_first_is_read(here: Path) -> None:
    save([])
    Path("data/p.csv").write_bytes("prompt\ncafé\n".encode("utf-8-sig"))
    assert asked("data/p.csv") == [["café"]]


def test_conversations_in_csv_are_json(here: Path) -> None:
    save([])
    Path("data/p.csv").write_text(
        'messages\n"[{""role"": ""user"", ""content"": ""Hi""}]"\n', encoding="utf-8"
    )
    assert asked("data/p.csv", messages=True) == [["Hi"]]


def test_parquet_is_read(here: Path) -> None:
    save([])
    pq.write_table(pa.table({"messages": [[USER], [USER, ANSWERED, USER]]}), "data/p.parquet")
    assert asked("data/p.parquet", messages=True) == [["Hi"], ["Hi", "Yes?", "Hi"]]


def test_the_same_prompts_have_the_same_ids_in_every_format(here: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b"}]
    paths = [save(rows), "data/p.csv", "data/p.parquet"]
    Path("data/p.csv").write_text("prompt\na\nb\n")
    pq.write_table(pa.Table.from_pylist(rows), "data/p.parquet")
    ids = [[prompt.prompt_id for prompt in read_prompts(data(path), 1)] for path in paths]
    assert ids[0] == ids[1] == ids[2]


def test_missing_file_is_one_line(here: Path) -> None:
    assert refusal("data/p.jsonl") == (
        "data/p.jsonl does not exist; expected the prompts; see data.path"
    )


@pytest.mark.parametrize("path", ["p.jsonl", "/tmp/p.jsonl", "other/p.jsonl", "data/../p.jsonl"])
def test_path_outside_the_folder_that_dvc_watches_is_one_line(here: Path, path: str) -> None:
    assert refusal(path) == (
        f"params.yaml: data.path is {path!r}; expected a file under data/, "
        "the folder DVC watches; put or link it there"
    )


def test_unknown_format_is_one_line(here: Path) -> None:
    assert refusal("data/p.txt") == (
        "data/p.txt: ends in '.txt'; expected .parquet, .jsonl or .csv"
    )


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_empty_file_is_one_line(here: Path, name: str) -> None:
    assert refusal(save([], name)) == (
        f"data/{name}: holds no prompt; expected at least one for every split"
    )


def test_wrong_columns_are_one_line(here: Path) -> None:
    assert refusal(save([{"text": "a", "id": 1}])) == (
        "data/p.jsonl row 1: lacks column 'prompt'; it has text, id; set data.columns"
    )


def test_prompt_twice_is_one_line(here: Path) -> None:
    assert refusal(save([{"prompt": "a"}, {"prompt": "b"}, {"prompt": " a "}])) == (
        "data/p.jsonl row 3: the same prompt as data/p.jsonl row 1; "
        "expected distinct prompts; remove one"
    )


@pytest.mark.parametrize("token", ["<|im_end|>", "</s>", "[INST]", "<end_of_turn>", "<|eot_id|>"])
def test_control_token_in_a_prompt_is_one_line(here: Path, token: str) -> None:
    assert refusal(save([{"prompt": "a"}, {"prompt": f"Say {token} now"}])) == (
        f"data/p.jsonl row 2: holds the control token {token!r}; expected plain text; remove it"
    )


def test_conversation_that_ends_in_an_answer_is_one_line(here: Path) -> None:
    assert refusal(save([{"messages": [USER, ANSWERED]}]), messages=True) == (
        "data/p.jsonl row 1: the conversation ends in an assistant turn; "
        "expected a user turn; cut it"
    )


def test_conversation_of_a_system_turn_is_one_line(here: Path) -> None:
    rows = [{"messages": [{"role": "system", "content": "Be brief."}]}]
    assert refusal(save(rows), messages=True) == (
        "data/p.jsonl row 1: the conversation ends in 'system'; expected a user turn"
    )


def test_conversation_without_turns_is_one_line(here: Path) -> None:
    assert refusal(save([{"messages": []}]), messages=True) == (
        "data/p.jsonl row 1: the conversation ends in 'nothing'; expected a user turn"
    )


@pytest.mark.parametrize(
    ("turn", "shown"),
    [
        ({"role": "tool", "content": "x"}, "{'role': 'tool', 'content': 'x'}"),
        ({"role": "user", "content": None}, "{'role': 'user', 'content': None}"),
        ({"from": "human", "value": "x"}, "{'role': None, 'content': None}"),
    ],
)
def test_turn_of_another_kind_is_one_line(here: Path, turn: dict[str, object], shown: str) -> None:
    assert refusal(save([{"messages": [turn]}]), messages=True) == (
        f"data/p.jsonl row 1: a turn is {shown}; expected a role of system, user, assistant "
        "and text as content"
    )


@pytest.mark.parametrize("blank", ["", " \n"])
def test_blank_prompt_is_one_line(here: Path, blank: str) -> None:
    assert refusal(save([{"prompt": blank}])) == (
        "data/p.jsonl row 1: a turn is blank; expected text; remove the row"
    )


@pytest.mark.parametrize("value", [None, 3, ["a"]])
def test_prompt_that_is_no_text_is_one_line(here: Path, value: object) -> None:
    assert refusal(save([{"prompt": value}])) == (
        f"data/p.jsonl row 1: prompt is {value!r}; expected text"
    )


def test_messages_that_are_no_turns_are_one_line(here: Path) -> None:
    assert refusal(save([{"messages": ["Hi"]}]), messages=True) == (
        "data/p.jsonl row 1: messages is \"['Hi']\"; expected a list of turns"
    )
    assert refusal(save([{"messages": "Hi"}]), messages=True) == (
        "data/p.jsonl row 1: messages is 'Hi'; expected a list"
    )


def test_line_that_is_no_json_is_one_line(here: Path) -> None:
    save([])
    Path("data/p.jsonl").write_text('{"prompt": "a"}\nprompt: b\n')
    assert refusal("data/p.jsonl") == (
        "data/p.jsonl row 2: not JSON (Expecting value: line 1 column 1 (char 0))"
    )


def test_line_that_is_no_object_is_one_line(here: Path) -> None:
    save([])
    Path("data/p.jsonl").write_text('["a"]')
    assert refusal("data/p.jsonl") == "data/p.jsonl row 1: '[\"a\"]'; expected a JSON object"


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_file_in_another_encoding_is_one_line(here: Path, name: str) -> None:
    save([])
    (Path("data") / name).write_bytes('{"prompt": "café"}\n'.encode("latin-1"))
    assert refusal(f"data/{name}") == (
        f"data/{name}: not UTF-8 (byte 15); expected text in UTF-8; save it so"
    )


def test_file_that_is_no_parquet_is_one_line(here: Path) -> None:
    save([])
    Path("data/p.parquet").write_text("a")
    assert refusal("data/p.parquet").startswith("data/p.parquet: not readable as Parquet (")
    assert "\n" not in refusal("data/p.parquet")


def test_fault_of_an_instruction_names_its_row(here: Path) -> None:
    rows = [{"prompt": "a", "instruction_ids": ["nothing:such"], "instruction_kwargs": ["{}"]}]
    assert refusal(save(rows)).startswith("data/p.jsonl row 1: ")


def test_too_few_prompts_for_a_split_are_one_line(here: Path) -> None:
    few = Split(share=0.001, prompts=1)
    splits = Splits(policy=Split(share=0.997, prompts=50), reward=few, selection=few, eval=few)
    path = save([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}])
    with pytest.raises(InputError) as caught:
        table(data(path, splits), 1)
    assert str(caught.value) == (
        "split 'policy_1': 3 prompts in its share 0.997 of 3; expected at least 50; give more "
        "prompts, a larger data.splits share or fewer prompts of it"
    )


def test_every_prompt_in_a_split_has_its_name(here: Path) -> None:
    path = save([{"prompt": f"prompt {number}"} for number in range(80)])
    rows = table(data(path), 1)
    assert len(rows) == 80
    assert set(rows["split"].to_pylist()) == {"policy_1", "reward", "selection", "eval"}


def test_parts_of_the_policy_split_share_its_share() -> None:
    tenth = Split(share=0.1, prompts=2)
    splits = Splits(policy=Split(share=0.5, prompts=9), reward=ALL, selection=tenth, eval=tenth)
    plan = data("data/p.jsonl", splits)
    shares, sizes = split_plan(plan.model_copy(update={"policy_parts": 2}))
    # half of all prompts in two parts, each of 9
    assert shares == {
        "policy_1": 0.25, "policy_2": 0.25, "reward": 0.25, "selection": 0.1, "eval": 0.1,
    }  # fmt: skip
    assert sizes == {"policy_1": 9, "policy_2": 9, "reward": None, "selection": 2, "eval": 2}
