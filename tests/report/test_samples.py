"""Samples of a report: which are shown, how they are joined, and what they are sorted by."""

from pathlib import Path

import pytest

from mutual_taught.errors import InputError
from mutual_taught.report import samples
from mutual_taught.report.samples import Response, Sample


def sample(prompt: str, *responses: Response, split: str = "eval") -> Sample:
    return Sample(split, prompt, [["user", "Hello"]], ["punctuation:no_comma"], list(responses))


def response(text: str = "x", tokens: int | None = 3, **numbers: float) -> Response:
    return Response("answer 0", text, 0, tokens, "stop", numbers, [1.0])


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = [sample("a", response(gold=0.5)), sample("b", split="policy")]
    samples.write(tmp_path, written)
    assert samples.read(tmp_path) == written


def test_long_text_is_cut_and_what_is_left_out_is_counted() -> None:
    assert samples.cut("ab") == ("ab", 0)
    assert samples.cut("x" * 1203) == ("x" * 1200, 3)


def test_turn_that_is_cut_says_so() -> None:
    assert samples.shortened("x" * 1203) == "x" * 1200 + " … (3 more signs)"
    assert samples.shortened("x" * 1200) == "x" * 1200


@pytest.mark.parametrize("rows", ["[1]", '[{"a": 1}]', '[{"answers": [{"a": 1}]}]'])
def test_samples_of_another_shape_are_one_line(rows: str, tmp_path: Path) -> None:
    (tmp_path / "samples.json").write_text(rows)
    with pytest.raises(InputError, match="not the samples of a report"):
        samples.read(tmp_path)


def test_prompts_are_halved_until_their_texts_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each prompt is Hello, 5 bytes, and its response one sign that takes 4 bytes on the page: &lt;
    many = {0: [sample(name, response("<")) for name in "abcdefgh"]}
    monkeypatch.setattr(samples, "TEXT_BYTES", 18)  # 72 and 36 are too many, 18 fit
    assert [one.prompt_id for one in samples.fitted(many)[0]] == ["a", "b"]


def test_each_split_shows_as_many_prompts_the_same_in_every_iteration() -> None:
    known = {
        0: [sample("b"), sample("a")],
        1: [sample("a"), sample("b"), sample("c", split="policy")],
    }
    assert samples.fitted(known) == known


def test_cards_join_the_iterations_of_a_prompt_by_split_then_id() -> None:
    known = {
        0: [sample("b"), sample("a")],
        1: [sample("a"), sample("0", split="policy"), sample("b")],
    }
    found = samples.cards(known)
    assert [(card.first.prompt_id, [t for t, _ in card.columns]) for card in found] == [
        ("a", [0, 1]),
        ("b", [0, 1]),
        ("0", [1]),
    ]


def test_change_is_that_of_mean_gold_and_without_gold_of_r_0() -> None:
    golds = {
        0: [sample("a", response(gold=0.5), response(gold=1.0))],
        1: [sample("a", response(gold=0.25))],
    }
    assert samples.cards(golds)[0].change == -0.5  # 0.25 - 0.75
    rewards = {0: [sample("a", response(r_0=1.0))], 1: [sample("a", response(r_0=3.0))]}
    assert samples.cards(rewards)[0].change == 2.0
    assert samples.cards({0: golds[0]})[0].change is None


def test_disagreement_is_how_far_the_ranks_by_reward_and_gold_are_apart() -> None:
    known = {
        0: [
            sample("a", response(gold=0.0, r_t=3.0)),  # lowest gold, highest reward: 0 and 1
            sample("b", response(gold=0.5, r_t=1.0)),  # both golds rank 0.75; rewards 0 and 0.5
            sample("c", response(gold=0.5, r_t=2.0)),
            sample("d", response(r_t=9.0)),  # has no gold
        ]
    }
    assert [card.disagreement for card in samples.cards(known)] == [1.0, 0.75, 0.25, None]


def test_longest_and_shortest_are_of_the_last_iteration() -> None:
    known = {
        0: [sample("a", response(tokens=90))],
        1: [sample("a", response(tokens=4), response(tokens=9))],
    }
    [card] = samples.cards(known)
    assert (card.longest, card.shortest) == (9, 4)
    [card] = samples.cards({0: [sample("a", response(tokens=None))]})
    assert (card.longest, card.shortest) == (None, None)
