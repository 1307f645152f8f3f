"""Does it fit? What cannot run on a machine, one line each, with the parameter to change."""

from collections.abc import Iterator, Mapping

from mutual_taught.config.blocks import Params
from mutual_taught.planning import needs
from mutual_taught.planning.machine import GB, Machine
from mutual_taught.planning.needs import Need

SMALLER = "or take a smaller model (models)"
TRAINED = (
    "share the weights out (training.launcher accelerate, presets/accelerate/fsdp2.yaml), train "
    f"adapters (training.lora), {SMALLER}"
)
# What to do where no value of a parameter makes room, by the block that the parameter is in.
OTHERWISE = {
    "engine": f"set engine.name vllm and raise engine.tensor_parallel, {SMALLER}",
    "score": f"set score.dtype bfloat16, {SMALLER}",
    "rank_pairs": "take a smaller model (models)",
    "dpo": TRAINED,
    "train_rm": TRAINED,
    "base_reward_model": TRAINED,
    "sample": TRAINED,
}


def faults(
    machine: Machine,
    values: Params,
    wanted: Mapping[str, Need],
    disk: Mapping[str, Mapping[str, int]],
    host: Mapping[str, int],
) -> list[str]:
    """Say what cannot run on the machine, and which parameter to change.

    Args:
        machine: its devices, memory and disk; what is not known of it is not compared.
        values: of params.yaml.
        wanted: memory of a device, by stage.
        disk: bytes of each iteration that runs.
        host: bytes of the host's memory.
    """
    found = [*_devices(machine, values), *_memory(machine, wanted)]
    needed, room = sum(host.values()), machine.host_memory
    if room is not None and needed > room:
        found.append(
            f"params.yaml: training.processes is {values.training.processes}; their loading takes "
            f"{needed / GB:.0f} GB of the host's memory, which has {room / GB:.0f} GB; expected "
            "less; lower it"
        )
    needed, free = needs.disk_of_run(disk), machine.disk
    if free is not None and needed > free:
        found.append(
            f"disk: {free / GB:.1f} GB free; expected {needed / GB:.1f} GB for what will run; free "
            "some (mutual-taught gc), raise dpo.save_steps or lower dpo.keep_checkpoints"
        )
    return found


def _devices(machine: Machine, values: Params) -> Iterator[str]:
    """Compare the number of GPUs with what params.yaml asks for."""
    engine, training = values.engine, values.training
    asked = {"training.processes": training.processes if training.launcher != "single" else 1}
    if engine.name == "vllm" and engine.workers == "local":
        asked["engine.tensor_parallel"] = engine.tensor_parallel
    for name, count in asked.items():
        if machine.devices and count > machine.devices:
            yield (
                f"params.yaml: {name} is {count}; expected at most {machine.devices}, the GPUs of "
                f"{machine.description}; lower it"
            )


def _memory(machine: Machine, wanted: Mapping[str, Need]) -> list[str]:
    """Say which stages need more memory than a device has; for each parameter the worst."""
    room = machine.device_memory
    worst: dict[str, tuple[str, Need]] = {}
    for stage, need in wanted.items():
        other = worst.get(need.param)
        if need.total > room and (not other or need.fitting(room) < other[1].fitting(room)):
            worst[need.param] = stage, need
    return [
        f"{stage}: needs up to {need.total / GB:.1f} GB of a device; expected at most "
        f"{room / GB:.1f} GB; {advice(need, room)}"
        for stage, need in worst.values()
    ]


def advice(need: Need, room: int) -> str:
    """Say what makes a stage fit: the value of a parameter, else another way."""
    if fitting := need.fitting(room):
        return f"lower {need.param} to {fitting} or less"
    if need.param == "engine.tensor_parallel":
        return f"raise {need.param} from {need.value}, {SMALLER}"
    return f"no {need.param} makes it fit; {OTHERWISE[need.param.split('.')[0]]}"
