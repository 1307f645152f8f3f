"""A policy is told from a reward model by its config.json."""

from pathlib import Path

import pytest

from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.measuring import checkpoints as checkpoint
from tests.measuring import checkpoints


def test_the_class_in_config_json_says_what_a_model_is(here: Path) -> None:
    assert checkpoint.find(checkpoints.policy(here / "a")).kind == "policy"
    assert checkpoint.find(checkpoints.reward_model(here / "b")).kind == "reward_model"
    gpt2 = checkpoints.make(here / "c", "GPT2LMHeadModel")
    assert checkpoint.find(gpt2).kind == "policy"


def test_a_checkpoint_is_called_by_the_end_of_its_path(here: Path) -> None:
    found = checkpoint.find(checkpoints.policy(here / "run" / "2" / "policy"))
    assert found.called == "2-policy"


def test_a_classifier_with_several_labels_is_refused(here: Path) -> None:
    three = {str(label): "" for label in range(3)}
    folder = checkpoints.make(here / "a", "LlamaForSequenceClassification", id2label=three)
    with pytest.raises(InputError, match="a: a classifier with 3 labels; expected a reward model"):
        checkpoint.find(folder)


def test_a_classifier_that_names_no_labels_has_two(here: Path) -> None:
    folder = checkpoints.make(here / "a", "LlamaForSequenceClassification")
    with pytest.raises(InputError, match="with 2 labels"):  # as transformers takes it
        checkpoint.find(folder)


@pytest.mark.parametrize("name", ["BertModel", "LlamaForTokenClassification"])
def test_a_model_of_another_class_is_refused(name: str, here: Path) -> None:
    with pytest.raises(InputError, match=f"architectures is .*{name}.*; expected a causal"):
        checkpoint.find(checkpoints.make(here / "a", name))


def test_a_folder_that_is_not_there_or_empty_is_refused(here: Path) -> None:
    (here / "empty").mkdir()
    with pytest.raises(MissingFileError, match="nowhere does not exist; expected the folder of a"):
        checkpoint.find(here / "nowhere")
    with pytest.raises(MissingFileError, match="empty holds no model"):
        checkpoint.find(here / "empty")
