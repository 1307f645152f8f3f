"""The blocks of `params.yaml` that say how models are trained: DPO, r_0 and r_t."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mutual_taught.config.fields import Block, Count, Positive, Precision, under

ExportDtype = Literal["float32", "bfloat16", "bfloat16_stochastic"]
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
