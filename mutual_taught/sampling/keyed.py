"""Sampling with the transformers engine: keyed draws, shared prefill, finished rows leave."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mutual_taught.models.load import Policy, device
from mutual_taught.models.packed.rows import shared_length
from mutual_taught.models.sight import sees_all
from mutual_taught.sampling.cache import RoomyCache
from mutual_taught.sampling.race import draw_tokens, few, keys_at
from mutual_taught.terminal.progress import Moved, ignore

SHRINK_AT = 0.85  # share of rows still open: to leave, the cache is copied, which must pay


class Request(NamedTuple):
    """One prompt and the seeds of the responses wanted."""

    tokens: Sequence[int]
    seeds: Sequence[int]


class Draw(NamedTuple):
    """One sampled response; `logprob` is the sum of raw (temperature 1) log-probs in nats."""

    token_ids: list[int]
    finish_reason: str
    logprob: float


Seen = Callable[[Moved], object]


class Decode(NamedTuple):
    """How tokens are drawn."""

    temperature: float
    top_p: float
    max_new_tokens: int


def sample(
    policy: Policy, requests: Sequence[Request], decode: Decode, seen: Seen = ignore
) -> list[list[Draw]]:
    """Draw responses to a batch of prompts.

    Every prompt is read once, and once for all of them what they begin with; a prompt's responses
    continue from the same cache. Rows that have ended leave the batch. A response depends on its
    seed, the policy and the batch's arithmetic, never on the draws of other rows.

    Args:
        policy: pi.
        requests: prompts with the seeds of their responses.
        decode: temperature, top-p, and the most tokens a response may have.
        seen: told after every token of how many responses drew one, and ended with it.

    Returns:
        The draws of each request, in order of its seeds; `token_ids` include the final eos.
    """
    state = _Rows(policy, requests, decode)
    drawing = sum(len(request.seeds) for request in requests)
    while (left := state.left()) and state.time < decode.max_new_tokens:
        seen(Moved(drawing, drawing - left, 0))
        drawing = left
        state.step()
    seen(Moved(drawing, drawing, left))
    draws = state.draws()
    ends = np.cumsum([len(request.seeds) for request in requests])
    return [draws[end - len(r.seeds) : end] for r, end in zip(requests, ends, strict=True)]


class _Rows:
    """The responses being drawn: one row each, and the batch of those not ended yet.

    `seeds`, `tokens` and `logprob` have a row for every response; `batch` names the rows that are
    still decoded, and `ended`, `mask`, `position` and the cache have a row for each of these. Rows
    that ended stay in the batch until enough have.
    """

    @torch.inference_mode()
    def __init__(self, policy: Policy, requests: Sequence[Request], decode: Decode) -> None:
        self.policy, self.decode, self.where = policy, decode, device()
        counts = torch.tensor([len(request.seeds) for request in requests])
        seeds = [seed for request in requests for seed in request.seeds]
        self.seeds = torch.tensor(seeds, device=self.where)
        self.tokens = torch.full((len(seeds), decode.max_new_tokens), -1, device=self.where)
        self.logprob = torch.zeros(len(seeds), dtype=torch.float64, device=self.where)
        self.stops = torch.tensor(sorted(policy.stop_ids), device=self.where)
        self.time = 0
        self.batch = torch.arange(len(seeds), device=self.where)
        self.ended = torch.zeros(len(seeds), dtype=torch.bool, device=self.where)
        self.cache = RoomyCache(policy.model.config.get_text_config().num_hidden_layers)
        self.mask = torch.ones(1, 0, dtype=torch.long, device=self.where)
        logits = self._read([request.tokens for request in requests])
        self.position = self.mask.sum(dim=1)
        # One row a prompt until here, shape (requests, ...); from here one a response.
        source = torch.repeat_interleave(torch.arange(len(requests)), counts).to(self.where)
        self.cache.batch_select_indices(source)
        self.mask, self.position = self.mask[source], self.position[source]
        self._take(logits.index_select(0, source))

    def left(self) -> int:
        """Count the responses that have not ended."""
        return len(self.ended) - int(self.ended.sum())

    def _read(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read prompts, what all begin with in one row first; logits after each.

        Padding then stands between the two, which counts for a window of attention, but not where
        every token sees all before it.
        """
        alike = len(prompts) > 1 and sees_all(self.policy.model.config)
        start = shared_length(prompts, 1) if alike else 0
        if start:
            self._prefill([prompts[0][:start]])
            self.cache.batch_repeat_interleave(len(prompts))
        self.mask = self.mask.expand(len(prompts), -1)  # (1, start) to (prompts, start)
        return self._prefill([tokens[start:] for tokens in prompts])

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read tokens after those in the cache; logits after the last of each row."""
        ids = _left_padded(prompts, self.where)
        real = _left_padded([[1] * len(tokens) for tokens in prompts], self.where)
        self.mask = torch.cat([self.mask, real], dim=1)
        output = self.policy.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=(self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    @torch.inference_mode()
    def step(self) -> None:
        """Read the last token of every row and draw the next."""
        # The token drawn last stands at `time` - 1; rows that ended read on, and are not looked at.
        if float((~self.ended).float().mean()) < SHRINK_AT:
            self._shrink()
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        output = self.policy.model(
            input_ids=self.tokens[self.batch, self.time - 1].clamp(min=0)[:, None],
            attention_mask=self.mask,
            position_ids=self.position[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.position = self.position + 1
        self._take(output.logits[:, -1])

    def _take(self, logits: Tensor) -> None:
        keys = keys_at(self.seeds[self.batch], self.time)
        drawn = draw_tokens(logits, keys, self.decode.temperature, self.decode.top_p)
        logps = _logps(logits, drawn)
        open_rows = ~self.ended
        rows = self.batch[open_rows]
        self.tokens[rows, self.time] = drawn[open_rows]
        self.logprob[rows] += logps[open_rows].double()
        self.ended = self.ended | torch.isin(drawn, self.stops)
        self.time += 1

    def _shrink(self) -> None:
        keep = (~self.ended).nonzero().squeeze(1)
        self.cache.batch_select_indices(keep)
        self.mask, self.position = self.mask[keep], self.position[keep]
        self.batch, self.ended = self.batch[keep], self.ended[keep]

    def draws(self) -> list[Draw]:
        """Give every response's tokens, why it ended and its log-prob."""
        found = []
        logprobs = self.logprob.tolist()
        for row, logprob in zip(self.tokens.tolist(), logprobs, strict=True):
            tokens = [token for token in row if token >= 0]
            ended = tokens[-1] in self.policy.stop_ids
            found.append(Draw(tokens, "stop" if ended else "length", logprob))
        return found


def _logps(logits: Tensor, tokens: Tensor) -> Tensor:
    """Give the raw log-prob of each row's token, in float32, shape (rows,)."""
    total = torch.cat([part.float().logsumexp(dim=1) for part in torch.split(logits, few(logits))])
    return logits.gather(1, tokens[:, None]).squeeze(1).float() - total


def _left_padded(rows: Sequence[Sequence[int]], where: torch.device) -> Tensor:
    width = max(map(len, rows))
    padded = torch.zeros(len(rows), width, dtype=torch.long)
    for row, values in enumerate(rows):
        padded[row, width - len(values) :] = torch.tensor(values)
    return padded.to(where)


def moved(draws: "Sequence[Draw]") -> Moved:
    """Count responses that came whole."""
    cut = sum(draw.finish_reason == "length" for draw in draws)
    return Moved(sum(len(draw.token_ids) for draw in draws), len(draws), cut)
