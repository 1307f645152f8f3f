"""What holds of every reward-model benchmark: its files, its refusals, and its extremes."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import of_reward_models
from mutual_taught.evaluation.benchmarks.base import Items, Scores
from mutual_taught.evaluation.benchmarks.pairs import lengths_as_scores
from tests.evaluation.benchmarks.published import NAMES, Files, Row, published, write

every = pytest.mark.parametrize("name", NAMES)


def read(name: str, folder: Path, change: Callable[[Files], None] | None = None) -> Items:
    """Read a benchmark's files by hand, of which a test may change a copy before."""
    files = copy.deepcopy(published(name))
    if change is not None:
        change(files)
    return of_reward_models(name).read(write(folder, files))


def random_scores(items: Items, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    return [[float(one) for one in rng.normal(size=len(item.responses))] for item in items]


@every
def test_rows_in_another_order_give_the_same_numbers(name: str, tmp_path: Path) -> None:
    def shuffle(files: Files) -> None:
        for rows in files.values():
            rows.reverse()

    items, other = read(name, tmp_path / "a"), read(name, tmp_path / "b", shuffle)
    # hh-rlhf has no ids: its items are called by their rows, and only these differ
    assert sorted(str(one.responses) for one in items) == sorted(
        str(one.responses) for one in other
    )
    module = of_reward_models(name)
    of_texts = {text: float(sum(map(ord, text)) % 97) for item in items for text in item.responses}
    scores, others = (
        [[of_texts[text] for text in item.responses] for item in which] for which in (items, other)
    )
    found, again = module.metrics(items, scores), module.metrics(other, others)
    if name != "hh-rlhf":
        assert found == again
    assert found["accuracy"] == again["accuracy"]


@every
def test_a_row_that_is_there_twice_is_refused_by_both_its_places(name: str, tmp_path: Path) -> None:
    def double(files: Files) -> None:
        rows = next(iter(files.values()))
        rows.append(copy.deepcopy(rows[1]))

    with pytest.raises(InputError, match=r"has rows twice: row \d+ .*is row 2 of .*remove"):
        read(name, tmp_path, double)


@every
def test_all_bad_rows_of_a_file_are_named_at_once(name: str, tmp_path: Path) -> None:
    def spoil(files: Files) -> None:
        rows = next(iter(files.values()))
        rows[0], rows[1] = (dict.fromkeys(row) for row in rows[:2])

    with pytest.raises(InputError, match=r"2 of \d+ rows cannot be used: row 1: .*; row 2: "):
        read(name, tmp_path, spoil)


@every
def test_a_half_written_file_is_refused(name: str, tmp_path: Path) -> None:
    paths = write(tmp_path, published(name))
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match=rf"{paths[0].name}: "):
        of_reward_models(name).read(paths)


@every
@pytest.mark.parametrize("other", NAMES)
def test_rows_of_another_benchmark_are_refused(name: str, other: str, tmp_path: Path) -> None:
    paths = write(tmp_path, published(other))
    if name == other:
        assert of_reward_models(name).read(paths)
        return
    with pytest.raises(InputError, match="expected"):
        of_reward_models(name).read(paths)


@every
def test_a_folder_stands_for_the_files_in_it(name: str, tmp_path: Path) -> None:
    paths = write(tmp_path, published(name))
    assert of_reward_models(name).read([tmp_path]) == of_reward_models(name).read(paths)


@pytest.mark.parametrize("name", ["rm-bench", "judgebench", "rmb", "llmbar", "m-ifeval", "hh-rlhf"])
def test_half_a_character_is_refused_where_a_format_can_hold_it(name: str, tmp_path: Path) -> None:
    def cut(files: Files) -> None:
        rows = next(iter(files.values()))
        rows[0] = {**rows[0], "extra": "\ud83d"}

    with pytest.raises(InputError, match="row 1: has half of a character"):
        read(name, tmp_path, cut)


JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 2.5, 10**400, float("nan"), "", " ", "\u202e\x00", "A>B", "ref:1"),
    *([], [[]], [None, 1], ["a"], ["a", "b", "c", "d"], {}, {"answer": 3}, {"role": "user"}),
    *([{"role": "user"}], [{"role": "robot", "content": "x"}], [{"from": "gpt", "value": "x"}]),
    "\n\nHuman: a\n\nAssistant: b",
)


def refusal(name: str, folder: Path, files: Files) -> str:
    """Read files and lay out their records: give the refusal, or nothing."""
    module = of_reward_models(name)
    try:
        items = module.read(write(folder, files))
    except InputError as error:
        return str(error)
    module.records(items, [[0.0] * len(item.responses) for item in items])
    return ""


@every
def test_junk_in_any_column_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """All files are written as JSONL, in which a column may hold anything."""
    files = {
        f"{Path(file).parent}/{Path(file).name.partition('.')[0]}.jsonl": rows
        for file, rows in published(name).items()
    }
    assert refusal(name, tmp_path, files) == ""
    file, [row, *rows] = next(iter(files.items()))
    for column in row:
        said = {
            refusal(name, tmp_path, {**files, file: [{**row, column: junk}, *rows]})
            for junk in JUNK
        }
        assert not [line for line in said if "\n" in line]


@every
def test_a_constant_scorer_is_never_right_on_pairs(name: str, tmp_path: Path) -> None:
    items = read(name, tmp_path)
    found = of_reward_models(name).metrics(items, [[0.5] * len(one.responses) for one in items])
    assert found["accuracy"] == 0
    assert found["ties"] == found["n"]
    assert found["log_loss"] == pytest.approx(np.log(2))
    assert found["spearman"] is None


@every
def test_a_scorer_that_knows_the_labels_is_always_right(name: str, tmp_path: Path) -> None:
    items = read(name, tmp_path)
    module = of_reward_models(name)
    labels = [list(map(float, one.labels)) for one in items]
    found = module.metrics(items, labels)
    assert found["accuracy"] == found["ci_lo"] == found["ci_hi"] == 1
    if name != "rewardbench2":  # Ties gives .01 more
        assert module.records(items, labels)["value"].to_pylist() == [1.0] * len(items)
        assert found.get("score.mean", 1) == 1


@every
def test_a_scorer_of_length_gets_what_is_said_beside_every_number(
    name: str, tmp_path: Path
) -> None:
    items = read(name, tmp_path)
    module = of_reward_models(name)
    found = module.metrics(items, lengths_as_scores(items))
    assert found["accuracy"] == found["length_scorer"]
    beside = [key for key in found if key.endswith(".length_scorer")]
    assert beside
    for key in beside:
        assert found[key] == found[f"{key.removesuffix('length_scorer')}mean"], key
    assert found["accuracy_chosen_longer"] == (1 if found["n_chosen_longer"] else None)
    assert found["accuracy_chosen_shorter"] == (0 if found["n_chosen_shorter"] else None)


@every
def test_what_the_model_cannot_read_is_an_error(name: str, tmp_path: Path) -> None:
    items = read(name, tmp_path)
    module = of_reward_models(name)
    scores: Scores = [[None] * len(one.responses) for one in items]
    found = module.metrics(items, scores)
    assert found["accuracy"] == 0
    assert found["unscored"] == found["n"]
    assert module.records(items, scores)["value"].to_pylist() == [0.0] * len(items)


@every
def test_records_have_a_value_and_the_rewards_of_every_item(name: str, tmp_path: Path) -> None:
    items = read(name, tmp_path)
    scores = random_scores(items)
    table = of_reward_models(name).records(items, scores)
    assert table["item_id"].to_pylist() == [item.item_id for item in items]
    assert table["rewards"].to_pylist() == scores
    assert len(set(table["item_id"].to_pylist())) == len(items)


@every
def test_numbers_are_numbers_or_none_and_names_are_flat(name: str, tmp_path: Path) -> None:
    items = read(name, tmp_path)
    found = of_reward_models(name).metrics(items, random_scores(items))
    for key, value in found.items():
        assert value is None or (type(value) is float and np.isfinite(value)), key


@pytest.mark.parametrize(
    ("name", "subset", "count", "change"),
    [
        ("rewardbench", "mt-bench-easy", 28, lambda row, place: {"id": place}),
        ("rewardbench2", "Precise IF", 160, lambda row, place: {"id": f"{place}"}),
        ("rm-bench", "chat", 129, lambda row, place: {"id": place}),
        ("llmbar", "GPTOut", 47, lambda row, place: {"input": f"{row['input']} {place}"}),
    ],
)
def test_more_rows_of_a_subset_than_were_published_are_refused(
    name: str, subset: str, count: int, change: Callable[[Row, int], Row], tmp_path: Path
) -> None:
    def of_subset(file: str, row: Row) -> bool:
        return subset in (row.get("subset"), row.get("domain"), Path(file).parent.name)

    files = published(name)
    file, like = next((f, row) for f, rows in files.items() for row in rows if of_subset(f, row))
    there = sum(of_subset(f, row) for f, rows in files.items() for row in rows)
    more = [{**like, **change(like, 1000 + place)} for place in range(count + 1 - there)]
    full = write(tmp_path / "full", {**files, file: files[file] + more[1:]})
    assert of_reward_models(name).read(full)
    paths = write(tmp_path / "more", {**files, file: files[file] + more})
    with pytest.raises(InputError, match=f"{count + 1} of {subset}, where {count} were published"):
        of_reward_models(name).read(paths)


@pytest.mark.parametrize("name", ["rewardbench", "rewardbench2", "rm-bench", "llmbar", "rmb"])
def test_a_part_of_the_published_rows_is_called_incomplete(name: str, tmp_path: Path) -> None:
    items = read(name, tmp_path)
    found = of_reward_models(name).metrics(items, random_scores(items))
    assert found["complete"] == 0
    assert found["items"] == len(items)
    published_rows = {
        "rewardbench": 2985,
        "rewardbench2": 1865,
        "rm-bench": 1327,
        "llmbar": 419,
        "rmb": 17131 + 3786,
    }
    assert found["items_published"] == published_rows[name]
