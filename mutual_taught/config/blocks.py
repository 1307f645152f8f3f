"""The blocks of `params.yaml`, typed and range-checked; those of data and training lie beside."""

import re
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from mutual_taught.config.fields import (
    Block,
    Count,
    Dtype,
    Natural,
    Positive,
    Precision,
    Share,
    is_day,
    under,
)
from mutual_taught.config.inputs import Data, Models
from mutual_taught.config.judging import Judging
from mutual_taught.config.learning import BaseRewardModel, Dpo, Training, TrainRm
from mutual_taught.method.pseudo_pairs import Accumulated, FilterRule, Labels, Weights
from mutual_taught.method.ranked_pairs import ChosenRule, Rule
from mutual_taught.method.selection import Draws, Judge, Ties

Workers = Literal["local", "ray"]
AUTO, SUBSET = "auto", "subset:"  # of eval.gold_pairs, beside the name of a file


class Decoding(Block):
    """How responses are drawn."""

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
    """Responses of every checkpoint and of pi_{t-1} to each selection prompt."""

    key: ClassVar[str] = "duel"
    responses_per_prompt: Count
    draws: Draws = Field(description="pi_{t-1} has seeds of its own, or those of the candidates")


class Eval(Decoding):
    """Evaluation on held-out prompts."""

    key: ClassVar[str] = "eval"
    responses_per_prompt: Count
    gold_pairs: str | None = Field(
        description="auto, Parquet of held-out gold pairs, a subset of data.path, or null"
    )

    @model_validator(mode="after")
    def _watched(self) -> Self:
        named = self.gold_pairs
        if named is None or named == AUTO or re.fullmatch(f"{SUBSET}[A-Za-z0-9_.-]+", named):
            return self
        if not under("data", named):
            raise ValueError(
                "gold_pairs auto, a file under data/ (the folder DVC watches) without .., "
                f"{SUBSET}NAME of a subset of data.path, or null (it is {named!r})"
            )
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
    """What samples responses, and the fixed partition of its work."""

    key: ClassVar[str] = "engine"
    free: ClassVar[frozenset[str]] = frozenset({"workers"})
    name: Literal["transformers", "vllm"]
    dtype: Precision
    shard_size: Count = Field(description="prompts a shard, the unit of resume")
    batch_size: Count = Field(description="answers decoded together; transformers")
    batch_tokens: Count | None = Field(
        description="tokens of prompts and answers decoded together; transformers; null: no limit"
    )
    tensor_parallel: Count = Field(description="GPUs that share one model; vllm")
    gpu_memory_utilization: Share = Field(description="share of the memory to take; vllm")
    workers: Workers = Field(description="where shards are drawn and scored; decides no result")

    @property
    def partition(self) -> list[int]:
        """Give how the work is cut, as far as that decides draws: vLLM makes its own batches."""
        if self.name == "vllm":
            return [self.shard_size]
        limit = [] if self.batch_tokens is None else [self.batch_tokens]
        return [self.shard_size, self.batch_size, *limit]

    def together(self, room: float) -> int:
        """Give how many responses are decoded at once, each with a room of so many tokens."""
        if self.batch_tokens is None:
            return self.batch_size
        return max(1, min(self.batch_size, int(self.batch_tokens // room)))

    def decides(self) -> dict[str, object]:
        """Name what decides draws beside plan and dtype; of the default engine, nothing."""
        if self.name == "transformers":
            return {}
        return {"engine": self.name, "tensor_parallel": self.tensor_parallel}


class Drawing(NamedTuple):
    """What every stage that draws responses reads beside its own block."""

    engine: Engine
    tokens: Tokens
    seed: int


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
    ended_only: bool = Field(description="responses cut at the token limit take no part")
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
        if self.ended_only and self.chosen == "given":
            raise ValueError("ended_only false with chosen given (no reward decides there)")
        return self

    @property
    def rule(self) -> Rule:
        """Give how a pair is picked."""
        return Rule(self.chosen, self.length_neutral, self.ended_only)

    def decides(self) -> dict[str, Any]:
        """Name what decides pairs, as provenance does; `length_slope` is named where one is."""
        return self.model_dump(exclude={"token_budget", "length_neutral"})


class SelectPolicy(Block):
    """Model selection."""

    key: ClassVar[str] = "select_policy"
    rule: Literal["win_rate", "last"]
    win_rate_threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    judge: Judge = Field(description="of duels: r_{t-1}, programs, or a language model")
    judge_model: str | None = Field(
        min_length=1, description="openai: its name at judge.endpoint, or null"
    )
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
    weights: Weights = Field(description="how much a pseudo pair counts in the loss")

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
        if self.weights == "calibrated" and self.labels == "verifiable":
            raise ValueError("weights none with labels verifiable (gold's own labels are right)")
        return self

    def labelling(self) -> dict[str, str]:
        """Name who labels, as provenance does: by the paper's rule nobody is named."""
        return {} if self.labels == "policy" else {"labels": self.labels}

    def decides(self) -> dict[str, Any]:
        """Name what decides the mix, as provenance does."""
        seeds = {"seed_preferences": self.seed_preferences} if self.seed_preferences else {}
        weighed = {} if self.weights == "none" else {"weights": self.weights}
        paper = self.model_dump(exclude={"labels", "seed_preferences", "weights"})
        return {**paper, **self.labelling(), **seeds, **weighed}


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
    """The whole of params.yaml.

    `benchmarks` names what every iteration's models are measured on; their files are in
    benchmarks/NAME. Which names there are, `evaluation.benchmarks` knows.
    """

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
    judge: Judging
    benchmarks: list[Annotated[str, Field(pattern=r"^[a-z0-9]+([-.][a-z0-9]+)*$")]]

    @field_validator("benchmarks")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError(f"every benchmark once (they are {value})")
        return value

    @model_validator(mode="after")
    def _chain(self) -> Self:
        expected = [str(t) for t in range(1, len(self.iterations) + 1)]
        if sorted(self.iterations, key=lambda key: (len(key), key)) != expected or not expected:
            raise ValueError(f'iterations "1", "2", ... (they are {list(self.iterations)})')
        for name, item in self.iterations.items():
            if item.prev != str(int(name) - 1):
                raise ValueError(f'iterations.{name}.prev "{int(name) - 1}" (it is {item.prev!r})')
        asked = self.select_policy.judge == "openai"
        if asked and (self.select_policy.judge_model is None or not self.judge.endpoint.base_url):
            raise ValueError(
                "select_policy.judge_model and judge.endpoint.base_url, because "
                "select_policy.judge is openai (one of them is null)"
            )
        for name, judged in self.judge.iterations.items():
            if name not in self.iterations or judged.prev != self.iterations[name].prev:
                raise ValueError(f"judge.iterations as iterations are (it has {name!r})")
        return self
