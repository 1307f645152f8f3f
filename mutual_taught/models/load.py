"""Policies and reward models on disk and in memory."""

import re
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from mutual_taught.artifacts.files import read_json
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.models import chat
from mutual_taught.models.folders import load as _load
from mutual_taught.models.folders import load_whole
from mutual_taught.models.folders import stop_ids as stop_ids
from mutual_taught.models.message import Message
from mutual_taught.models.packed import attention
from mutual_taught.models.packed.pooled import scores_packed
from mutual_taught.models.packed.whole import Rows
from mutual_taught.models.precision import to_compute_in
from mutual_taught.models.sight import stretches

EXAMPLE: list[Message] = [{"role": "user", "content": "What is a good name for a boat?"}]
# Numbers of modules that drop something while a model trains, beside those of nn.Dropout.
NOISE = re.compile("drop")


class Policy(NamedTuple):
    """A causal language model, its tokenizer, and the tokens that end a response."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    stop_ids: frozenset[int]


class RewardModel(NamedTuple):
    """A sequence classifier with one label, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def device() -> torch.device:
    """Name the device of this process: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load only a model's tokenizer."""
    require_model(folder)
    return cast(PreTrainedTokenizerBase, _load(AutoTokenizer, folder))


def load_policy(folder: Path, dtype: str, rows: Rows | None = None) -> Policy:
    """Load a policy for inference or training.

    Args:
        folder: of the policy.
        dtype: of its weights.
        rows: how it reads conversations, as `agreement` found; None for what its settings suggest.

    Raises:
        MissingFileError: there is no such model.
        InputError: it has no end-of-sequence token, or lacks a weight.
    """
    require_model(folder)
    tokenizer = _load(AutoTokenizer, folder)
    model: Any = load_whole(
        AutoModelForCausalLM,
        folder,
        dtype=to_compute_in(dtype),
        attn_implementation=_attention(AutoModelForCausalLM, load_config(folder)),
    )
    model.generation_config = plain_settings(model.generation_config)
    read_as(model, rows)
    return Policy(model.to(device()).eval(), tokenizer, stop_ids(folder, tokenizer))


def read_as(model: PreTrainedModel, rows: Rows | None) -> None:
    """Set how a model reads conversations, and that it adds no noise while it trains.

    A model without `rows` is read packed, or where its settings say that this cannot be right, in
    whole sequences.
    """
    ours = model.config._attn_implementation == attention.NAME
    natural = "single" if stretches(model.config) else "packed" if ours else "padded"
    model.rows = rows or natural
    for module in model.modules():
        for name, value in vars(module).items():
            if NOISE.search(name) and isinstance(value, float):
                setattr(module, name, 0.0)


def _attention(auto: Any, config: PretrainedConfig) -> str:
    """Name how a model is to attend: as packed rows do, if its class knows such attention.

    Some know only eager attention, e.g. those with attention sinks or a bias by distance; some
    look their attention up in a table of their own.
    """
    made = auto._model_mapping.get(type(config), None)
    ours = made is not None and made._supports_sdpa and made._can_set_attn_implementation()
    return attention.NAME if ours else "eager"


def load_reward_model(folder: Path, dtype: str, rows: Rows | None = None) -> RewardModel:
    """Load a reward model; its tokenizer's padding token is the model's, see `scoring_tokenizer`.

    Args:
        folder: of the reward model.
        dtype: of its weights.
        rows: how it reads conversations, as `agreement` found; None for what its settings suggest.

    Raises:
        MissingFileError: there is no such model.
        InputError: it has not exactly one label, or its head is not in the file.
    """
    require_model(folder)
    read_json(folder / "config.json")
    if (labels := _load(AutoConfig, folder).num_labels) != 1:
        raise InputError(
            f"{folder}: a classifier with {labels} labels; expected a reward model with one; "
            "choose another models.reward_model"
        )
    model: Any = load_whole(
        AutoModelForSequenceClassification,
        folder,
        dtype=to_compute_in(dtype),
        attn_implementation=_attention(AutoModelForSequenceClassification, load_config(folder)),
    )
    read_as(model, rows)
    return RewardModel(scores_packed(model).to(device()).eval(), scoring_tokenizer(folder))


def scoring_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a reward model's tokenizer, with the model's own padding token or none.

    transformers and TRL read a reward at the last token that is not the padding token of
    config.json: where a conversation ends in that very token, it is read before. So are rewards
    here (`rows.read_until`), at the same token whatever the tokenizer's own settings say.
    """
    tokenizer = load_tokenizer(folder)
    tokenizer.pad_token_id = load_config(folder).get_text_config().pad_token_id
    return tokenizer


def give_padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Choose the padding token of a reward model that is to be trained.

    It is the tokenizer's own, unless that is the token its template ends conversations in (or
    there is none): then the first special token that a conversation does not hold, else one that
    it does not end in. So the token a reward is read at is the last one, whoever loads the
    result: transformers and TRL, which skip padding tokens, and vLLM, which does not.
    """
    read = chat.scored_tokens(tokenizer, EXAMPLE, "Great Wave.")
    own = tokenizer.pad_token_id
    if own is None or own == read[-1]:
        kinds = sorted(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
        free = [token for token in kinds if token != tokenizer.eos_token_id]
        chosen = [token for token in free if token not in read]
        chosen += [token for token in free if token != read[-1]]
        if chosen:
            tokenizer.pad_token_id = chosen[0]
    return tokenizer


def new_reward_model(
    policy: Path, seed: int, layers: int | None, rows: Rows | None = None
) -> RewardModel:
    """Put a new head, normal(0, 0.02), on a policy's backbone, in float32.

    Args:
        policy: its folder.
        seed: of the head.
        layers: how many of the backbone's, from the first; None for all.
        rows: how it reads conversations, as `agreement` found; None for what its settings suggest.

    Raises:
        InputError: the policy has fewer layers, or lacks weights of those it says it has.
    """
    config, tokenizer = new_head(policy, layers)
    torch.manual_seed(seed)
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # or it lists the head, and what is left out, as if amiss
    try:
        model, info = _load(
            AutoModelForSequenceClassification,
            policy,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation=_attention(AutoModelForSequenceClassification, config),
        )
    finally:
        logging.set_verbosity(before)
    if missing := sorted(set(info["missing_keys"]) - {"score.weight"}):
        raise InputError(
            f"{policy}: lacks weights {missing[:4]}; expected those of all its layers; "
            "choose another models.policy"
        )
    nn.init.normal_(model.score.weight, std=0.02)
    read_as(model, rows)
    return RewardModel(scores_packed(model).to(device()), tokenizer)


def new_head(policy: Path, layers: int | None) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """Give the settings and the tokenizer of a reward model on a policy's backbone.

    Args:
        policy: its folder.
        layers: how many of the backbone's, from the first; None for all.

    Raises:
        InputError: the policy has fewer layers.
    """
    config, tokenizer = load_config(policy), give_padding(load_tokenizer(policy))
    config.num_labels = 1
    _cut(config.get_text_config(), layers, policy)
    config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return config, tokenizer


def _cut(config: PretrainedConfig, layers: int | None, policy: Path) -> None:
    """Leave only the first layers in a model's settings."""
    if layers is None:
        return
    if layers > (depth := config.num_hidden_layers):
        raise InputError(
            f"base_reward_model.layers: {layers}; expected at most {depth}, which {policy} has"
        )
    for name, value in vars(config).items():  # of some models: lists with an entry a layer
        if isinstance(value, list) and len(value) == depth:
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers


def load_config(folder: Path) -> PretrainedConfig:
    """Load only a model's configuration."""
    require_model(folder)
    return cast(PretrainedConfig, _load(AutoConfig, folder))


def plain_settings(settings: GenerationConfig) -> GenerationConfig:
    """Keep of a model's generation settings which tokens begin, end and pad.

    How responses are drawn is in params.yaml; settings that came with a model decide nothing, and
    some of those that transformers reads it refuses to write.
    """
    return GenerationConfig(
        bos_token_id=settings.bos_token_id,
        eos_token_id=settings.eos_token_id,
        pad_token_id=settings.pad_token_id,
    )


def load(auto: Any, folder: Path, config: PretrainedConfig, packed: bool) -> PreTrainedModel:
    """Load a model in float32 by settings of one's own, to read packed or as transformers does.

    Args:
        auto: class of transformers.
        folder: of the model; layers that the settings leave out are not read.
        config: the settings.
        packed: attend as packed rows do; otherwise by transformers' eager attention.
    """
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # or it lists the layers that are left out
    try:
        model = _load(
            auto,
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation=_attention(auto, config) if packed else "eager",
            ignore_mismatched_sizes=True,
        )
    finally:
        logging.set_verbosity(before)
    return cast(PreTrainedModel, model.to(device()).eval())


def require_model(folder: Path) -> None:
    """Refuse a folder that holds no model.

    Raises:
        MissingFileError: it has no config.json.
        InputError: it has no weights in safetensors.
    """
    if not (folder / "config.json").is_file():
        raise MissingFileError(
            f"{folder} holds no model (no config.json); run dvc repro or dvc pull {folder}"
        )
    if not list(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: holds no *.safetensors; expected weights in that format")
