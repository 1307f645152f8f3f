"""The transformers engine: keyed sampling in this process."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mutual_taught.checks import preflight
from mutual_taught.config import blocks
from mutual_taught.models.load import Policy, load_policy
from mutual_taught.models.threads import two_at_a_time
from mutual_taught.sampling import keyed
from mutual_taught.sampling.agreement import require_sampling
from mutual_taught.sampling.keyed import Decode, Request, Seen
from mutual_taught.sampling.sampler import Responses
from mutual_taught.terminal.progress import ignore


class Transformers:
    """Keyed sampling with transformers, in this process: see `keyed`."""

    tokenizer: PreTrainedTokenizerBase

    def __init__(self, settings: blocks.Engine, tokens: blocks.Tokens) -> None:
        self.settings, self.tokens = settings, tokens
        self.policy: Policy | None = None

    def load(self, policy: Path) -> None:
        """Load a policy; the one before goes first, so that two are never in memory."""
        self.close()
        require_sampling(policy, self.tokens, self.settings)
        self.policy = load_policy(policy, self.settings.dtype)
        self.tokenizer = self.policy.tokenizer
        preflight.require(preflight.policy(self.policy), policy)

    def answer(
        self, shards: Mapping[int, Sequence[Request]], decode: Decode, seen: Seen = ignore
    ) -> Iterator[tuple[int, Responses]]:
        """Draw the shards, each in batches of prompts of similar lengths."""
        policy = self.policy
        assert policy is not None

        def shard(model: PreTrainedModel, requests: Sequence[Request], seen: Seen) -> Responses:
            found: Responses = [[] for _ in requests]
            for batch in batches(requests, self.settings, decode.max_new_tokens):
                asked = [requests[place] for place in batch]
                draws = keyed.sample(policy._replace(model=model), asked, decode, seen)
                for place, responses in zip(batch, draws, strict=True):
                    found[place] = responses
            return found

        yield from two_at_a_time(policy.model, shards, shard, seen)

    def close(self) -> None:
        """Let go of the weights."""
        self.policy = None


def batches(
    requests: Sequence[Request], settings: blocks.Engine, new_tokens: int
) -> Iterator[list[int]]:
    """Cut requests into batches, prompts of similar lengths together, the shortest first.

    A batch holds `batch_size` responses at most, and `batch_tokens` tokens, if that is a number:
    its responses times the room of the longest, which is what the key-value cache takes. One
    request with more is a batch by itself.

    Args:
        requests: of one shard, each for as many responses.
        settings: block `engine`.
        new_tokens: that a response may have.

    Returns:
        Places of the requests.
    """
    batch: list[int] = []
    for place in sorted(range(len(requests)), key=lambda at: (len(requests[at].tokens), at)):
        responses = (len(batch) + 1) * len(requests[place].seeds)
        room = responses * (len(requests[place].tokens) + new_tokens)  # the longest so far
        full = responses > settings.batch_size or room > (settings.batch_tokens or room)
        if full and batch:
            yield batch
            batch = []
        batch = [*batch, place]
    if batch:
        yield batch
