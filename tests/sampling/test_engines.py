"""Which engine draws, what of it provenance names, and a swap that must be of whole weights."""

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from mutual_taught.artifacts import tables
from mutual_taught.artifacts.manifests import read_manifest, require_whole
from mutual_taught.config.blocks import Decoding, Drawing, Engine, Tokens
from mutual_taught.errors import InputError
from mutual_taught.sampling.keyed import Decode, Request
from mutual_taught.sampling.shards import draw, make_plan
from mutual_taught.sampling.start import start_sampler
from mutual_taught.sampling.transformers import batches
from mutual_taught.terminal.progress import Moved

TRANSFORMERS = Engine(
    name="transformers",
    dtype="float32",
    shard_size=2,
    batch_size=8,
    batch_tokens=None,
    tensor_parallel=1,
    gpu_memory_utilization=0.5,
    workers="local",
)
TOKENS = Tokens(max_prompt_tokens=20, max_length=100, date=None)
VLLM = TRANSFORMERS.model_copy(update={"name": "vllm", "tensor_parallel": 2})


def test_vllm_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with (
        pytest.raises(InputError, match=r"^engine\.name is 'vllm'; vllm is not installed; "),
        start_sampler(VLLM, 32, TOKENS),
    ):
        pass


def test_provenance_names_vllm_and_leaves_the_default_engine_out() -> None:
    assert TRANSFORMERS.decides() == {}
    assert VLLM.decides() == {"engine": "vllm", "tensor_parallel": 2}


def test_batches_are_part_of_the_partition_unless_vllm_makes_its_own() -> None:
    cut = {"shard_size": 64, "batch_size": 320}
    assert TRANSFORMERS.model_copy(update=cut).partition == [64, 320]
    assert TRANSFORMERS.model_copy(update={**cut, "batch_tokens": 9}).partition == [64, 320, 9]
    assert VLLM.model_copy(update=cut).partition == [64]


def test_longest_prompt_is_no_part_of_what_responses_were_made_from(
    policy_folder: Path, here: Path
) -> None:
    asked = {
        "prompt_id": ["a" * 32],
        "messages": [[{"role": "user", "content": "What floats?"}]],
    }
    prompts = pa.table(
        asked, pa.schema([("prompt_id", pa.string()), ("messages", tables.MESSAGES)])
    )
    decoding = Decoding(temperature=1.0, top_p=1.0, max_new_tokens=3)
    said = []
    for most in (30, 60):
        limits = TOKENS.model_copy(update={"max_prompt_tokens": most})
        plan = make_plan("sample", 1, 2, decoding, Drawing(TRANSFORMERS, limits, 7))
        with start_sampler(TRANSFORMERS, plan.context, limits) as sampler:
            said.append(draw(policy_folder, prompts, plan, sampler, "sample@1"))
    assert said[0] == said[1]
    assert len(list(Path(".work/sample@1").glob("*/part-00000"))) == 1  # the shard was found again


def test_model_whose_files_are_those_of_its_manifest_is_whole(policy_folder: Path) -> None:
    assert require_whole(policy_folder) == read_manifest(policy_folder)


@pytest.mark.parametrize("spoil", ["change", "remove"])
def test_model_whose_files_are_not_those_of_its_manifest_is_refused(
    policy_folder: Path, tmp_path: Path, spoil: str
) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(policy_folder, folder)
    weights = folder / "model.safetensors"
    if spoil == "remove":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"model\.safetensors: sha256 is ") as caught:
        require_whole(folder)
    assert ("missing" in str(caught.value)) == (spoil == "remove")


def test_every_token_is_told_before_the_shard_of_its_response_is_given(
    here: Path, policy_folder: Path
) -> None:
    small = TRANSFORMERS.model_copy(update={"batch_size": 4})
    asked = {3: [Request([1, 2, 3 + place], [7, 8 + place]) for place in range(3)]}
    told: list[Moved] = []
    with start_sampler(small, 32, TOKENS) as sampler:
        sampler.load(policy_folder)
        [(number, found)] = sampler.answer(asked, Decode(1.0, 1.0, 4), told.append)
    assert number == 3
    assert len(told) == 8  # two batches of at most four tokens a response
    tokens, ended, cut = (sum(column) for column in zip(*told, strict=True))
    draws = [draw for responses in found for draw in responses]
    assert tokens == sum(len(draw.token_ids) for draw in draws)
    assert (ended, cut) == (6, sum(draw.finish_reason == "length" for draw in draws))


# Prompts of 3, 9, 4 and 10 tokens, two responses each of at most 4 tokens: by length 0, 2, 1, 3
# with room for 2 * 7, 4 * 8, 6 * 13 and 8 * 14 tokens, if they are together with all before them.
@pytest.mark.parametrize(
    ("responses", "tokens", "expected"),
    [
        (8, None, [[0, 2, 1, 3]]),
        (5, None, [[0, 2], [1, 3]]),  # three prompts would be six responses
        (1, None, [[0], [2], [1], [3]]),  # a prompt's responses are never apart
        (8, 112, [[0, 2, 1, 3]]),
        (8, 111, [[0, 2, 1], [3]]),
        (8, 56, [[0, 2], [1, 3]]),  # 4 * 14 for the last two
        (8, 55, [[0, 2], [1], [3]]),
        (8, 1, [[0], [2], [1], [3]]),
    ],
)
def test_batches_hold_so_many_responses_and_tokens(
    responses: int, tokens: int | None, expected: list[list[int]]
) -> None:
    asked = [Request([5] * length, [1, 2]) for length in (3, 9, 4, 10)]
    cut = TRANSFORMERS.model_copy(update={"batch_size": responses, "batch_tokens": tokens})
    assert list(batches(asked, cut, 4)) == expected
    assert list(batches([], cut, 4)) == []


def test_draws_do_not_depend_on_how_many_tokens_a_batch_holds(
    here: Path, policy_folder: Path
) -> None:
    asked = {0: [Request([7] * length, [length, 2]) for length in (3, 9, 4, 12)]}
    drawn = []
    for tokens in (None, 60, 1):
        cut = TRANSFORMERS.model_copy(update={"batch_tokens": tokens})
        with start_sampler(cut, 32, TOKENS) as sampler:
            sampler.load(policy_folder)
            [(_, found)] = sampler.answer(asked, Decode(0.8, 0.95, 6))
        drawn.append([[draw.token_ids for draw in responses] for responses in found])
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_two_shards_at_a_time_have_the_draws_of_one_at_a_time(
    here: Path, policy_folder: Path, dtype: str
) -> None:
    asked = {n: [Request([7] * (2 + n + k), [n, k]) for k in range(1 + n % 3)] for n in range(9)}
    with start_sampler(TRANSFORMERS.model_copy(update={"dtype": dtype}), 32, TOKENS) as sampler:
        sampler.load(policy_folder)
        both = dict(sampler.answer(asked, Decode(0.8, 0.95, 12)))
        torch.set_num_threads(1)  # of two threads, each shard has one
        assert dict(sampler.answer(asked, Decode(0.8, 0.95, 12))) == both
