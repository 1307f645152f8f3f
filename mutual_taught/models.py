"""Policies and reward models on disk and in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from mutual_taught import attention, flex
from mutual_taught.attention import Layout
from mutual_taught.errors import InputError, MissingFileError, TrainingError
from mutual_taught.files import Json, Manifest, read_json, write_manifest
from mutual_taught.folders import load as _load
from mutual_taught.folders import load_whole
from mutual_taught.folders import stop_ids as stop_ids
from mutual_taught.packing import Group, branch_logps, fill, pack

Weights: TypeAlias = Mapping[str, Tensor]
ATTENTIONS = ("full_attention", "sliding_attention", "chunked_attention")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Policy(NamedTuple):
    """A causal language model, its tokenizer, and the tokens that end an answer."""

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
    """Load a model's tokenizer alone."""
    _check_folder(folder)
    return cast(PreTrainedTokenizerBase, _load(AutoTokenizer, folder))


def load_policy(folder: Path, dtype: str) -> Policy:
    """Load a policy for inference or training.

    Raises:
        MissingFileError: there is no such model.
        InputError: it has no end-of-sequence token, or lacks a weight.
    """
    _check_folder(folder)
    tokenizer = _load(AutoTokenizer, folder)
    model: Any = load_whole(
        AutoModelForCausalLM, folder, dtype=DTYPES[dtype], attn_implementation=attention.NAME
    )
    return Policy(model.to(device()).eval(), tokenizer, stop_ids(folder, tokenizer))


def load_reward_model(folder: Path, dtype: str) -> RewardModel:
    """Load a reward model.

    Raises:
        MissingFileError: there is no such model.
        InputError: it has not exactly one label, or its head is not in the file.
    """
    _check_folder(folder)
    read_json(folder / "config.json")
    if (labels := _load(AutoConfig, folder).num_labels) != 1:
        raise InputError(
            f"{folder}: a classifier with {labels} labels; expected a reward model with one; "
            "choose another models.reward_model"
        )
    model: Any = load_whole(
        AutoModelForSequenceClassification, folder, dtype=DTYPES[dtype],
        attn_implementation=attention.NAME,
    )  # fmt: skip
    tokenizer = _load(AutoTokenizer, folder)
    return RewardModel(scores_packed(model).to(device()).eval(), tokenizer)


def new_reward_model(policy: Path, seed: int, layers: int | None) -> RewardModel:
    """Put a new head, normal(0, 0.02), on a policy's backbone, in float32.

    Args:
        policy: its folder.
        seed: of the head.
        layers: how many of the backbone's, from the first; None for all.

    Raises:
        InputError: the policy has fewer layers, or lacks weights of those it says it has.
    """
    _check_folder(policy)
    config = _load(AutoConfig, policy)
    config.num_labels = 1
    _cut(config.get_text_config(), layers, policy)
    torch.manual_seed(seed)
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # or it lists the head, and what is left out, as if amiss
    try:
        model, info = _load(
            AutoModelForSequenceClassification, policy, config=config, dtype=torch.float32,
            use_safetensors=True, output_loading_info=True, attn_implementation=attention.NAME,
        )  # fmt: skip
    finally:
        logging.set_verbosity(before)
    if missing := sorted(set(info["missing_keys"]) - {"score.weight"}):
        raise InputError(
            f"{policy}: lacks weights {missing[:4]}; expected those of all its layers; "
            "choose another models.policy"
        )
    nn.init.normal_(model.score.weight, std=0.02)
    tokenizer = _load(AutoTokenizer, policy)
    model.config.pad_token_id = tokenizer.pad_token_id
    return RewardModel(scores_packed(model).to(device()), tokenizer)


def _cut(config: PretrainedConfig, layers: int | None, policy: Path) -> None:
    """Leave the first layers alone in a model's settings."""
    if layers is None:
        return
    if layers > (depth := config.num_hidden_layers):
        raise InputError(
            f"base_reward_model.layers: {layers}; expected at most {depth}, which {policy} has"
        )
    config.num_hidden_layers = layers
    for name in ("layer_types", "mlp_layer_types"):  # of some models: an entry a layer
        if getattr(config, name, None):
            setattr(config, name, getattr(config, name)[:layers])


def load_config(folder: Path) -> PretrainedConfig:
    """Load a model's configuration alone."""
    _check_folder(folder)
    return cast(PretrainedConfig, _load(AutoConfig, folder))


def sees_all(config: PretrainedConfig) -> bool:
    """Say whether a model's tokens see all before them, told apart by their positions alone.

    Some see a window of so many places in the sequence, or count distances in places.

    Args:
        config: of the model.
    """
    full = set(layer_kinds(config)) <= {ATTENTIONS[0]}
    rotary = hasattr(config.get_text_config(), "rope_parameters")
    return full and window(config) is None and rotary


def layer_kinds(config: PretrainedConfig) -> Sequence[str]:
    """List the kind of every layer, where a model has several."""
    return getattr(config.get_text_config(), "layer_types", None) or []


def window(config: PretrainedConfig) -> int | None:
    """Give how many tokens are seen by the layers that do not see all; None if all do."""
    kinds, text = layer_kinds(config), config.get_text_config()
    if kinds and set(kinds) == {ATTENTIONS[0]}:
        return None
    names = ("sliding_window", "attention_chunk_size")
    return next((size for name in names if (size := getattr(text, name, None))), None)


def packed_logps(model: nn.Module, groups: Sequence[Group], where: torch.device) -> list[Tensor]:
    """Run a policy over a packed row and give the token log-probs of every branch."""
    row = pack(groups, where, flex.fits(_packed(model), where))
    logits = model(
        input_ids=row.input_ids, position_ids=row.position_ids, attention_mask=row.mask,
        logits_to_keep=row.predict, use_cache=False, layout=row.layout,
    ).logits.squeeze(0)  # fmt: skip
    return branch_logps(logits, row)


def packed_rewards(model: nn.Module, groups: Sequence[Group], where: torch.device) -> Tensor:
    """Run a reward model over a packed row: the head at every branch's last token.

    Args:
        model: of `scores_packed`, wrapped for several processes or not.
        groups: the rows' conversations.
        where: device of the model.

    Returns:
        Rewards (logits) of all branches, float32, shape (branches,).
    """
    row = pack(groups, where, flex.fits(_packed(model), where))
    rewards: Tensor = model(
        input_ids=row.input_ids, position_ids=row.position_ids, attention_mask=row.mask,
        layout=row.layout, last=row.last,
    )  # fmt: skip
    return rewards


def scores_packed(model: PreTrainedModel) -> PreTrainedModel:
    """Make a sequence classifier's forward pass that of packed rows, pooled where they end.

    It must be the model's own forward pass: what shards weights over processes (FSDP, ZeRO)
    gathers them there.
    """
    model.forward = MethodType(_rewards, model)
    return model


def _rewards(
    self: PreTrainedModel, input_ids: Tensor, position_ids: Tensor, attention_mask: Tensor,
    layout: Layout, last: Tensor,
) -> Tensor:  # fmt: skip
    """Score a packed row: rewards of all branches, float32, shape (branches,)."""
    hidden = self.base_model(
        input_ids=input_ids, position_ids=position_ids, attention_mask=attention_mask,
        use_cache=False, layout=layout,
    ).last_hidden_state[0]  # fmt: skip
    # The head's margins are small: full precision.
    with torch.autocast(hidden.device.type, enabled=False):
        rewards: Tensor = self.score(hidden[last].to(self.score.weight.dtype))
    return rewards.squeeze(-1).float()


def _packed(model: nn.Module) -> PretrainedConfig:
    """Give a model's configuration; refuse one whose attention would let groups see each other."""
    config: PretrainedConfig = getattr(model, "module", model).config  # wrapped for several
    if config._attn_implementation != attention.NAME:
        raise ValueError(f"attention is {config._attn_implementation}; expected {attention.NAME}")
    return config


def reference_logps(
    policy: Policy, groups: Sequence[Group], precision: str, budget: int
) -> list[list[float]]:
    """Give the log-probability of every answer under a frozen policy.

    Args:
        policy: the reference, weights in float32.
        groups: the prompt's tokens, and each answer's as branches.
        precision: of the forward pass, by autocast as in training.
        budget: tokens a packed row.

    Returns:
        Sums over the answer's tokens in nats, for every group and branch.
    """
    found: list[list[float]] = []
    where = device()
    autocast = torch.autocast(where.type, torch.bfloat16, enabled=precision == "bfloat16")
    for run in fill(groups, (group.size for group in groups), budget):
        with torch.inference_mode(), autocast:
            sums = [float(logps.sum()) for logps in packed_logps(policy.model, run, where)]
        found += [[sums.pop(0) for _ in group.branches] for group in run]
    return found


def export(
    model: PreTrainedModel, weights: Weights, tokenizer: PreTrainedTokenizerBase, folder: Path,
    dtype: str, said: Json,
) -> Manifest:  # fmt: skip
    """Save weights (safetensors), config, tokenizer and manifest; nothing of the optimiser.

    Args:
        model: whose configuration, and adapters if any, are saved.
        weights: whole, by their names in the model; adapters are merged into the others.
        tokenizer: saved beside them.
        folder: where to.
        dtype: of the saved weights.
        said: the manifest's `kind`, `base`, `parent` and `made_by`.

    Raises:
        TrainingError: a weight is not finite.
    """
    if hasattr(model, "peft_config"):
        from mutual_taught import lora  # peft takes a second to import

        lora.save_adapter(model, weights, folder)
        weights = lora.merged(model, weights)
    state = {name: value.detach().to(DTYPES[dtype]) for name, value in weights.items()}
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise TrainingError(f"{folder}: weight {name} is not finite; lower the learning rate")
    before = model.config.dtype
    model.config.dtype = DTYPES[dtype]
    model.save_pretrained(folder, state_dict=state)
    model.config.dtype = before
    tokenizer.save_pretrained(folder)
    return write_manifest(folder, **said)


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise MissingFileError(
            f"{folder} holds no model (no config.json); run dvc repro or dvc pull {folder}"
        )
    if not list(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: holds no *.safetensors; expected weights in that format")
