"""params.yaml: the presets, and every fault as one whole line."""

from pathlib import Path
from typing import Any

import pytest

from mutual_taught.config import blocks, fields, learning, params
from mutual_taught.errors import InputError, MissingFileError
from tests import project

PRESETS = project.ROOT / "presets"
LAPTOP = (PRESETS / "laptop.yaml").read_text()
FIRST = "'1': {prev: '0', sample: {}, dpo: {}, train_rm: {}}"
SECOND = "'2': {prev: '1', sample: {}, dpo: {}, train_rm: {}}"
EVAL_LENGTH = "max_new_tokens: 48\n  gold_pairs"


@pytest.fixture
def write(here: Path) -> Any:
    """A function that writes params.yaml from the laptop preset with one text replaced."""

    def change(old: str = "", new: str = "") -> None:
        assert old in LAPTOP
        Path("params.yaml").write_text(LAPTOP.replace(old, new, 1))

    return change


def refusal() -> str:
    with pytest.raises(InputError) as caught:
        params.load(learning.Dpo, "1")
    return str(caught.value)


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_preset_is_valid(preset: Path) -> None:
    assert sorted(params.validate(params.read(preset), preset).iterations) == ["1", "2"]


def test_laptop_preset_is_the_default() -> None:
    assert (PRESETS.parent / "params.yaml").read_text() == LAPTOP


# What the paper gives, by block
PAPER: dict[type[fields.Block], dict[str, object]] = {
    blocks.Sample: {"responses_per_prompt": 5, "temperature": 0.8, "top_p": 0.95},
    blocks.RankPairs: {"chosen": "shortest_above_mean", "reference": "previous"},
    learning.Dpo: {
        "beta": 0.01,
        "learning_rate": 7e-7,
        "scheduler": "cosine",
        "warmup_ratio": 0.1,
        "batch_size": 128,
        "epochs": 1,
        "save_steps": 50,
        "loss_type": "sigmoid",
        "label_smoothing": 0.0,
        "start": "previous",
    },
    blocks.Tokens: {"max_length": 2048},
    blocks.SelectPolicy: {"rule": "win_rate", "win_rate_threshold": 0.6, "ties": "half"},
    blocks.BuildPairs: {
        "filter": "tolerance",
        "ranked": True,
        "pseudo": True,
        "accumulate": "none",
    },
    learning.TrainRm: {
        "learning_rate": 2e-6,
        "batch_size": 512,
        "epochs": 1,
        "scheduler": "cosine",
        "warmup_ratio": 0.1,
        "start": "base",
    },
}


@pytest.mark.parametrize("block", PAPER, ids=lambda block: block.key)
@pytest.mark.parametrize("iteration", ["1", "2"])
def test_paper_preset_has_the_hyper_parameters_of_the_paper(
    block: type[fields.Block], iteration: str
) -> None:
    values = params.load(block, iteration, PRESETS / "paper.yaml").model_dump()
    assert {name: values[name] for name in PAPER[block]} == PAPER[block]


def test_paper_preset_has_the_models_and_prompts_of_the_paper() -> None:
    whole = params.validate(params.read(PRESETS / "paper.yaml"))
    assert whole.models.policy.path == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert whole.models.reward_model.path == "sfairXC/FsfairX-LLaMA3-RM-v0.1"
    assert (whole.data.policy_parts, whole.data.splits.selection.prompts) == (2, 2000)
    # a third each for the first policy update, the second, and the reward model updates
    assert whole.data.splits.policy.share / 2 == whole.data.splits.reward.share
    # one response is decoded as sampling does
    for block in (whole.duel, whole.answer, whole.eval):
        assert (block.temperature, block.top_p) == (0.8, 0.95)


def test_no_key_is_one_that_dvc_leaves_out_of_what_it_looks_runs_up_by() -> None:
    def keys(value: Any) -> set[str]:
        inside = value.values() if isinstance(value, dict) else ()
        return set(value if isinstance(value, dict) else ()).union(*map(keys, inside))

    found = keys(params.read(PRESETS / "laptop.yaml"))
    assert {"seed", "share", "prompts"} <= found
    assert not found & {"size", "nfiles"}


def test_number_like_5e_07_is_a_number_as_in_yaml_1_2(write: Any) -> None:
    write("learning_rate: 2.0e-5\n  batch_size: 8", "learning_rate: 5e-07\n  batch_size: 8")
    assert params.load(learning.Dpo).learning_rate == 5e-7


def test_override_holds_for_its_iteration_alone(write: Any) -> None:
    write(SECOND, SECOND.replace("dpo: {}", "dpo: {beta: 0.5}"))
    assert [params.load(learning.Dpo, t).beta for t in (None, "1", "2")] == [0.1, 0.1, 0.5]


def test_block_without_overrides_is_the_same_in_every_iteration(write: Any) -> None:
    write()
    assert params.load(blocks.Duel, "2") == params.load(blocks.Duel)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_file_that_is_no_text_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content) if content else path.mkdir()
    with pytest.raises(InputError, match=r"params\.yaml: not valid YAML: "):
        params.read(path)


def test_seed_is_read(write: Any) -> None:
    write("seed: 1", "seed: 77")
    assert params.seed() == 77


def test_block_cannot_be_changed(write: Any) -> None:
    write()
    with pytest.raises(ValueError, match="frozen"):
        params.load(learning.Dpo).beta = 0.5


FAULTS = {
    "unknown key": (
        "  loss_type: nca_pair",
        "  loss_type: nca_pair\n  beta2: 1",
        "dpo.beta2 is unknown; expected one of batch_size, beta, epochs, "
        "keep_checkpoints, label_smoothing, learning_rate, loss_type, max_grad_norm, save_steps, "
        "scheduler, start, token_budget, warmup_ratio",
    ),
    "unknown loss": (
        "  loss_type: nca_pair",
        "  loss_type: kto_pair",
        "dpo.loss_type is 'kto_pair'; expected 'sigmoid', 'hinge', 'ipo', 'exo_pair', 'nca_pair', "
        "'robust', 'bco_pair', 'sppo_hard', 'apo_zero', 'apo_down', 'discopop' or 'sigmoid_norm'",
    ),
    "unknown block": (
        "seed: 1",
        "seed: 1\nextra: {}",
        "extra is unknown; expected one of answer, base_reward_model, benchmarks, build_pairs, "
        "data, dpo, duel, engine, eval, iterations, judge, models, rank_pairs, report, sample, "
        "score, seed, select_policy, tokens, train_rm, training",
    ),
    "missing key": (
        "  save_steps: 16",
        "",
        "dpo.save_steps is missing; expected a value, see presets/laptop.yaml",
    ),
    "missing block": (
        "report:\n  examples: 3",
        "",
        "report is missing; expected a value, see presets/laptop.yaml",
    ),
    "text for a number": (
        "win_rate_threshold: 0.6",
        "win_rate_threshold: 60%",
        "select_policy.win_rate_threshold is '60%'; expected a valid number",
    ),
    "quoted number": (
        "learning_rate: 2.0e-5\n  batch_size: 8",
        "learning_rate: '5e-07'\n  batch_size: 8",
        "dpo.learning_rate is '5e-07'; expected a valid number; write it without quotes",
    ),
    "fraction for a count": (
        "save_steps: 16",
        "save_steps: 4.5",
        "dpo.save_steps is 4.5; expected a valid integer",
    ),
    "number for a flag": (
        "ranked: true",
        "ranked: 1",
        "build_pairs.ranked is 1; expected a valid boolean",
    ),
    "null": ("beta: 0.1", "beta: null", "dpo.beta is None; expected a valid number"),
    "below its range": (
        "win_rate_threshold: 0.6",
        "win_rate_threshold: -0.1",
        "select_policy.win_rate_threshold is -0.1; expected greater than or equal to 0",
    ),
    "zero beta": ("beta: 0.1", "beta: 0.0", "dpo.beta is 0.0; expected greater than 0"),
    "above its range": (
        "top_p: 0.95",
        "top_p: 1.5",
        "sample.top_p is 1.5; expected less than or equal to 1",
    ),
    "infinite": (
        "max_grad_norm: 1.0\n  token_budget: 1280\n  beta",
        "max_grad_norm: .inf\n  token_budget: 1280\n  beta",
        "dpo.max_grad_norm is inf; expected a finite number",
    ),
    "one response": (
        "responses_per_prompt: 5",
        "responses_per_prompt: 1",
        "sample.responses_per_prompt is 1; expected greater than or equal to 2",
    ),
    "unknown choice": (
        "filter: tolerance",
        "filter: strict",
        "build_pairs.filter is 'strict'; expected 'tolerance', 'none' or 'positive'",
    ),
    "base reference with the sampler's log-probs": (
        "reference: previous           # of DPO: previous (pi_{t-1}, as the paper) | base (pi_0)"
        "\n  reference_logps: trainer",
        "reference: base\n  reference_logps: sampler",
        "rank_pairs: expected reference_logps trainer with reference base (the sampler's are of "
        "the previous policy)",
    ),
    "rewards without length where no reward decides": (
        "chosen: highest               # shortest_above_mean | highest | random | given"
        "\n  length_neutral: true",
        "chosen: given\n  length_neutral: true",
        "rank_pairs: expected length_neutral false with chosen given (no reward decides there)",
    ),
    "only ended responses where no reward decides": (
        "chosen: highest               # shortest_above_mean | highest | random | given"
        "\n  length_neutral: true          # true: rewards are compared without what length brings"
        "\n  ended_only: false",
        "chosen: given\n  length_neutral: false\n  ended_only: true",
        "rank_pairs: expected ended_only false with chosen given (no reward decides there)",
    ),
    "stored answers of the base policy": (
        "previous: fresh\n  against: previous",
        "previous: reuse\n  against: base",
        "answer: expected previous fresh with against base (no answers of pi_0 are stored)",
    ),
    "accumulate as a flag that was on": (
        "accumulate: none",
        "accumulate: true",
        "build_pairs.accumulate is True; expected 'none', 'last' or 'all'; write last",
    ),
    "accumulate as a flag that was off": (
        "accumulate: none",
        "accumulate: false",
        "build_pairs.accumulate is False; expected 'none', 'last' or 'all'; write none",
    ),
    "unknown iterations to accumulate": (
        "accumulate: none",
        "accumulate: every",
        "build_pairs.accumulate is 'every'; expected 'none', 'last' or 'all'",
    ),
    "unquoted iterations": (
        "'1': {",
        "1: {",
        'iterations has the key 1; expected it quoted, "1" (without quotes DVC runs no stage '
        "at all)",
    ),
    "missing override block": (
        FIRST,
        "'1': {prev: '0', sample: {}, train_rm: {}}",
        "iterations.1.dpo is missing; expected a value, see presets/laptop.yaml",
    ),
    "null override block": (
        FIRST,
        FIRST.replace("dpo: {}", "dpo: null"),
        "iterations.1.dpo is None; expected a block of keys",
    ),
    "wrong prev": (
        SECOND,
        SECOND.replace("prev: '1'", "prev: '0'"),
        "the file: expected iterations.2.prev \"1\" (it is '0')",
    ),
    "unquoted prev": (
        SECOND,
        SECOND.replace("prev: '1'", "prev: 1"),
        "iterations.2.prev is 1; expected a valid string; write it in quotes",
    ),
    "gap between iterations": (
        "'2': {",
        "'3': {",
        "the file: expected iterations \"1\", \"2\", ... (they are ['1', '3'])",
    ),
    "bad override value": (
        SECOND,
        SECOND.replace("dpo: {}", "dpo: {beta: -1.0}"),
        "iterations.2.dpo.beta is -1.0; expected greater than 0",
    ),
    "unknown override": (
        FIRST,
        FIRST.replace("sample: {}", "sample: {top_k: 5}"),
        "iterations.1.sample.top_k is unknown; expected one of max_new_tokens, "
        "responses_per_prompt, source, temperature, top_p",
    ),
    "override that breaks a rule": (
        FIRST,
        FIRST.replace("dpo: {}", "dpo: {loss_type: exo_pair}"),
        "iterations.1.dpo: expected label_smoothing above 0 with exo_pair",
    ),
    "shares above one": (
        "reward: {share: 0.2",
        "reward: {share: 0.3",
        "data: expected shares of the splits that sum to at most 1 (they sum to 1.1)",
    ),
    "hub without a commit": (
        "source: embedded              #",
        "source: hub #",
        "data: expected source hub needs revision (a commit) and subset (a split)",
    ),
    "two columns": (
        "{messages: null, prompt: prompt,",
        "{messages: messages, prompt: prompt,",
        "data.columns: expected exactly one of messages and prompt, the other null",
    ),
    "one side of a preference": (
        "chosen: null, rejected: null}",
        "chosen: better, rejected: null}",
        "data.columns: expected both of chosen and rejected, or both null",
    ),
    "given preferences without their rule": (
        "source: policy ",
        "source: given ",
        "sample.source of iteration 1 is given, rank_pairs.chosen is highest; "
        "expected both given, or neither",
    ),
    "no room for an answer": (
        "max_length: 512",
        "max_length: 256",
        "tokens: expected max_length above max_prompt_tokens",
    ),
    "no room for the template's end": (  # 256 + 48 + 8
        "max_length: 512",
        "max_length: 311",
        "tokens.max_length is 311; expected at least 312: tokens.max_prompt_tokens 256 + "
        "sample.max_new_tokens 48 + 8 for the template's end; raise it, or lower one of these",
    ),
    "no room for the longest answer": (
        EVAL_LENGTH,
        EVAL_LENGTH.replace("48", "249"),
        "tokens.max_length is 512; expected at least 513: tokens.max_prompt_tokens 256 + "
        "eval.max_new_tokens 249 + 8 for the template's end; raise it, or lower one of these",
    ),
    "answers longer than prompts leave room for": (
        SECOND,
        SECOND.replace("sample: {}", "sample: {max_new_tokens: 49}"),
        "iterations.2.sample.max_new_tokens is 49; expected at most 48, the largest "
        "max_new_tokens of sample, duel, answer, eval; raise one of these",
    ),
    "gold pairs outside data": (
        "gold_pairs: auto",
        "gold_pairs: data/../presets/seed",
        "eval: expected gold_pairs auto, a file under data/ (the folder DVC watches) without .., "
        "subset:NAME of a subset of data.path, or null (it is 'data/../presets/seed')",
    ),
    "gold pairs of a subset where there is none": (
        "gold_pairs: auto",
        "gold_pairs: subset:test_prefs",
        "eval.gold_pairs is 'subset:test_prefs', data.source is embedded; expected hub, because "
        "the subset is one of the data set at data.path; name a file, auto or null",
    ),
    "gold pairs of a subset without a name": (
        "gold_pairs: auto",
        "gold_pairs: 'subset:a b'",
        "eval: expected gold_pairs auto, a file under data/ (the folder DVC watches) without .., "
        "subset:NAME of a subset of data.path, or null (it is 'subset:a b')",
    ),
    "what becomes of bad rows": (
        "on_bad_row: drop ",
        "on_bad_row: keep ",
        "data.on_bad_row is 'keep'; expected 'drop' or 'refuse'",
    ),
    "nothing in the mix": (
        "ranked: true\n  pseudo: true",
        "ranked: false\n  pseudo: false",
        "build_pairs: expected at least one of ranked and pseudo true",
    ),
    "average of a model that is not trained": (
        "fixed: false                  # true: r_t is r_{t-1}, as in iterative DPO\n  average: 0.0",
        "fixed: true\n  average: 0.5",
        "train_rm: expected average 0 with fixed true (nothing is trained)",
    ),
    "average without anything of r_t": (
        "average: 0.0",
        "average: 1.0",
        "train_rm.average is 1.0; expected less than 1",
    ),
    "block that is a list": (
        "report:\n  examples: 3",
        "report: [3]",
        "report is [3]; expected a block of keys",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_one_whole_line(write: Any, fault: str) -> None:
    old, new, message = FAULTS[fault]
    write(old, new)
    assert refusal() == f"params.yaml: {message}"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            ("labels: policy", "labels: verifiable"),
            "build_pairs: expected weights none with labels verifiable (gold's own labels are "
            "right)",
        ),
        (
            ("against: previous", "against: base"),
            "build_pairs.weights is calibrated, answer.against is base; expected against previous, "
            "because duels compare with the previous policy; change one",
        ),
    ],
)
def test_weights_go_with_labels_that_duels_are_like(
    write: Any, other: tuple[str, str], said: str
) -> None:
    write("weights: none", "weights: calibrated")
    text = Path("params.yaml").read_text()
    assert other[0] in text
    Path("params.yaml").write_text(text.replace(*other))
    assert refusal() == f"params.yaml: {said}"


def test_pairs_of_an_r_0_that_was_trained_elsewhere_are_refused(write: Any) -> None:
    source = "models/mine, revision: null}"
    write(
        "source: trained, path: seed_preferences, revision: null}", f"source: path, path: {source}"
    )
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("seed_preferences: 0.0", "seed_preferences: 0.5"))
    assert refusal() == (
        "params.yaml: build_pairs.seed_preferences is 0.5, models.reward_model.source is path; "
        "expected 0, because what such a reward model was trained on is not here; set it to 0, or "
        "the source to trained"
    )


@pytest.mark.parametrize(
    "place",
    [
        "templates.yaml",
        "/tmp/templates.yaml",
        "presets/templates.yaml",
        "data/../params.yaml",
        "data",
        "../data/templates.yaml",
    ],
)
def test_path_of_the_prompts_is_under_the_folder_that_dvc_watches(write: Any, place: str) -> None:
    write("path: data/templates.yaml", f"path: {place}")
    assert refusal() == (
        "params.yaml: data: expected path under data/, the folder DVC watches, without .. "
        f"(it is {place!r}); put or link the file there"
    )


def launched(write: Any, settings: str) -> None:
    old = "  launcher: single              # single | torchrun | accelerate: docs/training.md\n"
    write(
        f"{old}  processes: 1                  # that train together\n  accelerate_config:     ",
        f"  launcher: accelerate\n  processes: 2\n  accelerate_config: {settings}",
    )


@pytest.mark.parametrize("place", ["/etc/zero3.yaml", "../zero3.yaml", "presets/../../zero3.yaml"])
def test_settings_of_accelerate_are_inside_the_project(write: Any, place: str) -> None:
    launched(write, place)
    assert refusal() == (
        "params.yaml: training: expected accelerate_config inside the project: no absolute path, "
        "no .."
    )


def test_settings_of_accelerate_are_no_link_out_of_the_project(write: Any, tmp_path: Path) -> None:
    launched(write, "mine.yaml")
    outside = tmp_path.parent / f"{tmp_path.name}.yaml"
    outside.write_text("")
    Path("mine.yaml").symlink_to(outside)
    assert refusal() == (
        "params.yaml: training.accelerate_config is 'mine.yaml', a link out of the project; "
        "expected a file inside it; copy it here"
    )


@pytest.mark.parametrize("name", ["data", "data/mine"])
def test_files_in_linked_folders_are_one_line(write: Any, here: Path, name: str) -> None:
    write("path: data/templates.yaml", "path: data/mine/templates.yaml")
    (here / "elsewhere").mkdir()
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).symlink_to(here / "elsewhere")
    assert refusal() == (
        f"params.yaml: data.path is 'data/mine/templates.yaml', and {name} is a linked folder; "
        "expected a folder, or a linked file; DVC does not see what changes in linked folders"
    )


def ask_the_hub(write: Any, name: str) -> None:
    write()
    text = Path("params.yaml").read_text()
    begin, end = text.index("  source: embedded"), text.index("  columns:")
    block = f"  source: hub\n  path: {name}\n  revision: aaaa\n  subset: train\n"
    Path("params.yaml").write_text(text[:begin] + block + text[end:])


@pytest.mark.parametrize(
    "name", ["/etc", "../mine", "data/../../x", "a/..", "json", "a/b/c", "~/x"]
)
def test_hub_id_is_no_path_out_of_the_project(write: Any, name: str) -> None:
    ask_the_hub(write, name)
    assert refusal() == (
        f"params.yaml: data: expected path owner/name with source hub (it is {name!r}); for a file "
        "of your own source file"
    )


def test_hub_id_that_is_a_folder_here_is_one_line(write: Any, here: Path) -> None:
    ask_the_hub(write, "allenai/boats.v2")
    assert params.seed() == 1
    (here / "allenai" / "boats.v2").mkdir(parents=True)
    assert refusal().startswith(
        "params.yaml: data.path is 'allenai/boats.v2', which is here, too, and would be read"
    )


def test_linked_file_of_prompts_is_right(write: Any, here: Path) -> None:
    write()
    Path("data").mkdir()
    Path("data/templates.yaml").symlink_to(here.parent)
    assert params.seed() == 1


def test_longest_response_is_that_of_all_stages_that_draw(write: Any) -> None:
    write(EVAL_LENGTH, EVAL_LENGTH.replace("48", "100"))
    assert params.longest_response() == 100


def test_fault_in_another_block_is_found_too(write: Any) -> None:
    write("examples: 3", "examples: -1")
    assert refusal() == "params.yaml: report.examples is -1; expected greater than or equal to 0"


def test_missing_file_is_one_line(here: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        params.seed()
    assert str(caught.value) == (
        "params.yaml does not exist; run in the project's folder, or mutual-taught preset laptop"
    )


@pytest.mark.parametrize("text", ["seed: [1", "seed: 1\nseed: 2\n", "a: b: c"])
def test_file_that_is_no_yaml_is_one_line(here: Path, text: str) -> None:
    Path("params.yaml").write_text(text)
    assert refusal().startswith("params.yaml: not valid YAML: ")
    assert "\n" not in refusal()


@pytest.mark.parametrize(("text", "kind"), [("", "NoneType"), ("[1]", "list"), ("x", "str")])
def test_file_without_blocks_is_one_line(here: Path, text: str, kind: str) -> None:
    Path("params.yaml").write_text(text)
    assert refusal() == f"params.yaml: holds {kind}; expected blocks of parameters"


def test_iteration_that_is_not_there_is_one_line(write: Any) -> None:
    write()
    with pytest.raises(InputError) as caught:
        params.load(learning.Dpo, "3")
    assert str(caught.value) == (
        "params.yaml: iterations has no '3'; expected one of 1, 2; add it, or run another iteration"
    )


@pytest.mark.parametrize(
    ("reference", "policy"), [("float32", "bfloat16"), ("auto", "float32"), ("bfloat16", "auto")]
)
def test_a_reference_that_computes_in_another_format_is_one_line(
    tmp_path: Path, reference: str, policy: str
) -> None:
    values = project.load_yaml(project.ROOT / "presets" / "laptop.yaml")
    values["rank_pairs"]["reference_dtype"] = reference
    values["training"]["precision"] = policy
    with pytest.raises(InputError) as caught:
        params.validate(values, Path("params.yaml"))
    assert str(caught.value) == (
        f"params.yaml: rank_pairs.reference_dtype is {reference}, training.precision is {policy}; "
        "expected the same in both, or DPO would start from a margin that is not 0; change one"
    )
