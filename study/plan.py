"""What the study runs: arms by name, units in an order written beforehand, params of a unit."""

import copy
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mutual_taught.config import params, presets
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.terminal import near

ROOT = Path(__file__).resolve().parents[1]
ARMS = ROOT / "study" / "arms.yaml"
DEFAULT = "laptop"  # testbed
# Of the forward passes; weights are float32 in both.
FORMAT_KEYS = (("engine", "dtype"), ("rank_pairs", "reference_dtype"), ("training", "precision"))

Format = Literal["bfloat16", "float32"]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Changes = dict[str, Any]
MAY_CHANGE = ("answer", "build_pairs", "train_rm")  # from iteration 2 on: what the M-step does


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Preferences(_Part):
    """What r_0 learns from: so many of the seed preferences, some turned, some of one length.

    Attributes:
        path: their file, from the project's folder; null for data/seed_preferences.parquet.
        pairs: how many are drawn of the part `train`; null for all.
        noise: share of these whose chosen and rejected change places.
        longer: share of these whose chosen response is the longer one; null as they come.
    """

    path: str | None = None
    pairs: Annotated[int, Field(ge=1)] | None = None
    noise: Share = 0.0
    longer: Share | None = None


def _may_change(later: Changes) -> Changes:
    for name in later:
        if name not in MAY_CHANGE:
            raise ValueError(f"has {name}; expected {', '.join(MAY_CHANGE)}")
    return later


class Arm(_Part):
    """What an arm changes of the testbed.

    Attributes:
        is_: what it is, in one line of the report.
        ablations: files of presets/ablations, in order; with a slash, paths of the project.
        testbed: what it always changes; null for the one that is asked for.
        changes: values of params.yaml, after those.
        later: values of params.yaml from iteration 2 on, after all others: of `MAY_CHANGE`.
        preferences: a change of what r_0 learns from.
    """

    is_: str = Field(alias="is", min_length=1)
    ablations: list[str] = Field(default_factory=list, alias="with")
    testbed: str | None = None
    changes: Changes = Field(default_factory=dict, alias="set")
    later: Annotated[Changes, AfterValidator(_may_change)] = Field(default_factory=dict)
    preferences: Preferences | None = None


class Block(_Part):
    """Units that follow each other: all arms of a seed, then of the next, format by format.

    `against` is the arm with which the report compares the others; null for no comparison. `rule`
    says what the block decides about the laptop preset, by study/choice.py: which candidate, or
    whether the chosen one holds. Of a `closed` block no unit is run any more, unless it is named.
    """

    name: str = Field(min_length=1)
    arms: list[str] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    formats: list[Format] = Field(min_length=1)
    against: str | None = None
    rule: Literal["choose", "show"] | None = None
    closed: bool = False


def _ascending(ends: list[float]) -> list[float]:
    if not ends[0] < ends[1]:
        raise ValueError("expected a lower and a higher end")
    return ends


class Claim(_Part):
    """What a hypothesis says of a number (docs/study.md has what was known when it was written).

    Attributes:
        of: the hypothesis, such as H3.
        is_: what is claimed, in words.
        arm: whose number.
        minus: the arm whose number is subtracted, seed by seed; null for none.
        block: the block whose seeds count; null for those of all blocks that have the arms.
        measure: `gold` of the final policy; `rise`, the same minus pi_0's; `gain`, r_t's agreement
            with gold on its own answers minus r_0's; `held-out`, likewise on held-out pairs;
            `label`, how often the M-step's label is right minus how often r_{t-1} is;
            `length` over pi_0's; `active`, the iterations that went on.
        within: the claim holds where the whole 95 % interval lies in this range.
    """

    of: str = Field(min_length=1)
    is_: str = Field(alias="is", min_length=1)
    arm: str
    minus: str | None = None
    block: str | None = None
    measure: Literal["gold", "rise", "gain", "held-out", "label", "length", "active"]
    within: Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_ascending)]


class Testbed(_Part):
    """The values all arms start from."""

    preset: str
    changes: Changes = Field(default_factory=dict, alias="set")


class StudyPlan(_Part):
    """The whole study, as study/arms.yaml spells it.

    Attributes:
        testbeds: by name; arms start from the one called `chosen`, unless they name another.
        arms: by name.
        order: which units, and in which order.
        claims: what the hypotheses say.
        chosen: name of the testbed that was asked for.
    """

    testbeds: dict[str, Testbed] = Field(min_length=1)
    arms: dict[str, Arm]
    order: list[Block] = Field(min_length=1)
    claims: list[Claim] = Field(default_factory=list)
    chosen: str = DEFAULT

    def testbed(self, arm: str) -> str:
        """Name the testbed of an arm."""
        return self.arms[arm].testbed or self.chosen


class Unit(NamedTuple):
    """One run: an arm, a seed and a number format."""

    arm: str
    seed: int
    format: str

    @property
    def name(self) -> str:
        """Name it, as its results are called."""
        return f"{self.arm}-s{self.seed}-{self.format}"

    @property
    def group(self) -> tuple[int, str]:
        """Say with which units it may share stages."""
        return self.seed, self.format


def load(path: Path = ARMS, testbed: str = DEFAULT) -> StudyPlan:
    """Read the study on one of its testbeds.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is not in order, or names an arm or a testbed that is not there.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; expected a study such as {ARMS.name}")
    try:
        plan = StudyPlan.model_validate({**params.read(path), "chosen": testbed})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {where}: {said}; it is {first['input']!r:.60}") from None
    for block in plan.order:
        for name in [*block.arms, *filter(None, [block.against])]:
            _check(name, plan.arms, f"{path}: order {block.name} names arm")
    for claim in plan.claims:
        for name in filter(None, [claim.arm, claim.minus]):
            _check(name, plan.arms, f"{path}: a claim of {claim.of} names arm")
        if claim.block is not None:
            blocks = {block.name: block for block in plan.order}
            _check(claim.block, blocks, f"{path}: a claim of {claim.of} names block")
            for name in filter(None, [claim.arm, claim.minus]):
                own = dict.fromkeys(blocks[claim.block].arms)
                _check(name, own, f"{path}: a claim of {claim.of} in block {claim.block} names arm")
    _check(testbed, plan.testbeds, f"{path}: asked for is the testbed")
    for name, arm in plan.arms.items():
        _check(arm.testbed or testbed, plan.testbeds, f"{path}: arm {name} names testbed")
    return plan


def _check(name: str, known: Mapping[str, object], where: str) -> None:
    if name not in known:
        raise InputError(f"{where} {name!r}; {near.advice(name, sorted(known))}")


def units(plan: StudyPlan, closed: bool = True) -> list[Unit]:
    """List every unit once, in order: block by block, format by format, seed by seed, arm by arm.

    All arms of a seed stand together, because they share what they have in common.

    Args:
        plan: the study.
        closed: with the units of closed blocks.
    """
    listed = (
        Unit(arm, seed, number_format)
        for block in plan.order
        if closed or not block.closed
        for number_format in block.formats
        for seed in block.seeds
        for arm in block.arms
    )
    return list(dict.fromkeys(listed))


def chosen(listed: Sequence[Unit], patterns: Sequence[str]) -> list[Unit]:
    """Take the units whose names match one of the patterns, such as `mutual-*`; all for none.

    Raises:
        InputError: a pattern matches no unit.
    """
    for pattern in patterns:
        if not any(fnmatchcase(unit.name, pattern) for unit in listed):
            raise InputError(
                f"--units {pattern!r} matches no unit; expected a name such as {listed[0].name}, "
                "or a pattern such as 'mutual-*'; see python -m study list"
            )
    return [
        unit
        for unit in listed
        if not patterns or any(fnmatchcase(unit.name, pattern) for pattern in patterns)
    ]


def values(plan: StudyPlan, unit: Unit, later: bool = False) -> dict[str, Any]:
    """Give the params.yaml of a unit, checked as every stage checks it.

    The testbed's preset, its changes, the arm's ablations, the arm's changes, the seed, the format.

    Args:
        plan: the study.
        unit: which one.
        later: give the values from iteration 2 on.

    Raises:
        InputError: there is no such ablation, a stage would refuse the values, or there is no
            iteration 2 for those that come later.
    """
    arm, testbed = plan.arms[unit.arm], plan.testbeds[plan.testbed(unit.arm)]
    found = _read(f"presets/{testbed.preset}.yaml")
    files = [name if "/" in name else f"presets/ablations/{name}.yaml" for name in arm.ablations]
    for change in [testbed.changes, *map(_read, files), arm.changes, arm.later if later else {}]:
        presets.merge(found, copy.deepcopy(change))
    found["seed"] = unit.seed
    for block, key in FORMAT_KEYS:
        found[block][key] = unit.format
    params.validate(found, Path(f"params of {unit.name}"))
    if later and len(found["iterations"]) == 1:
        raise InputError(
            f"params of {unit.name}: the arm has values for later, and the run one iteration; "
            "expected two at least; put them into set, or take another testbed"
        )
    return found


def _read(name: str) -> dict[str, Any]:
    return copy.deepcopy(params.read(ROOT / name))
