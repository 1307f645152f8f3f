"""What is refused of a model before its weights are loaded: one line each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PretrainedConfig,
    T5Config,
    T5ForSequenceClassification,
)

from mutual_taught.checks import folder_checks
from mutual_taught.checks.folder_checks import Kind
from mutual_taught.cli import main
from mutual_taught.config.blocks import Tokens
from mutual_taught.config.inputs import Model
from mutual_taught.errors import InputError, MutualTaughtError
from mutual_taught.models.load import load_policy, load_tokenizer
from mutual_taught.prepare import base_models
from mutual_taught.training.export import save_model
from mutual_taught.training.rounding import EXACT
from tests import project
from tests.families import tokenizer

LIMITS = Tokens(max_prompt_tokens=400, max_length=500, date=None)
WEIGHTS = "model.safetensors"
Spoil = Callable[[Path], object]


def settings(name: str, **changes: object) -> Spoil:
    """Change keys of a JSON file; None takes one away."""

    def spoil(folder: Path) -> None:
        path = folder / name
        said = json.loads(path.read_text()) if path.exists() else {}
        said |= changes
        path.write_text(json.dumps({k: v for k, v in said.items() if v is not None}))

    return spoil


def content(name: str, text: str) -> Spoil:
    return lambda folder: (folder / name).write_text(text)


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS, {"format": "pt"})

    return spoil


def cut(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def template(text: str) -> Spoil:
    return content("chat_template.jinja", text)


def named(*names: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        listed = [{"name": name, "template": "x"} for name in names]
        settings("tokenizer_config.json", chat_template=listed)(folder)

    return spoil


def more_tokens(folder: Path) -> None:
    said = json.loads((folder / "tokenizer.json").read_text())
    said["added_tokens"].append(
        {
            "id": 314,
            "content": "<new>",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    )
    (folder / "tokenizer.json").write_text(json.dumps(said))


def newer(folder: Path) -> None:
    settings("tokenizer.json", pre_tokenizer={"type": "OfTomorrow"})(folder)


def sentencepiece_label(folder: Path) -> None:
    settings("tokenizer_config.json", tokenizer_class="LlamaTokenizerFast")(folder)


UP = "model.layers.0.mlp.up_proj.weight"
FAULTS: dict[str, tuple[Spoil, str]] = {
    "config that is no JSON": (content("config.json", "{"), "config.json: not valid JSON"),
    "config that is a list": (content("config.json", "[]"), "config.json: not valid JSON"),
    "config without a type": (
        settings("config.json", model_type=None),
        "model_type: None; expected one that transformers ",
    ),
    "code of its own": (
        settings("config.json", model_type="own", auto_map={"AutoConfig": "own.Own"}),
        "knows, without code of its own, which is never run",
    ),
    "decoder that sees both ways": (
        settings("config.json", is_causal=False),
        "how it reads: an encoder, whose tokens see those after them; expected a decoder",
    ),
    "gptq": (
        settings("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        "format: quantised (gptq); expected weights in float32, float16 or bfloat16; dequantise",
    ),
    "compressed": (
        settings("config.json", quantization_config={"quant_method": "compressed-tensors"}),
        "format: quantised (compressed-tensors)",
    ),
    "awq without a word": (
        weights(lambda w: w.update({"model.layers.0.mlp.up_proj.qweight": torch.ones(2).int()})),
        "format: quantised (weight model.layers.0.mlp.up_proj.qweight of I32)",
    ),
    "fp8 without a word": (
        weights(lambda w: w.update({UP: w[UP].to(torch.float8_e4m3fn)})),
        f"format: quantised (weight {UP} of F8_E4M3)",
    ),
    "few positions": (
        settings("config.json", max_position_embeddings=499),
        "positions: 499; expected tokens.max_length 500 or more; lower that to 499",
    ),
    "newer tokenizer": (newer, "cannot read tokenizer.json (Exception: "),
    "tokenizer that is no JSON": (content("tokenizer.json", "{"), "cannot read tokenizer.json"),
    "no template": (template(""), "chat template: none; expected one"),
    "template that is no Jinja": (template("{{ '}}"), "chat template: no Jinja"),
    "templates without a default": (
        named("rag", "tool_use"),
        "chat template: rag, tool_use; expected one called default",
    ),
    "template by chance": (template("{{ [1, 2] | random }}"), "chat template: "),
    "template with a date": (
        template("{{ strftime_now('%Y') }}{{ messages[0].content }}"),
        "set tokens.date",
    ),
    "template without the question": (
        template("{% for m in messages %}{{ m.role }}{% endfor %}"),
        "leaves out a turn of 'user'",
    ),
    "tokenizer larger than the embedding": (
        more_tokens,
        "tokens and rows of the embedding: 315 and 314; expected a row for every token",
    ),
    "no number": (
        weights(lambda w: w[UP].view(-1)[7].fill_(float("nan"))),
        f"weights: {UP} holds NaN or an infinite number; expected numbers",
    ),
    "no finite number": (
        weights(lambda w: w[UP].view(-1)[7].fill_(-float("inf"))),
        f"weights: {UP} holds NaN or",
    ),
    "half a file": (cut, f"weights: {WEIGHTS} cannot be read (SafetensorError: "),
    "empty file": (content(WEIGHTS, ""), f"weights: {WEIGHTS} cannot be read (SafetensorError: "),
    "missing weight": (weights(lambda w: w.pop(UP)), f"lacks weights ['{UP}']; expected all"),
    "weight of another shape": (
        weights(lambda w: w.update({UP: w[UP][:5].clone()})),
        f"weight '{UP}' is of shape [5, 64]; expected [128, 64] by its config",
    ),
    "sentencepiece in name": (sentencepiece_label, "text as tokens and back: loses spaces, "),
    "generation settings that are no JSON": (
        content("generation_config.json", "{"),
        "generation_config.json: not valid JSON",
    ),
}
OF_POLICIES = {"generation settings that are no JSON", "template that is no Jinja"}


def taken(folder: Path, place: Path, kind: Kind) -> str:
    """Take a model as a run does, and give the line that refuses it."""
    (place / kind).mkdir()
    source = Model(source="path", path=str(folder), revision=None)
    with pytest.raises(MutualTaughtError) as caught:
        base_models.take(source, place / kind, kind, LIMITS)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["policy", "reward_model"])
@pytest.mark.parametrize("fault", FAULTS)
def test_model_that_cannot_be_used_is_refused_before_any_work_and_by_doctor(
    policy_folder: Path, reward_folder: Path, here: Path, fault: str, kind: Kind
) -> None:
    spoil, said = FAULTS[fault]
    folder = here / "run" / "0" / kind
    shutil.copytree(policy_folder if kind == "policy" else reward_folder, folder)
    spoil(folder)
    line = taken(folder, here, kind)
    assert said in line
    assert "\n" not in line
    if fault in OF_POLICIES and kind == "reward_model":
        return
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", here / "params.yaml")
    text = (here / "params.yaml").read_text()
    text = text.replace("max_prompt_tokens: 512", "max_prompt_tokens: 400")
    (here / "params.yaml").write_text(text.replace("max_length: 768", "max_length: 500"))
    project.empty(here)
    result = CliRunner().invoke(main, ["doctor"])
    assert isinstance(result.exception, SystemExit), result.exception
    failed = [line for line in result.output.splitlines() if line.startswith("FAIL")]
    assert len(failed) == (2 if fault == "sentencepiece in name" else 1), result.output
    shown = result.output.replace("\n      ", "; ")
    assert said in shown


@pytest.mark.parametrize("kind", ["policy", "reward_model"])
def test_sound_model_is_taken(
    policy_folder: Path, reward_folder: Path, tmp_path: Path, kind: Kind
) -> None:
    folder = policy_folder if kind == "policy" else reward_folder
    (tmp_path / kind).mkdir()
    source = Model(source="path", path=str(folder), revision=None)
    assert base_models.take(source, tmp_path / kind, kind, LIMITS) == str(folder)


def doctors(preset: dict[str, object]) -> str:
    """Let doctor look at a project with these values, and give what it prints."""
    shutil.copy(project.ROOT / "presets" / "tiny.yaml", "params.yaml")
    for name, value in preset.items():
        project.set_param(Path("params.yaml"), name, value)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def test_doctor_looks_at_models_before_they_are_copied(policy_folder: Path, here: Path) -> None:
    project.empty(here)
    shutil.copytree(policy_folder, here / "mine")
    template("{{ strftime_now('%Y') }}" + base_models.CHATML)(here / "mine")
    mine: dict[str, object] = {"models.policy.source": "path", "models.policy.path": "mine"}
    assert "writes today's date; expected the same text every day; set tokens.date" in doctors(mine)
    dated = {**mine, "tokens.date": "2026-01-31"}
    said = doctors(dated)
    assert "ok    mine: an answer ends in a stop token: <|im_end|>" in said
    assert "FAIL" not in said
    settings("config.json", quantization_config={"quant_method": "awq"})(here / "mine")
    assert "FAIL  mine: format: quantised (awq)" in doctors(dated)
    shutil.rmtree(here / "mine")
    assert "FAIL  models.policy: refused" in doctors(dated)


def put(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer("chatml").save_pretrained(folder)
    return folder


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 400,
    "num_labels": 1,
}


def test_encoders_are_refused_as_reward_models(tmp_path: Path) -> None:
    said = "how it reads: an encoder, whose tokens see those after them; expected a decoder"
    bert = put(BertForSequenceClassification(BertConfig(**SMALL)), tmp_path / "bert")
    assert said in taken(bert, tmp_path, "reward_model")
    (tmp_path / "reward_model").rename(tmp_path / "before")
    modern = ModernBertForSequenceClassification(ModernBertConfig(**SMALL, pad_token_id=0))
    assert said in taken(put(modern, tmp_path / "modern"), tmp_path, "reward_model")


def test_encoder_with_decoder_is_refused_as_reward_model(tmp_path: Path) -> None:
    config = T5Config(
        vocab_size=400,
        d_model=32,
        d_kv=16,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        num_labels=1,
        decoder_start_token_id=0,
    )
    folder = put(T5ForSequenceClassification(config), tmp_path / "t5")
    said = taken(folder, tmp_path, "reward_model")
    assert "how it reads: an encoder with a decoder; expected a decoder" in said


def test_several_labels_are_refused(tmp_path: Path) -> None:
    config = GPT2Config(
        n_embd=32, n_layer=1, n_head=2, vocab_size=400, num_labels=3, pad_token_id=0
    )
    folder = put(GPT2ForSequenceClassification(config), tmp_path / "gpt2")
    assert "labels: 3; expected one" in taken(folder, tmp_path, "reward_model")


@pytest.mark.parametrize(
    ("rope", "found"),
    [
        ({"rope_type": "default"}, "1000"),
        ({"rope_type": "linear", "factor": 4.0}, "4000"),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1000}, "4000"),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 100,
            },
            "1000",
        ),
    ],
)
def test_positions_reach_as_far_as_rotary_scaling_says(rope: Any, found: str) -> None:
    rope = {"rope_theta": 10000.0, **rope}
    config = LlamaConfig(max_position_embeddings=1000, rope_parameters=rope)
    assert folder_checks.positions(config, 900)[1:] == (found, "")
    fault = folder_checks.positions(config, 5000).fault
    assert fault == f"expected tokens.max_length 5000 or more; lower that to {found}"


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (GPT2Config(n_positions=700), "700"),
        (MistralConfig(max_position_embeddings=700), "700"),
        (PretrainedConfig(), "without limit"),
    ],
)
def test_positions_go_by_any_name(config: PretrainedConfig, found: str) -> None:
    assert folder_checks.positions(config, 600)[1:] == (found, "")


@pytest.mark.parametrize(
    "said",
    [
        {"_from_model_config": True, "max_length": 4096, "temperature": 0.9, "top_p": 0.6},
        {"temperature": 0.7, "eos_token_id": [2, 1], "do_sample": False, "penalty_alpha": 0.6},
    ],
)
def test_sampling_settings_of_a_model_are_left_out_and_it_can_be_saved(
    policy_folder: Path, tmp_path: Path, said: dict[str, Any]
) -> None:
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    shutil.copytree(policy_folder, theirs)
    (theirs / "generation_config.json").write_text(json.dumps(said))
    own.mkdir()
    base_models.take(Model(source="path", path=str(theirs), revision=None), own, "policy", LIMITS)
    kept = json.loads((own / "generation_config.json").read_text())
    assert kept == {k: v for k, v in said.items() if k == "eos_token_id"}
    loaded = load_policy(own, "float32")
    assert loaded.stop_ids == frozenset(said.get("eos_token_id", [2]))
    made: dict[str, Any] = {"kind": "policy", "base": "", "parent": None, "made_by": {}}
    state = loaded.model.state_dict()
    save_model(loaded.model, state, loaded.tokenizer, tmp_path / "new", EXACT, made)
    assert load_policy(tmp_path / "new", "float32").stop_ids == loaded.stop_ids


def test_dated_template_is_pinned_in_the_copy_alone(policy_folder: Path, tmp_path: Path) -> None:
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    shutil.copytree(policy_folder, theirs)
    text = "{{ strftime_now('%Y') }}" + base_models.CHATML
    (theirs / "chat_template.jinja").write_text(text)
    own.mkdir()
    pinned = LIMITS.model_copy(update={"date": "2026-01-31"})
    base_models.take(Model(source="path", path=str(theirs), revision=None), own, "policy", pinned)
    found = load_tokenizer(own)
    turns = [{"role": "user", "content": "Hi"}]
    assert str(found.apply_chat_template(turns, tokenize=False)).startswith("2026<|im_start|>")
    assert (theirs / "chat_template.jinja").read_text() == text


def test_policy_that_lacks_a_weight_is_not_loaded(policy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(policy_folder, folder)
    weights(lambda found: found.pop(UP))(folder)
    with pytest.raises(InputError) as caught:
        load_policy(folder, "float32")
    assert str(caught.value) == (
        f"{folder}: lacks weights ['{UP}']; expected all of the model that its config describes; "
        "fetch it again, or choose another"
    )
