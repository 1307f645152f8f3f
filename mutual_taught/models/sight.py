"""What a model's tokens see of those before them, read off its settings."""

from collections.abc import Mapping, Sequence

from transformers import PretrainedConfig

ATTENTIONS = ("full_attention", "sliding_attention", "chunked_attention")
# Rotary frequencies that depend on the longest sequence of a forward pass.
STRETCHING = ("dynamic", "longrope")


def stretches(config: PretrainedConfig) -> bool:
    """Say whether rotary frequencies depend on the longest sequence of a forward pass."""
    kinds = getattr(config.get_text_config(), "rope_parameters", None) or {}
    each = [kinds, *(value for value in kinds.values() if isinstance(value, Mapping))]
    return any(kind.get("rope_type") in STRETCHING for kind in each)


def sees_all(config: PretrainedConfig) -> bool:
    """Say whether a model's tokens see all before them, told apart only by their positions.

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
