"""The report over iterations 0 to t as a short Markdown text: tables and examples."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mutual_taught.artifacts.files import read_json, write_bytes, write_json
from mutual_taught.errors import InputError
from mutual_taught.report import alarms
from mutual_taught.report.summary import final_iteration
from mutual_taught.terminal.signs import visible

History = list[dict[str, Any]]
STAGES = (
    "answer_previous",
    "sample",
    "score",
    "rank_pairs",
    "dpo",
    "duel",
    "select_policy",
    "answer",
    "build_pairs",
    "train_rm",
    "eval",
)


def entry(iteration: int, metrics: Mapping[str, Any], examples: Sequence[Any]) -> dict[str, Any]:
    """Make one iteration's part of the cumulative data."""
    return {"iteration": iteration, "metrics": dict(metrics), "examples": list(examples)}


def read_metrics(folder: Path, stages: Sequence[str] = STAGES) -> dict[str, Any]:
    """Read the metrics of an iteration's stages, those that exist.

    Args:
        folder: of the metrics.
        stages: names; by default those that every run has, on which the report depends.

    Raises:
        InputError: one is no number.
    """
    paths = {stage: folder / f"{stage}.json" for stage in stages}
    found = {stage: read_json(path) for stage, path in paths.items() if path.exists()}
    for stage, numbers in found.items():
        for name, value in numbers.items():
            if type(value) not in (int, float) or not abs(value) < sys.float_info.max:
                raise InputError(
                    f"{paths[stage]}: {name} is {str(value)[:40]!r}; expected a number; "
                    "run dvc repro"
                )
    return found


def examples(generations: pa.Table, prompts: pa.Table, count: int) -> list[dict[str, Any]]:
    """Take the first response to the first prompts, to show."""
    rows = generations.filter(pa.array(generations["response_index"].to_numpy() == 0)).to_pylist()
    texts = {row["prompt_id"]: row["messages"][-1]["content"] for row in prompts.to_pylist()}
    return [
        {
            "prompt_id": row["prompt_id"],
            "prompt": texts[row["prompt_id"]],
            "response": row["response"],
            "gold": row["gold"],
        }
        for row in rows[:count]
    ]


def write(folder: Path, history: History) -> None:
    """Write `data.json` and `report.md`."""
    write_json(folder / "data.json", history)
    write_bytes(folder / "report.md", _page(history).encode())


def number(metrics: Mapping[str, Any], stage: str, name: str) -> float | None:
    """Look up one number of an iteration."""
    value = metrics.get(stage, {}).get(name)
    return None if value is None else float(value)


def shown(value: float | None, digits: int = 3) -> str:
    """Format a number, or a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.0f}" if digits == 0 else f"{value:.{digits}f}"


def with_interval(
    metrics: Mapping[str, Any], stage: str, mean: str, low: str, high: str, digits: int = 3
) -> str:
    """Format a mean with its 95 % interval."""
    values = [number(metrics, stage, name) for name in (mean, low, high)]
    if values[0] is None:
        return "–"
    middle, *ends = (shown(value, digits) for value in values)
    return f"{middle} [{', '.join(ends)}]"


def _eval(name: str, digits: int = 3) -> Callable[[Mapping[str, Any]], str]:
    mean, low, high = (f"{name}.{part}" for part in ("mean", "ci_lo", "ci_hi"))
    return lambda m: with_interval(m, "eval", mean, low, high, digits)


def _accuracy(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda m: with_interval(m, "eval", f"{name}.accuracy", f"{name}.ci_lo", f"{name}.ci_hi")


def dropped(metrics: Mapping[str, Any], stage: str) -> str:
    """Format kept and dropped pairs with the reasons."""
    values = metrics.get(stage, {})
    if "kept" not in values:
        return "–"
    reasons = [
        f"{name.removeprefix('dropped_')} {value:.0f}"
        for name, value in sorted(values.items())
        if name.startswith("dropped_")
    ]
    return f"{values['kept']:.0f} / {values['rows']:.0f}" + (
        f" ({', '.join(reasons)})" if reasons else ""
    )


def unscored(metrics: Mapping[str, Any]) -> str:
    """Format how many responses, or prompts, were left out because they did not fit r."""
    places = (("score", "unscored"), ("select_policy", "unscored"), ("eval", "policy.unscored"))
    return " / ".join(shown(number(metrics, *place), 0) for place in places)


def state(metrics: Mapping[str, Any], iteration: int) -> str:
    """Say what became of an iteration."""
    if iteration == 0:
        return "start"
    if not number(metrics, "sample", "active"):
        return "stopped before"
    return "active" if number(metrics, "select_policy", "active") else "stopped here"


def selected(metrics: Mapping[str, Any]) -> str:
    """Name the step of the checkpoint that won; of a stopped iteration none did."""
    step = shown(number(metrics, "select_policy", "step"), 0)
    went_on = step == "–" or number(metrics, "select_policy", "active")
    return step if went_on else f"none (best: {step})"


ROWS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "selected step": selected,
    "win rate on D_MS": lambda m: with_interval(
        m, "select_policy", "win_rate", "win_rate_ci_lo", "win_rate_ci_hi"
    ),
    "chance to reach tau by luck": lambda m: shown(number(m, "select_policy", "null_passes")),
    "ranked pairs kept": lambda m: dropped(m, "rank_pairs"),
    "pseudo pairs kept": lambda m: dropped(m, "build_pairs"),
    "without a reward: responses / duel prompts / eval answers": unscored,
    "tolerance": lambda m: shown(number(m, "build_pairs", "tolerance")),
    "gold": _eval("policy.gold"),
    "gold, change from base": _eval("policy.gold_vs_base"),
    "all instructions followed": lambda m: with_interval(
        m,
        "eval",
        "policy.gold.pass_rate",
        "policy.gold.pass_rate_ci_lo",
        "policy.gold.pass_rate_ci_hi",
    ),
    "win rate vs base (gold)": _eval("policy.win_rate.vs_base.verifiable"),
    "win rate vs base (r_0)": _eval("policy.win_rate.vs_base.reward_model"),
    "win rate vs previous (gold)": _eval("policy.win_rate.vs_previous.verifiable"),
    "win rate vs previous (r_{t-1})": _eval("policy.win_rate.vs_previous.previous_reward_model"),
    "the latter above gold's": _eval("policy.over_optimisation"),
    "win rate vs base (gold) at equal length": lambda m: shown(
        number(m, "eval", "policy.win_rate.vs_base.verifiable.lc_minimal")
    ),
    "mean reward, r_0": _eval("policy.reward.r0", 2),
    "mean reward, r_t": _eval("policy.reward.rt", 2),
    "distance from base, nats": _eval("policy.kl.k1", 1),
    "length, tokens": lambda m: shown(number(m, "eval", "policy.length_tokens.mean"), 1),
    "cut at the limit": lambda m: shown(number(m, "eval", "policy.truncated_rate")),
    "distinct-2": lambda m: shown(number(m, "eval", "policy.distinct_2")),
    "r_t on held-out gold pairs": _accuracy("reward_model.gold_pairs"),
    "r_t on own samples": _accuracy("reward_model.own_samples.rt"),
    "r_0 on own samples": _accuracy("reward_model.own_samples.r0"),
}
# Of the iteration itself. The other rows are of the evaluation, which a stopped one carries on.
OF_STEPS = {
    "selected step",
    "win rate on D_MS",
    "chance to reach tau by luck",
    "ranked pairs kept",
    "pseudo pairs kept",
    "tolerance",
    "without a reward: responses / duel prompts / eval answers",
}


def cell(name: str, metrics: Mapping[str, Any], final: int) -> str:
    """Give one number of an iteration as text.

    Args:
        name: of a row.
        metrics: of the iteration, by stage.
        final: the iteration whose policy this one ends with. A stopped iteration evaluates nothing:
            what it carries on is named, not repeated.
    """
    if name not in OF_STEPS and number(metrics, "eval", "active") == 0:
        return f"as t = {final}"
    return ROWS[name](metrics)


MARK = re.compile(r"[!-/:-@\[-`{-~]")
LIVE = re.compile("&#(?:35|64);")  # number sign, at sign
NOTES = (
    "Brackets: 95 % bootstrap intervals over prompts. The win rate on D_MS is that of the best of "
    "several checkpoints, hence biased upwards: below it stands how likely candidates that are no "
    "better reach tau; the win rates vs base and vs previous are from "
    "held-out prompts. The judge r_0 is not independent of training. An answer that is too long "
    "for the reward model, or refused by its template, has no reward: it counts as a failure under "
    "the judge r_0, its pair as one that the reward model got wrong, and mean rewards leave it out."
)


def rows(history: History) -> list[list[str]]:
    """Lay out what became of each iteration, then its numbers: a name, and a cell an iteration."""
    finals = [final_iteration(history[: place + 1]) for place in range(len(history))]
    both = list(zip(history, finals, strict=True))
    return [
        ["state", *(state(item["metrics"], item["iteration"]) for item in history)],
        *([name, *(cell(name, item["metrics"], last) for item, last in both)] for name in ROWS),
    ]


def _page(history: History) -> str:
    head = ["", *(f"t = {item['iteration']}" for item in history)]
    table = [head, ["---"] * len(head), *rows(history)]
    lines = ["# Mutual-Taught, iterations 0 to " + str(history[-1]["iteration"]), ""]
    lines += [f"| {' | '.join(row)} |" for row in table]
    lines += ["", NOTES, ""]
    lines += [part for line in alarms.lines(history) for part in (line, "")]
    lines += _dropped_prompts(history[-1]["metrics"])
    lines += ["`index.html` beside this text has pictures, and samples to search.", ""]
    if history[-1]["examples"]:
        lines += ["## The same prompts, answered in every iteration", ""]
    for place, example in enumerate(history[-1]["examples"]):
        lines += [f"**{_safe(example['prompt'])}**", "", "| t | gold | answer |", "|---|---|---|"]
        for item in history:
            response = item["examples"][place]
            cells = (
                str(item["iteration"]),
                shown(response["gold"], 2),
                _safe(response["response"]),
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(map(visible, lines)) + "\n"


def _dropped_prompts(metrics: Mapping[str, Any]) -> list[str]:
    """Count the rows of the source that are no prompts; nothing where none was dropped."""
    counted = metrics.get("prepare_prompts", {})
    if not counted.get("dropped"):
        return []
    reasons = {
        name.removeprefix("dropped_"): value
        for name, value in sorted(counted.items())
        if name.startswith("dropped_")
    }
    total = f"{counted['dropped']:.0f} of {counted['rows']:.0f} rows of the source are no prompts."
    lines = ["## Dropped prompts", "", total, "", "| reason | rows |", "|---|---|"]
    return [*lines, *(f"| {_safe(name)} | {value:.0f} |" for name, value in reasons.items()), ""]


def _safe(text: str) -> str:
    """Escape text of models and data sets for a Markdown table: no markup, link or new cell.

    Every mark of ASCII is written as its number, because some renderers make links of bare
    addresses. GitHub looks for mail addresses, mentions and issues where numbers are signs again:
    there an empty comment parts the sign from what follows.
    """
    shown = MARK.sub(lambda mark: f"&#{ord(mark[0])};", visible(" ".join(text.split())))
    return LIVE.sub(r"\g<0><!-- -->", shown) or "(blank)"
