"""Whether what we compute of a model is what transformers computes: asked before work is done.

Our own ways (packed rows, sampling from shared beginnings, rewards read at a branch's last token)
are compared with a plain forward pass of transformers: eager attention, float32, one sequence at a
time. What cannot be read packed is read in whole sequences, if that agrees; else it is refused.
"""

import copy
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from mutual_taught import chat, generate, models, reward, whole, work
from mutual_taught.attention import LayoutLostError
from mutual_taught.blocks import Engine, Tokens
from mutual_taught.errors import InputError
from mutual_taught.files import digest, read_json, sha256, write_json
from mutual_taught.generate import Decode, Request
from mutual_taught.models import Policy, RewardModel
from mutual_taught.packing import Group
from mutual_taught.progress import line
from mutual_taught.whole import Rows

LARGE = 10**9  # parameters; of larger models one decoder layer of each kind is looked at
NEAR = 1e-3  # nats a token, or of the largest reward; rounding of float32 is below 2e-4
NEAR_GRADIENT = 1e-2  # relative, of all weights together
DRAWN = 6  # tokens of a sampled answer
FILLING = (
    "The boat lies in the harbour. In the morning the sea is calm, and the wind comes from the "
    "west; by noon there are waves, and small clouds over the hills. "
)
VOLATILE = {
    "_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "id2label",
    "label2id", "bos_token_id", "use_cache",
}  # fmt: skip
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "chat_template.jinja",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip


# What a model raises that does not do what is asked of it: its code is of any kind.
FAILS = (
    LayoutLostError, RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError,
)  # fmt: skip


class Verdict(NamedTuple):
    """How a model is to read conversations, and how far our ways are from a plain pass.

    gaps: largest difference of each thing compared: nats a token, rewards, and the relative one of
    gradients; infinite for what the model does not do at all. sampled: why the transformers engine
    cannot draw from it; empty if it can, and for reward models.
    """

    rows: Rows
    gaps: dict[str, float]
    sampled: str = ""

    @property
    def said(self) -> str:
        """Say in a few words what was found."""
        ways = {
            "packed": "packed",
            "padded": "whole, padded (each answer with its prompt, which costs time)",
            "single": "whole, with others of their length (each answer with its prompt, which "
            "costs time)",
        }
        return f"conversations are read {ways[self.rows]}; largest differences: " + ", ".join(
            f"{name} {gap:.1g}" for name, gap in self.gaps.items()
        )


def policy(folder: Path, tokens: Tokens) -> Verdict:
    """Say how a policy reads conversations, and whether the transformers engine draws from it.

    Args:
        folder: of the policy.
        tokens: limits; conversations up to `max_length` are compared.

    Raises:
        InputError: no way to read it agrees with a plain pass.
    """
    return _kept("policy", folder, tokens, {}, lambda: _policy(folder, tokens))


def require_sampling(folder: Path, tokens: Tokens, engine: Engine) -> Verdict:
    """Refuse a policy that `engine` does not draw from rightly; see `policy`.

    Only the transformers engine is compared: vLLM has models of its own.

    Raises:
        InputError: the policy is not read rightly, or its samples are not what a plain pass gives.
    """
    found = policy(folder, tokens)
    if engine.name == "transformers" and found.sampled:
        raise InputError(
            f"{folder}: {found.sampled}; expected what a plain forward pass of transformers gives; "
            "choose another model, or engine.name vllm"
        )
    return found


def reward_model(folder: Path, tokens: Tokens) -> Verdict:
    """Say how a reward model reads conversations; refuse one that is not read right.

    Args:
        folder: of the reward model.
        tokens: limits; conversations up to `max_length` are compared.

    Raises:
        InputError: no way to read it agrees with `AutoModelForSequenceClassification` on the
            folder, with its own tokenizer and template.
    """

    def look() -> Verdict:
        config, tokenizer = models.load_config(folder), models.scoring_tokenizer(folder)
        own, plain = _loaded(folder, AutoModelForSequenceClassification, config)
        return _reward_model(folder, RewardModel(own, tokenizer), plain, tokens)

    return _kept("reward_model", folder, tokens, {}, look)


def new_reward_model(folder: Path, tokens: Tokens, layers: int | None) -> Verdict:
    """Say how a reward model on a policy's backbone will read: see `reward_model`.

    Args:
        folder: of the policy.
        tokens: limits.
        layers: how many of the policy's, from the first; None for all.
    """

    def look() -> Verdict:
        config, tokenizer = models.new_head(folder, layers)
        own, plain = _loaded(folder, AutoModelForSequenceClassification, config)
        plain.score.load_state_dict(own.score.state_dict())
        return _reward_model(folder, RewardModel(own, tokenizer), plain, tokens)

    return _kept("new_reward_model", folder, tokens, {"layers": layers}, look)


def place(kind: str, folder: Path, tokens: Tokens, asked: Mapping[str, object]) -> Path:
    """Name the file that keeps what was found of a model: of its settings, not of its weights.

    Those trained from it have the same settings, and are not looked at again.
    """
    config = {
        name: value
        for name, value in read_json(folder / "config.json").items()
        if name not in VOLATILE and not (name == "pad_token_id" and kind == "policy")
    }
    whole = {
        "kind": kind, "config": config, **asked,
        "max_length": tokens.max_length,
        "files": {name: sha256(folder / name) for name in TOKENIZER if (folder / name).is_file()},
        "code": work.code(), "versions": work.versions(), "device": models.device().type,
    }  # fmt: skip
    return work.root() / "checks" / f"{digest(whole)[:32]}.json"


def _kept(
    kind: str, folder: Path, tokens: Tokens, asked: Mapping[str, object],
    look: Callable[[], Verdict],
) -> Verdict:  # fmt: skip
    """Read what was found of a model before, or look at it, keep it and say what is amiss."""
    models.require_model(folder)
    path = place(kind, folder, tokens, asked)
    if path.is_file():
        said = read_json(path)
        gaps = {name: math.inf if gap is None else gap for name, gap in said["gaps"].items()}
        return Verdict(said["rows"], gaps, said["sampled"])
    line(f"comparing {folder} with a plain pass of transformers")
    try:
        found = look()
    except torch.OutOfMemoryError as error:  # of this moment, and so no verdict to keep
        raise InputError(
            f"{folder}: no memory is left to compare it with transformers "
            f"({' '.join(str(error).split())[:100]}); expected room for it twice in float32; "
            "free some, or lower tokens.max_length"
        ) from None
    if found.rows != "packed":
        print(f"{folder}: {found.said}", file=sys.stderr)
    gaps = {name: gap if math.isfinite(gap) else None for name, gap in found.gaps.items()}
    write_json(path, {**found._asdict(), "gaps": gaps})
    return found


def _policy(folder: Path, tokens: Tokens) -> Verdict:
    """Compare a policy's log-probs, the gradient of a pair, and its samples."""
    model, plain = _loaded(folder, AutoModelForCausalLM, models.load_config(folder))
    tokenizer, where = models.load_tokenizer(folder), models.device()
    groups = _conversations(tokenizer, tokens.max_length)
    with _plainly(folder):
        right = [part for group in groups for part in _plain_logps(plain, group)]

    def ours() -> dict[str, float]:
        with torch.inference_mode():
            found = models.packed_logps(model, groups, where)
        apart = max(float((a - b).abs().max()) for a, b in zip(found, right, strict=True))
        return {
            "log-probs": apart,
            "gradient": _gradient(
                model, plain, lambda: models.packed_logps(model, groups[:1], where),
                lambda: _plain_logps(plain, groups[0]),
            ),
            **_balance(model, plain, groups[0], where),
        }  # fmt: skip

    rows, gaps = _choose(folder, model, ours)
    endless = Policy(model, tokenizer, frozenset({-1}))  # so that answers have their full length
    gap, wrong = _sampled(endless, plain, groups, tokens.max_length)
    return Verdict(rows, {**gaps, "sampled log-probs": gap}, wrong)


def _reward_model(
    folder: Path, own: RewardModel, plain: PreTrainedModel, tokens: Tokens
) -> Verdict:
    """Compare rewards with the classifier's own forward pass on whole conversations."""
    models.scores_packed(own.model)
    asked = reward.Asked("check", models.EXAMPLE, ("Great Wave.", "No idea", FILLING))
    group = reward.tokenise(own.tokenizer, asked)
    sequences = [_rendered(own, text) for text in asked.responses]
    groups = [group]
    if len(sequences[1]) < tokens.max_length:  # else there is no longer one
        answer = _answer(own, tokens.max_length)
        long = reward.tokenise(own.tokenizer, reward.Asked("check", models.EXAMPLE, (answer,)))
        groups, sequences = [group, long], [*sequences, _rendered(own, answer)]
    where = models.device()

    def read(rows: Sequence[Sequence[int]]) -> Tensor:
        ids = (torch.tensor([list(row)], device=where) for row in rows)
        return torch.stack([plain(input_ids=one).logits[0, 0] for one in ids]).float()

    with _plainly(folder):
        right = read(sequences)

    def ours() -> dict[str, float]:
        with torch.inference_mode():
            found = models.packed_rewards(own.model, groups, where)
        apart = (found - right).abs().max() / right.abs().max().clamp(min=1e-6)
        return {
            "rewards": float(apart),
            "gradient": _gradient(
                own.model, plain, lambda: list(models.packed_rewards(own.model, [group], where)),
                lambda: list(read(sequences[:2])),
            ),
        }  # fmt: skip

    rows, gaps = _choose(folder, own.model, ours)
    return Verdict(rows, gaps)


def _choose(
    folder: Path, model: PreTrainedModel, ours: Callable[[], dict[str, float]]
) -> tuple[Rows, dict[str, float]]:
    """Find the fastest way to read that agrees with a plain pass.

    Raises:
        InputError: none does.
    """
    said = []
    for rows in get_args(Rows):
        models.read_as(model, rows)
        try:
            gaps = ours()
        except torch.OutOfMemoryError:
            raise
        except FAILS as error:
            said.append(f"{rows}: {type(error).__name__}: {' '.join(str(error).split())[:100]}")
            continue
        if all(_near(name, gap) for name, gap in gaps.items()):
            return rows, gaps
        said.append(f"{rows}: " + ", ".join(f"{name} off by {g:.2g}" for name, g in gaps.items()))
    raise InputError(
        f"{folder}: {model.config.model_type} is not read as transformers reads it "
        f"({'; '.join(said)}); expected one way that agrees; choose another model"
    )


@contextmanager
def _plainly(folder: Path) -> Iterator[None]:
    """Run a plain pass; one that fails is no fault of ours.

    Raises:
        InputError: it does.
    """
    try:
        with torch.inference_mode():
            yield
    except torch.OutOfMemoryError:
        raise
    except FAILS as error:
        raise InputError(
            f"{folder}: transformers' own forward pass fails ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:120]}); expected a model that it runs; mend "
            "config.json, or choose another"
        ) from None


def _near(name: str, gap: float) -> bool:
    return gap <= (NEAR_GRADIENT if name == "gradient" else NEAR)


def _conversations(tokenizer: Any, longest: int) -> list[Group]:
    """Make a short and a long prompt that begin alike, with answers; one is of all the length."""
    start = chat.prompt_tokens(tokenizer, models.EXAMPLE, "check")
    text = _filler(tokenizer, FILLING, longest)
    answers = [text[7:12], text[3:13]]

    def prompt(length: int) -> list[int]:
        return [*start, *text[: max(1, length - len(start))]]

    return [
        Group(prompt(len(start) + 4), answers),
        Group(prompt(longest - len(answers[1])), answers[1:2]),
    ]


def _filler(tokenizer: Any, text: str, length: int) -> list[int]:
    """Give so many tokens of running text."""
    once = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [int(once[place % len(once)]) for place in range(max(1, length))]


def _plain_logps(model: PreTrainedModel, group: Group) -> list[Tensor]:
    """Give the log-probs of a group's branches by a plain pass, one sequence at a time."""
    found, start = [], len(group.prefix)
    for branch in group.branches:
        ids = torch.tensor([[*group.prefix, *branch]], device=models.device())
        logits = model(input_ids=ids, use_cache=False).logits[0, start - 1 : -1].float()
        found.append(logits.log_softmax(-1).gather(1, ids[0, start:, None]).squeeze(1))
    return found


def _gradient(
    model: PreTrainedModel, plain: PreTrainedModel, ours: Callable[[], Sequence[Tensor]],
    plainly: Callable[[], Sequence[Tensor]],
) -> float:  # fmt: skip
    """Compare the gradient of a pair's margin, ours as in training, with the plain pass's.

    Args:
        model: as we load it.
        plain: as transformers does.
        ours: gives what is summed of chosen and rejected, and perhaps of others.
        plainly: gives the same by plain passes.
    """
    models.learn(model)
    try:
        for both in (ours(), plainly()):
            torch.autograd.backward([both[0].sum() - both[1].sum()])
        off = total = 0.0
        for own, right in zip(model.parameters(), plain.parameters(), strict=True):
            if right.grad is not None:
                found = torch.zeros_like(right) if own.grad is None else own.grad
                off += float((found - right.grad).double().square().sum())
                total += float(right.grad.double().square().sum())
        return math.sqrt(off / total) if total else math.inf
    finally:
        model.zero_grad(set_to_none=True)
        plain.zero_grad(set_to_none=True)
        model.eval()


def _balance(
    model: PreTrainedModel, plain: PreTrainedModel, group: Group, where: torch.device
) -> dict[str, float]:
    """Compare the experts' load-balancing loss with that of a padded batch, where TRL adds one."""
    text = model.config.get_text_config()
    weight: float = getattr(text, "router_aux_loss_coef", None) or 0.0
    if not weight or not hasattr(text, "output_router_logits"):
        return {}
    [batch] = whole.batches([group], "padded", where)
    with torch.inference_mode():
        found = models.policy_pass(model, [group], where, balance=True)[1]
        output = plain(
            input_ids=batch.input_ids, attention_mask=batch.mask, output_router_logits=True
        )
        right = torch.as_tensor(output.aux_loss or 0.0, device=where)
    if found is None:
        return {"balance of experts": math.inf}
    return {"balance of experts": float((found - right).abs() / right.abs().clamp(min=1))}


def _sampled(
    policy: Policy, plain: PreTrainedModel, groups: Sequence[Group], longest: int
) -> tuple[float, str]:
    """Draw answers to prompts beside each other; compare their log-probs with the plain pass's."""
    prompts = [list(group.prefix)[: longest - DRAWN] for group in groups]
    requests = [Request(tokens, [7 + place]) for place, tokens in enumerate(prompts)]
    try:
        drawn = generate.sample(policy, requests, Decode(0.8, 0.95, DRAWN))
    except torch.OutOfMemoryError:
        raise
    except FAILS as error:
        said = " ".join(str(error).split())[:120]
        return math.inf, f"no answers can be drawn from it ({type(error).__name__}: {said})"
    gap = 0.0
    for tokens, draws in zip(prompts, drawn, strict=True):
        with torch.inference_mode():
            right = _plain_logps(plain, Group(tokens, [draw.token_ids for draw in draws]))
        gap = max(
            gap, *(abs(draw.logprob - float(r.double().sum())) / DRAWN
                   for draw, r in zip(draws, right, strict=True)),
        )  # fmt: skip
    if gap <= NEAR:
        return gap, ""
    wrong = f"log-probs of sampled answers are {gap:.2g} nats a token off"
    if models.stretches(plain.config):
        wrong += " (its rotary frequencies depend on the length: lower tokens.max_length)"
    return gap, wrong


def _answer(own: RewardModel, longest: int) -> str:
    """Give an answer with which a conversation has the greatest length, or a few tokens less."""
    room = longest - len(_rendered(own, "No"))
    while True:
        answer: str = own.tokenizer.decode(_filler(own.tokenizer, FILLING, room))
        over = len(_rendered(own, answer)) - longest
        if over <= 0 or room <= 1:
            return answer
        room = max(1, room - over)


def _rendered(own: RewardModel, answer: str) -> list[int]:
    """Give the tokens of a conversation as a user of the exported folder gets them."""
    return chat.scored_tokens(own.tokenizer, models.EXAMPLE, answer)


def _loaded(
    folder: Path, auto: Any, config: PretrainedConfig
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Load a model as we do and as transformers does; of a large one, a layer of each kind."""
    if size(folder) > LARGE:
        config = cut(config, auto)
    torch.manual_seed(0)  # of a new head
    own, plain = (
        models.load(auto, folder, copy.deepcopy(config), packed) for packed in (True, False)
    )
    return own, plain


def size(folder: Path) -> int:
    """Count a model's parameters by the headers of its files."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def cut(config: PretrainedConfig, auto: Any) -> PretrainedConfig:
    """Give a model's settings with one decoder layer of each kind.

    Kinds differ in the classes they are made of or in how they attend (sliding, full, dense,
    experts). Where the settings do not allow to pick layers, the first are kept until every kind
    is among them.

    Args:
        config: of the whole model.
        auto: the class of transformers that makes it.
    """
    kinds = _kinds(config, auto)
    first = sorted(kinds.index(kind) for kind in dict.fromkeys(kinds))
    picked = _picked(config, first)
    if _kinds(picked, auto) == [kinds[place] for place in first]:
        return picked
    return _picked(config, list(range(first[-1] + 1)))


def _picked(config: PretrainedConfig, places: Sequence[int]) -> PretrainedConfig:
    """Keep the settings of some layers alone."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    depth = text.num_hidden_layers
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == depth:
            setattr(text, name, [value[place] for place in places])
    text.num_hidden_layers = len(places)
    return config


def _kinds(config: PretrainedConfig, auto: Any) -> list[str]:
    """Describe every decoder layer: what it is made of and how it attends."""
    with torch.device("meta"):
        model = auto.from_config(config, trust_remote_code=False)
    text = config.get_text_config()
    layers = max(
        (part for part in model.modules() if isinstance(part, nn.ModuleList)),
        key=lambda part: (len(part) == text.num_hidden_layers, sum(1 for _ in part.parameters())),
    )
    types = getattr(text, "layer_types", None) or [""] * len(layers)
    return [
        json.dumps([kind, [(name, type(part).__name__) for name, part in layer.named_modules()]])
        for kind, layer in zip(types, layers, strict=False)
    ]
