"""What a run will do, before it does anything: stages, counts, time, memory, disk."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mutual_taught.config import params
from mutual_taught.config.blocks import Params
from mutual_taught.errors import MutualTaughtError
from mutual_taught.planning import fits, machine, needs, rates, shapes, stale, timing, workload
from mutual_taught.planning.machine import Machine
from mutual_taught.planning.needs import Need, Shapes
from mutual_taught.planning.rates import RUN
from mutual_taught.planning.shapes import Shape
from mutual_taught.planning.stale import PULLED, Flags, Todo
from mutual_taught.planning.timing import Basis, Estimate
from mutual_taught.planning.workload import Work


class Planned(NamedTuple):
    """A stage: what becomes of it and why, its work, its time, and the memory of a device."""

    todo: Todo
    work: Work
    time: Estimate
    need: Need | None


class Plan(NamedTuple):
    """The whole of it.

    stages: all, in DVC's order. disk: bytes of each iteration that runs, by what takes them.
    host: bytes of the host's memory. faults: what does not fit, one line each. notes: what is not
    known, and why.
    """

    machine: Machine
    stages: list[Planned]
    disk: Mapping[str, Mapping[str, int]]
    host: Mapping[str, int]
    faults: list[str]
    notes: list[str]

    def running(self) -> dict[str, float | None]:
        """Give the stages that will run, in DVC's order, with their estimated seconds."""
        return {
            stage.todo.stage: stage.time.seconds
            for stage in self.stages
            if stage.todo.action == "run"
        }


def make(targets: Sequence[str] = (), other: str | None = None, flags: Flags = PULLED) -> Plan:
    """Plan what `dvc repro` would do in this folder.

    Args:
        targets: stages to be made with all before them; none for all stages.
        other: another machine than this one, such as `8x80`.
        flags: of the repro.

    Raises:
        InputError: params.yaml, the graph or the other machine is not as expected.
    """
    values = params.validate(params.read(params.PARAMS))
    todo = stale.find(targets, flags)
    there = machine.here() if other is None else machine.parse(other)
    values = settled(values, "bfloat16" if there.devices else None)
    notes: list[str] = []
    works = count(values, todo, notes)
    models = sizes(values, todo, notes)
    basis = _basis(values, models, todo, there, None if other else _measured(notes))
    stages = [_planned(one, works, models, basis, bool(there.devices)) for one in todo]
    ran = {one.stage.rpartition("@")[2] for one in todo if one.action == "run"}
    start = {name for name in ran if name not in values.iterations}
    disk: dict[str, Mapping[str, int]] = {}
    host: Mapping[str, int] = {}
    if works and models:
        iterations = [*(["0"] if start else []), *(t for t in values.iterations if t in ran)]
        disk = {t: needs.disk(values, models, works, t) for t in iterations}
        host = needs.host(values, models) if there.devices and iterations else {}
    made = Plan(there, stages, disk, host, [], notes)
    wanted = {one.todo.stage: one.need for one in stages if one.need}
    return made._replace(faults=fits.faults(there, values, wanted, disk, host))


def settled(values: Params, dtype: str | None) -> Params:
    """Replace `auto` where a format is chosen: by the machine, or as said."""
    from mutual_taught.models import precision

    fast = dtype or precision.fast_dtype()
    where = {"engine": "dtype", "training": "precision", "rank_pairs": "reference_dtype"}
    found = {
        key: block.model_copy(update={name: fast})
        for key, name in where.items()
        if dict(block := getattr(values, key))[name] == "auto"
    }
    return values.model_copy(update=found)


def count(values: Params, todo: Sequence[Todo], notes: list[str]) -> Mapping[str, Work]:
    """Count the work of all stages; none where the prompts are not counted yet, which is noted."""
    runs = any(one.stage == "prepare_prompts" and one.action == "run" for one in todo)
    try:
        prompts = workload.sizes(values.data, None if runs else workload.prepared())
        return workload.of_run(values, prompts, workload.seed_pairs(values))
    except MutualTaughtError as error:
        notes.append(str(error))
        return {}


def sizes(values: Params, todo: Sequence[Todo], notes: list[str]) -> Shapes | None:
    """Find the shapes of both models; None where one is not known yet, which is noted."""
    new = {one.stage for one in todo if one.action == "run"}
    found: list[Shape | None] = []
    for name in ("policy", "reward_model"):
        source = getattr(values.models, name)
        if name == "reward_model" and source.source in ("trained", "tiny"):
            base, layers = found[0], values.base_reward_model.layers
            found.append(base and shapes.trained_reward_model(base, layers))
            continue
        folder = None if f"prepare_{name}" in new else RUN / "0" / name
        try:
            shape = shapes.find(source, folder)
        except MutualTaughtError as error:
            notes.append(f"models.{name}: {error}")
            return None
        if shape is None:
            notes.append(
                f"models.{name}: the sizes of {source.called} are not known; run dvc repro "
                f"prepare_{name}, then plan again"
            )
        found.append(shape)
    policy, reward = found
    return Shapes(policy, reward) if policy and reward else None


class Measured(NamedTuple):
    """What stages took on this machine, and the shapes of the models then, if they are known."""

    known: Mapping[str, rates.Numbers]
    then: Shapes | None


def _measured(notes: list[str]) -> Measured:
    """Read what this machine measured; nothing where a file is damaged, which is noted."""
    folders = [RUN / "0" / name for name in ("policy", "reward_model")]
    try:
        known, then = rates.history(), None
        if all((folder / "config.json").is_file() for folder in folders):
            then = Shapes(*(shapes.read(folder) for folder in folders))
    except MutualTaughtError as error:
        notes.append(f"earlier times are not used: {error}")
        return Measured({}, None)
    return Measured(known, then)


def _basis(
    values: Params,
    models: Shapes | None,
    todo: Sequence[Todo],
    there: Machine,
    measured: Measured | None,
) -> Basis:
    """Put together what times follow from; the machine is calibrated where a stage needs it.

    Args:
        values: of params.yaml.
        models: their shapes, if they are known.
        todo: the stages.
        there: the machine.
        measured: on this machine; None for another one.
    """
    devices = max(there.devices, 1)
    if measured is None:
        return Basis(values, models, None, {}, machine.Speed(*machine.A100), devices)
    basis = Basis(values, models, measured.then, measured.known, None, devices)
    missing = any(
        timing.estimate(one.stage, Work(), one.params, basis).source == "unknown"
        for one in todo
        if one.action == "run"
    )
    if models is None or not missing:
        return basis
    return basis._replace(speed=machine.speed(there, str(values.training.precision)))


def _planned(
    one: Todo, works: Mapping[str, Work], models: Shapes | None, basis: Basis, gpus: bool
) -> Planned:
    work = works.get(one.stage, Work())
    if one.action != "run":
        return Planned(one, work, Estimate(0.0, "measured"), None)
    time = timing.estimate(one.stage, work, one.params, basis)
    if not works and time.source == "calibrated" and one.stage.split("@")[0] in timing.UNITS:
        time = Estimate(None, "unknown")
    need = needs.of_stage(one.stage, basis.params, models, gpus) if models else None
    return Planned(one, work, time, need)
