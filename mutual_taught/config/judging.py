"""The block `judge` of `params.yaml`: a language model that compares responses, and where it is."""

import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from mutual_taught.config.fields import Block, Count, Natural, Positive

StyleName = Literal["alpaca_eval", "arena_hard"]
VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Prices(Block):
    """What an endpoint charges, in dollars for a million tokens."""

    prompt: Price
    completion: Price


class Endpoint(Block):
    """Where an OpenAI-compatible server is, and how it is asked: nothing here decides a verdict."""

    key: ClassVar[str] = "endpoint"
    base_url: str | None = Field(description="such as http://127.0.0.1:8000/v1")
    key_variable: str | None = Field(
        description="environment variable that holds the key; null: the server wants none"
    )
    concurrency: Annotated[int, Field(ge=1, le=256)] = Field(description="requests at once")
    requests_per_minute: Count | None
    timeout_seconds: Positive = Field(description="for one answer of the server")
    retries: Natural = Field(description="of a request, each after a longer wait")
    prices: Prices | None

    @field_validator("key_variable")
    @classmethod
    def _variable(cls, value: str | None) -> str | None:
        if value is not None and not VARIABLE.fullmatch(value):  # it may be the key: not shown
            raise ValueError("a variable's name, such as JUDGE_KEY, or null; never the key itself")
        return value

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and (fault := address_fault(value)):
            raise ValueError(
                f"an address such as http://127.0.0.1:8000/v1, or null; it has {fault}"
            )
        return value


def address_fault(address: str) -> str:
    """Say what is wrong with the address of a server; empty where nothing is.

    A key has no place in it: params.yaml is committed and shown.
    """
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "no host and port that can be read"
    if parts.scheme not in ("http", "https"):
        return "no http:// or https://"
    if not host or not address.isprintable() or " " in address:
        return "no host"
    if parts.username is not None or parts.password is not None:
        return "a name or key before the host, which belongs into the environment"
    if parts.query or parts.fragment:
        return "a query, which belongs into no address"
    return ""


class JudgedIteration(Block):
    """An iteration whose responses are compared: the one before it is named as in `iterations`."""

    prev: str


class Judging(Block):
    """Who compares an iteration's held-out responses, and how; if it is off there is no stage."""

    key: ClassVar[str] = "judge"
    free: ClassVar[frozenset[str]] = frozenset({"iterations", "endpoint"})
    iterations: dict[str, JudgedIteration] = Field(description="those it judges; {}: none")
    style: StyleName
    model: str | None = Field(min_length=1, description="its name at the endpoint")
    responses_per_prompt: Count = Field(description="answers to each eval prompt it compares")
    max_tokens: Count | None = Field(description="of a verdict; null: the style's own")
    endpoint: Endpoint

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.iterations and self.model is None:
            raise ValueError("judge.model, because judge.iterations is not empty (it is null)")
        if self.iterations and self.endpoint.base_url is None:
            raise ValueError(
                "judge.endpoint.base_url, because judge.iterations is not empty (it is null)"
            )
        return self
