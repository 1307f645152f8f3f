"""Where iteration 0 comes from: the embedded policy, a tiny one for tests, a folder, the hub."""

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from mutual_taught.blocks import Model
from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.files import Manifest, sha256, write_manifest

EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FORMATS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_policy(source: Model, folder: Path, seed: int) -> Manifest:
    """Put the base policy pi_0 into a folder, with its manifest.

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
        base = fetch(source, folder)
    return write_manifest(folder, "policy", base, None, {"stage": "prepare_policy", "seed": seed})


def fetch(source: Model, folder: Path) -> str:
    """Copy a model's safetensors, config and tokenizer from a folder or the hub.

    Returns:
        What the model is called.
    """
    if source.source == "path":
        path = Path(source.path)
        if not (path / "config.json").is_file():
            raise MissingFileError(
                f"{path} holds no model (no config.json); expected models.*.path to name one"
            )
        for pattern in FORMATS:
            for file in path.glob(pattern):
                shutil.copyfile(file, folder / file.name)
    else:
        _download(source, folder)
    if not list(folder.glob("*.safetensors")):
        raise InputError(f"{source.path}: has no *.safetensors; expected weights in that format")
    return source.called


def _download(source: Model, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            source.path, revision=source.revision, local_dir=folder, allow_patterns=FORMATS
        )
    except Exception as error:  # the hub's client raises many kinds, all of them the user's
        raise InputError(
            f"model {source.path!r} at {source.revision}: {type(error).__name__}: "
            f"{str(error).splitlines()[0]}; expected it on the hub; check id, access and network"
        ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _embedded(package: str, folder: Path) -> str:
    """Dequantise SmolLM2-135M-Instruct out of an installed package that ships it as GGUF."""
    from transformers import GgufConfig

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
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=EMBEDDED_FILE)
    model = AutoModelForCausalLM.from_pretrained(
        place, gguf_file=EMBEDDED_FILE, dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )  # fmt: skip
    for config in (model.config, model):
        if "quantization_config" in vars(config):
            del config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"SmolLM2-135M-Instruct (Q4_1, {package} {importlib.metadata.version(package)})"


def _tiny(folder: Path, seed: int) -> str:
    """Make a two-layer random model with a small tokenizer of its own."""
    tokenizer = _tiny_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return "tiny random Llama"


def _tiny_tokenizer() -> PreTrainedTokenizerFast:
    specials = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384, special_tokens=specials, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    text = "user assistant system write answer words use at least sentences the and of a in with "
    bpe.train_from_iterator([text * 20], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.chat_template = CHATML
    return tokenizer
