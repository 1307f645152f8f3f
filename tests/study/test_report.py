"""The report of a small study whose results were made by hand."""

from pathlib import Path

import pytest

from mutual_taught.errors import InputError
from study import plan as planning
from study import report, results
from study.plan import Unit
from study.results import ResultRow

ARMS = """
testbeds: {laptop: {preset: tiny}}
arms:
  mutual: {is: both learn}
  fixed: {is: r_0 stays, with: [fixed-reward-model]}
order:
  - name: core
    arms: [mutual, fixed]
    seeds: [1, 2, 3]
    formats: [float32]
    against: mutual
    rule: choose
"""
PAGE = f"# Study\n\n{report.BEGIN}\nan earlier report\n{report.END}\nafter\n"
ABOUT = {
    "testbed": "laptop",
    "machine": "a machine",
    "date": "2026-01-01",
    "commit": "abc",
    "code": "def",
    "seconds": 60.0,
    "seconds_here": 1800.0,
    "line": "",
}


def rows(gain: float, right: float, steps: float = 3.0, margin: float = -0.3) -> list[ResultRow]:
    """Four prompts: gold rises by `gain` in each, r_t is right on a share of pairs."""
    found = [ResultRow(t, "eval.active", "", "", 1.0, 1) for t in (0, 1)]
    numbers = {"train_rm.steps": steps, "select_policy.win_rate": 0.75}
    numbers |= {"dpo.chosen_logp_change": -5.5, "eval.policy.gold_vs_base.mean": 0.5}
    numbers |= {f"eval.policy.gold_vs_base.ci_{end}": at for end, at in (("lo", 0.4), ("hi", 0.6))}
    numbers |= {"eval.policy.kl.k1_per_token": 0.5, "eval.policy.over_optimisation.mean": 0.25}
    pairs = "eval.reward_model"
    numbers |= {f"{pairs}.own_samples.rt.log_loss": 0.75 - right / 2}
    numbers |= {f"{pairs}.own_samples.r0.log_loss": 0.5, f"{pairs}.gold_pairs.log_loss": 0.25}
    numbers |= {f"{pairs}.gold_pairs.r0.log_loss": 0.5}
    found += [ResultRow(1, name, "", "", value, 1) for name, value in numbers.items()]
    for prompt in "abcd":
        for t in (0, 1):
            found += [
                ResultRow(t, "gold", "", prompt, 0.25 + gain * t, 4),
                ResultRow(t, "passed", "", prompt, 0.0, 4),
                ResultRow(t, "length", "", prompt, 10.0 + 2 * t, 4),
                ResultRow(t, "cut", "", prompt, 0.0, 4),
                ResultRow(t, "own_samples.rt", "", prompt, right if t else 0.5, 2),
                ResultRow(t, "own_samples.r0", "", prompt, 0.5, 2),
            ]
    # D_M: the label is right on a and b, the margin's sign on a, b and c; d ties.
    for prompt, own, previous, of_pair in (
        ("a", 1.0, 0.0, 1.5),
        ("b", 0.5, 0.0, 0.3),
        ("c", 0.0, 1.0, margin),
        ("d", 1.0, 1.0, 3.0),
    ):
        values = {"dm.gold": own, "dm.gold_previous": previous, "dm.margin": of_pair}
        values |= {"dm.margin_in_epsilon": of_pair, "dm.kept": 1.0}
        found += [ResultRow(1, name, "", prompt, value, 1) for name, value in values.items()]
    # Of the answers at t = 1 some follow x and others not: of a in x alone, of b in both.
    followed = {"x": (0.5, 0.5, 1.0, 1.0), "y": (1.0, 0.5, 0.5, 0.0)}
    for name, shares in followed.items():
        for prompt, share in zip("abcd", shares, strict=True):
            found += [ResultRow(t, "follows", name, prompt, share * t, 4) for t in (0, 1)]
    return found


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return written(tmp_path, ARMS)


def written(tmp_path: Path, arms: str) -> Path:
    (tmp_path / "arms.yaml").write_text(arms)
    for seed in (1, 2):
        for arm, gain, right in (("mutual", 0.5, 1.0), ("fixed", 0.25, 0.5)):
            unit = Unit(arm, seed, "float32")
            about = {**unit._asdict(), **ABOUT, "status": results.DONE}
            results.write(results.path(tmp_path / "found", unit), about, rows(gain, right))
    unit = Unit("mutual", 3, "float32")
    about = {**unit._asdict(), **ABOUT, "status": results.REFUSED, "line": "too|few"}
    results.write(results.path(tmp_path / "found", unit), about, [])
    path = tmp_path / "study.md"
    path.write_text(PAGE)
    report.write(planning.load(tmp_path / "arms.yaml"), tmp_path / "found", path)
    return path


def row(page: Path, begin: str, nth: int = 0) -> list[str]:
    lines = [line for line in page.read_text().splitlines() if line.startswith(f"| {begin} |")]
    return [cell.strip() for cell in lines[nth].strip("|").split(" | ")]


def test_results_replace_what_stood_between_the_marks(page: Path) -> None:
    text = page.read_text()
    assert text.startswith("# Study\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "earlier" not in text
    assert text.count("![") == text.count("](pictures/study-core-") == 2


def test_units_that_ended_badly_and_those_not_run_are_listed(page: Path) -> None:
    assert row(page, "mutual-s3-float32")[1:] == ["refused", "too&#124;few"]
    assert "Of 6 units 5 were run." in page.read_text()
    assert "**Not run** (1):" in page.read_text()
    assert row(page, "core")[1:] == ["float32", "3", "fixed"]
    closed = written(page.parent, ARMS.replace("rule: choose", "closed: true"))
    assert "**Not needed any more** (1):" in closed.read_text()
    assert row(page, "a machine") == ["a machine", "4", "2.0", "2026-01-01", "abc"]


def test_policy_is_compared_with_the_base_on_the_same_prompts(page: Path) -> None:
    found = row(page, "mutual, float32")
    assert found[1:5] == ["2", "1 of 1", "0.250 (0.250 to 0.250)", "+0.500 (0.500 to 0.500)"]
    assert found[8] == "1.20 (1.20 to 1.20)"
    assert found[11:14] == ["0.50 (0.50 to 0.50)", "–", "+0.250 (0.250 to 0.250)"]


def test_reward_model_is_compared_with_the_first_on_the_same_pairs(page: Path) -> None:
    found = row(page, "mutual, float32", 1)
    assert found[2:5] == [
        "1.000 (1.000 to 1.000)",
        "0.500 (0.500 to 0.500)",
        "+0.500 (0.500 to 0.500)",
    ]
    assert found[6:10] == ["−0.250 (−0.250 to −0.250)", "–", "–", "−0.250 (−0.250 to −0.250)"]


def test_number_of_one_run_has_no_interval_and_that_of_three_has_one(tmp_path: Path) -> None:
    found = []
    for seed, right in ((1, 1.0), (2, 0.5), (3, 0.0)):
        unit = Unit("fixed", seed, "float32")
        about = {**unit._asdict(), **ABOUT, "status": results.DONE}
        results.write(results.path(tmp_path / "found", unit), about, rows(0.5, right))
        (tmp_path / "arms.yaml").write_text(ARMS)
        path = tmp_path / "study.md"
        path.write_text(PAGE)
        report.write(planning.load(tmp_path / "arms.yaml"), tmp_path / "found", path)
        found.append(row(path, "fixed, float32", 1)[6])
    # Mean 0, standard deviation 0.25: t(0.975, 2) = 4.303 times 0.25 / sqrt(3) is 0.621.
    assert found == ["−0.250", "−0.125 (−0.250 to 0.000)", "+0.000 [−0.621, 0.621]"]


def test_arms_are_compared_with_the_one_that_is_named(page: Path) -> None:
    found = row(page, "fixed", 2)
    assert found[1:4] == ["−0.250 (−0.250 to −0.250)", "–", "−0.250, −0.250"]
    assert found[4:6] == ["+0.000 (0.000 to 0.000)", "–"]  # nobody passes
    assert found[7:] == ["−0.500 (−0.500 to −0.500)", "–", "−0.500, −0.500"]


def test_a_block_with_nothing_but_what_it_is_compared_with_has_no_tables(page: Path) -> None:
    for unit in (Unit("fixed", seed, "float32") for seed in (1, 2)):
        results.path(page.parent / "found", unit).unlink()
    report.write(planning.load(page.parent / "arms.yaml"), page.parent / "found", page)
    assert "### Block core\n\nNo unit of it was run but of mutual.\n" in page.read_text()
    assert "![" not in page.read_text()


def test_labels_are_judged_where_gold_differs(page: Path) -> None:
    # 2 seeds of 3 pairs: the label right on 4 of 6, the sign on all; of margins <= 0 on none of 2.
    found = row(page, "mutual, float32", 2)
    assert found[1:7] == ["1", "2", "6", "2", "0.667", "1.000"]
    assert found[7].startswith("−0.333")
    assert found[9] == "0.000 (n 2)"
    assert found[10] == "+0.500 (0.500 to 0.500)"
    # Both arms of a seed have the same M-step, which counts once.
    assert row(page, "pairs")[1:] == ["0", "0", "2", "2", "0", "2", "0"]


def test_instructions_tell_what_r_t_gains_on_answers_that_differ_in_one_alone(page: Path) -> None:
    # 2 pairs of a, a seed and an arm: mutual's r_t gains 0.5 on them, that of fixed nothing.
    assert row(page, "x")[1:] == [
        "1",
        "+0.750 (0.750 to 0.750)",
        *("0", "–", "–"),
        "8",
        "+0.250 (0.250 to 0.250)",
    ]
    unit = Unit("fixed", 2, "float32")  # whose r_1 is r_0
    about = {**unit._asdict(), **ABOUT, "status": results.DONE}
    results.write(results.path(page.parent / "found", unit), about, rows(0.25, 0.5, 0.0))
    plan = planning.load(page.parent / "arms.yaml")
    report.write(plan, page.parent / "found", page)
    assert row(page, "x")[6:] == ["6", "+0.375 (0.250 to 0.500)"]
    for arm, seed in (("mutual", 2), ("fixed", 2)):
        results.path(page.parent / "found", Unit(arm, seed, "float32")).unlink()
    report.write(plan, page.parent / "found", page)
    two = row(page, "x")[2]
    results.path(page.parent / "found", Unit("mutual", 1, "float32")).unlink()
    report.write(plan, page.parent / "found", page)
    assert row(page, "x")[2] == two  # what both arms share had counted once


def test_where_only_the_reward_model_differs_only_it_is_told(tmp_path: Path) -> None:
    page = written(tmp_path, ARMS.replace("arms: [mutual, fixed]", "arms: [fixed]"))
    assert "**The policy.**" in page.read_text()  # other policies
    for seed in (1, 2):
        unit = Unit("fixed", seed, "float32")
        about = {**unit._asdict(), **ABOUT, "status": results.DONE}
        results.write(results.path(tmp_path / "found", unit), about, rows(0.5, 0.5))
    report.write(planning.load(tmp_path / "arms.yaml"), tmp_path / "found", page)
    text = page.read_text()
    assert "The policies are mutual's; none learns from these reward models." in text
    assert "**The policy.**" not in text
    assert "study-core-gold.png" not in text
    assert "| arm | gain of r_t, minus its | p | by seed |" in text


def test_policies_that_several_arms_have_are_told_once(tmp_path: Path) -> None:
    arms = ARMS.replace("against: mutual", "against: other")
    arms = arms.replace("order:", "  other: {is: is not run}\norder:")
    page = written(tmp_path, arms.replace("[mutual, fixed]", "[mutual, fixed, other]"))
    plan, said = planning.load(tmp_path / "arms.yaml"), "mutual has the same policies as fixed"
    for seed in (1, 2):
        assert said not in page.read_text()
        assert row(page, "fixed, float32")[2] == "1 of 1"
        unit = Unit("fixed", seed, "float32")
        about = {**unit._asdict(), **ABOUT, "status": results.DONE}
        results.write(results.path(tmp_path / "found", unit), about, rows(0.5, 0.5))
        report.write(plan, tmp_path / "found", page)
    assert f"In float32 {said}, seed by seed.\n" in page.read_text()
    assert row(page, "fixed, float32")[2].startswith("0.500")  # of the reward model


def test_labels_are_laid_beside_what_r_t_gains(tmp_path: Path) -> None:
    page = written(tmp_path, ARMS)
    for seed, right, margin in ((1, 1.0, -0.3), (2, 0.25, 0.3)):
        unit = Unit("mutual", seed, "float32")
        about = {**unit._asdict(), **ABOUT, "status": results.DONE}
        found = rows(0.5, right, margin=margin)
        results.write(results.path(tmp_path / "found", unit), about, found)
    report.write(planning.load(tmp_path / "arms.yaml"), tmp_path / "found", page)
    # Label less r is -1/3, or 0 where r is wrong on c; r_t gains 1/2, -1/4 and, `fixed`, 0, 0.
    assert row(page, "1") == ["1", "4", "1", "0", "−0.66"]


def test_rule_waits_until_all_runs_are_there(page: Path) -> None:
    assert "The rule waits for 3 runs of each candidate." in page.read_text()


def test_every_run_has_a_row_and_a_line_where_runs_are_shown(tmp_path: Path) -> None:
    page = written(tmp_path, ARMS.replace("rule: choose", "rule: show"))
    found = row(page, "mutual-s2-float32")
    assert found[1:7] == ["0.75", "0.250, 0.750", "+0.500 [0.400, 0.600]", "1.20", "−5.5", "–"]
    assert found[7] == "no: chosen stays likely"
    assert row(page, "fixed-s1-float32")[1] == "0.75"
    said = "gold rises in 2 of 2 (open: at least 3 of 3); length in bounds in 2 of 2 (open: at "
    assert f"mutual: go on in 2 of 2 (holds: at least 2 of 3); {said}" in page.read_text()
    assert "chosen stays likely in 0 of 2 (fails: at least 3 of 3)." in page.read_text()
    assert "](pictures/study-core-runs.png)" in page.read_text()
    assert (tmp_path / "pictures" / "study-core-runs.png").read_bytes().startswith(b"\x89PNG")


def test_claims_are_told_with_what_came_of_them(tmp_path: Path) -> None:
    text = (
        f"{ARMS}claims:\n"
        "  - {of: H1, is: it is so, arm: mutual, minus: fixed, measure: gold,"
        " within: [-.inf, 0.03]}\n"
    )
    page = written(tmp_path, text)
    assert row(page, "H1")[1:] == [
        "it is so",
        "mutual minus fixed",
        "final gold +0.250 (0.250 to 0.250)",
        "2 of 3",
        "below 0.03",
        "waits",
    ]
    results.path(tmp_path / "found", Unit("fixed", 2, "float32")).unlink()
    report.write(planning.load(tmp_path / "arms.yaml"), tmp_path / "found", page)
    assert row(page, "H1")[3:5] == ["final gold +0.250", "1 of 3"]
    other = text.replace("gold", "length").replace("minus: fixed, ", "").replace("-.inf", "0")
    assert row(written(tmp_path, other), "H1")[2:] == [
        "mutual",
        "length, ratio 1.200 (1.200 to 1.200)",
        "2 of 3",
        "0 to 0.03",
        "waits",
    ]


def test_page_without_results_says_so_in_one_line(page: Path) -> None:
    none = page.parent / "none"
    none.mkdir()
    report.write(planning.load(page.parent / "arms.yaml"), none, page)
    within = page.read_text().partition(report.BEGIN)[2].partition(report.END)[0]
    assert within.split("\n\n") == ["", "Of 6 units 0 were run.", ""]


def test_folder_or_page_that_is_not_there_is_refused_and_the_page_stays(page: Path) -> None:
    plan, before = planning.load(page.parent / "arms.yaml"), page.read_bytes()
    with pytest.raises(InputError, match=r"nowhere: is no folder; .* look at --results"):
        report.write(plan, page.parent / "nowhere", page)
    with pytest.raises(InputError, match=r"other\.md: is no file; .* look at --page"):
        report.write(plan, page.parent / "found", page.parent / "other.md")
    assert page.read_bytes() == before


def test_page_without_marks_is_refused_in_one_line(page: Path) -> None:
    page.write_text("# Study\n")
    plan = planning.load(page.parent / "arms.yaml")
    with pytest.raises(InputError, match=r"study\.md: lacks .* expected both; put them back"):
        report.write(plan, page.parent / "found", page)
