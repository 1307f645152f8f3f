"""Embedded prompts: drawing, and every fault of the template file."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.evaluation.gold import check_instructions, passed
from mutual_taught.prepare import embedded
from mutual_taught.prepare.embedded import Instruction, Templates, expand, read_templates, topics_of
from tests import project

SHIPPED = project.ROOT / "data" / "templates.yaml"
WORDS = "length_constraints:number_words"
NO_COMMA = Instruction("punctuation:no_comma", {}, ("No commas.", "Use no commas."))
AT_LEAST_5 = Instruction(WORDS, {"relation": "at least", "num_words": 5}, ("At least 5 words.",))
SMALL = Templates(
    ("Name {topic}.", "Praise {topic}."),
    tuple(f"topic {n}" for n in range(40)),
    (NO_COMMA,),
    (AT_LEAST_5,),
)
VALID = """
tasks: ["Name {topic}."]
topics: [hats]
instructions:
  style: [{instruction_id: "punctuation:no_comma", kwargs: {}, texts: [No commas.]}]
  lower_bound: [{instruction_id: x, kwargs: {n: 5}, texts: [Five words.]}]
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("templates.yaml")


def test_prompt_is_a_task_a_style_and_a_lower_bound() -> None:
    templates = SMALL._replace(tasks=("Name {topic}.",), style=(NO_COMMA._replace(texts=("No.",)),))
    topic = topics_of(templates.topics, "run")[0]
    made = expand(templates._replace(topics=(topic,)), 1, 0, "run")
    assert made == [
        {
            "prompt": f"Name {topic}. No. At least 5 words.",
            "instruction_ids": ["punctuation:no_comma", WORDS],
            "instruction_kwargs": ["{}", '{"num_words": 5, "relation": "at least"}'],
        }
    ]


def test_larger_count_keeps_the_earlier_prompts() -> None:
    assert expand(SMALL, 30, 7, "run")[:12] == expand(SMALL, 12, 7, "run")


def test_prompts_are_distinct_up_to_all_there_are() -> None:
    # 2 tasks, this part's topics, 2 wordings of the style, 1 of the lower bound
    everything = 2 * len(topics_of(SMALL.topics, "run")) * 2 * 1
    made = expand(SMALL, everything, 0, "run")
    assert len({prompt["prompt"] for prompt in made}) == everything


def test_more_prompts_than_there_are_is_refused() -> None:
    few = SMALL._replace(topics=tuple(topics_of(SMALL.topics, "seed")[:1]))
    with pytest.raises(InputError) as caught:
        expand(few, 5, 0, "seed")
    assert str(caught.value) == (
        "templates: 4 distinct prompts in part 'seed'; expected at least 5; "
        "add topics or ask for fewer prompts"
    )


def test_part_without_topics_is_refused() -> None:
    only_run = SMALL._replace(topics=tuple(topics_of(SMALL.topics, "run")))
    with pytest.raises(InputError, match=r"^templates: 0 distinct prompts in part 'seed'"):
        expand(only_run, 1, 0, "seed")


def test_seed_changes_the_prompts() -> None:
    assert expand(SMALL, 20, 0, "run") != expand(SMALL, 20, 1, "run")


def test_topic_belongs_to_one_part_whatever_the_other_topics() -> None:
    run, seed = topics_of(SMALL.topics, "run"), topics_of(SMALL.topics, "seed")
    assert sorted(run + seed) == sorted(SMALL.topics)
    assert topics_of(run[:1], "run") == run[:1]
    assert topics_of(run[:1], "seed") == []


def test_kinds_are_equally_likely_whatever_their_groups() -> None:
    # One no-comma group against three of forbidden words: half of 400 draws, within 4 sd.
    forbid = [Instruction("keywords:forbidden_words", {"n": n}, (f"Not {n}.",)) for n in "abc"]
    templates = SMALL._replace(
        topics=tuple(f"topic {n}" for n in range(900)), style=(NO_COMMA, *forbid)
    )
    kinds = Counter(made["instruction_ids"][0] for made in expand(templates, 400, 0, "run"))
    assert abs(kinds["punctuation:no_comma"] - 200) < 40


def test_shipped_prompts_are_many_and_verifiable() -> None:
    made = expand(read_templates(SHIPPED), 2500, 0, "run")
    for prompt in made:
        check_instructions(prompt["instruction_ids"], prompt["instruction_kwargs"])
    assert len({prompt["prompt"] for prompt in made}) == 2500


def test_shipped_parts_share_no_topic_and_no_prompt() -> None:
    templates = read_templates(SHIPPED)
    assert not set(topics_of(templates.topics, "run")) & set(topics_of(templates.topics, "seed"))
    run, seed = (
        {made["prompt"] for made in expand(templates, 500, 0, part)}
        for part in get_args(embedded.Part)
    )
    assert not run & seed


@pytest.mark.parametrize("response", ["*list*", "small quiet warm people", "no no no no no no"])
def test_collapsed_response_passes_no_shipped_prompt(response: str) -> None:
    for prompt in expand(read_templates(SHIPPED), 300, 0, "run"):
        assert not passed(response, prompt["instruction_ids"], prompt["instruction_kwargs"])


def test_shipped_words_to_use_or_avoid_are_in_no_task_or_topic() -> None:
    templates = read_templates(SHIPPED)
    words = {"small", "quiet", "warm", "people"}
    text = " ".join([*templates.tasks, *templates.topics])
    assert not [word for word in words if word in text]


def test_shipped_lower_bounds_leave_room_below_upper_bounds() -> None:
    templates = read_templates(SHIPPED)
    least = max(int(str(g.kwargs["num_words"])) for g in templates.lower_bound)
    most = [g.kwargs["num_words"] for g in templates.style if g.kwargs.get("relation")]
    assert all(isinstance(words, int) and words > least + 3 for words in most)


def test_valid_file_is_read(path: Path) -> None:
    path.write_text(VALID)
    assert read_templates(path) == Templates(
        ("Name {topic}.",),
        ("hats",),
        (Instruction("punctuation:no_comma", {}, ("No commas.",)),),
        (Instruction("x", {"n": 5}, ("Five words.",)),),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("topics: [hats]", "", "the file lacks 'topics'; expected exactly tasks, topics,"),
        ("topics:", "topic:", "the file lacks 'topics'; expected exactly tasks, topics,"),
        ("topics:", "more: 1\ntopics:", "the file has the unknown key 'more'; expected exactly"),
        ("[hats]", "[]", "topics is []; expected a list with at least one text"),
        ("[hats]", "hats", "topics is 'hats'; expected a list with at least one text"),
        ("[hats]", "[7]", "topics[0] is 7; expected a text"),
        ("[hats]", "[hats, hats]", "topics[1] is 'hats'; expected each text once"),
        (
            "{topic}",
            "hats",
            "tasks[0] is 'Name hats.'; expected a sentence with one {topic}",
        ),
        ("style:", "styles:", "instructions lacks 'style'; expected exactly style, lower_bound"),
        (
            "[{instruction_id: x, kwargs: {n: 5}, texts: [Five words.]}]",
            "[]",
            "instructions.lower_bound is []; expected a list with at least one instruction",
        ),
        (
            "instruction_id: x",
            "instruction_id: 3",
            "instructions.lower_bound[0].instruction_id is 3; expected an id such as "
            "'punctuation:no_comma'",
        ),
        (
            "{n: 5}",
            "{n: null}",
            "instructions.lower_bound[0].kwargs is {'n': None}; expected a block without nulls",
        ),
        (
            "[Five words.]",
            "['']",
            "instructions.lower_bound[0].texts[0] is ''; expected a text",
        ),
        (
            "texts: [Five words.]}]",
            "texts: [Five.]}, {instruction_id: x, kwargs: {n: 6}, texts: [Five.]}]",
            "instructions.lower_bound wordings[1] is 'Five.'; expected each text once",
        ),
        ("[hats]", "[hats", "not valid YAML ("),
    ],
)
def test_fault_in_the_file_is_one_line(path: Path, old: str, new: str, message: str) -> None:
    assert old in VALID
    path.write_text(VALID.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_templates(path)
    text = str(caught.value)
    assert text.removeprefix("templates.yaml: ").startswith(message)
    assert text.startswith("templates.yaml: ")
    assert "\n" not in text


def test_missing_file_is_one_line(path: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        read_templates(path)
    assert str(caught.value) == "templates.yaml does not exist; expected a template file"
