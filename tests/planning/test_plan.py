"""What a run will do, before it does anything: stages, counts, time, memory, disk."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mutual_taught.cli import main
from mutual_taught.config import params
from mutual_taught.config.blocks import Params
from mutual_taught.config.inputs import Model
from mutual_taught.config.learning import Lora
from mutual_taught.errors import InputError
from mutual_taught.models import threads
from mutual_taught.planning import fits, machine, needs, plan, rates, shapes, timing, workload
from mutual_taught.planning.machine import Machine, Speed
from mutual_taught.planning.needs import Need, Shapes
from mutual_taught.planning.shapes import LLAMA_8B, Shape
from mutual_taught.planning.timing import Basis
from mutual_taught.planning.workload import Work
from tests import project

GB = 10**9


def preset(name: str, **changes: dict[str, Any]) -> Params:
    """Read a preset, with keys of blocks changed."""
    raw = params.read(project.ROOT / "presets" / f"{name}.yaml")
    return params.validate({**raw, **{key: {**raw[key], **new} for key, new in changes.items()}})


PAPER = preset("paper")
DRAWING = preset("paper", engine={"name": "transformers"})
REWARD_8B = shapes.KNOWN["hub", "sfairXC/FsfairX-LLaMA3-RM-v0.1"]
EIGHT = Shapes(LLAMA_8B, REWARD_8B)
SMALL = Shape(1000, 2, 10, 20, 5, 30, True)


# Counts

EVALUATED = Work(answers=384, tokens=384 * 48, scores=384, width=4)


def test_counts_of_the_laptop_preset() -> None:
    values = preset("laptop")
    prompts = workload.sizes(values.data, None)
    assert prompts == {
        "policy_1": 128,
        "policy_2": 128,
        "reward": 128,
        "selection": 100,
        "eval": 96,
    }
    works = workload.of_run(values, prompts, 176)
    # 128 prompts, 5 responses
    assert works["sample@1"] == Work(answers=640, tokens=640 * 48, width=5)
    assert works["score@2"] == Work(scores=640, width=5)
    assert works["dpo@1"] == Work(pairs=256, steps=32, candidates=2)  # 2 epochs of 128 / 8
    assert works["duel@1"].answers == 300  # 100 prompts, 2 candidates and pi_0
    assert works["answer_previous@2"] == Work(answers=128, tokens=128 * 48)
    assert works["answer@2"] == Work(answers=128, tokens=128 * 48, scores=256)  # y_t and y_{t-1}
    assert works["train_rm@1"] == Work(pairs=256, steps=16)  # 128 + 128, 256 / 16
    # r_1 and r_0, which is r_{t-1}; at t = 2 r_1, too; and pi_0 reads all responses
    assert works["eval@1"] == EVALUATED._replace(scores=768, read=384)
    assert works["eval@2"] == EVALUATED._replace(scores=1152, read=384)
    assert works["eval_base"] == EVALUATED
    assert works["prepare_reward_model"] == Work(pairs=352, steps=22)  # 2 epochs of 176 / 16


def test_iterations_of_their_own_values_have_their_own_counts() -> None:
    values = preset("laptop")
    second = values.iterations["2"].model_copy(update={"sample": {"responses_per_prompt": 3}})
    own = values.model_copy(update={"iterations": {**values.iterations, "2": second}})
    works = workload.of_run(own, workload.sizes(own.data, None), 0)
    assert (works["score@1"].scores, works["score@2"].scores) == (640, 384)


@pytest.mark.parametrize(("rule", "pairs"), [("none", 256), ("last", 512), ("all", 512)])
def test_accumulated_pairs_are_trained_on_again(rule: str, pairs: int) -> None:
    values = preset("laptop", build_pairs={"accumulate": rule})
    works = workload.of_run(values, workload.sizes(values.data, None), 0)
    assert works["train_rm@2"].pairs == pairs


def test_given_responses_are_not_drawn_and_a_fixed_reward_model_is_not_trained() -> None:
    raw = params.read(project.ROOT / "presets" / "laptop.yaml")
    columns = {**raw["data"]["columns"], "chosen": "chosen", "rejected": "rejected"}
    values = preset(
        "laptop",
        sample={"source": "given"},
        rank_pairs={"chosen": "given", "length_neutral": False},
        data={"columns": columns},
        train_rm={"fixed": True},
    )
    works = workload.of_run(values, workload.sizes(values.data, None), 0)
    assert (works["sample@1"], works["train_rm@1"]) == (Work(), Work())
    assert works["score@1"].scores == 256  # two of each
    assert works["eval@2"].scores == 384  # r_t is r_0


def test_reused_answers_are_not_drawn_and_are_scored_by_two_reward_models() -> None:
    values = preset("laptop", answer={"previous": "reuse"})
    works = workload.of_run(values, workload.sizes(values.data, None), 0)
    assert works["answer_previous@1"].answers == 128  # pi_0 has none stored
    assert works["answer_previous@2"] == Work()
    assert (works["answer@1"].scores, works["answer@2"].scores) == (256, 512)


def test_several_responses_to_a_prompt_duel_so_often() -> None:
    one, three = (
        workload.of_run(values, workload.sizes(values.data, None), 0)["duel@1"].answers
        for values in (preset("laptop", duel={"responses_per_prompt": count}) for count in (1, 3))
    )
    assert three == 3 * one


def test_only_so_many_candidates_as_are_kept_duel() -> None:
    values = preset("laptop", dpo={"save_steps": 5, "keep_checkpoints": 3})
    works = workload.of_run(values, workload.sizes(values.data, None), 0)
    assert works["dpo@1"].candidates == 3  # of 7: steps 5, 10, ..., 30 and 32
    assert works["duel@1"].answers == 400  # 100 prompts, 3 candidates and pi_0


def test_prompts_of_the_paper_are_shares_of_the_known_rows() -> None:
    prompts = workload.sizes(PAPER.data, None)
    assert prompts["policy_1"] == round(61135 * 0.634 / 2)
    assert prompts["reward"] == round(61135 * 0.317)
    assert prompts["selection"] == 2000


def test_prompts_that_were_counted_count() -> None:
    prompts = workload.sizes(PAPER.data, {"prompts_policy_1": 7.0, "rows": 9.0})
    assert prompts["policy_1"] == 7


def test_prompts_of_a_file_are_its_rows(here: Path) -> None:
    (here / "data").mkdir()
    (here / "data" / "mine.csv").write_text("prompt\n" + "a\n" * 100)
    splits = {
        name: {"share": 0.25, "prompts": None} for name in ("policy", "reward", "selection", "eval")
    }
    mine = {"source": "file", "path": "data/mine.csv", "splits": splits}
    values = preset("laptop", data=mine)
    assert workload.sizes(values.data, None)["reward"] == 25
    assert workload.sizes(values.data, None)["policy_1"] == 12  # half of 25


@pytest.mark.parametrize("name", ["data/mine.parquet", "data/seed_preferences.parquet"])
def test_damaged_table_of_the_users_is_a_note(
    copied: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copied / name).unlink(missing_ok=True)
    (copied / name).write_bytes(b"PAR1 and no more")
    project.set_param(copied / "params.yaml", "data.source", "file")
    project.set_param(copied / "params.yaml", "data.path", "data/mine.parquet")
    for split in ("policy", "reward", "selection", "eval"):
        prompts = None if "mine" in name else 5
        project.set_param(copied / "params.yaml", f"data.splits.{split}.prompts", prompts)
    made = plan.make()
    assert any(note.startswith(f"{name}: not readable as Parquet") for note in made.notes)
    assert len(made.running()) == 29


@pytest.mark.parametrize(
    ("name", "said"),
    [("run/1/perf/dpo.json", "seconds is 'x'"), ("run/0/policy/config.json", "num_hidden_layers")],
)
def test_damaged_file_of_an_earlier_run_is_a_note(copied: Path, name: str, said: str) -> None:
    for path in (name, "run/0/policy/config.json", "run/0/reward_model/config.json"):
        (copied / path).parent.mkdir(parents=True, exist_ok=True)
        (copied / path).write_text('{"seconds": "x"}')
    made = plan.make()
    assert any(
        note.startswith(f"earlier times are not used: {name}: {said}") for note in made.notes
    )
    assert len(made.running()) == 29


def test_prompts_that_nobody_has_counted_are_one_line() -> None:
    values = preset("paper", data={"path": "someone/else"})
    with pytest.raises(InputError, match=r"'someone/else'.*run dvc repro prepare_prompts"):
        workload.sizes(values.data, None)


# Shapes


def test_shape_of_a_folder_is_that_of_its_files(policy_folder: Path) -> None:
    assert shapes.read(policy_folder) == shapes.KNOWN["tiny", "tiny"]


def test_shape_of_the_trained_reward_model_is_that_of_its_files(reward_folder: Path) -> None:
    tiny = shapes.KNOWN["tiny", "tiny"]
    made = shapes.trained_reward_model(tiny, None)
    assert made.weights == shapes.read(reward_folder).weights


def test_reward_model_of_fewer_layers_has_fewer_weights() -> None:
    # 1000 weights, 30 x 10 of them the embedding: 350 a layer; 1 layer, 300, and 10 of the head
    assert shapes.trained_reward_model(SMALL, 1).weights == 660


def test_llama_8b_has_the_weights_that_its_sizes_say() -> None:
    attention = 2 * 4096 * 4096 + 2 * 4096 * 1024
    layer = attention + 3 * 4096 * 14336 + 2 * 4096
    assert LLAMA_8B.weights == 32 * layer + 2 * 128256 * 4096 + 4096
    assert REWARD_8B.weights == LLAMA_8B.weights - 128256 * 4096 + 4096


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{", b"\x02\0\0\0\0\0\0\0[]"])
def test_file_of_weights_that_is_none_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="no safetensors header"):
        shapes.weights(tmp_path / "x.safetensors")


def test_model_of_the_hub_is_known_by_the_table_or_not_at_all() -> None:
    assert shapes.find(PAPER.models.policy, None) == LLAMA_8B
    other = Model(source="hub", path="someone/else", revision="0" * 40)
    assert shapes.find(other, None) is None


# Memory and disk


def test_weights_in_float32_and_adamw_take_16_bytes_each() -> None:
    how = preset("laptop").training
    assert needs.state(SMALL, how) == 16_000
    assert needs.state(SMALL, how.model_copy(update={"optimizer": "adamw_8bit"})) == 10_000


def test_weights_in_shards_are_divided_and_copies_are_not() -> None:
    assert needs.state(LLAMA_8B, PAPER.training) == 16 * LLAMA_8B.weights // 8
    copies = {"accelerate_config": "presets/accelerate/ddp.yaml"}
    alone = PAPER.training.model_copy(update=copies)
    assert needs.state(LLAMA_8B, alone) == 16 * LLAMA_8B.weights


def test_adapters_leave_four_bytes_of_each_weight() -> None:
    how = preset("laptop").training.model_copy(
        update={"lora": Lora(rank=1, alpha=1, targets="all-linear")}
    )
    # of each of 2 layers: q, o: 2 x 20; k, v: 2 x 15; three of 10 + 20: 160 numbers, 16 bytes each
    assert needs.state(SMALL, how) == 4000 + 16 * 2 * 160


def test_memory_of_sampling_is_weights_cache_and_logits() -> None:
    need = needs.of_stage("sample@1", DRAWING, EIGHT, gpus=True)
    assert need is not None
    assert need.parts["weights"] == 2 * LLAMA_8B.weights
    # 200 responses of 1000 + 1024 + 32 tokens, 32 layers and one more while it grows, keys and
    # values
    assert need.parts["key-value cache"] == 200 * 2056 * 33 * 2 * 1024 * 2
    assert need.parts["logits"] == 3 * 200 * 128256 * 4
    assert need.param == "engine.batch_size"


def test_a_cpu_holds_the_caches_of_two_shards() -> None:
    one, two = (needs.of_stage("sample@1", DRAWING, EIGHT, gpus=gpus) for gpus in (True, False))
    assert one is not None
    assert two is not None
    cache = one.parts["key-value cache"]
    assert two.total == one.total + cache + needs.PROCESS
    assert two.fitting(two.total) == one.value
    assert needs.SHARDS == threads.MOST


def test_tokens_bound_the_cache_of_a_batch_but_never_part_the_responses_to_a_prompt() -> None:
    def cache(tokens: int) -> int:
        engine = DRAWING.engine.model_copy(update={"batch_tokens": tokens})
        values = DRAWING.model_copy(update={"engine": engine})
        need = needs.of_stage("sample@1", values, EIGHT, gpus=True)
        assert need is not None
        return need.parts["key-value cache"] // (33 * 2 * 1024 * 2)  # in tokens

    assert cache(10**9) == 200 * 2056
    assert cache(100_000) == 100_000 + 200 * 32  # each row has room to grow
    assert cache(1) == 5 * 2056 + 200 * 32


def test_all_draws_to_a_prompt_of_a_duel_are_in_one_batch() -> None:
    draws = {"responses_per_prompt": 7}
    several = DRAWING.model_copy(update={"duel": DRAWING.duel.model_copy(update=draws)})
    found = [needs.of_stage("duel@1", values, EIGHT, gpus=True) for values in (DRAWING, several)]
    assert [need.value for need in found if need] == [200, 28 * 7]


def test_batch_is_no_larger_than_a_shard() -> None:
    values = preset("paper", engine={"name": "transformers", "batch_size": 10_000, "shard_size": 2})
    need = needs.of_stage("sample@1", values, EIGHT, gpus=True)
    assert need is not None
    assert need.value == 10


def test_memory_of_vllm_is_its_share_of_the_device() -> None:
    values = preset(
        "paper", engine={"name": "vllm", "tensor_parallel": 2, "gpu_memory_utilization": 0.5}
    )
    need = needs.of_stage("sample@1", values, EIGHT, gpus=True)
    assert need is not None
    cache = 2024 * 32 * 2 * 1024 * 2 // 2
    assert need.total == 2 * (LLAMA_8B.weights + cache)  # as much again is left to others


def test_memory_of_dpo_is_state_activations_and_logits() -> None:
    need = needs.of_stage("dpo@1", PAPER, EIGHT, gpus=True)
    assert need is not None
    layer = (LLAMA_8B.weights - 2 * 128256 * 4096) / 32
    one = 16384 * (8 * 4096 + 2 * 1024 + 4 * 14336) * 2
    assert need.parts == {
        "weights, gradients, optimiser": 16 * LLAMA_8B.weights // 8,
        "gathered weights": 4 * 2 * 128256 * 4096,  # embedding and head, above two layers
        "weights in bfloat16": round(4 * layer),  # two layers cast
        "activations": 16384 * 4096 * 4 * 32 + one,
        "logits and their gradient": 2 * 16384 * 128256 * 2,
    }
    assert need.param == "dpo.token_budget"


def test_pair_longer_than_the_budget_names_the_responses() -> None:
    values = preset("paper", dpo={"token_budget": 1000})
    need = needs.of_stage("dpo@1", values, EIGHT, gpus=True)
    assert need is not None
    assert (need.param, need.value) == ("sample.max_new_tokens", 1024)  # 1000 + 2 x 1024 tokens


def test_values_of_an_iteration_decide_its_memory() -> None:
    second = PAPER.iterations["2"].model_copy(update={"dpo": {"token_budget": 8192}})
    own = PAPER.model_copy(update={"iterations": {**PAPER.iterations, "2": second}})
    one, two = (needs.of_stage(f"dpo@{t}", own, EIGHT, gpus=True) for t in (1, 2))
    assert one is not None
    assert two is not None
    assert two.parts["activations"] * 2 == one.parts["activations"]


def test_stages_without_a_model_need_none_and_a_processor_holds_the_process() -> None:
    assert needs.of_stage("build_pairs@1", PAPER, EIGHT, gpus=True) is None
    need = needs.of_stage("score@1", PAPER, EIGHT, gpus=False)
    assert need is not None
    assert need.parts["the process"] == needs.PROCESS


def test_disk_of_an_iteration_is_candidates_reward_model_and_resumable_checkpoints() -> None:
    works = workload.of_run(PAPER, workload.sizes(PAPER.data, None), 0)
    parts = needs.disk(PAPER, EIGHT, works, "1")
    assert works["dpo@1"].steps == 152  # 19,380 / 128 = 151.4: candidates at 50, 100, 150, 152
    assert parts["candidates"] == 4 * 2 * LLAMA_8B.weights
    assert parts["reward model"] == 2 * REWARD_8B.weights
    # of one model at a time three checkpoints of weights and two moments, 4 bytes each
    assert parts["resumable checkpoints"] == 36 * max(LLAMA_8B.weights, REWARD_8B.weights)
    assert needs.disk(PAPER, EIGHT, works, "0") == {
        "models": 2 * (LLAMA_8B.weights + REWARD_8B.weights)
    }


def test_checkpoints_that_go_with_their_training_count_once_for_the_whole_run() -> None:
    iterations = {
        "0": {"models": 3, "resumable checkpoints": 50},
        "1": {"candidates": 10, "resumable checkpoints": 90},
        "2": {"candidates": 20, "resumable checkpoints": 90},
    }
    assert needs.disk_of_run(iterations) == 3 + 10 + 20 + 90


# What fits


def fake(devices: int, memory: int, host: int | None = None, disk: int | None = None) -> Machine:
    return Machine("a machine", devices, memory, host, disk)


def test_what_does_not_fit_names_the_parameter_and_a_value_that_fits() -> None:
    need = Need({"weights": 10 * GB, "cache": 20 * GB}, "engine.batch_size", 100, 10 * GB)
    # 10 GB are left for the cache, of which each response takes 0.2
    assert fits.faults(fake(1, 20 * GB), PAPER, {"sample@1": need}, {}, {})[-1] == (
        "sample@1: needs up to 30.0 GB of a device; expected at most 20.0 GB; "
        "lower engine.batch_size to 50 or less"
    )
    assert need.fitting(20 * GB) == 50


def test_what_no_value_makes_fit_says_another_way() -> None:
    need = Need({"weights": 128 * GB, "activations": GB}, "dpo.token_budget", 100, 128 * GB)
    assert "share the weights out" in fits.advice(need, 80 * GB)


def test_each_parameter_is_named_once_with_the_value_that_fits_every_stage() -> None:
    short = Need({"weights": 10 * GB, "cache": 20 * GB}, "engine.batch_size", 100, 10 * GB)
    long = Need({"weights": 10 * GB, "cache": 40 * GB}, "engine.batch_size", 100, 10 * GB)
    wanted = {"answer_previous@1": short, "sample@1": long, "duel@1": short}
    [said] = fits.faults(fake(8, 20 * GB), PAPER, wanted, {}, {})
    # 10 GB are left for the cache, of which each of sample's responses takes 0.4
    assert said.startswith("sample@1: ")
    assert said.endswith("lower engine.batch_size to 25 or less")


def test_batch_holds_whole_prompts_and_one_at_least() -> None:
    need = needs.of_stage("sample@1", DRAWING, EIGHT, gpus=True)
    assert need is not None
    weights = need.parts["weights"]
    one = (need.total - weights) // 200  # of 200 responses, five to a prompt
    assert need.fitting(weights + 12 * one + one // 2) == 10
    assert need.fitting(weights + 4 * one) == 0
    assert "set engine.name vllm" in fits.advice(need, weights + 4 * one)


@pytest.mark.parametrize(("stage", "room"), [("score@1", 2000), ("dpo@1", 3000)])
def test_budget_below_the_longest_text_is_no_advice(stage: str, room: int) -> None:
    """Rows are then of the longest: 2048 tokens of a response, 3048 of a pair."""
    need = needs.of_stage(stage, PAPER, EIGHT, gpus=True)
    assert need is not None
    token = (need.total - need.fixed) / 16384
    assert need.fitting(need.fixed + round(token * 4000)) in (3999, 4000)
    assert need.fitting(need.fixed + round(token * room)) == 0


def test_responses_so_short_that_the_budget_decides_are_no_advice() -> None:
    values = preset("paper", dpo={"token_budget": 2000})
    need = needs.of_stage("dpo@1", values, EIGHT, gpus=True)
    assert need is not None
    token = (need.total - needs.training(LLAMA_8B, values.dpo, values, logits=True).fixed) / 3048
    assert (need.param, need.least) == ("sample.max_new_tokens", 500)  # 1000 + 2 x 500 tokens
    assert token > 0
    assert need.fitting(need.fixed) == 0


def test_vllm_is_told_to_share_a_model_among_more_gpus() -> None:
    values = preset("paper", engine={"name": "vllm", "tensor_parallel": 1})
    need = needs.of_stage("sample@1", values, EIGHT, gpus=True)
    assert need is not None
    assert fits.advice(need, 10 * GB) == (
        "raise engine.tensor_parallel from 1, or take a smaller model (models)"
    )


def test_more_processes_than_gpus_are_refused() -> None:
    [line] = fits.faults(fake(2, 80 * GB), PAPER, {}, {}, {})
    assert line == (
        "params.yaml: training.processes is 8; expected at most 2, the GPUs of a machine; lower it"
    )


def test_disk_and_host_are_compared_where_they_are_known() -> None:
    disk, host = {"1": {"candidates": 5 * GB}}, {"processes": 300 * GB}
    small = fits.faults(fake(8, 80 * GB, 200 * GB, 4 * GB), PAPER, {}, disk, host)
    assert [line.split(":")[0] for line in small] == ["params.yaml", "disk"]
    assert "4.0 GB free; expected 5.0 GB" in small[1]
    assert fits.faults(fake(8, 80 * GB), PAPER, {}, disk, host) == []


def test_the_paper_fits_the_machine_it_names_and_no_smaller_one() -> None:
    works = workload.of_run(PAPER, workload.sizes(PAPER.data, None), 0)
    wanted = {
        stage: need for stage in works if (need := needs.of_stage(stage, PAPER, EIGHT, gpus=True))
    }
    assert fits.faults(machine.parse("8x80"), PAPER, wanted, {}, {}) == []
    assert fits.faults(machine.parse("8x40"), PAPER, wanted, {}, {})


def test_one_gpu_of_80_gb_is_enough_for_its_preset_and_one_of_48_is_not() -> None:
    values = preset("single-gpu")
    works = workload.of_run(values, workload.sizes(values.data, None), 0)
    wanted = {stage: needs.of_stage(stage, values, EIGHT, gpus=True) for stage in works}
    known = {stage: need for stage, need in wanted.items() if need}
    assert fits.faults(machine.parse("1x80"), values, known, {}, {}) == []
    faults = fits.faults(machine.parse("1x48"), values, known, {}, {})
    assert any(fault.startswith("dpo@1: needs up to ") for fault in faults)


@pytest.mark.parametrize("text", ["8", "8x", "x80", "0x80", "8x0", "8 x 80", "8x80GB", "-1x80"])
def test_machine_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match="expected GPUs and GB of each, such as 8x80"):
        machine.parse(text)


# Time


def basis(**changes: Any) -> Basis:
    values = plan.settled(preset("laptop"), "float32")
    return Basis(values, Shapes(SMALL, SMALL), Shapes(SMALL, SMALL), {}, None, 1)._replace(
        **changes
    )


# Half a second of DVC comes to each measured stage: rates.BETWEEN.
MEASURED = {"dpo@1": {"seconds": 100.0, "start_seconds": 4.0, "pairs": 50.0, "steps": 7.0}}


def test_measured_stage_takes_as_long_as_before_for_as_much_work() -> None:
    known = basis(known=MEASURED)
    assert timing.estimate("dpo@1", Work(pairs=50), (), known) == (104.5, "measured")
    assert timing.estimate("dpo@2", Work(pairs=25), (), known) == (54.5, "measured")


def test_time_follows_the_weights_of_models_of_about_the_same_size() -> None:
    heavier = basis(known=MEASURED, now=Shapes(SMALL._replace(weights=1500), SMALL))
    assert timing.estimate("dpo@1", Work(pairs=50), (), heavier) == (154.5, "measured")
    other = basis(known=MEASURED, now=Shapes(SMALL._replace(weights=2500), SMALL))
    assert timing.estimate("dpo@1", Work(pairs=50), (), other) == (None, "unknown")


def test_time_follows_the_responses_that_are_cut_shorter() -> None:
    drawn = {"sample@1": {"seconds": 60.0, "answers": 10.0, "tokens": 400.0}}
    # 10 responses of 40 tokens took 60 s; of at most 20 they take half as long, of 80 as long
    for longest, seconds in ((20, 30.0), (80, 60.0)):
        time = timing.estimate("sample@1", Work(10, 10 * longest), (), basis(known=drawn))
        assert time.seconds == rates.BETWEEN + rates.START + seconds


def test_other_engine_or_precision_is_not_measured() -> None:
    known = basis(known=MEASURED)
    assert timing.estimate("dpo@1", Work(), ("training.precision",), known).source == "unknown"
    assert timing.estimate("dpo@1", Work(), ("dpo.beta",), known).source == "measured"


def test_calibrated_time_is_operations_over_what_is_reached() -> None:
    fast = basis(speed=Speed(1e6, 1e9))
    # 10 pairs of 256 / 3 + 2 x 2/3 x 48 = 149.3 tokens, 6 operations for each of 1000 weights
    expected = 10 * (256 / 3 + 64) * 6 * 1000 / (1e6 * 0.6)
    time = timing.estimate("dpo@1", Work(pairs=10, steps=1), (), fast)
    assert time.seconds == pytest.approx(rates.START + expected)


def test_a_prompt_is_read_once_for_all_its_answers() -> None:
    fast = basis(speed=Speed(1e6, 1e9))
    # of 10 answers two have one prompt each: 5 prompts of 256 / 3 tokens, and 2/3 of the answers'
    drawn, scored = Work(10, 10 * 48, width=2), Work(scores=10, width=2)
    expected = 2 * 1000 * (5 * 256 / 3 + 10 * 2 / 3 * 48) / (1e6 * 0.6)
    for stage, work in (
        ("sample@1", drawn),
        ("score@1", scored),
        ("eval@1", Work(read=10, width=2)),
    ):
        time = timing.estimate(stage, work, (), fast)
        assert time.seconds == pytest.approx(rates.START + expected), stage


def test_decoding_takes_at_least_the_time_of_reading_the_weights() -> None:
    slow = basis(speed=Speed(1e15, 1e3))
    # one batch of 48 tokens reads 1000 weights of 4 bytes each time
    time = timing.estimate("sample@1", Work(10, 480), (), slow)
    assert time.seconds == pytest.approx(rates.START + 48 * 4000 / 600)


def test_batches_bounded_by_tokens_read_the_weights_as_often_as_there_are_batches() -> None:
    slow = basis(speed=Speed(1e15, 1e3))
    engine = slow.params.engine.model_copy(update={"batch_tokens": 600})
    bounded = slow._replace(params=slow.params.model_copy(update={"engine": engine}))
    # prompts of 256 / 3 and responses of 48 tokens: 4 fit into 600, so 10 responses are 3 batches
    time = timing.estimate("sample@1", Work(10, 480), (), bounded)
    assert time.seconds == pytest.approx(rates.START + 3 * 48 * 4000 / 600)


def test_speed_is_the_best_after_a_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([9.0, 0.3, 0.1])  # of seconds: the first one starts threads, or a GPU's libraries
    now = 0.0

    def work() -> None:
        nonlocal now
        now += next(took)

    monkeypatch.setattr("time.perf_counter", lambda: now)
    monkeypatch.setattr(machine, "TRIES", 0.05)
    assert machine._best(work, "cpu") == pytest.approx(0.1)


def test_stage_without_a_model_takes_its_start() -> None:
    assert timing.estimate("build_pairs@1", Work(), (), basis()).seconds == rates.START


# The command


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    repo = project.copy(tmp_path / "repo", "tiny", fake=True)
    monkeypatch.chdir(repo)
    return repo


def test_plan_tells_stages_counts_time_memory_and_disk(copied: Path) -> None:
    result = CliRunner().invoke(main, ["plan"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("29 of 29 stages will run, in about ")
    [dpo] = [line for line in lines if line.startswith("  dpo@1 ")]
    assert "6 pairs, 3 steps, 2 candidates (never run; after " in dpo
    assert any(line.startswith("Memory of a device: ") for line in lines)
    assert any(line.startswith("Disk, iteration 2: ") for line in lines)


def test_plan_of_one_stage_names_those_before_it_as_json(copied: Path) -> None:
    result = CliRunner().invoke(main, ["plan", "score@1", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    names = [stage["stage"] for stage in told["stages"]]
    assert names[-1] == "score@1"
    assert "sample@1" in names
    assert "dpo@1" not in names
    assert told["stages"][-1]["work"]["scores"] == 30


def test_gpus_of_a_cluster_share_what_is_drawn_and_scored() -> None:
    speed = machine.Speed(1e14, 1e12)
    works = workload.of_run(PAPER, workload.sizes(PAPER.data, None), 0)

    def seconds(stage: str, workers: str) -> float:
        values = preset("paper", engine={"workers": workers})
        basis = timing.Basis(values, EIGHT, None, {}, speed, 8)
        return timing.operations(stage, works[stage], basis)

    for stage in ("sample@1", "score@1", "rank_pairs@1"):
        assert seconds(stage, "local") == pytest.approx(8 * seconds(stage, "ray"))
    assert seconds("dpo@1", "local") == seconds("dpo@1", "ray")  # accelerate has shared it


def test_plan_refuses_what_cannot_fit_and_names_the_parameter(copied: Path) -> None:
    (copied / "params.yaml").write_bytes((project.ROOT / "presets" / "paper.yaml").read_bytes())
    result = CliRunner().invoke(main, ["plan", "--machine", "8x32"])
    assert result.exit_code == 1
    assert "lower dpo.token_budget to " in result.output
    assert "Error: " in result.output.splitlines()[-1]


def test_plan_says_what_is_not_known(copied: Path) -> None:
    raw = (project.ROOT / "presets" / "paper.yaml").read_text()
    (copied / "params.yaml").write_text(
        raw.replace("meta-llama/Meta-Llama-3-8B-Instruct", "someone/model").replace(
            "HuggingFaceH4/ultrafeedback_binarized", "someone/data"
        )
    )
    result = CliRunner().invoke(main, ["plan"])
    assert result.exit_code == 0, result.output
    assert "models.policy: the sizes of someone/model@" in result.output
    assert "takes all prompts of 'someone/data'" in result.output
    assert "at least" in result.output.splitlines()[0]


@pytest.mark.parametrize(
    "arguments", [["plan", "dpo@3"], ["plan", "run/1/policy"], ["plan", "--machine", "big"]]
)
def test_what_is_mistyped_is_one_line(copied: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1


def test_folder_without_dvc_is_one_line(here: Path) -> None:
    (here / "params.yaml").write_bytes((project.ROOT / "presets" / "tiny.yaml").read_bytes())
    result = CliRunner().invoke(main, ["plan"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: dvc: ")
