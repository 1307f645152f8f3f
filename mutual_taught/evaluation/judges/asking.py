"""Asks a judge all that is not in its store yet, several requests at once."""

from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from mutual_taught.config.judging import Endpoint, Prices
from mutual_taught.errors import EndpointError
from mutual_taught.evaluation.judges.endpoint import JudgeClient, RefusedRequest
from mutual_taught.evaluation.judges.reply import Reply
from mutual_taught.evaluation.judges.request import Request
from mutual_taught.evaluation.judges.store import Store
from mutual_taught.terminal.progress import bar

if TYPE_CHECKING:
    from tqdm import tqdm

MILLION = 1_000_000


class Sent(NamedTuple):
    """What asking cost: requests, tokens, and those the server refused, with its words by key."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    refused: dict[str, str]


def ask_all(requests: Iterable[Request], store: Store, endpoint: Endpoint) -> Sent:
    """Ask what the store does not have; each reply is stored as it comes.

    Where the server fails for good, requests under way are waited for, because they are paid for;
    no other is begun.

    Args:
        requests: in any order; equal ones are asked once.
        store: of replies.
        endpoint: where the judge is. It is not needed where everything is stored.

    Raises:
        InputError: the endpoint has no address or no key.
        EndpointError: it gives no answers, or refuses every request.
    """
    distinct = {request.key: request for request in requests}
    new = [request for key, request in distinct.items() if key not in store.replies]
    if not new:
        return Sent(0, 0, 0, {})
    with closing(JudgeClient(endpoint)) as judge:
        judge.look()
        with bar("verdicts", len(distinct), "verdict", len(distinct) - len(new)) as progress:
            cost = _Cost(progress, endpoint.prices)
            with ThreadPoolExecutor(endpoint.concurrency, "judge") as pool:
                _each(pool, judge, new, store, cost)
    if len(cost.refused) == len(new):
        said = next(iter(cost.refused.values()))
        raise EndpointError(
            f"{judge.address}: refuses all of {len(new)} requests ({said}); expected verdicts; "
            "look at judge.model and judge.max_tokens"
        )
    return Sent(cost.requests, cost.prompt_tokens, cost.completion_tokens, cost.refused)


def _each(
    pool: ThreadPoolExecutor,
    judge: JudgeClient,
    new: Sequence[Request],
    store: Store,
    cost: "_Cost",
) -> None:
    """Keep as many requests under way as the pool has threads."""

    def one(request: Request) -> Reply:
        reply = judge.ask(request)
        store.add(request.key, reply)
        return reply

    rest = iter(new)
    waiting: dict[Future[Reply], str] = {}
    while True:
        for request in islice(rest, judge.settings.concurrency - len(waiting)):
            waiting[pool.submit(one, request)] = request.key
        if not waiting:
            return
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            cost.add(waiting.pop(future), future)


class _Cost:
    """Counts on a bar: tokens, and dollars where prices are known."""

    def __init__(self, progress: "tqdm[None]", prices: Prices | None) -> None:
        self.progress, self.prices = progress, prices
        self.requests = self.prompt_tokens = self.completion_tokens = 0
        self.refused: dict[str, str] = {}

    def add(self, key: str, future: Future[Reply]) -> None:
        """Count one; an error of its request is raised here."""
        self.requests += 1
        try:
            reply = future.result()
        except RefusedRequest as refusal:
            self.refused[key] = str(refusal)
        else:
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
        shown = f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        if self.prices is not None:
            shown += f", ${dollars(self.prices, self.prompt_tokens, self.completion_tokens):.2f}"
        self.progress.set_postfix_str(shown, refresh=False)
        self.progress.update()


def dollars(prices: Prices, prompt_tokens: int, completion_tokens: int) -> float:
    """Give what tokens cost."""
    return (prices.prompt * prompt_tokens + prices.completion * completion_tokens) / MILLION
