"""The tokenizers of iteration 0's models, without their weights: prompts are screened with them."""

import shutil
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mutual_taught.config.inputs import Models
from mutual_taught.models.folders import load as load_part
from mutual_taught.prepare import base_models


def fetch(sources: Models, folder: Path, date: str | None) -> None:
    """Put both models' tokenizers into `folder/policy` and `folder/reward_model`.

    A reward model that is made of the policy reads with the policy's tokenizer, so that there is
    no second folder.

    Raises:
        MissingFileError: a model is not where params.yaml says.
        InputError: the hub does not give it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    base_models.fetch_tokenizer(sources.policy, folder / "policy", date)
    if sources.reward_model.source in ("path", "hub"):
        base_models.fetch_tokenizer(sources.reward_model, folder / "reward_model", date)


def load(folder: Path) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
    """Load the policy's tokenizer and the reward model's, which may be the same."""
    policy, own = load_part(AutoTokenizer, folder / "policy"), folder / "reward_model"
    return policy, load_part(AutoTokenizer, own) if own.exists() else policy
