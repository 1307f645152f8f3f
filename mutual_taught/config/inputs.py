"""The blocks of `params.yaml` that say what a run begins with: prompts and start models."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mutual_taught.config.fields import Block, Count, Share, under

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


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

    `chosen` and `rejected` name responses that came with the prompts, for sample.source `given`.
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
