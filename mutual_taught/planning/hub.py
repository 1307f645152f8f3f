"""Can what params.yaml names be had of the hub: network, log-in, licence, before any download."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from mutual_taught.checks.check import Check
from mutual_taught.config.blocks import Params
from mutual_taught.errors import first_line

TIMEOUT = 5.0
Kind = Literal["model", "dataset"]


class Wanted(NamedTuple):
    """Something of the hub, by the parameter that names it."""

    param: str
    kind: Kind
    path: str
    revision: str | None


def wanted(values: Params) -> list[Wanted]:
    """List what a run takes from the hub."""
    found = []
    models = {"policy": values.models.policy, "reward_model": values.models.reward_model}
    for name, model in models.items():
        if model.source == "hub":
            found.append(Wanted(f"models.{name}", "model", model.path, model.revision))
    if values.data.source == "hub":
        found.append(Wanted("data", "dataset", values.data.path, values.data.revision))
    return found


def checks(values: Params) -> Iterator[Check]:
    """Ask the hub for everything that a run takes from it; nothing where a run takes nothing."""
    for one in wanted(values):
        yield look(one)


def look(one: Wanted) -> Check:
    """Ask the hub for one thing: is it there, and may this user have it?"""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    name = f"hub: {one.param}"
    login = "log-in found" if get_token() else "no log-in"
    try:
        hub = HfApi()
        asked = hub.model_info if one.kind == "model" else hub.dataset_info
        info = asked(one.path, revision=one.revision, timeout=TIMEOUT)
        if info.gated:
            hub.auth_check(one.path, repo_type=one.kind)
    except GatedRepoError:
        return Check(
            name,
            f"{one.path} is gated, {login}",
            f"expected access; accept its licence on the hub, then hf auth login; or name another "
            f"{one.kind}",
        )
    except RepositoryNotFoundError:
        return Check(
            name,
            f"{one.path} is not there, or is private; {login}",
            f"expected a {one.kind} of the hub; mend {one.param}.path, or hf auth login",
        )
    except Exception as error:  # the hub's client raises many kinds, all of them the user's
        return Check(
            name,
            f"{one.path}: {first_line(error)}",
            f"expected an answer of the hub within {TIMEOUT:.0f} s; check {one.param}.revision, "
            "network and HF_HUB_OFFLINE; or take a folder (source path or file)",
        )
    return Check(name, f"{one.path} can be had, {login}", "")
