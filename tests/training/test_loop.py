"""Training: TRL's own numbers from packed rows, one-line stops, and resumed runs."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOTrainer, RewardTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator

from bench import architectures
from mutual_taught.artifacts.manifests import STEP, read_manifest
from mutual_taught.config.fields import Dtype
from mutual_taught.config.learning import Dpo, LossType, Optimisation, RewardOptimisation, Training
from mutual_taught.errors import InputError, TrainingError
from mutual_taught.models.load import (
    EXAMPLE,
    Policy,
    RewardModel,
    load_policy,
    load_reward_model,
    new_reward_model,
)
from mutual_taught.models.packed.forward import packed_rewards
from mutual_taught.models.packed.rows import Group, share_prefix
from mutual_taught.training import dpo as train_policy
from mutual_taught.training import reward as train_reward
from mutual_taught.training.dpo import dataset as policy_data
from mutual_taught.training.export import save_model
from mutual_taught.training.jobs import keep_last
from mutual_taught.training.loop import COMPLETE, Outcome, newest_complete
from mutual_taught.training.packed import (
    collate,
    compute_in,
    mass,
    packed_step,
    weighted_mean,
)
from mutual_taught.training.reward import dataset as reward_data
from mutual_taught.training.rounding import EXACT, Weights
from mutual_taught.training.settings import Recipe, total_steps, tracker

TRAINING = Training(
    precision="float32",
    export_dtype="float32",
    gradient_checkpointing=False,
    lora=None,
    optimizer="adamw",
    resume_steps=1,
    launcher="single",
    processes=1,
    accelerate_config=None,
)
OPTIMISATION = Optimisation(
    learning_rate=1e-3,
    batch_size=4,
    epochs=1,
    warmup_ratio=0.0,
    scheduler="cosine",
    max_grad_norm=1.0,
    token_budget=30,
)
DPO = Dpo(
    **OPTIMISATION.model_dump(),
    start="previous",
    beta=0.3,
    loss_type="sigmoid",
    label_smoothing=0.0,
    save_steps=1,
    keep_checkpoints=None,
)
REWARD = RewardOptimisation(**OPTIMISATION.model_dump(), margin=0.0, center_rewards=0.0)
PAIRS: list[dict[str, Any]] = [
    {
        "pair": f"p{number}",
        "prompt_ids": prompt,
        "chosen_ids": chosen,
        "rejected_ids": rejected,
        "ref_chosen_logps": logps[0],
        "ref_rejected_logps": logps[1],
    }
    for number, (prompt, chosen, rejected, logps) in enumerate(
        [
            ([9, 8, 7], [20, 21, 2], [22, 2], (-17.5, -12.0)),
            ([30], [31], [32, 33, 34, 35, 2], (-6.0, -28.5)),
            ([40, 41, 42, 43, 44, 45], [46, 47], [46, 48], (-13.0, -12.5)),
            ([50, 51], [52, 53, 54, 55], [56], (-24.0, -7.0)),
        ]
    )
]
# Whole conversations, chosen and rejected
SEQUENCES = [
    ([9, 8, 7, 20, 21, 2], [9, 8, 7, 22, 2]),
    ([30, 31], [30, 32, 33, 34, 35, 2]),
    ([40, 41, 42, 43], [40, 41, 42, 43]),
    ([50, 51], [60, 61, 62]),
]


class StockDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's trainer on tokenised data with given reference log-probs."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def dpo(loss_type: LossType) -> Dpo:
    smoothing = 0.1 if loss_type in ("exo_pair", "robust") else 0.0
    return DPO.model_copy(update={"loss_type": loss_type, "label_smoothing": smoothing})


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def assert_same(
    ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], loss: float, stock: float
) -> None:
    assert loss == pytest.approx(stock, abs=1e-5, rel=1e-6)
    assert set(ours) == set(theirs)
    assert any(bool(gradient.abs().max() > 1e-3) for gradient in theirs.values())
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5 * max(1.0, largest), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1, 30, 10_000])
@pytest.mark.parametrize("loss_type", get_args(LossType))
def test_packed_dpo_has_the_loss_and_gradient_of_the_stock_trainer(
    policy_folder: Path, tmp_path: Path, loss_type: LossType, budget: int
) -> None:
    config = train_policy.config(Recipe(dpo(loss_type), TRAINING, 1), tmp_path)
    learner = load_policy(policy_folder, "float32")
    rows = [{**pair, "size": train_policy.group(pair).size} for pair in PAIRS]
    packed = train_policy.PackedDPOTrainer(
        model=learner.model,
        args=config,
        data_collator=collate,
        train_dataset=Dataset.from_list(rows),
        processing_class=learner.tokenizer,
    )
    packed.token_budget = budget
    loss = float(packed_step(packed, learner.model, rows))

    other = load_policy(policy_folder, "float32")
    stock = StockDPOTrainer(
        model=other.model,
        args=config,
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=other.tokenizer,
    )
    batch = DataCollatorForPreference(pad_token_id=other.tokenizer.pad_token_id)(PAIRS)
    expected = stock.compute_loss(other.model.train(), batch)
    expected.backward()
    assert_same(gradients(learner.model), gradients(other.model), loss, expected.item())


def reward_rows() -> list[dict[str, Any]]:
    rows = []
    for number, sides in enumerate(SEQUENCES):
        group = share_prefix(sides)
        chosen, rejected = group.branches
        rows.append(
            {
                "pair": f"p{number}",
                "prefix": group.prefix,
                "chosen": chosen,
                "rejected": rejected,
                "size": group.size,
            }
        )
    return rows


@pytest.mark.parametrize("budget", [1, 14, 10_000])
@pytest.mark.parametrize(("margin", "centring"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.3), (0.7, 0.3)])
def test_packed_reward_training_has_the_loss_and_gradient_of_the_stock_trainer(
    reward_folder: Path, tmp_path: Path, budget: int, margin: float, centring: float
) -> None:
    settings = REWARD.model_copy(update={"margin": margin, "center_rewards": centring})
    config = train_reward.config(Recipe(settings, TRAINING, 1), tmp_path)
    learner = load_reward_model(reward_folder, "float32")
    packed = train_reward.PackedRewardTrainer(
        model=learner.model,
        args=config,
        data_collator=collate,
        train_dataset=Dataset.from_list([{"pair": "p"}]),
        processing_class=learner.tokenizer,
    )
    packed.token_budget, packed.margin = budget, margin
    loss = float(packed_step(packed, learner.model, reward_rows()))

    other = load_reward_model(reward_folder, "float32")
    whole = [
        {"chosen_ids": chosen, "rejected_ids": rejected, **({"margin": margin} if margin else {})}
        for chosen, rejected in SEQUENCES
    ]
    del other.model.forward  # the class's own again
    stock = RewardTrainer(
        model=other.model,
        args=config,
        train_dataset=Dataset.from_list(whole),
        processing_class=other.tokenizer,
    )
    batch = RewardCollator(pad_token_id=other.tokenizer.pad_token_id)(whole)
    expected = stock.compute_loss(other.model.train(), batch)
    expected.backward()
    assert_same(gradients(learner.model), gradients(other.model), loss, expected.item())


@pytest.mark.parametrize("budget", [1, 14, 10_000])
@pytest.mark.parametrize("centring", [0.0, 0.3])
def test_loss_of_weighted_pairs_is_their_weighted_mean_however_they_are_packed(
    reward_folder: Path, tmp_path: Path, budget: int, centring: float
) -> None:
    weights = [1.0, 0.25, 0.5, 2.0]
    learner = load_reward_model(reward_folder, "float32")
    settings = REWARD.model_copy(update={"center_rewards": centring})
    packed = train_reward.PackedRewardTrainer(
        model=learner.model,
        args=train_reward.config(Recipe(settings, TRAINING, 1), tmp_path),
        data_collator=collate,
        train_dataset=Dataset.from_list([{"pair": "p"}]),
        processing_class=learner.tokenizer,
    )
    packed.token_budget = budget
    rows = [{**row, "weight": w} for row, w in zip(reward_rows(), weights, strict=True)]
    loss = float(packed_step(packed, learner.model, rows))

    other = load_reward_model(reward_folder, "float32").model.train()
    total: Any = 0.0
    for (chosen, rejected), weight in zip(SEQUENCES, weights, strict=True):
        better, worse = (
            other.score(other.base_model(torch.tensor([tokens])).last_hidden_state[0, -1])[0]
            for tokens in (chosen, rejected)
        )
        own = -torch.nn.functional.logsigmoid(better - worse) + centring * (better + worse) ** 2
        total = total + weight / 3.75 * own  # 1 + 0.25 + 0.5 + 2
    total.backward()
    assert_same(gradients(learner.model), gradients(other), loss, total.item())


def test_mean_of_pairs_that_weigh_alike_has_the_bytes_of_a_plain_mean() -> None:
    draw = torch.Generator().manual_seed(1)
    for count in range(1, 40):
        pairs = [{"pair": str(n)} for n in range(count)]
        said = [{**pair, "weight": 1.0} for pair in pairs]
        values = torch.randn(count, generator=draw).requires_grad_()
        (plain,) = torch.autograd.grad(values.mean(), values)
        for one in (pairs, said):
            mean = weighted_mean(values, one)
            assert torch.equal(mean, values.mean())
            assert torch.equal(torch.autograd.grad(mean, values)[0], plain)
            assert mass(one) == count


@pytest.mark.parametrize("name", ["Llama 3", "Mistral"])  # policies without a padding token
def test_a_reward_model_made_here_has_plain_trls_loss(tmp_path: Path, name: str) -> None:
    made = new_reward_model(architectures.make(name, tmp_path / "policy"), 1, None)
    folder = tmp_path / "r0"
    said: dict[str, Any] = {"kind": "reward_model", "base": "", "parent": None, "made_by": {}}
    save_model(made.model, made.model.state_dict(), made.tokenizer, folder, EXACT, said)
    texts = ("Great Wave.", "No idea at all, for it is large.")
    turns = [[*EXAMPLE, {"role": "assistant", "content": text}] for text in texts]
    config = train_reward.config(Recipe(REWARD, TRAINING, 1), tmp_path / "work")
    config.remove_unused_columns = True
    stock = RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False
        ),
        args=config,
        processing_class=AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        train_dataset=Dataset.from_list([{"chosen": turns[0], "rejected": turns[1]}]),
    )
    assert stock.model.config.pad_token_id == made.tokenizer.pad_token_id
    batch = RewardCollator(pad_token_id=made.tokenizer.pad_token_id)(list(stock.train_dataset))
    with torch.inference_mode():
        expected = float(stock.compute_loss(stock.model.eval(), batch))
        pair = train_reward.tokenise(made.tokenizer, "p", EXAMPLE, *texts, 256)
        group = Group(pair["prefix"], [pair["chosen"], pair["rejected"]])
        chosen, rejected = packed_rewards(made.model, [group], torch.device("cpu"))
    loss = -torch.nn.functional.logsigmoid(chosen - rejected)
    assert float(loss) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", ["policy", "reward"])
def test_precision_decides_how_the_forward_pass_is_computed(
    policy_folder: Path, reward_folder: Path, tmp_path: Path, kind: str
) -> None:
    losses: dict[Dtype, float] = {}
    for precision in get_args(Dtype):
        training = TRAINING.model_copy(update={"precision": precision})
        work = tmp_path / precision
        trainer: Any
        if kind == "policy":
            learner: Any = load_policy(policy_folder, "float32")
            rows = [{**pair, "size": train_policy.group(pair).size} for pair in PAIRS]
            config: Any = train_policy.config(Recipe(DPO, training, 1), work)
            trainer = train_policy.PackedDPOTrainer
        else:
            learner = load_reward_model(reward_folder, "float32")
            rows = reward_rows()
            config = train_reward.config(Recipe(REWARD, training, 1), work)
            trainer = train_reward.PackedRewardTrainer
        compute_in(learner.model, precision)
        made = trainer(
            model=learner.model,
            args=config,
            data_collator=collate,
            train_dataset=Dataset.from_list(rows),
            processing_class=learner.tokenizer,
        )
        losses[precision] = float(packed_step(made, learner.model, rows))
        assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
    assert losses["float32"] != losses["bfloat16"]
    assert losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.02)


def chosen_logps(policy: Policy) -> list[float]:
    """Sum the log-probs of the chosen tokens of PAIRS, one plain pass a pair, in nats."""
    found = []
    for pair in PAIRS:
        tokens = torch.tensor([[*pair["prompt_ids"], *pair["chosen_ids"]]])
        with torch.inference_mode():
            logps = policy.model(tokens).logits[0, :-1].float().log_softmax(-1)
        own = logps.gather(1, tokens[0, 1:, None])[:, 0]
        found.append(float(own[-len(pair["chosen_ids"]) :].sum()))
    return found


@pytest.mark.parametrize("beta", [0.01, 0.3])
def test_curve_has_what_the_chosen_responses_gained_in_nats_whatever_beta(
    policy_folder: Path, tmp_path: Path, beta: float
) -> None:
    gained = [
        logp - pair["ref_chosen_logps"]
        for logp, pair in zip(
            chosen_logps(load_policy(policy_folder, "float32")), PAIRS, strict=True
        )
    ]
    outcome = train_policy.train_policy(
        load_policy(policy_folder, "float32"),
        policy_data(PAIRS),
        Recipe(DPO.model_copy(update={"beta": beta, "batch_size": len(PAIRS)}), TRAINING, 1),
        tmp_path,
        lambda *_: None,
    )
    (first,) = outcome.curve  # made with the weights that training started from
    assert first["chosen_logp_change"] == pytest.approx(sum(gained) / len(gained), abs=1e-3)
    assert first["rewards/chosen"] == pytest.approx(beta * first["chosen_logp_change"], abs=1e-6)


SAID: dict[str, Any] = {"kind": "policy", "base": "tiny", "parent": None, "made_by": {}}


def trained(
    policy: Path, dpo: Dpo, training: Training, work: Path, stop: int | None = None
) -> tuple[Outcome, str]:
    """Train a policy, interrupted at step `stop`; give the outcome and the result's digest."""
    learner = load_policy(policy, "float32")

    def export(model: Any, weights: Weights, step: int) -> None:
        if step == stop:
            raise KeyboardInterrupt
        save_model(model, weights, learner.tokenizer, work / "out", EXACT, SAID)

    found = train_policy.train_policy(
        learner, policy_data(PAIRS), Recipe(dpo, training, 1), work, export
    )
    return found, read_manifest(work / "out").digest


class Exports:
    """Keeps the digest of every exported policy; goes wrong at one step if told to."""

    def __init__(self, learner: Policy, folder: Path, fail_at: int | None = None) -> None:
        self.learner, self.folder, self.fail_at = learner, folder, fail_at
        self.digests: dict[int, str] = {}

    def __call__(self, model: Any, weights: Weights, step: int) -> None:
        if step == self.fail_at:
            raise KeyboardInterrupt
        self.digests[step] = save_model(
            model, weights, self.learner.tokenizer, self.folder / str(step), EXACT, SAID
        ).files["model.safetensors"]


def run_dpo(
    policy_folder: Path,
    work: Path,
    pairs: Sequence[dict[str, Any]] = PAIRS,
    settings: Dpo = DPO.model_copy(update={"batch_size": 2, "epochs": 3}),  # noqa: B008
    fail_at: int | None = None,
) -> tuple[dict[int, str], list[dict[str, float]]]:
    """Train by DPO: six steps of two pairs."""
    learner = load_policy(policy_folder, "float32")
    export = Exports(learner, work / "exports", fail_at)
    outcome = train_policy.train_policy(
        learner, policy_data(pairs), Recipe(settings, TRAINING, 1), work, export
    )
    return export.digests, outcome.curve


@pytest.mark.slow
def test_interrupted_training_goes_on_to_the_same_weights(
    policy_folder: Path, tmp_path: Path
) -> None:
    undisturbed, curve = run_dpo(policy_folder, tmp_path / "one")
    assert sorted(undisturbed) == [1, 2, 3, 4, 5, 6]
    # after the sixth step there is nothing to go on with
    assert newest_complete(tmp_path / "one") == str(tmp_path / "one/trainer/checkpoint-5")
    with pytest.raises(KeyboardInterrupt):
        run_dpo(policy_folder, tmp_path / "two", fail_at=4)
    assert newest_complete(tmp_path / "two") == str(tmp_path / "two/trainer/checkpoint-3")
    resumed, same_curve = run_dpo(policy_folder, tmp_path / "two")
    assert resumed == {step: undisturbed[step] for step in (4, 5, 6)}
    assert same_curve == curve


@pytest.mark.slow
def test_checkpoint_that_is_not_whole_is_not_resumed(policy_folder: Path, tmp_path: Path) -> None:
    undisturbed, _ = run_dpo(policy_folder, tmp_path / "one")
    with pytest.raises(KeyboardInterrupt):
        run_dpo(policy_folder, tmp_path / "two", fail_at=4)
    broken = tmp_path / "two/trainer/checkpoint-3"
    (broken / COMPLETE).unlink()
    (broken / "model.safetensors").write_bytes(b"half")
    resumed, _ = run_dpo(policy_folder, tmp_path / "two")
    assert resumed == {step: undisturbed[step] for step in (3, 4, 5, 6)}


def test_training_with_the_same_seed_gives_the_same_weights(
    policy_folder: Path, tmp_path: Path
) -> None:
    settings = DPO.model_copy(update={"batch_size": 2})
    one, other = (run_dpo(policy_folder, tmp_path / name, settings=settings) for name in "ab")
    assert one == other
    assert len(set(one[0].values())) == 2


def test_loss_that_is_no_number_names_its_step_and_pair(
    policy_folder: Path, tmp_path: Path
) -> None:
    pairs = [dict(pair) for pair in PAIRS]
    pairs[2]["ref_chosen_logps"] = float("nan")
    settings = DPO.model_copy(update={"batch_size": 4, "token_budget": 1})
    with pytest.raises(TrainingError) as caught:
        run_dpo(policy_folder, tmp_path, pairs, settings)
    assert str(caught.value) == (
        "step 1: loss is nan on pairs p2; expected a number; "
        "lower the learning rate, or use training.precision float32"
    )


def test_gradient_that_is_no_number_stops_before_anything_is_saved(
    reward_folder: Path, tmp_path: Path
) -> None:
    learner = load_reward_model(reward_folder, "float32")
    learner.model.score.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match=r"^step 1: gradient norm is (inf|nan); expected a "):
        train_reward.train_reward(
            learner,
            reward_data(reward_rows()),
            Recipe(REWARD, TRAINING, 1),
            tmp_path,
            lambda *_: None,
        )
    assert newest_complete(tmp_path) is None


def test_newest_whole_checkpoint_is_found_by_its_number(tmp_path: Path) -> None:
    for step, whole in ((9, True), (10, True), (11, False)):
        folder = tmp_path / "trainer" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if whole:
            (folder / COMPLETE).touch()
    assert newest_complete(tmp_path) == str(tmp_path / "trainer" / "checkpoint-10")
    assert not (tmp_path / "trainer" / "checkpoint-11").exists()


def test_without_a_checkpoint_training_starts_anew(tmp_path: Path) -> None:
    assert newest_complete(tmp_path) is None


@pytest.mark.parametrize(
    ("pairs", "batch", "epochs", "steps"), [(8, 4, 1, 2), (9, 4, 1, 3), (9, 4, 2, 6), (1, 4, 1, 1)]
)
def test_last_batch_of_an_epoch_may_be_smaller(
    pairs: int, batch: int, epochs: int, steps: int
) -> None:
    settings = OPTIMISATION.model_copy(update={"batch_size": batch, "epochs": epochs})
    assert total_steps(pairs, settings) == steps


def test_pair_is_trained_on_as_it_is_scored(reward_model: RewardModel) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    row = train_reward.tokenise(reward_model.tokenizer, "p", asked, "Yes.<|im_end|>", "No.", 500)
    decode = reward_model.tokenizer.decode
    head = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert decode([*row["prefix"], *row["chosen"]]) == f"{head}Yes.< |im_end|><|im_end|>\n"
    assert decode([*row["prefix"], *row["rejected"]]) == f"{head}No.<|im_end|>\n"
    assert row["size"] == sum(len(row[name]) for name in ("prefix", "chosen", "rejected"))


def test_pair_that_is_too_long_is_one_line(reward_model: RewardModel) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    length = (
        train_reward.tokenise(reward_model.tokenizer, "p", asked, "Yes.", "Yes.", 500)["size"] - 1
    )
    with pytest.raises(InputError) as caught:
        train_reward.tokenise(reward_model.tokenizer, "abc", asked, "Yes.", "Yes.", length - 1)
    assert str(caught.value) == (
        f"pair abc: {length} tokens; expected at most tokens.max_length {length - 1}; "
        "raise it or drop the prompt"
    )


@pytest.mark.parametrize(("count", "left"), [(1, [3]), (2, [2, 3]), (5, [1, 2, 3])])
def test_only_the_last_candidates_are_kept(tmp_path: Path, count: int, left: list[int]) -> None:
    for step in (1, 2, 3):
        (tmp_path / STEP.format(step)).mkdir()
    keep_last(tmp_path, count)
    assert sorted(path.name for path in tmp_path.iterdir()) == [STEP.format(step) for step in left]


def test_margin_and_centring_reach_the_trainer(reward_folder: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    for changes in ({}, {"margin": 1.0}, {"center_rewards": 1.0}):
        learner = load_reward_model(reward_folder, "float32")
        outcome = train_reward.train_reward(
            learner,
            reward_data(reward_rows()),
            Recipe(REWARD.model_copy(update=changes), TRAINING, 1),
            tmp_path / str(len(losses)),
            lambda *_: None,
        )
        losses.append(outcome.curve[0]["loss"])
    assert len(set(losses)) == 3
    assert losses[0] == min(losses)


@pytest.mark.parametrize("kind", ["policy", "reward"])
def test_progress_shows_loss_accuracy_and_tokens_a_second(
    policy_folder: Path,
    reward_folder: Path,
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind == "policy":
        learner = load_policy(policy_folder, "float32")
        train_policy.train_policy(
            learner, policy_data(PAIRS), Recipe(DPO, TRAINING, 1), tmp_path, lambda *_: None
        )
    else:
        judge = load_reward_model(reward_folder, "float32")
        train_reward.train_reward(
            judge,
            reward_data(reward_rows()),
            Recipe(REWARD, TRAINING, 1),
            tmp_path,
            lambda *_: None,
        )
    said = capsys.readouterr().err
    assert re.search(r"1/1 .*loss \d+\.\d{4}, accuracy [01]\.\d\d, [\d,]+ tokens/s", said), said


def test_numbers_go_to_tensorboard_on_request(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("MUTUAL_TAUGHT_REPORT_TO", "tensorboard")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    learner = load_policy(policy_folder, "float32")
    work = tmp_path / ".work" / "dpo@1" / "0123"
    outcome = train_policy.train_policy(
        learner, policy_data(PAIRS), Recipe(DPO, TRAINING, 1), work, lambda *_: None
    )
    read = EventAccumulator(str(tmp_path / "logs" / "dpo@1"))
    read.Reload()
    (loss,) = read.Scalars("train/loss")
    assert loss.value == pytest.approx(outcome.curve[0]["loss"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tensorflow", "MUTUAL_TAUGHT_REPORT_TO is 'tensorflow'; expected none or one of tensor"),
        ("trackio", "MUTUAL_TAUGHT_REPORT_TO is trackio; it is not installed: pip install trackio"),
    ],
)
def test_unknown_or_missing_tracker_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.setenv("MUTUAL_TAUGHT_REPORT_TO", name)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError) as caught:
        train_policy.config(Recipe(DPO, TRAINING, 1), tmp_path)
    assert str(caught.value).startswith(expected)


def test_asking_for_wandb_turns_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUTUAL_TAUGHT_REPORT_TO", "wandb")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert tracker(tmp_path / "dpo@1" / "0123") == "wandb"
    assert "WANDB_DISABLED" not in os.environ


def test_every_pair_is_kept_as_it_was_met_also_by_an_interrupted_run(
    reward_folder: Path, tmp_path: Path
) -> None:
    settings = REWARD.model_copy(update={"batch_size": 3, "epochs": 2})

    def train(work: Path, stop: int | None) -> pa.Table:
        learner = load_reward_model(reward_folder, "float32")

        def export(model: Any, weights: Weights, step: int) -> None:
            if stop:
                raise KeyboardInterrupt

        outcome = train_reward.train_reward(
            learner, reward_data(reward_rows()), Recipe(settings, TRAINING, 1), work, export
        )
        return train_reward.as_met(outcome, settings.epochs)

    met = train(tmp_path / "whole", None)
    assert met["step"].to_pylist() == [1, 1, 1, 2, 3, 3, 3, 4]
    assert met["epoch"].to_pylist() == [1] * 4 + [2] * 4
    for rows in (met.slice(0, 4), met.slice(4)):
        assert sorted(rows["pair_id"].to_pylist()) == ["p0", "p1", "p2", "p3"]
    # The first step is made with the base model's own rewards.
    base = load_reward_model(reward_folder, "float32")
    by_name = dict(zip((row["pair"] for row in reward_rows()), SEQUENCES, strict=True))
    for row in met.slice(0, 3).to_pylist():
        for side, tokens in zip(("chosen", "rejected"), by_name[row["pair_id"]], strict=True):
            with torch.inference_mode():
                hidden = base.model.base_model(torch.tensor([tokens])).last_hidden_state[0, -1]
                reward = float(base.model.score(hidden))
            assert row[f"reward_{side}"] == pytest.approx(reward, abs=1e-5)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", 4)
    assert train(tmp_path / "killed", None).equals(met)


def test_how_often_training_can_resume_is_no_part_of_what_a_model_was_made_from() -> None:
    often, seldom = (TRAINING.model_copy(update={"resume_steps": steps}) for steps in (1, 1000))
    assert often.decides() == seldom.decides()
    assert often.computes() == seldom.computes()
    several = TRAINING.model_copy(update={"launcher": "torchrun", "processes": 2})
    assert several.decides() == TRAINING.decides()
    assert several.computes() != TRAINING.computes()  # which rounds otherwise


@pytest.mark.parametrize("precision", get_args(Dtype))
def test_gradient_checkpointing_makes_layers_again_and_gives_the_same_gradients(
    policy_folder: Path, tmp_path: Path, precision: Dtype
) -> None:
    found: dict[bool, tuple[int, dict[str, torch.Tensor]]] = {}
    for checkpointing in (False, True):
        changes = {"precision": precision, "gradient_checkpointing": checkpointing}
        training = TRAINING.model_copy(update=changes)
        learner = load_policy(policy_folder, "float32")
        rows = [{**pair, "size": train_policy.group(pair).size} for pair in PAIRS]
        compute_in(learner.model, precision)
        trainer = train_policy.PackedDPOTrainer(
            model=learner.model,
            args=train_policy.config(Recipe(DPO, training, 1), tmp_path / str(checkpointing)),
            data_collator=collate,
            train_dataset=Dataset.from_list(rows),
            processing_class=learner.tokenizer,
        )
        if checkpointing:  # as `train` does
            learner.model.gradient_checkpointing_enable({"use_reentrant": False})
        trainer.token_budget = 10_000
        made: list[int] = []
        layer: Any = learner.model.base_model.layers[0].mlp
        layer.register_forward_pre_hook(lambda *_, made=made: made.append(1))
        packed_step(trainer, learner.model, rows)
        gradients = {name: value.grad for name, value in learner.model.named_parameters()}
        found[checkpointing] = len(made), gradients
    assert (found[False][0], found[True][0]) == (1, 2)
    for name, gradient in found[True][1].items():
        assert torch.equal(gradient, found[False][1][name]), name
