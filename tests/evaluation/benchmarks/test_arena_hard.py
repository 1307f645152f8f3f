"""Arena-Hard: questions, responses and verdicts in their published form, and scores by hand."""

import json
from pathlib import Path

import pytest

from mutual_taught.errors import InputError
from mutual_taught.evaluation.benchmarks import arena_files, arena_hard_v01, arena_hard_v2
from mutual_taught.evaluation.benchmarks.base import Prompts
from tests.evaluation.benchmarks import written
from tests.evaluation.benchmarks.written import judgement, marked, question

BASELINE = "o3-mini-2025-01-31"


def prompts(folder: Path, *uids: str, poems: tuple[str, ...] = ()) -> Prompts:
    rows = [*map(question, uids), *(question(uid, "creative_writing") for uid in poems)]
    return arena_hard_v2.read([written.jsonl(folder / "question.jsonl", rows)])


def verdicts(folder: Path, *rows: written.Row, name: str = "mine") -> Path:
    return written.jsonl(folder / "model_judgment" / f"{name}.jsonl", rows)


def test_a_question_is_called_by_its_uid_and_its_subset_is_its_category(tmp_path: Path) -> None:
    first, last = prompts(tmp_path, "u1", poems=("u2",))
    assert (first.prompt_id, first.subset) == ("u1", "hard_prompt")
    assert first.messages == [{"role": "user", "content": "Prove u1."}]
    assert (last.prompt_id, last.subset) == ("u2", "creative_writing")


def test_questions_of_the_first_release_are_read_too(tmp_path: Path) -> None:
    row = {"question_id": "q", "category": "x", "cluster": "y", "turns": [{"content": "Why?"}]}
    [prompt] = arena_hard_v01.read([written.jsonl(tmp_path / "question.jsonl", [row])])
    assert prompt[:3] == ("q", "arena-hard-v0.1", [{"role": "user", "content": "Why?"}])


def test_responses_are_exported_as_its_judge_reads_them(tmp_path: Path) -> None:
    asked = prompts(tmp_path, "u1", "u2")
    [path] = arena_hard_v2.export(asked, ["Yes\u2028", "No"], "SmolLM2 (Q4_1) ab/cd", tmp_path)
    assert path == tmp_path / "model_answer" / "SmolLM2-Q4_1-ab-cd.jsonl"
    first, second = (json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1])
    assert (first["uid"], first["model"]) == ("u1", "SmolLM2-Q4_1-ab-cd")
    assert first["messages"] == [
        {"role": "user", "content": "Prove u1."},
        {"role": "assistant", "content": {"answer": "Yes\u2028"}},
    ]
    assert first["ans_id"] != second["ans_id"]
    before = path.read_bytes()
    arena_hard_v2.export(asked, ["Yes\u2028", "No"], "SmolLM2 (Q4_1) ab/cd", tmp_path)
    assert path.read_bytes() == before


def test_a_score_is_the_mean_over_weighted_games_with_its_judge_in_the_name(
    tmp_path: Path,
) -> None:
    path = verdicts(
        tmp_path,
        judgement("u3", "A>>B", "B>A"),  # loses 3 and 1
        judgement("u1", "B>A", "A>B"),  # wins 1 and 1
        judgement("u2", "A=B", "A=B"),  # ties
    )
    found = arena_hard_v2.metrics_from(prompts(tmp_path, "u1", "u2", "u3"), [path])
    # (2 + 1 + 0) of (2 + 2 + 4)
    assert found["score.hard_prompt.gpt-4.1.mean"] == pytest.approx(100 * 3 / 8)
    assert found["score.hard_prompt.gpt-4.1.n"] == 3
    assert found["score.hard_prompt.gpt-4.1.ties"] == 1
    assert found["score.hard_prompt.gpt-4.1.position_consistency"] == 1.0
    # three prompts: a resample of one alone three times has 0 % or 100 %, each 1 in 27
    assert found["score.hard_prompt.gpt-4.1.ci_lo"] == 0
    assert found["score.hard_prompt.gpt-4.1.ci_hi"] == 100


def test_a_failed_game_takes_its_prompt_out_and_is_counted(tmp_path: Path) -> None:
    rows = [
        judgement("u1", "B>A", "A>B"),
        judgement("u2", "A>B", None),
        judgement("u3", games=[{"score": None}, {"score": "A>B"}]),
    ]
    asked = prompts(tmp_path, "u1", "u2", "u3")
    found = arena_hard_v2.metrics_from(asked, [verdicts(tmp_path, *rows)])
    assert found["score.hard_prompt.gpt-4.1.mean"] == 100.0
    assert found["score.hard_prompt.gpt-4.1.n"] == 1
    assert found["score.hard_prompt.gpt-4.1.unjudged"] == 2
    with pytest.raises(InputError, match=r"no verdict of gpt-4\.1 on mine in hard_prompt"):
        arena_hard_v2.metrics_from(asked[1:], [verdicts(tmp_path, *rows[1:])])


def test_a_model_against_itself_has_50_and_swapped_roles_have_the_rest(tmp_path: Path) -> None:
    asked = prompts(tmp_path, "u1", "u2")
    even = verdicts(tmp_path, *(judgement(uid, "A=B", "A=B") for uid in ("u1", "u2")))
    assert arena_hard_v2.metrics_from(asked, [even])["score.hard_prompt.gpt-4.1.mean"] == 50.0
    games = {"u1": ("A>>B", "A>B"), "u2": ("A=B", "B>A")}
    scores = [
        arena_hard_v2.metrics_from(
            asked, [verdicts(tmp_path, *(judgement(u, *g[::way]) for u, g in games.items()))]
        )["score.hard_prompt.gpt-4.1.mean"]
        for way in (1, -1)
    ]
    # u1: 0 of 3 and 1 of 1; u2: half and 0: 1.5 of 6
    assert scores == [pytest.approx(25.0), pytest.approx(75.0)]


def test_categories_stand_apart_and_one_without_verdicts_is_left_out(tmp_path: Path) -> None:
    poem = judgement(
        "p1", "A>B", "B>A", category="creative_writing", baseline="gemini-2.0-flash-001"
    )
    asked = prompts(tmp_path, "u1", poems=("p1",))
    found = arena_hard_v2.metrics_from(
        asked, [verdicts(tmp_path, judgement("u1", "B>A", "A>B"), poem)]
    )
    assert found["score.hard_prompt.gpt-4.1.mean"] == 100.0
    assert found["score.creative_writing.gpt-4.1.mean"] == 0.0
    found = arena_hard_v2.metrics_from(asked, [verdicts(tmp_path, poem)])
    assert "score.creative_writing.gpt-4.1.mean" in found
    assert not any("hard_prompt" in name for name in found)


def test_several_judges_are_given_apart_and_together(tmp_path: Path) -> None:
    paths = [
        verdicts(tmp_path, judgement("u1", "B>A", "A>B")),
        verdicts(tmp_path, judgement("u1", "A>B", "B>A", judge="gemini-2.5"), name="other"),
    ]
    found = arena_hard_v2.metrics_from(prompts(tmp_path, "u1"), paths)
    assert found["score.hard_prompt.gpt-4.1.mean"] == 100.0
    assert found["score.hard_prompt.gemini-2.5.mean"] == 0.0
    assert found["score.hard_prompt.gpt-4.1+gemini-2.5.mean"] == 50.0
    assert found["score.hard_prompt.gpt-4.1+gemini-2.5.n"] == 1  # one prompt, judged by two


def test_a_judges_name_acts_on_no_terminal(tmp_path: Path) -> None:
    path = verdicts(tmp_path, judgement("u1", "B>A", "A>B", judge="gpt\x1b[2J"))
    found = arena_hard_v2.metrics_from(prompts(tmp_path, "u1"), [path])
    assert found[r"score.hard_prompt.gpt\x1b[2J.mean"] == 100.0


def controlled(folder: Path) -> tuple[Prompts, list[Path]]:
    """Make verdicts that follow length alone; `mine` is the longer one on nine of twelve prompts.

    A third of the prompts are ties, among those with a longer and those with a shorter response.
    """
    uids = [f"u{place}" for place in range(12)]
    longer = {"mine": uids[:9], "short": uids[9:]}
    counts = {
        model: [180 if uid in longer.get(model, []) else 60 for uid in uids] for model in longer
    } | {BASELINE: [100] * 12}
    responses = [
        written.jsonl(
            folder / "model_answer" / f"{model}.jsonl",
            [marked(uid, model, tokens, 0, 0, 0) for uid, tokens in zip(uids, own, strict=True)],
        )
        for model, own in counts.items()
    ]
    judged = []
    for model in longer:
        games = [("B>A", "A>B") if uid in longer[model] else ("A>B", "B>A") for uid in uids]
        games[2::3] = [("A=B", "A=B")] * 4
        rows = [judgement(uid, *two, model=model) for uid, two in zip(uids, games, strict=True)]
        judged.append(verdicts(folder, *rows, name=model))
    return prompts(folder, *uids), [*judged, *responses]


def test_what_length_alone_wins_is_gone_when_style_is_controlled(tmp_path: Path) -> None:
    asked, paths = controlled(tmp_path)
    found = arena_hard_v2.metrics_from(asked, paths)
    # longer: 6 wins and 3 ties of 9, a share of 5/6; shorter: 1/6. (9 * 5/6 + 3 * 1/6) / 12
    assert found["score.hard_prompt.gpt-4.1.mean"] == pytest.approx(100 * 2 / 3)
    # `short` has the same shares by length, so strengths are 0 and length explains all
    own = "style_controlled.hard_prompt.gpt-4.1"
    assert found[f"{own}.mean"] == pytest.approx(50.0, abs=1e-4)
    low, high = found[f"{own}.ci_lo"], found[f"{own}.ci_hi"]
    assert low is not None
    assert high is not None
    assert low < 50 < high
    assert found[f"{own}.models"] == 2


def test_one_model_alone_has_no_controlled_score(tmp_path: Path) -> None:
    asked, (mine, _, *responses) = controlled(tmp_path)
    found = arena_hard_v2.metrics_from(asked, [mine, *responses])
    assert found["style_controlled.hard_prompt.gpt-4.1.models"] == 1
    assert "style_controlled.hard_prompt.gpt-4.1.mean" not in found


def test_a_response_without_style_is_refused(tmp_path: Path) -> None:
    asked, (mine, short, own, _, _) = controlled(tmp_path)
    with pytest.raises(InputError, match="no answer of short to u0; expected a model_answer file"):
        arena_hard_v2.metrics_from(asked, [mine, short, own])
    row = marked("u0", "mine", 1, 2, 3, 4)
    del row["metadata"]
    written.jsonl(own, [row])
    with pytest.raises(InputError, match="row 1: lacks metadata, which arena-hard-auto's"):
        arena_hard_v2.metrics_from(asked, [mine, short, own])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (judgement("u9", "A>B", "A>B"), "row 2: 'u9' is none of the 2 prompts"),
        (judgement("u1", "A>B", "A>B"), "row 2: 'u1' again, after row 1; no row for 'u2'"),
        (judgement("u2", "A>B", "C>B"), "row 2: score is 'C>B'; expected one of A>>B"),
        (judgement("u2", "A>B"), "row 2: games is"),
        (
            judgement("u2", "A>B", "A>B", baseline="gpt-4-0314"),
            "row 2: baseline is 'gpt-4-0314'; expected o3-mini-2025-01-31, the benchmark's own",
        ),
        (
            judgement("u2", "A>B", "A>B", category="arena-hard-v0.1"),
            "row 2: category is 'arena-hard-v0.1'; expected one of hard_prompt; these verdicts "
            "belong to another benchmark",
        ),
    ],
)
def test_a_row_that_does_not_belong_is_refused_by_name(
    tmp_path: Path, row: written.Row, said: str
) -> None:
    path = verdicts(tmp_path, judgement("u1", "A>B", "B>A"), row)
    with pytest.raises(InputError) as error:
        arena_hard_v2.metrics_from(prompts(tmp_path, "u1", "u2"), [path])
    assert said in str(error.value)


def test_half_a_judgement_file_is_refused(tmp_path: Path) -> None:
    asked = prompts(tmp_path, "u1", "u2")
    path = verdicts(tmp_path, judgement("u1", "A>B", "B>A"), judgement("u2", "A>B", "B>A"))
    path.write_text(path.read_text()[:-40])  # killed while it wrote
    with pytest.raises(InputError, match=r"row 2: .* is no JSON"):
        arena_hard_v2.metrics_from(asked, [path])
    verdicts(tmp_path, judgement("u1", "A>B", "B>A"))  # killed between two
    with pytest.raises(InputError, match=r"no row for 'u2'; .*finish the judging"):
        arena_hard_v2.metrics_from(asked, [path])
    path.write_text("")
    with pytest.raises(InputError, match="has no row"):
        arena_hard_v2.metrics_from(asked, [path])


def test_responses_alone_are_no_verdicts(tmp_path: Path) -> None:
    path = written.jsonl(tmp_path / "mine.jsonl", [marked("u1", "mine", 1, 2, 3, 4)])
    with pytest.raises(InputError, match="no verdict in them; expected rows of a model_judgment"):
        arena_hard_v2.metrics_from(prompts(tmp_path, "u1"), [path])


def test_the_first_version_has_one_category_and_verdicts_without_one_are_its_own(
    tmp_path: Path,
) -> None:
    row = {"question_id": "q", "category": "x", "turns": [{"content": "Why?"}]}
    asked = arena_hard_v01.read([written.jsonl(tmp_path / "question.jsonl", [row])])
    said = judgement("q", "B>>A", "B>A", judge="gpt-4-1106-preview", question_id="q")
    for name in ("uid", "category", "baseline"):
        del said[name]
    found = arena_hard_v01.metrics_from(asked, [verdicts(tmp_path, said)])
    # 3 of 3 and 0 of 1
    assert found["score.arena-hard-v0.1.gpt-4-1106-preview.mean"] == pytest.approx(75.0)


@pytest.mark.parametrize("score", [["A>B"], {"a": 1}, 3])
def test_a_score_that_is_no_verdict_is_a_bad_row(score: object, tmp_path: Path) -> None:
    row = judgement("u1", "A>B", "B>A")
    row["games"][0]["score"] = score
    path = verdicts(tmp_path, row)
    with pytest.raises(InputError, match="1 of 1 rows cannot be used: row 1: score is"):
        arena_hard_v2.metrics_from(prompts(tmp_path, "u1"), [path])


@pytest.mark.parametrize("tokens", [float("nan"), -1, 10**400, None])
def test_a_style_that_is_no_count_is_a_bad_row(tokens: object, tmp_path: Path) -> None:
    row = marked("u1", "mine", 5, 0, 0, 0)
    row["metadata"]["token_len"] = tokens
    responses = written.jsonl(tmp_path / "answers.jsonl", [row])
    path = verdicts(tmp_path, judgement("u1", "A>B", "B>A"))
    with pytest.raises(
        InputError, match=r"row 1: metadata: token_len is .*; expected numbers from"
    ):
        arena_hard_v2.metrics_from(prompts(tmp_path, "u1"), [path, responses])


def test_a_response_belongs_to_its_model_whoever_owns_it(tmp_path: Path) -> None:
    path = verdicts(tmp_path, judgement("u1", "A>B", "B>A", model="org/mine"))
    rows = [marked("u1", name, 1, 2, 3, 4) for name in ("org/mine", BASELINE)]
    said, responses = arena_files.judgements([path, written.jsonl(tmp_path / "a.jsonl", rows)])
    assert said[0].model == "mine"
    assert [one.model for one in responses] == ["mine", BASELINE]
