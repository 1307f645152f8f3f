"""Tables and figures of the study, from the stored results and from nothing else."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutual_taught.artifacts.files import write_bytes
from mutual_taught.errors import InputError
from mutual_taught.terminal.signs import visible
from study import choice, claims, figures, made_of, outcomes, results
from study.outcomes import Numbers
from study.plan import ROOT, Block, StudyPlan, Unit, units, values
from study.statistics import Estimate, Sample, estimate, holm, single

PAGE = ROOT / "docs" / "study.md"
PICTURES = "pictures"
BEGIN = "<!-- results: written by python -m study report -->"
END = "<!-- end of results -->"
Key = tuple[str, str]  # arm, format
Studied = Mapping[Key, Sequence[Numbers]]
Outcome = tuple[str, Callable[[Numbers], outcomes.Values]]
Table = list[list[str]]
BINS = ("≤ −1", "(−1, −.5]", "(−.5, 0]", "(0, .5]", "(.5, 1]", "(1, 2]", "> 2")


def write(plan: StudyPlan, folder: Path, page: Path = PAGE) -> None:
    """Put tables and figures into a page, between the two marks; the rest of the page stays.

    Raises:
        InputError: the page or the folder is not there, the page lacks the marks, or a file is no
            result.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; expected that of the results; look at --results")
    if not page.is_file():
        raise InputError(f"{page}: is no file; expected the page of the study; look at --page")
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text.partition(BEGIN)[2]:
        raise InputError(f"{page}: lacks {BEGIN} and {END}; expected both; put them back")
    listed = results.read_all(folder)
    found = [one for one in listed if belongs(plan, one)]
    made_of.check(plan, found, folder)
    head, _, rest = text.partition(BEGIN)
    lines = [*_strangers(plan, listed), *body(plan, found, page.parent / PICTURES)]
    end = rest.partition(END)[2]
    write_bytes(page, "\n".join([head + BEGIN, "", *lines, END + end]).encode())


def belongs(plan: StudyPlan, result: results.Result) -> bool:
    """Tell whether a result is of this study, on the testbed that is reported."""
    arm = result.unit.arm
    return arm in plan.arms and result.about["testbed"] == plan.testbed(arm)


def _strangers(plan: StudyPlan, listed: Sequence[results.Result]) -> Iterator[str]:
    """Name the results of arms that the study does not have."""
    names = [one.unit.name for one in listed if one.unit.arm not in plan.arms]
    if names:
        yield f"Left out, because the study has no such arm: {', '.join(map(quoted, names))}."
        yield ""


def body(plan: StudyPlan, found: Sequence[results.Result], pictures: Path) -> Iterator[str]:
    """Write the part of the page that follows from results."""
    done = [Numbers(result) for result in found if result.about["status"] == results.DONE]
    yield from _ran(plan, found)
    yield from _claimed(plan, done)
    for block in plan.order if found else []:
        first = [one for one in done if one.unit.arm == block.against]
        yield from _block(block, plan, of_block(block, done), first, pictures)


def _claimed(plan: StudyPlan, done: Sequence[Numbers]) -> Iterator[str]:
    """Say what came of every claim that any unit speaks of."""
    found = claims.judge(plan, done)
    known = [one for one in found if one.estimate.seeds]
    if not known:
        return
    yield "### The hypotheses"
    yield ""
    yield (
        "Each claim has its range in `study/arms.yaml`. It holds where the whole 95 % interval "
        "over seeds lies within, and is wrong where all of it lies outside. It waits until all of "
        "its seeds are run. No interval is corrected for the number of claims."
    )
    yield ""
    head = ["", "claim", "arm", "measured", "seeds", "range", "so it"]
    yield from table(head, [_claim(one) for one in known])
    waiting = list(dict.fromkeys(_whose(one) for one in found if not one.estimate.seeds))
    if waiting:
        yield f"No unit speaks yet of what is claimed of {', '.join(waiting)}."
        yield ""


def _claim(one: claims.Found) -> list[str]:
    claim, low, high = one.claim, *one.claim.within
    differs = claim.measure in ("rise", "gain", "held-out", "label")
    ends = [_minus(f"{end:g}") for end in (low, high)]
    bounds = f"{ends[0]} to {ends[1]}"
    if np.isinf(low) or np.isinf(high):
        bounds = f"below {ends[1]}" if np.isinf(low) else f"above {ends[0]}"
    return [
        claim.of,
        claim.is_,
        _whose(one),
        f"{MEASURED[claim.measure]} {_known(one.estimate, bool(claim.minus) or differs)}",
        f"{one.estimate.seeds} of {one.wanted}",
        bounds,
        one.state,
    ]


MEASURED = {
    "gold": "final gold",
    "rise": "change of gold",
    "gain": "r_t − r_0",
    "held-out": "r_t − r_0, held-out pairs",
    "label": "label − r",
    "length": "length, ratio",
    "active": "iterations that went on",
}


def _known(found: Estimate, signed: bool = True) -> str:
    """Write an estimate; of one seed the number alone, where prompts give no interval."""
    text = shown(found, signed)
    return text if found.seeds > 1 else text.partition(" ")[0]


def _whose(one: claims.Found) -> str:
    return one.claim.arm + (f" minus {one.claim.minus}" if one.claim.minus else "")


def of_block(block: Block, done: Sequence[Numbers]) -> Studied:
    """Group the units of a block by arm and format, in its order; seeds ascend."""
    listed: dict[Key, list[Numbers]] = {}
    for number_format in block.formats:
        for arm in block.arms:
            wanted = [
                numbers
                for numbers in done
                if (numbers.unit.arm, numbers.unit.format) == (arm, number_format)
                and numbers.unit.seed in block.seeds
            ]
            if wanted:
                listed[arm, number_format] = sorted(wanted, key=lambda one: one.unit.seed)
    return listed


def _ran(plan: StudyPlan, found: Sequence[results.Result]) -> Iterator[str]:
    """Say what was run, where and by which code, and what was not."""
    listed = units(plan)
    by_unit = {result.unit: result for result in found}
    done = [result for result in found if result.about["status"] == results.DONE]
    yield f"Of {len(listed)} units {sum(unit in by_unit for unit in listed)} were run."
    yield ""
    if not found:
        return
    rows = [
        [
            machine,
            str(len(own)),
            f"{sum(result.about['seconds_here'] for result in own) / 3600:.1f}",
            _joined(result.about["date"] for result in own),
            _joined(result.about["commit"] or result.about["code"] for result in own),
        ]
        for machine, own in _by_machine(done).items()
    ]
    yield from table(["machine", "units", "hours", "dates", "code"], rows)
    bad = [result for result in found if result.about["status"] != results.DONE]
    if bad:
        rows = [[r.unit.name, r.about["status"], quoted(r.about["line"])] for r in bad]
        yield from table(["unit", "ended", "line"], rows)
    needed = set(units(plan, closed=False))
    left = [unit for unit in listed if unit not in by_unit]
    for said, own in (
        ("Not run", [unit for unit in left if unit in needed]),
        ("Not needed any more", [unit for unit in left if unit not in needed]),
    ):
        if own:
            yield f"**{said}** ({len(own)}):"
            yield ""
            yield from table(["block", "format", "seeds", "arms"], _by_block(plan, own))


def _by_machine(done: Sequence[results.Result]) -> dict[str, list[results.Result]]:
    found: dict[str, list[results.Result]] = {}
    for result in done:
        found.setdefault(result.about["machine"], []).append(result)
    return found


def _by_block(plan: StudyPlan, left: Sequence[Unit]) -> list[list[str]]:
    """Name units by block, format and seeds; a unit of two blocks is of the first."""
    found = []
    rest = set(left)
    for block in plan.order:
        for number_format in block.formats:
            arms: dict[str, list[str]] = {}
            for arm in block.arms:
                own = [s for s in block.seeds if Unit(arm, s, number_format) in rest]
                if own:
                    arms.setdefault(", ".join(map(str, own)), []).append(arm)
                rest.difference_update(Unit(arm, seed, number_format) for seed in own)
            for seeds, names in arms.items():
                every = len(names) > 1 and names == block.arms
                named = f"all {len(names)}" if every else ", ".join(names)
                found.append([block.name, number_format, seeds, named])
    return found


def _block(
    block: Block, plan: StudyPlan, studied: Studied, first: Sequence[Numbers], pictures: Path
) -> Iterator[str]:
    """Write the part of a block; `first` are the units of the arm it is compared with."""
    yield f"### Block {block.name}"
    yield ""
    if {arm for arm, _ in studied} <= {block.against}:  # that arm's tables stand in another block
        yield f"No unit of it was run{f' but of {block.against}' if studied else ''}."
        yield ""
        return
    yield from table(["arm", "what it is"], [[arm, plan.arms[arm].is_] for arm in block.arms])
    if block.rule is not None:
        yield from _checked(block, plan, studied)
        yield from _each(studied)
    alike = all(_same_policies(own, first) for own in studied.values())
    if alike:
        yield f"The policies are {block.against}'s; none learns from these reward models."
        yield ""
    else:
        yield "**The policy.** Final against π_0, same prompts. In round brackets: range of seeds."
        yield ""
        yield from _policies(studied)
    yield (
        "**The reward model.** r_t against r_0 on the same pairs, after the last iteration, and "
        "how many pairs and steps it learnt from."
    )
    yield ""
    yield from table(REWARD, [_reward(key, own) for key, own in studied.items()])
    if block.against is not None:
        yield from _contrasts(block, first, studied, OUTCOMES[2:] if alike else OUTCOMES)
    yield (
        "**The M-step's labels**: pairs of D_M whose gold differs, of the seeds that had the "
        "M-step. The shares are means over seeds; p is not corrected. The labels are the M-step's, "
        "whatever r_t learnt from."
    )
    yield ""
    yield from table(LABELS, [row for key, own in studied.items() for row in _labels(key, own)])
    everything = [numbers for own in studied.values() for numbers in own]
    yield from _pointing(everything)
    yield from _by_margin(everything)
    yield from _by_instruction(everything)
    drawn = [figures.LABELS] if alike else [figures.GOLD, figures.LABELS]
    for name, title, draw in [*drawn, *([figures.RUNS] if block.rule == "show" else [])]:
        if (content := draw(studied)) is not None:
            file = f"study-{block.name}-{name}.png"
            write_bytes(pictures / file, content)
            yield f"![{title}, block {block.name}]({PICTURES}/{file})"
            yield ""


def _checked(block: Block, plan: StudyPlan, studied: Studied) -> Iterator[str]:
    """Say which runs are sound, and which candidate the rule chooses once all runs are there."""
    found = []
    for arm in block.arms:
        runs = [one for (name, _), own in studied.items() if name == arm for one in own]
        if runs:
            found.append(choice.candidate(arm, runs, values(plan, runs[0].unit)))
    yield "**Sound runs**, of those that ended well: which bounds hold in how many."
    yield ""
    rows = [
        [
            one.name,
            str(len(one.checks)),
            str(one.sound),
            *(str(sum(each)) for each in zip(*one.checks, strict=True)),
            _minus(f"{one.change:+.3f}"),
        ]
        for one in found
    ]
    yield from table(["arm", "runs", "sound", *CHECKS, "mean change of gold"], rows)
    wanted = len(block.seeds) * len(block.formats)
    if block.rule != "choose":
        yield from _verdict(found, wanted)
        return
    chosen = choice.settled(found, wanted) if len(found) == len(block.arms) else None
    if chosen is None:
        yield f"The rule waits for {wanted} runs of each candidate."
    elif all(len(one.checks) == wanted for one in found):
        yield f"By the rule: **{chosen.name}**."
    else:
        yield (
            f"By the rule: **{chosen.name}**. Runs that were not made cannot change it: had all "
            "been sound, none of their candidates would have as many sound runs."
        )
    yield ""


def _verdict(found: Sequence[choice.Candidate], wanted: int) -> Iterator[str]:
    """Say of each bound in how many runs it held, and in how many it has to."""
    for one in found:
        missing = wanted - len(one.checks)
        said = [
            f"{name} in {held} of {len(one.checks)} ({choice.verdict(held, missing, least)}: at "
            f"least {least} of {wanted})"
            for name, least, held in zip(
                CHECKS, choice.needed(wanted), map(sum, zip(*one.checks, strict=True)), strict=True
            )
        ]
        yield f"{one.name}: {'; '.join(said)}. The time of a run is not among them."
        yield ""


def _stored(one: Numbers, measure: str) -> str:
    """Write a difference as the run's last evaluation has it, with its interval over prompts."""
    mean, low, high = (one.number(one.last, f"{measure}.{n}") for n in ("mean", "ci_lo", "ci_hi"))
    return shown(Estimate(mean, low, high, float("nan"), (mean,)))


CHECKS = ("go on", "gold rises", "length in bounds", "chosen stays likely")
RUNS = [
    "run",
    "win rate on D_MS",
    "gold, t = 0, 1, …",
    "change of gold",
    "length, ratio",
    "chosen log-prob",
    "r_t − r_0, own samples",
    "sound",
]


def _each(studied: Studied) -> Iterator[str]:
    """Give every run by itself."""
    yield "**Every run.** Of the chosen log-prob the lowest change in an iteration is shown."
    yield ""
    rows = [_run(one) for own in studied.values() for one in own]
    yield from table(RUNS, rows)


def _run(one: Numbers) -> list[str]:
    steps = range(one.last + 1)
    known = [one.number(t, "select_policy.win_rate") for t in steps[1:]]
    checked = choice.check(one)
    failed = [name for name, held in zip(CHECKS, checked, strict=True) if not held]
    return [
        one.unit.name,
        ", ".join("stopped" if np.isnan(rate) else f"{rate:.2f}" for rate in known),
        ", ".join(f"{one.average(t, 'gold'):.3f}" for t in steps),
        _stored(one, "eval.policy.gold_vs_base"),
        f"{one.average(one.last, 'length') / one.average(0, 'length'):.2f}",
        _minus(f"{_displacement(one):.1f}"),
        _stored(one, "eval.reward_model.own_samples.difference"),
        "yes" if checked.sound else f"no: {', '.join(failed)}",
    ]


POLICY = [
    "arm, format",
    "seeds",
    "went on",
    "gold, π_0",
    "change of gold",
    "p",
    "change of pass rate",
    "wins against π_0",
    "length, ratio",
    "cut",
    "chosen log-prob",
    "log π_t / π_0, nats a token",
    "r_0's reward, change",
    "over-optimisation",
]


def _policies(studied: Studied) -> Iterator[str]:
    """Give the policies of every arm, and of arms with the same policies those of the first."""
    named: dict[Key, list[Key]] = {}
    for key, own in studied.items():
        told = (one for one in named if len(studied[one]) == len(own))
        first = next((one for one in told if _same_policies(own, studied[one])), key)
        named.setdefault(first, []).append(key)
    yield from table(POLICY, [_policy(key, studied[key]) for key in named])
    for (arm, number_format), (_, *others) in named.items():
        if others:
            said = ", ".join(other for other, _ in others)
            yield f"In {number_format} {arm} has the same policies as {said}, seed by seed."
            yield ""


def _same_policies(own: Sequence[Numbers], other: Sequence[Numbers]) -> bool:
    """Tell whether another arm has every run of one, seed by seed, with the same policies."""
    by_seed = {one.unit.group: one for one in other}
    return all(
        one.unit.group in by_seed and one.same_policies(by_seed[one.unit.group]) for one in own
    )


def _policy(key: Key, own: Sequence[Numbers]) -> list[str]:
    gold = estimate([outcomes.change(one, "gold") for one in own])
    passed = estimate([outcomes.change(one, "passed") for one in own])
    wins = estimate([outcomes.alone(one.prompts(one.last, "wins_base")) for one in own])
    lengths = [one.average(one.last, "length") / one.average(0, "length") for one in own]
    return [
        _name(key),
        str(gold.seeds),
        _joined(f"{one.active()} of {one.last}" for one in own),
        _spread([one.average(0, "gold") for one in own]),
        shown(gold),
        _p(gold.p),
        shown(passed),
        shown(wins, signed=False),
        _spread(lengths, 2),
        _spread([one.average(one.last, "cut") for one in own], 2),
        _spread([_displacement(one) for one in own], 1),
        _spread([one.number(one.last, "eval.policy.kl.k1_per_token") for one in own], 2),
        _spread([_reward_change(one) for one in own], 2),
        _numbers([one.number(one.last, "eval.policy.over_optimisation.mean") for one in own]),
    ]


def _displacement(numbers: Numbers) -> float:
    """Give how many nats the chosen responses lost at most in an iteration's DPO."""
    found = [numbers.number(t, "dpo.chosen_logp_change") for t in range(1, numbers.last + 1)]
    known = [value for value in found if np.isfinite(value)]
    return min(known) if known else float("nan")


def _reward_change(numbers: Numbers) -> float:
    """Give how much r_0's mean reward rose."""
    first, last = (numbers.number(t, "eval.policy.reward.r0.mean") for t in (0, numbers.last))
    return last - first


REWARD = [
    "arm, format",
    "seeds",
    "r_t, own samples",
    "r_0, the same",
    "difference",
    "p",
    "its log loss, difference",
    "held-out pairs, difference",
    "p",
    "their log loss, difference",
    "pairs",
    "steps",
]


def _reward(key: Key, own: Sequence[Numbers]) -> list[str]:
    samples = estimate([outcomes.agreement(one, "own_samples") for one in own])
    held_out = estimate([outcomes.agreement(one, "gold_pairs") for one in own])
    each = [
        estimate([outcomes.alone(one.prompts(one.last, f"own_samples.{name}")) for one in own])
        for name in ("rt", "r0")
    ]
    return [
        _name(key),
        str(samples.seeds),
        *(shown(one, signed=False) for one in each),
        shown(samples),
        _p(samples.p),
        _numbers(_log_loss(own, "own_samples.rt", "own_samples.r0")),
        shown(held_out),
        _p(held_out.p),
        _numbers(_log_loss(own, "gold_pairs", "gold_pairs.r0")),
        *(
            _spread([one.number(one.last, name) for one in own], 0)
            for name in ("build_pairs.pairs", "train_rm.steps")
        ),
    ]


def _log_loss(own: Sequence[Numbers], of: str, less: str) -> list[float]:
    """Give the log loss of r_t's margins minus that of r_0's on the same pairs, of every seed."""
    return [
        one.number(one.last, f"eval.reward_model.{of}.log_loss")
        - one.number(one.last, f"eval.reward_model.{less}.log_loss")
        for one in own
    ]


def _contrasts(
    block: Block, found: Sequence[Numbers], studied: Studied, of: Sequence[Outcome]
) -> Iterator[str]:
    """Compare every arm with one, on the prompts of the seeds that both have."""
    against, tests = block.against, len(set(block.arms) - {block.against})
    for number_format in dict.fromkeys(number_format for _, number_format in studied):
        first = {one.unit.seed: one for one in found if one.unit.format == number_format}
        arms = [arm for arm, other in studied if other == number_format and arm != against]
        if not first or not arms:
            continue
        outs = [
            [_contrast(first, studied[arm, number_format], measure) for arm in arms]
            for _, measure in of
        ]
        corrected = [holm([one.p for one in each], tests) for each in outs]
        rows = [
            [
                arm,
                *(
                    text
                    for each, ps in zip(outs, corrected, strict=True)
                    for text in (shown(each[place]), _p(ps[place]), _seeds(each[place]))
                ),
            ]
            for place, arm in enumerate(arms)
        ]
        yield (
            f"**Against {against}**, {number_format}, on the same seeds. p is corrected for the "
            f"block's {tests} arms, run or not (Holm), each outcome by itself."
        )
        yield ""
        head = [text for name, _ in of for text in (f"{name}, minus its", "p", "by seed")]
        yield from table(["arm", *head], rows)


def _seeds(found: Estimate) -> str:
    return ", ".join(_minus(f"{value:+.3f}") for value in found.each)


OUTCOMES: Sequence[Outcome] = (
    ("final gold", lambda numbers: numbers.prompts(numbers.last, "gold")),
    ("final pass rate", lambda numbers: numbers.prompts(numbers.last, "passed")),
    ("gain of r_t", lambda numbers: outcomes.gain(numbers, "own_samples")),
)


def _contrast(
    first: Mapping[int, Numbers],
    own: Sequence[Numbers],
    measure: Callable[[Numbers], outcomes.Values],
) -> Estimate:
    both = [one for one in own if one.unit.seed in first]
    return estimate([outcomes.paired(measure(one), measure(first[one.unit.seed])) for one in both])


LABELS = [
    "arm, format",
    "t",
    "seeds",
    "pairs",
    "ties",
    "label right",
    "r right",
    "difference",
    "p",
    "right where they differ, kept",
    "r_t − r_0, own samples",
]


def _labels(key: Key, own: Sequence[Numbers]) -> Iterator[list[str]]:
    """Say of each iteration how often label and reward model are right, and what r_t gained."""
    for t in range(1, max(one.last for one in own) + 1):
        made = [(one, outcomes.labels(one, t)) for one in own]
        made = [(one, found) for one, found in made if len(found.label) + found.ties]
        if not made:
            continue
        steps = [found for _, found in made]
        samples = [outcomes.label_sample([found]) for found in steps]
        compared = estimate(samples)
        contrary = np.concatenate(
            [found.label[(found.margin <= 0) & found.kept] for found in steps]
        )
        learnt = all(outcomes.own_label(one, t) for one, _ in made)
        yield [
            _name(key),
            str(t),
            str(len(made)),
            str(sum(len(found.label) for found in steps)),
            str(sum(found.ties for found in steps)),
            *_right(samples),
            shown(compared),
            _p(compared.p),
            _share(contrary, count=True) if learnt else "–",
            shown(estimate([outcomes.agreement(one, "own_samples", t) for one, _ in made])),
        ]


POINTING = ["t", "M-steps", "neither number is 0", "same sign", "correlation"]


def _pointing(everything: Sequence[Numbers]) -> Iterator[str]:
    """Say whether what r_t gains follows from the labels: every M-step once, no test."""
    rows = []
    for t in range(1, max(one.last for one in everything) + 1):
        steps = {(one.unit.seed, point) for one in everything for point in outcomes.step(one, t)}
        points = np.array([point for _, point in sorted(steps)], np.float64).reshape(-1, 2)
        if len(points) < 3:  # two always lie on a line
            continue
        signed = points[(points != 0).all(axis=1)]
        same = int((signed[:, 0] * signed[:, 1] > 0).sum())
        varied = bool((points.std(axis=0) > 0).all())
        related = float(np.corrcoef(*points.T)[0, 1]) if varied else float("nan")
        shown_as = _minus(f"{related:+.2f}") if varied else "–"
        rows.append([str(t), str(len(points)), str(len(signed)), str(same), shown_as])
    if rows:
        yield "Label right minus r right, and r_t minus r_0 on own samples (H1), every M-step once:"
        yield ""
        yield from table(POINTING, rows)


def _right(samples: Sequence[Sample]) -> list[str]:
    """Give how often labels are right, and how often the reward model: means over seeds."""
    sides = [[one.first() for one in samples], [one.second() for one in samples]]
    means = [estimate(side).mean for side in sides]
    return [f"{mean:.3f}" if np.isfinite(mean) else "–" for mean in means]


def _by_margin(everything: Sequence[Numbers]) -> Iterator[str]:
    """Say by the margin how often a label is right, over all M-steps of a block."""
    limits = list(zip(outcomes.EDGES, outcomes.EDGES[1:], strict=False))
    steps = _by_seed(everything)
    samples = [
        [outcomes.label_sample(of_seed, outcomes.between(*each)) for of_seed in steps]
        for each in limits
    ]
    if not any(len(sample.sums) for each in samples for sample in each):
        return
    yield "Label right by margin / ε, all M-steps of the block together, each once:"
    yield ""
    rows = [
        ["pairs", *(str(sum(len(sample.sums) for sample in each)) for each in samples)],
        [
            "label right",
            *(
                shown(estimate([sample.first() for sample in each]), signed=False)
                for each in samples
            ),
        ],
    ]
    yield from table(["margin / ε", *BINS], rows)


def _by_seed(
    everything: Sequence[Numbers], subset: str = "", t: int | None = None
) -> list[list[outcomes.Labels]]:
    """List the M-steps of every seed, or those of an iteration; a shared one counts once."""
    found: dict[int, dict[bytes, outcomes.Labels]] = {}
    for one in everything:
        for each in range(1, one.last + 1) if t is None else [t]:
            step = outcomes.labels(one, each, subset)
            same = _bytes((step.label, step.reward, step.margin))
            found.setdefault(one.unit.seed, {})[same] = step
    return [list(steps.values()) for steps in found.values()]


def _together(listed: Iterable[tuple[int, Sample]]) -> list[Sample]:
    """Join the samples of every seed; what several units share counts once."""
    found: dict[int, dict[bytes, Sample]] = {}
    for seed, sample in listed:
        found.setdefault(seed, {})[_bytes(sample)] = sample
    return [outcomes.joined(list(own.values())) for own in found.values()]


def _bytes(columns: Sequence[NDArray[Any]]) -> bytes:
    return b"".join(column.tobytes() for column in columns)


INSTRUCTIONS = [
    "instruction",
    "t",
    "followed, change from t − 1",
    "pairs of D_M that differ in it",
    "label right",
    "r right",
    "pairs of own samples that differ in it alone",
    "r_t − r_0 on them",
]


def _by_instruction(everything: Sequence[Numbers]) -> Iterator[str]:
    """Say by instruction what the policy learnt, how often labels are right, what r_t gained."""
    names = sorted({name for one in everything for name in one.subsets("follows")})
    rows = []
    for name in names:
        for t in range(1, max(one.last for one in everything) + 1):
            had = [one for one in everything if one.number(t, "eval.active") == 1.0]
            learnt = _together(
                (one.unit.seed, outcomes.change(one, "follows", name, t)) for one in had
            )
            steps = [outcomes.label_sample(own) for own in _by_seed(had, name, t)]
            gained = _together(
                (one.unit.seed, outcomes.agreement(one, "own_samples", t, name))
                for one in had
                if outcomes.trained(one, t)
            )
            rows.append(
                [
                    name,
                    str(t),
                    shown(estimate(learnt)),
                    str(sum(len(sample.sums) for sample in steps)),
                    *_right(steps),
                    str(round(sum(float(sample.counts.sum()) for sample in gained))),
                    shown(estimate(gained)),
                ]
            )
    if rows:
        yield "By instruction, all units of the block together, means over seeds:"
        yield ""
        yield from table(INSTRUCTIONS, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Write a Markdown table and an empty line."""
    for row in [head, ["---"] * len(head), *rows]:
        yield f"| {' | '.join(cell(text) for text in row)} |"
    yield ""


def cell(text: str) -> str:
    """Write a text as one cell of one line."""
    return visible(" ".join(text.split())).replace("|", "&#124;")


def quoted(text: str) -> str:
    """Write a text that may hold anything without markup of its own: signs as numbers."""
    return "".join(
        sign if sign.isalnum() or sign in " .,:;" else f"&#{ord(sign)};" for sign in text
    )


def shown(found: Estimate, signed: bool = True) -> str:
    """Write an estimate: with its interval, or with the range of two seeds."""
    if not np.isfinite(found.mean):
        return "–"
    sign = "+" if signed else ""
    mean, low, high = (
        _minus(f"{value:{form}}")
        for value, form in ((found.mean, f"{sign}.3f"), (found.low, ".3f"), (found.high, ".3f"))
    )
    return f"{mean} ({low} to {high})" if found.seeds == 2 else f"{mean} [{low}, {high}]"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _p(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _spread(values: Sequence[float], digits: int = 3) -> str:
    """Write the mean of seeds, with the lowest and the highest."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "–"
    mean, low, high = (
        _minus(f"{value:.{digits}f}") for value in (float(np.mean(known)), min(known), max(known))
    )
    return mean if len(known) == 1 else f"{mean} ({low} to {high})"


def _numbers(values: Sequence[float]) -> str:
    """Write the mean of numbers of whole runs, one a seed."""
    return _known(estimate([single(value) for value in values]))


def _share(values: outcomes.Bools, count: bool = False) -> str:
    if not len(values):
        return "–"
    return f"{float(values.mean()):.3f}" + (f" (n {len(values)})" if count else "")


def _name(key: Key) -> str:
    return f"{key[0]}, {key[1]}"


def _joined(values: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(values))
