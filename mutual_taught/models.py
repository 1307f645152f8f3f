"""Policies and reward models on disk and in memory."""

import re
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
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from mutual_taught import attention, chat, flex, whole
from mutual_taught.errors import InputError, MissingFileError, TrainingError
from mutual_taught.files import Json, Manifest, read_json, write_manifest
from mutual_taught.folders import load as _load
from mutual_taught.folders import load_whole
from mutual_taught.folders import stop_ids as stop_ids
from mutual_taught.keys import Message
from mutual_taught.packing import Group, balance_loss, branch_logps, fill, pack
from mutual_taught.progress import Counted, ignore
from mutual_taught.whole import Rows

Weights: TypeAlias = Mapping[str, Tensor]
ATTENTIONS = ("full_attention", "sliding_attention", "chunked_attention")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EXAMPLE: list[Message] = [{"role": "user", "content": "What is a good name for a boat?"}]
# Rotary frequencies that depend on the longest sequence of a forward pass.
STRETCHING = ("dynamic", "longrope")
# Numbers of modules that drop something while a model trains, beside those of nn.Dropout.
NOISE = re.compile("drop")


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
        AutoModelForCausalLM, folder, dtype=DTYPES[dtype],
        attn_implementation=_attention(AutoModelForCausalLM, load_config(folder)),
    )  # fmt: skip
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

    Some know eager attention alone, e.g. those with attention sinks or a bias by distance; some
    look their attention up in a table of their own.
    """
    made = auto._model_mapping.get(type(config), None)
    ours = made is not None and made._supports_sdpa and made._can_set_attn_implementation()
    return attention.NAME if ours else "eager"


def learn(model: nn.Module) -> None:
    """Put a model into the mode it is trained in: as in evaluation, without dropout of any kind.

    Only the whole is told that it trains, which TRL asks, and what makes its forward pass again on
    the way back (gradient checkpointing), which would not otherwise. Some models that also see
    pictures refuse text alone while they train.
    """
    model.train()
    for module in list(_bare(model).modules())[1:]:
        module.training = bool(getattr(module, "gradient_checkpointing", False))


def stretches(config: PretrainedConfig) -> bool:
    """Say whether rotary frequencies depend on the longest sequence of a forward pass."""
    kinds = getattr(config.get_text_config(), "rope_parameters", None) or {}
    each = [kinds, *(value for value in kinds.values() if isinstance(value, Mapping))]
    return any(kind.get("rope_type") in STRETCHING for kind in each)


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
        AutoModelForSequenceClassification, folder, dtype=DTYPES[dtype],
        attn_implementation=_attention(AutoModelForSequenceClassification, load_config(folder)),
    )  # fmt: skip
    read_as(model, rows)
    return RewardModel(scores_packed(model).to(device()).eval(), scoring_tokenizer(folder))


def scoring_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a reward model's tokenizer, with the model's own padding token or none.

    transformers and TRL read a reward at the last token that is not the padding token of
    config.json: where a conversation ends in that very token, it is read before. So are rewards
    here (`packing.read_until`), at the same token whatever the tokenizer's own settings say.
    """
    tokenizer = load_tokenizer(folder)
    tokenizer.pad_token_id = load_config(folder).get_text_config().pad_token_id
    return tokenizer


def give_padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Choose the padding token of a reward model that is to be trained.

    It is the tokenizer's own, unless that is the token its template ends conversations in (or
    there is none): then the first special token that a conversation does not hold, else one that
    it does not end in. So the token a reward is read at is the last one, for whoever loads the
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
            AutoModelForSequenceClassification, policy, config=config, dtype=torch.float32,
            use_safetensors=True, output_loading_info=True,
            attn_implementation=_attention(AutoModelForSequenceClassification, config),
        )  # fmt: skip
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
    """Leave the first layers alone in a model's settings."""
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
    """Load a model's configuration alone."""
    require_model(folder)
    return cast(PretrainedConfig, _load(AutoConfig, folder))


def sees_all(config: PretrainedConfig) -> bool:
    """Say whether a model's tokens see all before them, told apart by their positions alone.

    Some see a window of so many places in the sequence, or count distances in places.

    Args:
        config: of the model.
    """
    full = set(layer_kinds(config)) <= {ATTENTIONS[0]}
    rotary = hasattr(config.get_text_config(), "rope_parameters")
    return full and window(config) is None and rotary and not stretches(config)


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
    """Run a policy over groups, as it reads them, and give the token log-probs of every branch."""
    return policy_pass(model, groups, where)[0]


def policy_pass(
    model: nn.Module, groups: Sequence[Group], where: torch.device, balance: bool = False
) -> tuple[list[Tensor], Tensor | None]:
    """Run a policy over groups: in a packed row, or whatever `read_as` set.

    Args:
        model: of `load_policy`, wrapped for several processes or not.
        groups: at least one.
        where: device of the model.
        balance: ask a mixture of experts for its load-balancing loss.

    Returns:
        A float32 tensor of shape (tokens,) for every branch, in nats; and the loss, if asked for.

    Raises:
        LayoutLostError: the model does not attend as a packed row does.
    """
    bare = _bare(model)
    asked = {"output_router_logits": True} if balance else {}
    if (rows := _rows_of(bare)) != "packed":
        return whole.logps(model, groups, rows, where, asked)
    row = pack(groups, where, flex.fits(bare.config, where))
    with attention.reading(row.layout, row.mask):
        output = model(
            input_ids=row.input_ids, position_ids=row.position_ids, logits_to_keep=row.predict,
            use_cache=False, **asked,
        )  # fmt: skip
    logits = output.logits.squeeze(0)
    if len(logits) != len(row.predict):  # some models know no logits_to_keep
        logits = logits[row.predict]
    if not balance:
        return branch_logps(logits, row), None
    if not output.router_logits:  # some kinds of model have experts only by their settings
        return branch_logps(logits, row), torch.zeros((), device=where)
    chosen = bare.config.get_text_config().num_experts_per_tok
    return branch_logps(logits, row), balance_loss(output.router_logits, row, chosen)


def packed_rewards(model: nn.Module, groups: Sequence[Group], where: torch.device) -> Tensor:
    """Run a reward model over groups, as it reads them: the head at every branch's last token.

    Args:
        model: of `scores_packed`, wrapped for several processes or not.
        groups: the rows' conversations.
        where: device of the model.

    Returns:
        Rewards (logits) of all branches, float32, shape (branches,).

    Raises:
        LayoutLostError: the model does not attend as a packed row does.
    """
    bare = _bare(model)
    if (rows := _rows_of(bare)) != "packed":
        return whole.rewards(model, groups, rows, where)
    row = pack(groups, where, flex.fits(bare.config, where))
    with attention.reading(row.layout, row.mask):
        rewards: Tensor = model(
            input_ids=row.input_ids, position_ids=row.position_ids, last=row.last
        )
    return rewards


def scores_packed(model: PreTrainedModel) -> PreTrainedModel:
    """Make a sequence classifier's forward pass that of rows, pooled where branches end.

    It must be the model's own forward pass: what shards weights over processes (FSDP, ZeRO)
    gathers them there.
    """
    model.forward = MethodType(_rewards, model)
    return model


def _rewards(
    self: PreTrainedModel, input_ids: Tensor, last: Tensor, position_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Score rows of tokens, shape (N, L): the head at the places `last` among all N L, float32."""
    placed = {} if position_ids is None else {"position_ids": position_ids}
    hidden = self.base_model(
        input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **placed,
    ).last_hidden_state.flatten(0, 1)  # fmt: skip
    # The head's margins are small: full precision.
    with torch.autocast(hidden.device.type, enabled=False):
        rewards: Tensor = self.score(hidden[last].to(self.score.weight.dtype))
    return rewards.squeeze(-1).float()


def _bare(model: nn.Module) -> PreTrainedModel:
    """Give the model itself, which may be wrapped for several processes."""
    bare: PreTrainedModel = getattr(model, "module", model)
    return bare


def _rows_of(model: PreTrainedModel) -> Rows:
    """Say how a model reads; refuse one whose attention would let groups see each other."""
    rows: Rows = getattr(model, "rows", "packed")
    found = model.config._attn_implementation
    if rows == "packed" and found != attention.NAME:
        raise ValueError(f"attention is {found}; expected {attention.NAME}")
    return rows


def reference_logps(
    policy: Policy, groups: Sequence[Group], precision: str, budget: int, seen: Counted = ignore
) -> list[list[float]]:
    """Give the log-probability of every answer under a frozen policy.

    Args:
        policy: the reference, weights in float32.
        groups: the prompt's tokens, and each answer's as branches.
        precision: of the forward pass, by autocast as in training.
        budget: tokens a packed row.
        seen: told after every row of how many groups it held.

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
        seen(len(run))
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


def plain_settings(settings: GenerationConfig) -> GenerationConfig:
    """Keep of a model's generation settings which tokens begin, end and pad.

    How answers are drawn is in params.yaml; settings that came with a model decide nothing, and
    some of those that transformers reads it refuses to write.
    """
    return GenerationConfig(
        bos_token_id=settings.bos_token_id, eos_token_id=settings.eos_token_id,
        pad_token_id=settings.pad_token_id,
    )  # fmt: skip


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
            auto, folder, config=config, dtype=torch.float32, use_safetensors=True,
            attn_implementation=_attention(auto, config) if packed else "eager",
            ignore_mismatched_sizes=True,
        )  # fmt: skip
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
