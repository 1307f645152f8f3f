"""The blocks of `params.yaml`, typed and range-checked."""

import datetime
import re
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from mutual_taught.method.pseudo_pairs import Accumulated, FilterRule, Labels
from mutual_taught.method.ranked_pairs import ChosenRule
from mutual_taught.method.selection import Ties

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Natural = Annotated[int, Field(ge=0)]
Dtype = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]
ExportDtype = Literal["float32", "bfloat16", "bfloat16_stochastic"]
Workers = Literal["local", "ray"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
    "sigmoid_norm",
]


def is_day(text: str) -> bool:
    """Say whether a text is a day of the calendar, as YYYY-MM-DD."""
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def under(folder: str, path: str) -> bool:
    """Tell whether a path, as it is written, names something inside a folder of the project."""
    parts, begin = PurePath(path).parts, PurePath(folder).parts
    inside = parts[: len(begin)] == begin and len(parts) > len(begin)
    return inside and ".." not in parts and not PurePath(path).is_absolute()


class Block(BaseModel):
    """A block of params.yaml: every key is needed, an unknown one is refused.

    `free` are keys that decide no result: no provenance, no fingerprint and no stage has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    key: ClassVar[str] = ""
    free: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def decisive(cls) -> list[str]:
        """Name the keys that decide a result, in order."""
        return [name for name in cls.model_fields if name not in cls.free]


class Split(Block):
    """How many prompts a split takes, and its share of the source they are drawn from.

    No key of params.yaml is called `size` or `nfiles`: DVC leaves these two out of what it looks
    runs up by, at any depth, so that a changed one would bring back the results of the old.
    """

    share: Share
    prompts: Count | None


class Splits(Block):
    """The prompt splits; `policy` is one part of `policy_parts` equal ones."""

    policy: Split
    reward: Split
    selection: Split
    eval: Split


class Columns(Block):
    """Which column holds the conversation (list of role/content) or the prompt's text.

    `chosen` and `rejected` name answers that came with the prompts, for sample.source `given`.
    """

    messages: str | None
    prompt: str | None
    chosen: str | None
    rejected: str | None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.chosen is None) != (self.rejected is None):
            raise ValueError("both of chosen and rejected, or both null")
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("exactly one of messages and prompt, the other null")
        return self


class Given(Block):
    """A file of preferences whose prompts are those of the policy split."""

    path: str = Field(min_length=1, description="a .parquet, .jsonl or .csv file under data/")
    part: str | None = Field(description="rows whose column `part` says so, or null for all")
    columns: Columns

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if not under("data", self.path):
            raise ValueError(f"path under data/, without .. (it is {self.path!r})")
        if self.columns.chosen is None:
            raise ValueError("columns.chosen and columns.rejected of the given answers")
        return self


class Data(Block):
    """Where prompts come from."""

    key: ClassVar[str] = "data"
    source: Literal["embedded", "file", "hub"]
    path: str = Field(min_length=1, description="template file, data file or hub id")
    revision: str | None = Field(description="hub: commit of the data set, 40 hex digits")
    subset: str | None = Field(description="hub: split of the data set, such as train_prefs")
    columns: Columns
    on_bad_row: Literal["drop", "refuse"] = Field(description="leave it out, counted, or stop")
    max_dropped_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        description="more dropped rows than this share of all are refused"
    )
    given: Given | None = Field(description="preferences for the policy split, or null")
    policy_parts: Count
    splits: Splits

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.source != "hub" and not under("data", self.path):
            raise ValueError(
                f"path under data/, the folder DVC watches, without .. (it is {self.path!r}); "
                "put or link the file there"
            )
        if self.source == "hub" and (self.revision is None or self.subset is None):
            raise ValueError("source hub needs revision (a commit) and subset (a split)")
        if self.source == "hub" and not HUB_ID.fullmatch(self.path):
            raise ValueError(
                f"path owner/name with source hub (it is {self.path!r}); for a file of your own "
                "source file"
            )
        shares = self.splits
        total = (
            shares.policy.share + shares.reward.share + shares.selection.share + shares.eval.share
        )
        if total > 1 + 1e-9:
            raise ValueError(f"shares of the splits that sum to at most 1 (they sum to {total:g})")
        return self


class Model(Block):
    """Where a start model comes from."""

    source: Literal["embedded", "tiny", "path", "hub", "trained"]
    path: str = Field(min_length=1, description="package, folder or hub id")
    revision: str | None = Field(description="hub: commit of the model, 40 hex digits")

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.source == "hub" and self.revision is None:
            raise ValueError("source hub needs revision (a commit)")
        return self

    @property
    def trained_here(self) -> bool:
        """Tell whether a reward model is trained on the seed preferences."""
        return self.source in ("trained", "tiny")

    @property
    def called(self) -> str:
        """Name a model of a folder or of the hub, as its manifest does."""
        return f"{self.path}@{self.revision}" if self.revision else self.path


class Models(Block):
    """The base policy pi_0 and the base reward model r_0."""

    key: ClassVar[str] = "models"
    policy: Model
    reward_model: Model

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if self.policy.source == "trained":
            raise ValueError("policy.source other than trained (that is for reward_model)")
        if self.reward_model.source == "embedded":
            raise ValueError("reward_model.source other than embedded; use trained")
        return self


class Decoding(Block):
    """How answers are drawn."""

    temperature: Positive
    top_p: Share
    max_new_tokens: Count


class Sample(Decoding):
    """E-step sampling."""

    key: ClassVar[str] = "sample"
    source: Literal["policy", "given"]
    responses_per_prompt: Annotated[int, Field(ge=2)]


class Answer(Decoding):
    """One answer to each reward prompt (M-step)."""

    key: ClassVar[str] = "answer"
    previous: Literal["fresh", "reuse"] = Field(
        description="y_{t-1}: drawn anew, or those that iteration t - 1 labelled chosen"
    )
    against: Literal["previous", "base"] = Field(description="whose answers are rejected")

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        if self.against == "base" and self.previous == "reuse":
            raise ValueError("previous fresh with against base (no answers of pi_0 are stored)")
        return self


class Duel(Decoding):
    """One answer of every checkpoint to each selection prompt."""

    key: ClassVar[str] = "duel"


class Eval(Decoding):
    """Evaluation on held-out prompts."""

    key: ClassVar[str] = "eval"
    responses_per_prompt: Count
    gold_pairs: str | None = Field(description="Parquet of held-out gold pairs, or null")

    @model_validator(mode="after")
    def _watched(self) -> Self:
        if self.gold_pairs is not None and not under("data", self.gold_pairs):
            raise ValueError("gold_pairs under data/, the folder DVC watches, without .., or null")
        return self


class Tokens(Block):
    """Limits in tokens.

    Which prompts are admitted follows from `max_prompt_tokens`, in `prepare_prompts`. To the stages
    after it the prompts themselves say that.
    """

    key: ClassVar[str] = "tokens"
    free: ClassVar[frozenset[str]] = frozenset({"max_prompt_tokens"})
    max_prompt_tokens: Count
    max_length: Count
    date: str | None = Field(description="that chat templates write as today's, YYYY-MM-DD")

    @field_validator("date")
    @classmethod
    def _day(cls, value: str | None) -> str | None:
        if value is not None and not is_day(value):
            raise ValueError(f'a day such as "2026-01-31", or null (it is {value!r})')
        return value

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.max_prompt_tokens >= self.max_length:
            raise ValueError("max_length above max_prompt_tokens")
        return self


class Engine(Block):
    """What samples answers, and the fixed partition of its work."""

    key: ClassVar[str] = "engine"
    free: ClassVar[frozenset[str]] = frozenset({"workers"})
    name: Literal["transformers", "vllm"]
    dtype: Precision
    shard_size: Count = Field(description="prompts a shard, the unit of resume")
    batch_size: Count = Field(description="answers decoded together; transformers")
    tensor_parallel: Count = Field(description="GPUs that share one model; vllm")
    gpu_memory_utilization: Share = Field(description="share of the memory to take; vllm")
    workers: Workers = Field(description="where shards are drawn and scored; decides no result")

    @property
    def partition(self) -> list[int]:
        """Give how the work is cut, as far as that decides draws: vLLM makes its own batches."""
        if self.name == "vllm":
            return [self.shard_size]
        return [self.shard_size, self.batch_size]

    def decides(self) -> dict[str, object]:
        """Name what decides draws beside plan and dtype; of the default engine, nothing."""
        if self.name == "transformers":
            return {}
        return {"engine": self.name, "tensor_parallel": self.tensor_parallel}


class Score(Block):
    """How reward models score."""

    key: ClassVar[str] = "score"
    dtype: Dtype
    token_budget: Count = Field(description="tokens a packed row")
    shard_size: Count = Field(description="prompts a shard, the unit of resume")


class RankPairs(Block):
    """The E-step's pair rule."""

    key: ClassVar[str] = "rank_pairs"
    chosen: ChosenRule
    length_neutral: bool = Field(description="rewards are compared without what length brings")
    reference: Literal["previous", "base"] = Field(description="DPO's: pi_{t-1} or pi_0")
    reference_logps: Literal["trainer", "sampler"]
    reference_dtype: Precision
    token_budget: Count = Field(description="tokens a packed row of the reference's pass")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.reference == "base" and self.reference_logps == "sampler":
            raise ValueError(
                "reference_logps trainer with reference base (the sampler's are of the previous "
                "policy)"
            )
        if self.length_neutral and self.chosen == "given":
            raise ValueError("length_neutral false with chosen given (no reward decides there)")
        return self

    def decides(self) -> dict[str, Any]:
        """Name what decides pairs, as provenance does; `length_slope` is named where one is."""
        return self.model_dump(exclude={"token_budget", "length_neutral"})


class Optimisation(Block):
    """What DPO and reward training have in common."""

    learning_rate: Positive
    batch_size: Count
    epochs: Count
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    scheduler: Literal["cosine", "linear", "constant_with_warmup"]
    max_grad_norm: Positive
    token_budget: Count = Field(description="tokens a packed row; one pair may exceed it")


class Dpo(Optimisation):
    """The E-step's update."""

    key: ClassVar[str] = "dpo"
    start: Literal["previous", "base"] = Field(description="trained from pi_{t-1} or from pi_0")
    beta: Positive
    loss_type: LossType
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]
    save_steps: Count
    keep_checkpoints: Count | None = Field(description="the last so many candidates, or all")

    @model_validator(mode="after")
    def _smoothing(self) -> Self:
        if self.loss_type == "exo_pair" and self.label_smoothing == 0:
            raise ValueError("label_smoothing above 0 with exo_pair")
        return self


class RewardOptimisation(Optimisation):
    """What the trainings of r_0 and r_t have in common."""

    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="chosen is to be above rejected by this much"
    )
    center_rewards: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="weight of the squared sum of a pair's rewards"
    )


class TrainRm(RewardOptimisation):
    """The M-step's update."""

    key: ClassVar[str] = "train_rm"
    start: Literal["base", "previous"]
    fixed: bool = Field(description="r_t is r_{t-1}, untrained: iterative DPO")
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="share of r_0 in the weights that are exported"
    )

    @model_validator(mode="after")
    def _trained(self) -> Self:
        if self.fixed and self.average:
            raise ValueError("average 0 with fixed true (nothing is trained)")
        return self


class BaseRewardModel(RewardOptimisation):
    """How r_0 is trained where models.reward_model.source is `trained`."""

    key: ClassVar[str] = "base_reward_model"
    layers: Count | None = Field(description="of the policy's, from the first; null: all of them")


class Lora(Block):
    """Low-rank adapters."""

    rank: Count
    alpha: Count = Field(description="the adapters' product is scaled by alpha / rank")
    targets: Literal["all-linear"] | list[str] = Field(description="names of linear layers")


class Training(Block):
    """Precision and memory of training."""

    key: ClassVar[str] = "training"
    free: ClassVar[frozenset[str]] = frozenset({"resume_steps"})
    precision: Precision = Field(description="of the forward pass; weights stay float32")
    export_dtype: ExportDtype = Field(description="of the model folders; stochastic: by lot")
    gradient_checkpointing: bool
    lora: Lora | None = Field(description="adapters that learn in place of the weights, or null")
    optimizer: Literal["adamw", "adamw_8bit"] = Field(description="8bit: moments in 8 bits")
    resume_steps: Count = Field(description="steps between resumable checkpoints")
    launcher: Literal["single", "torchrun", "accelerate"]
    processes: Count = Field(description="that train together, on this machine")
    accelerate_config: str | None = Field(description="file for launcher accelerate, or null")

    @model_validator(mode="after")
    def _launched(self) -> Self:
        if self.launcher == "single" and self.processes != 1:
            raise ValueError("launcher torchrun or accelerate with more than one of processes")
        if (self.launcher == "accelerate") != (self.accelerate_config is not None):
            raise ValueError("accelerate_config with launcher accelerate, and null with others")
        if self.accelerate_config is not None and not under("", self.accelerate_config):
            raise ValueError("accelerate_config inside the project: no absolute path, no ..")
        return self

    def decides(self) -> dict[str, Any]:
        """Give what decides the result beyond its rounding, as manifests name it."""
        return self.model_dump(exclude={"launcher", "processes", "accelerate_config", *self.free})

    def computes(self) -> dict[str, Any]:
        """Give what decides the result and its rounding, to which work in progress belongs."""
        return self.model_dump(exclude=set(self.free))


class SelectPolicy(Block):
    """Model selection."""

    key: ClassVar[str] = "select_policy"
    rule: Literal["win_rate", "last"]
    win_rate_threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    ties: Ties = Field(description="a tie counts as half a win, or as a loss")


class BuildPairs(Block):
    """The M-step's filter and mix."""

    key: ClassVar[str] = "build_pairs"
    labels: Labels = Field(description="y_t is chosen, or what a program finds better")
    filter: FilterRule
    ranked: bool = Field(description="the E-step's pairs are in the mix")
    pseudo: bool = Field(description="the pseudo-labelled pairs are in the mix")
    accumulate: Accumulated = Field(description="earlier iterations whose pairs are in the mix")
    seed_preferences: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of r_0's own training pairs that is in the mix"
    )

    @field_validator("accumulate", mode="before")
    @classmethod
    def _was_bool(cls, value: object) -> object:
        if isinstance(value, bool):
            now = "last" if value else "none"
            expected = "Input should be 'none', 'last' or 'all'; write {now}"
            raise PydanticCustomError("literal_error", expected, {"now": now})
        return value

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.ranked or self.pseudo):
            raise ValueError("at least one of ranked and pseudo true")
        return self

    def labelling(self) -> dict[str, str]:
        """Name who labels, as provenance does: by the paper's rule nobody is named."""
        return {} if self.labels == "policy" else {"labels": self.labels}

    def decides(self) -> dict[str, Any]:
        """Name what decides the mix, as provenance does."""
        seeds = {"seed_preferences": self.seed_preferences} if self.seed_preferences else {}
        paper = self.model_dump(exclude={"labels", "seed_preferences"})
        return {**paper, **self.labelling(), **seeds}


class Report(Block):
    """The report."""

    key: ClassVar[str] = "report"
    examples: Natural = Field(description="eval prompts shown with their answers")


class Iteration(Block):
    """An iteration: the one before it, and what differs from the common blocks."""

    prev: str
    sample: dict[str, Any]
    dpo: dict[str, Any]
    train_rm: dict[str, Any]


class Params(Block):
    """The whole of params.yaml."""

    seed: Natural
    iterations: dict[str, Iteration]
    data: Data
    models: Models
    base_reward_model: BaseRewardModel
    tokens: Tokens
    engine: Engine
    sample: Sample
    score: Score
    rank_pairs: RankPairs
    dpo: Dpo
    training: Training
    duel: Duel
    select_policy: SelectPolicy
    answer: Answer
    build_pairs: BuildPairs
    train_rm: TrainRm
    eval: Eval
    report: Report

    @model_validator(mode="after")
    def _chain(self) -> Self:
        expected = [str(t) for t in range(1, len(self.iterations) + 1)]
        if sorted(self.iterations, key=lambda key: (len(key), key)) != expected or not expected:
            raise ValueError(f'iterations "1", "2", ... (they are {list(self.iterations)})')
        for name, item in self.iterations.items():
            if item.prev != str(int(name) - 1):
                raise ValueError(f'iterations.{name}.prev "{int(name) - 1}" (it is {item.prev!r})')
        return self
