"""The page that goes with an exported model: what it is, how it was made, and how to load it."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from mutual_taught import __version__
from mutual_taught.artifacts.manifests import Manifest
from mutual_taught.report import markdown
from mutual_taught.report.summary import gold_inside
from mutual_taught.terminal.signs import visible

PAPER = "https://arxiv.org/abs/2506.06292"
EMBEDDED = "SmolLM2-135M-Instruct (Q4_1"  # how the manifest of the embedded model begins
NUMBERS = {
    "policy": (
        "gold",
        "gold, change from base",
        "all instructions followed",
        "win rate vs base (gold)",
        "win rate vs base (r_0)",
        "length, tokens",
    ),
    "reward_model": ("r_t on held-out gold pairs", "r_t on own samples", "r_0 on own samples"),
}
LOAD = {
    "policy": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or the model's name on the hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
conversation = [{"role": "user", "content": "Describe the moon in one sentence."}]
inputs = tokenizer.apply_chat_template(
    conversation, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
""",
    "reward_model": """\
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # this folder, or the model's name on the hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
conversation = [
    {"role": "user", "content": "Describe the moon in one sentence."},
    {"role": "assistant", "content": "The moon is a grey ball of rock that circles the Earth."},
]
inputs = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=True)
with torch.no_grad():
    print(model(**inputs).logits[0, 0].item())  # higher is better
""",
}
WHAT = {
    "policy": "A language model, the policy π",
    "reward_model": "A reward model, a sequence classifier with one label, r",
}


class Source(NamedTuple):
    """Where a model comes from: `hub` is its base's name on the hub, None if it has none."""

    hub: str | None
    licence: str
    datasets: tuple[str, ...]


class Made(NamedTuple):
    """What the card of a model tells of its run.

    Attributes:
        iteration: t, the iteration that was exported.
        final: the iteration whose model this is; less than t if training had stopped.
        metrics: of iteration t, by stage.
        params: blocks of params.yaml.
        commit: of the project, if it is under git.
    """

    iteration: str
    final: int
    metrics: Mapping[str, Any]
    params: Mapping[str, Any]
    commit: str | None


def source(manifest: Manifest, params: Mapping[str, Any]) -> Source:
    """Find a model's base and licence. A licence that is not known is not guessed.

    Args:
        manifest: of the model.
        params: blocks of params.yaml.
    """
    model = params["models"][manifest.kind]
    trained = model["source"] == "trained"
    named = params["models"]["policy"] if trained else model
    data = (params["data"]["path"],) if params["data"]["source"] == "hub" else ()
    if manifest.base.startswith(EMBEDDED):
        return Source("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0", data)
    return Source(named["path"] if named["source"] == "hub" else None, "other", data)


def card(manifest: Manifest, came: Source, made: Made) -> str:
    """Write a model's README.md: front matter of the hub, then the page."""
    parts = [
        f"---\n{_front(manifest, came)}---\n",
        f"# Mutual-Taught {manifest.kind.replace('_', ' ')}, iteration {made.final}\n",
        _what(manifest, made),
        f"## Load it\n\n```python\n{LOAD[manifest.kind]}```\n",
        _numbers(manifest.kind, made),
        f"## How it was made\n\n{_method(made)}\n\n```json\n{_json(manifest.made_by)}\n```\n",
        f"All parameters of the run:\n\n```json\n{_json(made.params)}\n```\n",
        f"## Licence\n\n{_licence(came)}\n",
    ]
    return "\n".join(parts)


def _front(manifest: Manifest, came: Source) -> str:
    policy = manifest.kind == "policy"
    values: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation" if policy else "text-classification",
        "license": came.licence,
        "tags": ["mutual-taught", "rlhf", "dpo" if policy else "reward-model"],
    }
    if came.licence == "other":
        values["license_name"] = "that-of-the-base-model"
    if came.hub:
        values["base_model"] = came.hub
    if came.datasets:
        values["datasets"] = list(came.datasets)
    sink = io.StringIO()
    yaml = YAML()
    yaml.allow_unicode = False
    yaml.dump(values, sink)
    return sink.getvalue()


def _what(manifest: Manifest, made: Made) -> str:
    of = f"{WHAT[manifest.kind]} of iteration {made.final} of [Mutual-Taught]({PAPER})"
    lines = [f"{of}, which trains a policy and its reward model together."]
    if made.final != int(made.iteration):
        lines.append(f"Training stopped before iteration {made.iteration} was done.")
    if not made.final:
        lines.append("It is the model that the first iteration starts from.")
    return " ".join(lines) + f"\n\nBase: {_safe(manifest.base)}.\n"


def _numbers(kind: str, made: Made) -> str:
    """List the numbers of the evaluation, with 95 % intervals."""
    rows = [(name, markdown.ROWS[name](made.metrics)) for name in NUMBERS[kind]]
    known = [f"| {name} | {text} |" for name, text in rows if text != "–"]
    if not known:
        return "## Numbers\n\nThe run has no numbers for this model.\n"
    table = "\n".join(["| on held-out prompts | |", "|---|---|", *known])
    return (
        f"## Numbers\n\n{table}\n\nBrackets: 95 % bootstrap intervals over prompts. Gold "
        "tells how far a prompt's instructions are followed, from 0 to 1, as a program measures.\n"
        + "".join(f"\n{line}\n" for line in gold_inside([made.metrics]))
    )


def _method(made: Made) -> str:
    commit = f", commit {made.commit}" if made.commit else ""
    return f"By the package mutual-taught {__version__}{commit}. The step that made it:"


def _licence(came: Source) -> str:
    if came.licence == "other":
        return (
            "That of the base model, which is not recorded here: look it up before you share this."
        )
    return "Apache-2.0, as the base model."


def _json(values: Mapping[str, Any]) -> str:
    """Write JSON that cannot end the block of code it stands in."""
    return json.dumps(values, indent=2, sort_keys=True).replace("`", "\\u0060")


def _safe(text: str) -> str:
    """Show a text of someone else's as code."""
    return f"`{visible(text).replace('`', chr(39))}`"


def write(folder: Path, text: str) -> None:
    """Write the card into a model's folder."""
    (folder / "README.md").write_text(text, encoding="utf-8")
