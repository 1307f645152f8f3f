"""Small random models of many architectures, and a table of how each is read: docs/models.md.

    python -m bench.architectures          # writes the table of docs/models.md anew

The models have two layers, a small tokenizer and a chat template written to behave like those of
their family. What is looked at is what `mutual-taught doctor` looks at before a run.
"""

import contextlib
import copy
import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as kinds
from tokenizers.processors import TemplateProcessing
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from mutual_taught.checks.rewards import compare_reward_model
from mutual_taught.config.blocks import Tokens
from mutual_taught.errors import InputError
from mutual_taught.sampling.agreement import compare_sampling

PAGE = Path("docs/models.md")
TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end -->)", re.DOTALL)
LIMITS = Tokens(max_prompt_tokens=200, max_length=256, date=None)
TURNS = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant take turns') }}{% endif %}"
)


class Manner(NamedTuple):
    """A family's chat template, special tokens and what ends a response."""

    template: str
    specials: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str | None
    stops: tuple[str, ...]


MANNERS = {
    "chatml": Manner(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        None,
        "<|im_end|>",
        "<|endoftext|>",
        ("<|im_end|>", "<|endoftext|>"),
    ),
    # no padding token; a turn ends in the tokenizer's eos, and nothing follows it
    "llama3": Manner(
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}"
        "<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n"
        "{% endif %}",
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ),
        "<|begin_of_text|>",
        "<|eot_id|>",
        None,
        ("<|eot_id|>", "<|end_of_text|>"),
    ),
    # a turn ends in another token than the tokenizer's eos; no system role
    "gemma": Manner(
        "{{ bos_token }}{% for m in messages %}" + TURNS + "<start_of_turn>"
        "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
        "<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        ("<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<eos>",
        "<pad>",
        ("<eos>", "<end_of_turn>"),
    ),
    # no padding token, and none that is neither begin nor end
    "mistral": Manner(
        "{{ bos_token }}{% for m in messages %}" + TURNS + "{% if m['role'] == 'user' %}"
        "[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] | trim }}{{ eos_token }}"
        "{% endif %}{% endfor %}",
        ("<unk>", "<s>", "</s>"),
        "<s>",
        "</s>",
        None,
        ("</s>",),
    ),
    "phi3": Manner(
        "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
        None,
        "<|endoftext|>",
        "<|endoftext|>",
        ("<|end|>", "<|endoftext|>"),
    ),
}


class Made(NamedTuple):
    """An architecture: transformers' name of it, its family's manner, settings beside `SMALL`."""

    model_type: str
    manner: str
    settings: Mapping[str, Any]


SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "decoder_sparse_step": 1,
}
GEMMA = {"head_dim": 32, "sliding_window": 512, "query_pre_attn_scalar": 16}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024}
EYES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
LONG = {
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "long_factor": [4.0] * 4,
        "short_factor": [1.0] * 4,
        "original_max_position_embeddings": 100,
        "factor": 4.0,
        "partial_rotary_factor": 1.0,
    },
    "original_max_position_embeddings": 100,
    "sliding_window": None,
}
STRETCHED = {
    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
    "max_position_embeddings": 100,
}
ARCHITECTURES = {
    "Llama 3": Made("llama", "llama3", {}),
    "Mistral": Made("mistral", "mistral", {"sliding_window": None}),
    "Mistral, a window of 64 tokens": Made("mistral", "mistral", {"sliding_window": 64}),
    "Qwen 2": Made("qwen2", "chatml", {}),
    "Qwen 3": Made("qwen3", "chatml", {"head_dim": 16}),
    "SmolLM 3": Made("smollm3", "chatml", {}),
    "Gemma 2": Made("gemma2", "gemma", GEMMA),
    "Gemma 2, a window of 64 tokens": Made("gemma2", "gemma", {**GEMMA, "sliding_window": 64}),
    "VaultGemma": Made("vaultgemma", "gemma", GEMMA),
    "Gemma 3, text": Made("gemma3_text", "gemma", GEMMA),
    "Gemma 3, text and pictures": Made("gemma3", "gemma", {"eyes": True, **GEMMA}),
    "Phi 2": Made("phi", "chatml", {}),
    "Phi 3": Made("phi3", "phi3", {"sliding_window": None}),
    "Phi 3, longrope beyond its first length": Made("phi3", "phi3", LONG),
    "Llama, dynamic NTK beyond its first length": Made("llama", "llama3", STRETCHED),
    "StableLM": Made("stablelm", "chatml", {}),
    "Nemotron": Made("nemotron", "chatml", {}),
    "OLMo 2": Made("olmo2", "chatml", {}),
    "Granite": Made("granite", "chatml", {}),
    "Cohere": Made("cohere", "chatml", {}),
    "GLM 4": Made("glm4", "chatml", {"head_dim": 16}),
    "Starcoder 2": Made("starcoder2", "chatml", {}),
    "Helium": Made("helium", "chatml", {"head_dim": 8}),
    "Arcee": Made("arcee", "chatml", {}),
    "Ernie 4.5": Made("ernie4_5", "chatml", {}),
    "DiffLlama": Made("diffllama", "chatml", {}),
    "OPT": Made("opt", "chatml", {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.3}),
    "BioGPT": Made("biogpt", "chatml", {"hidden_dropout_prob": 0.3}),
    "GPT-2": Made("gpt2", "chatml", OLD),
    "GPT-NeoX": Made("gpt_neox", "chatml", {}),
    "GPT-J": Made("gptj", "chatml", {**OLD, "rotary_dim": 4}),
    "Bloom": Made("bloom", "chatml", {"n_layer": 2, "n_head": 4}),
    "MPT": Made("mpt", "chatml", {"d_model": 32, "n_heads": 4, "n_layers": 2}),
    "Falcon": Made("falcon", "chatml", {"alibi": False, "multi_query": True}),
    "Falcon, ALiBi": Made("falcon", "chatml", {"alibi": True, "multi_query": True}),
    "Gemma 4, text": Made(
        "gemma4_text",
        "gemma",
        {
            "head_dim": 16,
            "global_head_dim": 16,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 400,
            "sliding_window": 512,
            "num_kv_shared_layers": 0,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "OLMo 3": Made(
        "olmo3",
        "chatml",
        {"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "GPT-OSS": Made("gpt_oss", "chatml", {**EXPERTS, "head_dim": 16, "sliding_window": 512}),
    "Mixtral": Made("mixtral", "mistral", {**EXPERTS, "sliding_window": None}),
    "Qwen 2 MoE": Made("qwen2_moe", "chatml", EXPERTS),
    "Qwen 3 MoE": Made("qwen3_moe", "chatml", {**EXPERTS, "head_dim": 16}),
    "OLMoE": Made("olmoe", "chatml", EXPERTS),
    "Granite MoE": Made("granitemoe", "chatml", EXPERTS),
    "DeepSeek V3": Made("deepseek_v3", "chatml", LATENT),
    "Doge": Made("doge", "chatml", {}),
    "RecurrentGemma": Made(
        "recurrent_gemma",
        "gemma",
        {"lru_width": 32, "attention_window_size": 2048, "head_dim": 8, "num_hidden_layers": 3},
    ),
    "Jamba": Made(
        "jamba",
        "chatml",
        {**EXPERTS, "attn_layer_offset": 1, "attn_layer_period": 2, "use_mamba_kernels": False},
    ),
    "MiniMax": Made("minimax", "chatml", EXPERTS),
}


def tokenizer(manner: str) -> PreTrainedTokenizerFast:
    """Make a small byte-level tokenizer with a family's special tokens and template."""
    family = MANNERS[manner]
    bpe = Tokenizer(kinds.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(family.specials),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    text = (
        "user assistant model what is a good name for a boat great wave no idea the sea and wind "
    )
    bpe.train_from_iterator([text * 20], trainer)
    if family.bos:
        bpe.post_processor = TemplateProcessing(
            single=f"{family.bos} $A",
            pair=f"{family.bos} $A {family.bos} $B",
            special_tokens=[(family.bos, bpe.token_to_id(family.bos))],
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        additional_special_tokens=list(family.specials),
    )
    made.chat_template = family.template
    return made


def make(name: str, folder: Path, reward: bool = False, seed: int = 0) -> Path:
    """Save a small random model of an architecture with its tokenizer.

    Args:
        name: of `ARCHITECTURES`.
        folder: where to.
        reward: make a reward model, a classifier with one label.
        seed: of the weights.
    """
    made = ARCHITECTURES[name]
    own = tokenizer(made.manner)
    config = settings(made, own)
    torch.manual_seed(seed)
    if reward:
        config.num_labels = 1
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    else:
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    stops = [own.convert_tokens_to_ids(token) for token in MANNERS[made.manner].stops]
    if not reward:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    return folder


def settings(made: Made, own: PreTrainedTokenizerFast) -> Any:
    """Make an architecture's configuration for a tokenizer."""
    ids = {f"{kind}_token_id": getattr(own, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    whole = {**SMALL, "vocab_size": len(own), **ids, **copy.deepcopy(dict(made.settings))}
    if not whole.pop("eyes", False):
        return CONFIG_MAPPING[made.model_type](**whole)
    config = CONFIG_MAPPING[made.model_type](
        text_config=whole,
        vision_config=EYES,
        mm_tokens_per_image=4,
        image_token_index=5,
        boi_token_index=6,
        eoi_token_index=7,
    )
    config.pad_token_id = own.pad_token_id
    return config


def scores(name: str) -> bool:
    """Say whether transformers has a classifier of an architecture."""
    return (
        CONFIG_MAPPING[ARCHITECTURES[name].model_type] in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    )


def row(name: str, folder: Path, limits: Tokens) -> str:
    """Say in a row of the table how an architecture is read."""
    words = {"packed": "packed", "padded": "whole, padded", "single": "whole, by length"}
    cells = []
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            found = compare_sampling(make(name, folder / "policy"), limits)
            cells += [words[found.rows], f"no: {_short(found.wrong)}" if found.wrong else "yes"]
        except InputError as error:
            cells += [f"no: {_short(str(error))}", "no"]
        if not scores(name):
            cells.append("no classifier in transformers")
        else:
            try:
                judged = compare_reward_model(make(name, folder / "reward", reward=True), limits)
                cells.append(words[judged.rows])
            except InputError as error:
                cells.append(f"no: {_short(str(error))}")
    return f"| {name} (`{ARCHITECTURES[name].model_type}`) | {' | '.join(cells)} |"


def _short(said: str) -> str:
    """Leave numbers, places and types out of a refusal."""
    for known in ("rotary frequencies", "no answers can be drawn", "log-probs of sampled answers"):
        if known in said:
            return {"rotary frequencies": "positions stretch with the length"}.get(known, known)
    return "another result in every way"


def table() -> str:
    """Look at every architecture: the table of docs/models.md."""
    lines = [
        "| architecture | DPO, reference log-probs | sampled by transformers | scored |",
        "|---|---|---|---|",
    ]
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            lines += [
                row(name, Path(place) / str(n), LIMITS) for n, name in enumerate(ARCHITECTURES)
            ]
        finally:
            os.chdir(before)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    made_anew = table()
    PAGE.write_text(TABLE.sub(lambda _: made_anew, PAGE.read_text()))
    print(made_anew, end="")
