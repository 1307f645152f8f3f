"""A model's folder: its files, and how they are loaded."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from mutual_taught.artifacts.files import read_json
from mutual_taught.errors import InputError
from mutual_taught.terminal.progress import each

logging.disable_progress_bar()  # its own bars; the loading of weights has one of ours
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
PLAIN = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII).fullmatch
GENERATION = "generation_config.json"
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def load(auto: Any, folder: Path, **options: Any) -> Any:
    """Load by one of transformers' auto classes; what it cannot load is one line."""
    try:
        with _named(folder):
            return auto.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **options
            )
    except Exception as error:  # a folder can hold anything; its readers raise every kind
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{folder}: cannot be loaded ({said}); expected a model that transformers knows, "
            "without code of its own"
        ) from None


def load_whole(auto: Any, folder: Path, **options: Any) -> PreTrainedModel:
    """Load a model whose every weight is in its files, in the shape that its config says.

    Raises:
        InputError: one is not. Left to itself, transformers would draw it by chance.
    """
    with _quiet():
        model, info = load(
            auto,
            folder,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    require_weights(folder, info)
    found: PreTrainedModel = model
    return found


def require_weights(folder: Path, info: Mapping[str, Any]) -> None:
    """Refuse a model some of whose weights are not in its files, or are of another shape.

    Args:
        folder: for messages.
        info: what transformers says of the loading.
    """
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{folder}: lacks weights {missing[:4]}; expected all of the model that its config "
            "describes; fetch it again, or choose another"
        )
    if other := sorted(info["mismatched_keys"]):
        name, found, expected = other[0]
        raise InputError(
            f"{folder}: weight {name!r} is of shape {list(found)}; expected {list(expected)} by "
            "its config; fetch it again, or choose another"
        )


def generation_ids(folder: Path) -> dict[str, object]:
    """Read the tokens that begin, end and pad, where generation_config.json names any.

    The file's other settings are not ours: how responses are drawn stands in params.yaml.
    """
    if not (folder / GENERATION).is_file():
        return {}
    said = read_json(folder / GENERATION)
    return {name: said[name] for name in IDS if said.get(name) is not None}


def stop_ids(folder: Path, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Name the tokens that end a response: those of the model's settings and the tokenizer's eos.

    Raises:
        InputError: there is none, or one is no token of the model.
    """
    config = load(AutoConfig, folder).get_text_config()
    listed = generation_ids(folder).get("eos_token_id", config.to_dict().get("eos_token_id"))
    found = {*(listed if isinstance(listed, list) else [listed]), tokenizer.eos_token_id} - {None}
    if not found:
        raise InputError(f"{folder}: its tokenizer has no eos token; expected one to end answers")
    for token in found:
        if not isinstance(token, int) or not 0 <= token < config.vocab_size:
            raise InputError(
                f"{folder}: eos_token_id is {token}; expected a token below {config.vocab_size}; "
                f"mend {GENERATION}"
            )
    return frozenset(found)


def shards(folder: Path) -> tuple[str, ...]:
    """Name the files that hold a model's weights, as transformers would find them.

    Raises:
        InputError: there are none, or the index names what is no plain file of the folder.
    """
    if (folder / WHOLE).exists():
        return (WHOLE,)
    if not (folder / INDEX).exists():
        raise InputError(
            f"{folder}: has neither {WHOLE} nor {INDEX}; expected weights in that format"
        )
    files = read_json(folder / INDEX).get("weight_map")
    named = set(map(str, files.values())) if isinstance(files, dict) else {"nothing"}
    for name in named:
        if not PLAIN(name):
            raise InputError(
                f"{folder / INDEX}: weight_map names {name!r}; expected a *.safetensors beside it"
            )
    return tuple(sorted(named))


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Have transformers show the weights that it goes through on a bar with the model's name."""

    def shown(factory: Any, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if not given:
            return factory(**options)
        return each(f"loading {folder}", given[0], "tensor")

    before = logging.set_tqdm_hook(shown)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from listing what is missing: it is one line of ours."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
