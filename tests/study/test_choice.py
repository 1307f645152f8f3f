"""The rule that chooses the laptop preset, worked by hand."""

from study.choice import Candidate, Check, choose, settled

SOUND, STOPPED = Check(True, True, True, True), Check(False, True, True, True)


def candidate(
    name: str,
    change: float,
    prompts: int = 128,
    checks: tuple[Check, ...] = (SOUND, SOUND),
    loss: str = "nca_pair",
    rate: float = 5e-5,
) -> Candidate:
    return Candidate(name, checks, change, prompts, loss, rate)


def test_highest_change_of_gold_among_sound_candidates_wins() -> None:
    listed = [
        candidate("a", 0.10),
        candidate("b", 0.30, checks=(SOUND, STOPPED)),
        candidate("c", 0.20),
    ]
    assert choose(listed).name == "c"


def test_without_a_sound_candidate_those_with_the_most_sound_runs_compete() -> None:
    listed = [
        candidate("a", 0.30, checks=(STOPPED, STOPPED)),
        candidate("b", 0.10, checks=(SOUND, STOPPED)),
    ]
    assert choose(listed).name == "b"


def test_fewer_prompts_win_within_a_hundredth() -> None:
    assert choose([candidate("a", 0.200), candidate("b", 0.195, 64)]).name == "b"
    assert choose([candidate("a", 0.200), candidate("b", 0.185, 64)]).name == "a"


def test_of_candidates_still_alike_nca_and_the_lower_rate_come_first() -> None:
    listed = [candidate("a", 0.2, loss="bco_pair"), candidate("b", 0.2, rate=1e-4)]
    assert choose(listed).name == "b"
    assert choose([*listed, candidate("c", 0.195)]).name == "c"


def test_choice_waits_while_a_run_could_change_it() -> None:
    sound = candidate("a", 0.1)
    assert settled([sound, candidate("b", 0.3, checks=(SOUND,))], 2) is None
    assert settled([sound, candidate("b", 0.3, checks=())], 2) is None
    mixed = candidate("a", 0.1, checks=(SOUND, STOPPED))
    assert settled([mixed, candidate("b", 0.3, checks=(STOPPED,))], 2) is None
    assert settled([candidate("b", 0.3, checks=(STOPPED,))], 2) is None


def test_choice_is_settled_once_no_waiting_run_can_change_it() -> None:
    listed = [candidate("a", 0.1), candidate("b", 0.3, checks=(STOPPED,))]
    assert settled(listed, 2) == listed[0]
    listed.append(candidate("c", 0.2))
    assert settled(listed, 2) == listed[2]
