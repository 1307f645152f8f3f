"""Small tokenizers whose templates behave like those of well-known families of models."""

from collections.abc import Sequence
from typing import NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from mutual_taught.prepare.base_models import CHATML

WORDS = "user assistant system name a good small boat and for large one what is the of Little Wave "
LLAMA = (
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
HEADERS = ("<|start_header_id|>", "<|end_header_id|>")


class Family(NamedTuple):
    """What sets a family's tokenizer apart. `adds`: the tokenizer adds a BOS by itself."""

    template: str
    eos: str
    bos: str | None = None
    others: Sequence[str] = ()
    adds: bool = False


FAMILIES = {
    "chatml": Family(CHATML, "<|im_end|>", None, ["<|im_start|>"]),
    "gemma": Family(
        "{{ bos_token }}{% for m in messages %}<start_of_turn>"
        "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
        "<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        "<eos>",
        "<bos>",
        ["<start_of_turn>", "<end_of_turn>"],
        True,
    ),
    "phi": Family(
        "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        "<|endoftext|>",
        None,
        ["<|end|>", "<|user|>", "<|assistant|>"],
    ),
    "mistral": Family(
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
        "[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] | trim }}{{ eos_token }}"
        "{% endif %}{% endfor %}",
        "</s>",
        "<s>",
        (),
        True,
    ),
    "qwen": Family(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
        "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m['content'].split('</think>')[-1] }}"
        "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_end|>",
        None,
        ["<|im_start|>"],
    ),
    "llama": Family("{{ bos_token }}" + LLAMA, "<|eot_id|>", "<|begin_of_text|>", HEADERS, True),
    "dated": Family(
        "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday is "
        "{{ strftime_now('%-d %B %Y') }}.<|eot_id|>" + LLAMA,
        "<|eot_id|>",
        "<|begin_of_text|>",
        HEADERS,
        True,
    ),
    "parts": Family(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "<|im_end|>",
        None,
        ["<|im_start|>"],
    ),
}


def tokenizer(name: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """Make a family's tokenizer, byte-level, with its template or another."""
    family = FAMILIES[name]
    named = [token for token in ("<pad>", family.bos, family.eos, *family.others) if token]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=named,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator([WORDS * 20], trainer)
    if family.adds and family.bos:
        bpe.post_processor = TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, bpe.token_to_id(family.bos))]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token="<pad>",
        additional_special_tokens=list(family.others),
    )
    made.chat_template = family.template if template is None else template
    return made
