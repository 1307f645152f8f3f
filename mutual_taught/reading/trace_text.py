"""The story of one record in lines: what `mutual-taught trace` and `why` print."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mutual_taught.artifacts import decision, files, tables
from mutual_taught.reading.trace import Record, made_from

Happened = Mapping[str, list[Record]]
Shown = Callable[[str], str]
WORDS = {1.0: "won", 0.5: "tied", 0.0: "lost"}


def lines(story: Record, run: Path, full: bool = False) -> list[str]:
    """Tell a prompt's story in lines; texts as excerpts, or `full`, below what they belong to."""
    short = _whole if full else _short
    place = f"source {story['source']} row {story['row']}"
    shown = [f"prompt {story['prompt_id']}  split {story['split']}  {place}"]
    shown += [
        f"  {turn['role']}: {_whole(turn['content']) if full else _short(turn['content'], 300)}"
        for turn in story["messages"]
    ]
    for key, happened in story["iterations"].items():
        shown += ["", f"iteration {key}"]
        for tell in TELLERS:
            shown += tell(happened, run / key, short)
        shown += [f"  learnt by {name}" for name in happened["learnt_by"]]
    return shown


def _sampled(happened: Happened, folder: Path, short: Shown) -> list[str]:
    scored = {row["response_index"]: row for row in happened.get("rewards", [])}
    known = [row["reward"] for row in scored.values() if row["reward"] is not None]
    pairs = happened.get("ranked_pairs", [])
    marks = {}
    if pairs and pairs[0]["chosen_index"] is not None:
        marks = {pairs[0]["chosen_index"]: "chosen", pairs[0]["rejected_index"]: "rejected"}
    shown = [
        f"  response {row['response_index']}  {_reward(scored.get(row['response_index']))}"
        f"  {row['length_tokens']} tokens  {row['finish_reason']}"
        f"  {marks.get(row['response_index'], ''):8}  {short(row['response'])}"
        for row in happened.get("responses", [])
    ]
    for row in pairs:
        if known:
            shown.append(f"  mean reward {_number(sum(known) / len(known))}")
        shown += _compared(made_from(folder, tables.RANKED_PAIRS))
        shown.append(
            f"  pair kept: response {row['chosen_index']} over {row['rejected_index']}"
            if row["kept"]
            else f"  pair dropped: {row['reason']}"
        )
    return shown


def _duelled(happened: Happened, folder: Path, short: Shown) -> list[str]:
    rows = happened.get("duels", [])
    if not rows:
        return []
    decided = (folder / "decision.json").exists()
    metrics = folder / "metrics" / "select_policy.json"
    numbers = files.read_json(metrics) if decided else {}
    ties_lose = numbers.get("tie_counts_as") == 0
    went_on = decided and decision.read(folder / "decision.json").active
    best = "selected" if went_on else "the best, not selected"
    words = {**WORDS, 0.5: "tied (a loss)"} if ties_lose else WORDS
    draw = _draw if rows[-1]["response_index"] else _only_draw
    shown = [
        f"  previous policy{draw(row)}  reward {_number(row['previous_reward'])}"
        f"{_gold(row, 'previous_')}  {short(row['previous_response'])}"
        for row in rows
        if row["step"] == rows[0]["step"]
    ]
    for row in rows:
        mark = f"  ({best})" if row["step"] == numbers.get("step") else ""
        outcome = words.get(row["outcome"], f"left out: {row['reason']}")
        shown.append(
            f"  checkpoint {row['step']}{mark}{draw(row)} {outcome}  "
            f"reward {_number(row['reward'])}{_gold(row)}  {short(row['response'])}"
        )
    if not decided:
        return [*shown, "  no checkpoint is selected yet"]
    return [*shown, f"  the iteration {'went on' if went_on else 'stopped here'}"]


def _draw(row: Record) -> str:
    """Name the draw of a duel, where each policy answered several times."""
    return f"  draw {row['response_index']}"


def _only_draw(row: Record) -> str:
    """Say nothing where there is only one draw."""
    return ""


def _gold(duel: Record, side: str = "") -> str:
    """Give a response's gold in a duel that gold judged."""
    return f"  gold {_number(duel[f'{side}gold'])}" if "gold" in duel else ""


def _labelled(happened: Happened, folder: Path, short: Shown) -> list[str]:
    pairs = happened.get("pseudo_pairs", [])
    if not pairs:
        return [f"  answer  {short(row['response'])}" for row in happened.get("answers", [])]
    row = pairs[0]
    against = made_from(folder, tables.PREVIOUS_ANSWERS).get("against", "previous")
    return [
        f"  answer           reward {_number(row['reward'])}  {short(row['response'])}",
        f"  {f'{against} answer':15}  reward {_number(row['previous_reward'])}  "
        f"{short(row['previous_response'])}",
        *_by_gold(row),
        f"  pseudo pair {'kept' if row['kept'] else 'dropped: ' + row['reason']}, "
        f"margin {_number(row['reward_margin'])}",
    ]


def _by_gold(pair: Record) -> list[str]:
    """Say how gold labelled a pair, in a run where it does."""
    if "chosen" not in pair:
        return []
    chosen = {"response": "the answer", "previous_response": "the other answer"}
    golds = f"{_number(pair['gold'])} and {_number(pair['previous_gold'])}"
    return [f"  labelled by gold, {golds}: {chosen.get(pair['chosen'], 'neither')} is chosen"]


def _evaluated(happened: Happened, folder: Path, short: Shown) -> list[str]:
    return [
        f"  eval answer {row['response_index']}  gold {_number(row['gold'])}"
        f"  r_0 {_number(row['reward_r0'])}  r_t {_number(row['reward_rt'])}"
        f"  {short(row['response'])}"
        for row in happened.get("generations", [])
    ]


def _mixed(happened: Happened, folder: Path, short: Shown) -> list[str]:
    return [
        f"  {row['kind']} pair {row['pair_id']}{_weight(row)}"
        for row in happened.get("reward_pairs", [])
    ]


def _weight(pair: Record) -> str:
    """Say how much a pair counts, in a run where not all count alike."""
    return f"  weight {_number(pair['weight'])}" if "weight" in pair else ""


TELLERS: tuple[Callable[[Happened, Path, Shown], list[str]], ...] = (
    _sampled,
    _duelled,
    _labelled,
    _mixed,
    _evaluated,
)


def pair_lines(why: Record, full: bool = False) -> list[str]:
    """Tell why a pair is there in lines; its texts as excerpts, or `full`."""
    short = _whole if full else _short
    by = why["decided_by"]
    shown = [
        f"{why['kind']} pair {why['pair_id']}  iteration {why['iteration']}  "
        f"prompt {why['prompt_id']}{_weight(why)}",
        f"  chosen    {short(why['chosen'])}",
        f"  rejected  {short(why['rejected'])}",
    ]
    if why["kind"] == "ranked":
        listed = zip(why["rewards"], why["lengths"], strict=True)
        shown += [
            f"  response {index}  reward {_number(reward)}  {length} tokens"
            for index, (reward, length) in enumerate(listed)
        ]
        known = [reward for reward in why["rewards"] if reward is not None]
        shown += [
            f"  mean reward {_number(sum(known) / len(known))}; by the rule "
            f"{why['rule']} chosen is response {by['chosen_index']}, rejected response "
            f"{by['rejected_index']}",
        ]
        shown += _compared(why)
    elif why["kind"] == "seed":
        golds = f"{_number(by['gold_chosen'])} over {_number(by['gold_rejected'])}"
        shown += [
            f"  gold {golds}; r_0 was trained on it, too; {why['rule']} of r_0's pairs are drawn"
        ]
    else:
        sides = [by["reward"], by["previous_reward"]]
        better, worse = reversed(sides) if by.get("chosen") == "previous_response" else sides
        shown += [
            *_by_gold(by),
            f"  margin {_number(by['reward_margin'])} = {_number(better)} - {_number(worse)}; "
            f"{_floor(why)}",
        ]
    return [*shown, *(f"  learnt by {name}" for name in why["learnt_by"])]


def _compared(made: Mapping[str, Any]) -> list[str]:
    """Say how rewards were compared where some take no part, or length counts for nothing."""
    said = []
    if made.get("ended_only"):
        said.append("  compared without responses that were cut at the token limit")
    if (slope := made.get("length_slope")) is not None:
        taken = f"{_number(slope)} a token above the mean length is taken from a reward"
        said.append(f"  compared without length: {taken}")
    return said


def _floor(why: Record) -> str:
    """Say which margins the filter drops."""
    if why["rule"] == "none":
        return "the filter none drops no margin"
    floor = "0" if why["rule"] == "positive" else f"-{_number(why['tolerance'])}"
    return f"the filter {why['rule']} drops margins of {floor} and below"


def _reward(row: Record | None) -> str:
    """Say a response's reward, or why it has none."""
    why = f" ({row['reason']})" if row and row["reason"] else ""
    return f"reward {_number(row['reward'] if row else None)}{why}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _short(text: str, size: int = 90) -> str:
    """Show the beginning of a text on one line."""
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= size else shown[: size - 1] + "…")


def _whole(text: str) -> str:
    """Show a whole text, below the line that it belongs to."""
    return "".join(f"\n      | {line}" for line in text.splitlines() or ["(blank)"])
