"""Whether the judge that params.yaml asks for has a key and a server."""

from collections.abc import Iterator
from contextlib import closing

from mutual_taught.checks.check import Check
from mutual_taught.config.blocks import Params
from mutual_taught.errors import MutualTaughtError
from mutual_taught.evaluation.judges.endpoint import JudgeClient


def checks(settings: Params) -> Iterator[Check]:
    """Look whether a judge's server takes the key; nothing where no judge is asked for.

    Its stages come late in a run, so what is wrong is better known before.
    """
    if not (settings.judge.iterations or settings.select_policy.judge == "openai"):
        return
    endpoint = settings.judge.endpoint
    try:
        with closing(JudgeClient(endpoint)) as judge:
            judge.look()
    except MutualTaughtError as error:
        yield Check("judge", "cannot be asked", str(error))
    else:
        yield Check("judge", f"{endpoint.base_url} answers", "")
